import { concat, readU64, u64, utf8 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SIZE } from '../limits.js';
import type { HandshakeSuite } from './frames.js';
import type { KeySize } from './key-schedule.js';

/** The server's half-open handshake, kept by the client under a key that only servers know (PROTOCOL.md section 4). */
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
  /** TK' = HMAC(TK, private server key): the table that shares TK is not enough by itself */
  readonly key: Uint8Array;
}

const LABEL = utf8('sealwire cookie');

/** First 4 bytes of a cookie: which key seals it. */
export function cookieKeyId(cookie: Uint8Array): Uint8Array {
  return cookie.slice(0, 4);
}

export function deriveCookieKey(primitives: Primitives, random: Uint8Array, serverPrivateKey: Uint8Array): Uint8Array {
  return primitives.hmac(random, serverPrivateKey);
}

/** cookie = id 4 | nonce 12 | AES-256-GCM(TK', ad = "sealwire cookie" || id || modulePath), 228 bytes */
export function sealCookie(suite: HandshakeSuite, key: CookieKey, modulePath: string, state: CookieState): Uint8Array {
  // hedged: all cookies of some minutes share one key, so a cloned machine must not repeat a nonce
  const nonce = suite.random(SIZE.nonce, state.h);
  const plaintext = concat(
    u64(state.issued),
    state.sessionId,
    Uint8Array.of(state.flags, state.keySize, 0, 0),
    state.keyId,
    state.ck,
    state.h,
    state.c1,
    state.s1,
    state.clientEphemeral,
  );
  return concat(key.id, nonce, suite.primitives.seal(key.key, nonce, associated(key.id, modulePath), plaintext));
}

/** @throws SealwireError `open_failed` */
export function openCookie(
  primitives: Primitives,
  key: CookieKey,
  modulePath: string,
  cookie: Uint8Array,
): CookieState {
  const ad = associated(cookieKeyId(cookie), modulePath);
  const plaintext = primitives.open(key.key, cookie.subarray(4, 16), ad, cookie.subarray(16));
  const field = (offset: number) => plaintext.slice(offset, offset + 32);
  return {
    issued: readU64(plaintext, 0),
    sessionId: plaintext.slice(8, 24),
    flags: plaintext[24] ?? 0,
    keySize: plaintext[25] === 16 ? 16 : 32,
    keyId: plaintext.slice(28, 36),
    ck: field(36),
    h: field(68),
    c1: field(100),
    s1: field(132),
    clientEphemeral: field(164),
  };
}

function associated(id: Uint8Array, modulePath: string): Uint8Array {
  return concat(LABEL, id, utf8(modulePath));
}
