import { concat, utf8 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SIZE } from '../limits.js';

/** random bytes of a session id; the others are a MAC of them */
const RANDOM = 10;
const LABEL = utf8('sealwire session id');

/**
 * random 10 || HMAC(idKey, "sealwire session id" || module path || random 10)[0..6]. A server tells the ids that it made from
 * invented ones without a lookup. Clients know nothing of this form.
 *
 * @param idKey 32 bytes that all instances of the server share
 * @param random10 10 random bytes
 * @returns 16 bytes
 * @example
 * const sessionId = makeSessionId(primitives, idKey, 'payments', primitives.random(10));
 */
export function makeSessionId(
  primitives: Primitives,
  idKey: Uint8Array,
  modulePath: string,
  random10: Uint8Array,
): Uint8Array {
  const mac = primitives.hmac(idKey, LABEL, utf8(modulePath), random10);
  return concat(random10, mac.subarray(0, SIZE.sessionId - RANDOM));
}

/**
 * Whether {@link makeSessionId} made the id under that key for that module. The time does not depend on the id's content.
 *
 * @example
 * if (!isSessionIdOf(primitives, idKey, 'payments', call.sessionId)) throw new SealwireError('session_unknown');
 */
export function isSessionIdOf(primitives: Primitives, idKey: Uint8Array, modulePath: string, id: Uint8Array): boolean {
  return primitives.equal(makeSessionId(primitives, idKey, modulePath, id.subarray(0, RANDOM)), id);
}
