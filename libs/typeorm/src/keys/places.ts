import type { Place } from './key-encryption.js';

/** The places to which wrapped values are bound, a session's own secrets excepted. */
export function keyPlace(kind: 'server' | 'secure' | 'incarnation', module: string, id: Uint8Array): Place {
  return ['sealwire_key', kind, module, id];
}

export function cookieKeyPlace(id: Uint8Array): Place {
  return ['sealwire_cookie_key', id];
}

/** @param call, binding MACs, see OutcomeEntity */
export function outcomePlace(module: string, call: Uint8Array, binding: Uint8Array): Place {
  return ['sealwire_outcome', module, call, binding];
}

/** @param version how often the session's data was written: an earlier state of it does not open in its place */
export function dataPlace(sessionId: Uint8Array, version: number): Place {
  return ['sealwire_session', 'data', sessionId, version];
}
