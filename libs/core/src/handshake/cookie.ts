import { concat, erase, utf8 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SIZE } from '../limits.js';
import { COOKIE, type HandshakeSuite } from './frames.js';
import type { KeySize } from './key-schedule.js';

/** The server's half-open handshake, kept by the client under a key that only servers know (PROTOCOL.md appendix E.2). */
export interface CookieState {
  /** milliseconds since 1970 by the clock that all instances share */
  readonly issued: number;
  readonly sessionId: Uint8Array;
  readonly flags: number;
  readonly keySize: KeySize;
  readonly keyId: Uint8Array;
  /** before MixKey(S1), which step 3 repeats */
  readonly ck: Uint8Array;
  /** after step 2 */
  readonly h: Uint8Array;
  readonly c1: Uint8Array;
  readonly s1: Uint8Array;
  readonly clientEphemeral: Uint8Array;
}

/** A key that seals cookies, with the name under which they find it. */
export interface CookieKey {
  /** 4 bytes, in clear in the cookie */
  readonly id: Uint8Array;
  /** TK', see {@link deriveCookieKey} */
  readonly key: Uint8Array;
}

const LABEL = utf8('sealwire cookie');
const ID = 4;
const SALT = 12;
/** each cookie has a key of its own, which seals nothing else */
const NONCE = new Uint8Array(SIZE.nonce);

/**
 * The first 4 bytes of a cookie, which tell the key that sealed it.
 *
 * @example
 * const id = toHex(cookieKeyId(parseFinish(frame).cookie));
 */
export function cookieKeyId(cookie: Uint8Array): Uint8Array {
  return cookie.slice(0, ID);
}

/**
 * TK' = HMAC(TK, private server key || incarnation), 32 bytes (PROTOCOL.md appendix E.2). The table that shares TK among the
 * instances is not enough by itself to open a cookie.
 *
 * @param random TK, 32 random bytes that all instances share for some minutes
 * @param incarnation 8 bytes
 * @example
 * const { privateKey } = parseServerPrivateKey(process.env.SEALWIRE_SERVER_KEY ?? '', primitives);
 * const key = deriveCookieKey(primitives, primitives.random(32), privateKey, incarnation);
 */
export function deriveCookieKey(
  primitives: Primitives,
  random: Uint8Array,
  serverPrivateKey: Uint8Array,
  incarnation: Uint8Array,
): Uint8Array {
  return primitives.hmac(random, serverPrivateKey, incarnation);
}

/**
 * Seals a half-open handshake (PROTOCOL.md appendix E.2):
 * id 4 || salt 12 || AES-256-GCM(HMAC(TK', salt), nonce 0^12, ad = "sealwire cookie" || id || module path).
 *
 * @returns 228 bytes
 * @example
 * answerStart(suite, config, parseStart(frame), (state) =>
 *   sealCookie(suite, cookieKey, 'payments', { ...state, issued: Date.now() }),
 * );
 */
export function sealCookie(suite: HandshakeSuite, key: CookieKey, modulePath: string, state: CookieState): Uint8Array {
  const { primitives } = suite;
  const plaintext = COOKIE.write({ ...state, reserved: 0 });
  const salt = suite.random(SALT, primitives.sha256(plaintext));
  const cookieKey = primitives.hmac(key.key, salt);
  const sealed = primitives.seal(cookieKey, NONCE, associated(key.id, modulePath), plaintext);
  erase(plaintext, cookieKey);
  return concat(key.id, salt, sealed);
}

/**
 * Opens a cookie that came back in step 3. The caller judges the age of `issued`.
 *
 * @throws SealwireError `open_failed` if it was sealed under another key or for another module, or was altered
 * @example
 * const finish = parseFinish(frame);
 * const state = openCookie(primitives, cookieKey, 'payments', finish.cookie);
 * if (Date.now() - state.issued > LIMITS.cookieSeconds * 1000) throw new SealwireError('handshake_failed');
 */
export function openCookie(
  primitives: Primitives,
  key: CookieKey,
  modulePath: string,
  cookie: Uint8Array,
): CookieState {
  const cookieKey = primitives.hmac(key.key, cookie.subarray(ID, ID + SALT));
  const ad = associated(cookieKeyId(cookie), modulePath);
  const plaintext = primitives.open(cookieKey, NONCE, ad, cookie.subarray(ID + SALT));
  const { rest: _, reserved: __, keySize, ...fields } = COOKIE.read(plaintext);
  erase(plaintext, cookieKey);
  return { ...fields, keySize: keySize === 16 ? 16 : 32 };
}

function associated(id: Uint8Array, modulePath: string): Uint8Array {
  return concat(LABEL, id, utf8(modulePath));
}

/** random bytes of a session id; the others are a MAC of them */
const ID_RANDOM = 10;
const ID_LABEL = utf8('sealwire session id');

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
  const mac = primitives.hmac(idKey, ID_LABEL, utf8(modulePath), random10);
  return concat(random10, mac.subarray(0, SIZE.sessionId - ID_RANDOM));
}

/**
 * Whether {@link makeSessionId} made the id under that key for that module. The time does not depend on the id's content.
 *
 * @example
 * if (!isSessionIdOf(primitives, idKey, 'payments', call.sessionId)) throw new SealwireError('session_unknown');
 */
export function isSessionIdOf(primitives: Primitives, idKey: Uint8Array, modulePath: string, id: Uint8Array): boolean {
  return primitives.equal(makeSessionId(primitives, idKey, modulePath, id.subarray(0, ID_RANDOM)), id);
}
