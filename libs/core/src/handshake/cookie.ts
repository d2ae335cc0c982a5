import { concat, erase, readU64, u64, utf8 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SIZE } from '../limits.js';
import { COOKIE, type HandshakeSuite } from './frames.js';
import type { KeySize } from './key-schedule.js';

/** The server's half-open handshake, kept by the client under a key that only servers know (PROTOCOL.md section 4.1). */
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

/** First 4 bytes of a cookie: which key seals it. */
export function cookieKeyId(cookie: Uint8Array): Uint8Array {
  return cookie.slice(0, ID);
}

/** TK' = HMAC(TK, private server key || incarnation): the table that shares TK is not enough by itself. */
export function deriveCookieKey(
  primitives: Primitives,
  random: Uint8Array,
  serverPrivateKey: Uint8Array,
  incarnation: Uint8Array,
): Uint8Array {
  return primitives.hmac(random, serverPrivateKey, incarnation);
}

/** cookie = id 4 | salt 12 | AES-256-GCM(HMAC(TK', salt), 0^12, ad = "sealwire cookie" || id || modulePath), 228 bytes */
export function sealCookie(suite: HandshakeSuite, key: CookieKey, modulePath: string, state: CookieState): Uint8Array {
  const { primitives } = suite;
  const { issued, flags, keySize, ...fields } = state;
  const plaintext = COOKIE.write({ ...fields, issued: u64(issued), use: Uint8Array.of(flags, keySize, 0, 0) });
  const salt = suite.random(SALT, primitives.sha256(plaintext));
  const cookieKey = primitives.hmac(key.key, salt);
  const sealed = primitives.seal(cookieKey, NONCE, associated(key.id, modulePath), plaintext);
  erase(plaintext, cookieKey);
  return concat(key.id, salt, sealed);
}

/** @throws SealwireError `open_failed` */
export function openCookie(
  primitives: Primitives,
  key: CookieKey,
  modulePath: string,
  cookie: Uint8Array,
): CookieState {
  const cookieKey = primitives.hmac(key.key, cookie.subarray(ID, ID + SALT));
  const ad = associated(cookieKeyId(cookie), modulePath);
  const plaintext = primitives.open(cookieKey, NONCE, ad, cookie.subarray(ID + SALT));
  const { issued, use, rest: _, ...fields } = COOKIE.read(plaintext);
  erase(plaintext, cookieKey);
  const [flags = 0, keySize] = use;
  return { ...fields, issued: readU64(issued, 0), flags, keySize: keySize === 16 ? 16 : 32 };
}

function associated(id: Uint8Array, modulePath: string): Uint8Array {
  return concat(LABEL, id, utf8(modulePath));
}
