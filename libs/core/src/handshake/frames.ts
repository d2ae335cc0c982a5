import { concat, readU16, readU32, readU64, u16, u32, u64 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { FRAME_TYPE } from '../message/message.js';
import { type KeySize, PROTOCOL_VERSION, type Random } from './key-schedule.js';

/** What both roles of the handshake share. */
export interface HandshakeSuite {
  readonly primitives: Primitives;
  readonly random: Random;
}

/** Flag of step 1: the client pinned a server key. */
export const FLAG_PINNED = 0x01;
/** Flag of step 1: the client uses a SecureKey. */
export const FLAG_SECURE_KEY = 0x02;

type Fields<S> = { readonly [name in keyof S]: Uint8Array };

/** Fields of known sizes one behind the other, and a rest. */
interface Layout<S> {
  readonly size: number;
  /** @throws RangeError if a field has another size: it would shift all that follow */
  write(fields: Fields<S>, ...rest: readonly Uint8Array[]): Uint8Array;
  /** @throws SealwireError `bad_payload` if `bytes` are too few. The fields are copies. */
  read(bytes: Uint8Array): Fields<S> & { readonly rest: Uint8Array };
}

function layout<S extends Record<string, number>>(sizes: S): Layout<S> {
  const entries = Object.entries(sizes);
  const size = entries.reduce((sum, [, length]) => sum + length, 0);
  return {
    size,
    write(fields, ...rest) {
      const parts = entries.map(([name, length]) => {
        if (fields[name]?.length !== length) throw new RangeError(`${name} is ${length} bytes long`);
        return fields[name];
      });
      return concat(...parts, ...rest);
    },
    read(bytes) {
      if (bytes.length < size) throw new SealwireError('bad_payload');
      let offset = 0;
      const fields = entries.map(([name, length]) => {
        offset += length;
        return [name, bytes.slice(offset - length, offset)];
      });
      return { ...(Object.fromEntries(fields) as Fields<S>), rest: bytes.slice(offset) };
    },
  };
}

const { key, randomKey, nonceNumber, sessionId, options, salt } = SIZE;
const TERMS_SIZE = 12 + SIZE.incarnation;

// PROTOCOL.md sections 3.2 to 3.5: the clear bytes of the four steps up to a cookie or what is sealed
export const START = layout({
  head: 4,
  serverKeyId: SIZE.serverKeyId,
  keyId: SIZE.keyId,
  clientEphemeral: key,
  encapsulationKey: SIZE.encapsulationKey,
});
export const START_ANSWER = layout({ head: 4, serverEphemeral: key, kemCiphertext: SIZE.kemCiphertext, cookieSize: 2 });
export const FINISH = layout({ head: 4, salt, cookieSize: 2 });
export const FINISH_ANSWER = layout({ head: 4, secondEphemeral: key });

// and the plaintexts inside
export const SEALED_1 = layout({ c1: randomKey, a: nonceNumber, options });
export const SEALED_2 = layout({ s1: randomKey, a: nonceNumber, sessionId, options });
export const SEALED_3 = layout({ c2: randomKey, b: nonceNumber });
export const SEALED_4 = layout({ s2: randomKey, b: nonceNumber, terms: TERMS_SIZE });

/** PROTOCOL.md section 4.1 */
export const COOKIE = layout({
  issued: 8,
  sessionId,
  use: 4,
  keyId: SIZE.keyId,
  ck: key,
  h: key,
  c1: randomKey,
  s1: randomKey,
  clientEphemeral: key,
});

/** Type and version of a step, then flags and keySize in step 1 and zeros in the others. */
export function frameHead(type: number, flags = 0, keySize = 0): Uint8Array {
  return Uint8Array.of(type, PROTOCOL_VERSION, flags, keySize);
}

/** The clear fields of step 1. */
export interface StartFrame {
  readonly flags: number;
  readonly keySize: KeySize;
  readonly serverKeyId: Uint8Array;
  readonly keyId: Uint8Array;
  readonly clientEphemeral: Uint8Array;
  readonly encapsulationKey: Uint8Array;
  readonly clear: Uint8Array;
  readonly sealed: Uint8Array;
}

/**
 * Reads the clear fields of step 1. Nothing of it is authenticated yet.
 *
 * @throws SealwireError `handshake_failed` or `version`
 * @example
 * const { keyId, keySize } = parseStart(frame);
 */
export function parseStart(frame: Uint8Array): StartFrame {
  const length = START.size + SEALED_1.size + SIZE.tag;
  expectFrame(frame, FRAME_TYPE.start, length, length);
  const { rest: sealed, head, ...fields } = START.read(frame);
  const [, , flags = 0, keySize] = head;
  if (flags > 3 || (keySize !== 16 && keySize !== 32)) throw new SealwireError('handshake_failed');
  // a name without its key would be written down as if it had been proved
  const unused = [
    ...((flags & FLAG_PINNED) === 0 ? fields.serverKeyId : []),
    ...((flags & FLAG_SECURE_KEY) === 0 ? fields.keyId : []),
  ];
  if (unused.some((byte) => byte !== 0)) throw new SealwireError('handshake_failed');
  return { ...fields, flags, keySize, clear: frame.slice(0, START.size), sealed };
}

export function parseStartAnswer(frame: Uint8Array) {
  const sealedSize = SEALED_2.size + SIZE.tag;
  expectFrame(frame, FRAME_TYPE.startAnswer, START_ANSWER.size + sealedSize, LIMITS.handshakeFrame);
  const { rest, cookieSize, serverEphemeral, kemCiphertext } = START_ANSWER.read(frame);
  const end = readU16(cookieSize, 0);
  if (rest.length !== end + sealedSize) throw new SealwireError('handshake_failed');
  const clear = frame.slice(0, START_ANSWER.size);
  return { serverEphemeral, kemCiphertext, clear, cookie: rest.slice(0, end), sealed: rest.slice(end) };
}

/** The clear fields of step 3. */
export interface FinishFrame {
  readonly salt: Uint8Array;
  readonly cookie: Uint8Array;
  readonly clear: Uint8Array;
  readonly sealed: Uint8Array;
}

/**
 * Reads the clear fields of step 3. Nothing of it is authenticated yet.
 *
 * @throws SealwireError `handshake_failed` or `version`
 * @example
 * const { cookie } = parseFinish(frame);
 */
export function parseFinish(frame: Uint8Array): FinishFrame {
  const sealedAt = FINISH.size + SIZE.cookie;
  const minimum = sealedAt + SEALED_3.size + SIZE.tag;
  expectFrame(frame, FRAME_TYPE.finish, minimum, LIMITS.handshakeFrame + LIMITS.firstCalls);
  if (readU16(frame, FINISH.size - 2) !== SIZE.cookie) throw new SealwireError('handshake_failed');
  return {
    salt: frame.slice(4, 4 + SIZE.salt),
    cookie: frame.slice(FINISH.size, sealedAt),
    clear: frame.slice(0, sealedAt),
    sealed: frame.subarray(sealedAt),
  };
}

export function parseFinishAnswer(frame: Uint8Array) {
  const minimum = FINISH_ANSWER.size + SEALED_4.size + SIZE.tag;
  // Padmé adds at most 12 %
  expectFrame(frame, FRAME_TYPE.finishAnswer, minimum, LIMITS.handshakeFrame + 2 * LIMITS.finishAnswerResults);
  const clear = frame.slice(0, FINISH_ANSWER.size);
  return { secondEphemeral: clear.slice(4), clear, sealed: frame.subarray(FINISH_ANSWER.size) };
}

function expectFrame(frame: Uint8Array, type: number, minimum: number, maximum: number): void {
  if (frame[0] === type && frame.length > 1 && frame[1] !== PROTOCOL_VERSION) throw new SealwireError('version');
  const reserved = type === FRAME_TYPE.start ? 0 : (frame[2] ?? 0) | (frame[3] ?? 0);
  if (frame[0] !== type || frame.length < minimum || frame.length > maximum || reserved !== 0) {
    throw new SealwireError('handshake_failed');
  }
}

/** Whatever fails in `step`, a frame's version apart, is the one `handshake_failed` that tells nothing. */
export function opaquely<P extends unknown[], R>(step: (...parameters: P) => R): (...parameters: P) => R {
  return (...parameters) => {
    try {
      return step(...parameters);
    } catch (error) {
      if (error instanceof SealwireError && error.code !== 'version') throw new SealwireError('handshake_failed');
      throw error;
    }
  };
}

/** The server's policy for a module, repeated under seal in step 2: a client sees if something suppressed an upgrade. */
export interface ServerOptions {
  readonly force: boolean;
  readonly requirePinned: boolean;
  readonly requireSecureKey: boolean;
  readonly minKeySize: KeySize;
  /** ids (4 bytes) of the server keys a client may pin, at most 4 */
  readonly pins: readonly Uint8Array[];
  /** 8 bytes, as in {@link SessionTerms}: the first calls are resent with it if step 4 never arrives */
  readonly incarnation: Uint8Array;
  /** bytes that the module takes in one body */
  readonly maxBody: number;
  /** milliseconds since this server began to remember sessions; 0 if they outlive it */
  readonly age: number;
  /** bytes that the module takes in one live call; 0 if it takes none */
  readonly maxUpload: number;
  /** seconds of silence after which a live result sends a pulse; 0 if it sends none */
  readonly pulse: number;
}

/** server keys that the options have room for */
const PINS = 4;
const POLICY = ['force', 'requirePinned', 'requireSecureKey'] as const;
const INCARNATION_AT = 5 + PINS * SIZE.serverKeyId;
const MAX_BODY_AT = INCARNATION_AT + SIZE.incarnation;
const AGE_AT = MAX_BODY_AT + 4;
const MAX_UPLOAD_AT = AGE_AT + 8;
const PULSE_AT = MAX_UPLOAD_AT + 8;

export function encodeServerOptions(value: ServerOptions): Uint8Array {
  const out = new Uint8Array(SIZE.options);
  out[0] = POLICY.reduce((bits, name, i) => bits | (value[name] ? 1 << i : 0), 0);
  out[1] = value.minKeySize;
  out[3] = 1; // suites: bit 0 is the one suite of version 1
  const pins = value.pins.slice(0, PINS);
  out[4] = pins.length;
  for (const [i, pin] of pins.entries()) out.set(pin, 5 + i * SIZE.serverKeyId);
  out.set(value.incarnation, INCARNATION_AT);
  out.set(u32(value.maxBody), MAX_BODY_AT);
  out.set(u64(value.age), AGE_AT);
  out.set(u64(value.maxUpload), MAX_UPLOAD_AT);
  out.set(u16(value.pulse), PULSE_AT);
  return out;
}

/** @throws SealwireError `bad_payload` unless these are exactly the bytes that a server writes */
export function decodeServerOptions(bytes: Uint8Array): ServerOptions {
  const [policy = 0, minKeySize = 0, , , pins = 0] = bytes;
  const [force, requirePinned, requireSecureKey] = POLICY.map((_, i) => ((policy >> i) & 1) === 1) as [
    boolean,
    boolean,
    boolean,
  ];
  const value: ServerOptions = {
    ...{ force, requirePinned, requireSecureKey },
    minKeySize: minKeySize === 32 ? 32 : 16,
    pins: Array.from({ length: Math.min(pins, PINS) }, (_, i) => bytes.slice(5 + 4 * i, 9 + 4 * i)),
    incarnation: bytes.slice(INCARNATION_AT, MAX_BODY_AT),
    maxBody: readU32(bytes, MAX_BODY_AT),
    age: readU64(bytes, AGE_AT),
    maxUpload: readU64(bytes, MAX_UPLOAD_AT),
    pulse: readU16(bytes, PULSE_AT),
  };
  const exact = encodeServerOptions(value);
  const safe = Number.isSafeInteger(value.age) && Number.isSafeInteger(value.maxUpload);
  if (!safe || exact.some((byte, i) => byte !== bytes[i])) {
    throw new SealwireError('bad_payload');
  }
  return value;
}

/** What step 4 tells of the session; times in seconds. */
export interface SessionTerms {
  readonly lane: number;
  readonly idle: number;
  readonly lifetime: number;
  /** 8 bytes; another value means another state of the database */
  readonly incarnation: Uint8Array;
}

export function encodeTerms(terms: SessionTerms): Uint8Array {
  return concat(u32(terms.lane), u32(terms.idle), u32(terms.lifetime), terms.incarnation);
}

export function decodeTerms(bytes: Uint8Array): SessionTerms {
  return {
    lane: readU32(bytes, 0),
    idle: readU32(bytes, 4),
    lifetime: readU32(bytes, 8),
    incarnation: bytes.slice(12, TERMS_SIZE),
  };
}
