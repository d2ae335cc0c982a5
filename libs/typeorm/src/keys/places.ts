import type { Place } from './key-encryption.js';

/** What each wrapped value is bound to, besides a session's own secrets. */
export function keyPlace(kind: 'server' | 'secure' | 'incarnation', module: string, id: Uint8Array): Place {
  return ['sealwire_key', kind, module, id];
}

export function cookieKeyPlace(id: Uint8Array): Place {
  return ['sealwire_cookie_key', id];
}

/** @param keyId empty where no SecureKey was used */
export function outcomePlace(module: string, keyId: Uint8Array, callId: Uint8Array): Place {
  return ['sealwire_outcome', module, keyId, callId];
}

export function replyPlace(sessionId: Uint8Array, lane: number, counter: number): Place {
  return ['sealwire_accepted', sessionId, lane, counter];
}
