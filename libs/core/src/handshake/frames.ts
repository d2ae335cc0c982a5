import { concat, readU16, readU32, u16, u32 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { FRAME_TYPE } from '../message/message.js';
import { type KeySize, PROTOCOL_VERSION, type Random } from './key-schedule.js';

/** What both roles of the handshake share: the frames' layout (PROTOCOL.md section 3), no keys. */
export interface HandshakeSuite {
  readonly primitives: Primitives;
  readonly random: Random;
}

export const FLAG_PINNED = 0x01;
export const FLAG_SECURE_KEY = 0x02;

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
}

/** What step 4 tells of the session; times in seconds. */
export interface SessionTerms {
  readonly lane: number;
  readonly idle: number;
  readonly lifetime: number;
  /** 8 bytes; another value means another state of the database */
  readonly incarnation: Uint8Array;
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

/** server keys that the options have room for */
const PINS = 4;
/** in the server options, after the pins */
const INCARNATION_AT = 5 + PINS * SIZE.serverKeyId;
const START_CLEAR = 4 + SIZE.serverKeyId + SIZE.keyId + 32 + SIZE.encapsulationKey;
const START_SEALED = SIZE.randomKey + SIZE.nonceNumber + SIZE.options + SIZE.tag;
const ANSWER_SEALED = SIZE.randomKey + SIZE.nonceNumber + SIZE.sessionId + SIZE.options + SIZE.tag;
export const TERMS_SIZE = 4 + 4 + 4 + SIZE.incarnation;

export function buildStart(fields: Omit<StartFrame, 'clear' | 'sealed'>): Uint8Array {
  return concat(
    Uint8Array.of(FRAME_TYPE.start, PROTOCOL_VERSION, fields.flags, fields.keySize),
    fields.serverKeyId,
    fields.keyId,
    fields.clientEphemeral,
    fields.encapsulationKey,
  );
}

export function parseStart(frame: Uint8Array): StartFrame {
  expectFrame(frame, FRAME_TYPE.start, START_CLEAR + START_SEALED, START_CLEAR + START_SEALED);
  const [, , flags = 0, keySize = 0] = frame;
  if (flags > 3 || (keySize !== 16 && keySize !== 32)) throw new SealwireError('handshake_failed');
  const serverKeyId = frame.slice(4, 8);
  const keyId = frame.slice(8, 16);
  // a name without its key would be written down as if it had been proved
  const unused = [
    ...((flags & FLAG_PINNED) === 0 ? serverKeyId : []),
    ...((flags & FLAG_SECURE_KEY) === 0 ? keyId : []),
  ];
  if (unused.some((byte) => byte !== 0)) throw new SealwireError('handshake_failed');
  return {
    flags,
    keySize,
    serverKeyId,
    keyId,
    clientEphemeral: frame.slice(16, 48),
    encapsulationKey: frame.slice(48, START_CLEAR),
    clear: frame.slice(0, START_CLEAR),
    sealed: frame.slice(START_CLEAR),
  };
}

export interface StartAnswerFrame {
  readonly serverEphemeral: Uint8Array;
  readonly kemCiphertext: Uint8Array;
  readonly cookie: Uint8Array;
  readonly sealed: Uint8Array;
}

export function buildStartAnswer(fields: StartAnswerFrame): Uint8Array {
  const { serverEphemeral, kemCiphertext, cookie, sealed } = fields;
  return concat(frameHead(FRAME_TYPE.startAnswer), serverEphemeral, kemCiphertext, u16(cookie.length), cookie, sealed);
}

export function parseStartAnswer(frame: Uint8Array): StartAnswerFrame {
  const cookieAt = 4 + 32 + SIZE.kemCiphertext + 2;
  expectFrame(frame, FRAME_TYPE.startAnswer, cookieAt + ANSWER_SEALED, LIMITS.handshakeFrame);
  const cookieLength = readU16(frame, cookieAt - 2);
  if (frame.length !== cookieAt + cookieLength + ANSWER_SEALED) throw new SealwireError('handshake_failed');
  return {
    serverEphemeral: frame.slice(4, 36),
    kemCiphertext: frame.slice(36, cookieAt - 2),
    cookie: frame.slice(cookieAt, cookieAt + cookieLength),
    sealed: frame.slice(cookieAt + cookieLength),
  };
}

export interface FinishFrame {
  readonly cookie: Uint8Array;
  readonly sealed: Uint8Array;
}

export function buildFinish({ cookie, sealed }: FinishFrame): Uint8Array {
  return concat(frameHead(FRAME_TYPE.finish), u16(cookie.length), cookie, sealed);
}

export function parseFinish(frame: Uint8Array): FinishFrame {
  const minimum = 6 + SIZE.cookie + SIZE.randomKey + SIZE.nonceNumber + SIZE.tag;
  expectFrame(frame, FRAME_TYPE.finish, minimum, LIMITS.handshakeFrame + LIMITS.firstCalls);
  if (readU16(frame, 4) !== SIZE.cookie) throw new SealwireError('handshake_failed');
  return { cookie: frame.slice(6, 6 + SIZE.cookie), sealed: frame.slice(6 + SIZE.cookie) };
}

export interface FinishAnswerFrame {
  readonly secondEphemeral: Uint8Array;
  readonly sealed: Uint8Array;
}

export function buildFinishAnswer({ secondEphemeral, sealed }: FinishAnswerFrame): Uint8Array {
  return concat(frameHead(FRAME_TYPE.finishAnswer), secondEphemeral, sealed);
}

export function parseFinishAnswer(frame: Uint8Array): FinishAnswerFrame {
  const minimum = 36 + SIZE.randomKey + SIZE.nonceNumber + TERMS_SIZE + SIZE.tag;
  expectFrame(frame, FRAME_TYPE.finishAnswer, minimum, Number.POSITIVE_INFINITY);
  return { secondEphemeral: frame.slice(4, 36), sealed: frame.slice(36) };
}

/** type and version, as mixed into h */
export function frameTag(type: number): Uint8Array {
  return Uint8Array.of(type, PROTOCOL_VERSION);
}

export function encodeServerOptions(options: ServerOptions): Uint8Array {
  const out = new Uint8Array(SIZE.options);
  out[0] = (options.force ? 1 : 0) | (options.requirePinned ? 2 : 0) | (options.requireSecureKey ? 4 : 0);
  out[1] = options.minKeySize;
  out[3] = 1; // suites: bit 0 is the one suite of version 1
  const pins = options.pins.slice(0, PINS);
  out[4] = pins.length;
  pins.forEach((pin, i) => {
    out.set(pin, 5 + i * SIZE.serverKeyId);
  });
  out.set(options.incarnation, INCARNATION_AT);
  return out;
}

export function decodeServerOptions(bytes: Uint8Array): ServerOptions {
  const [policy = 0, minKeySize = 0, , , pins = 0] = bytes;
  return {
    force: (policy & 1) !== 0,
    requirePinned: (policy & 2) !== 0,
    requireSecureKey: (policy & 4) !== 0,
    minKeySize: minKeySize === 32 ? 32 : 16,
    pins: Array.from({ length: Math.min(pins, PINS) }, (_, i) => bytes.slice(5 + 4 * i, 9 + 4 * i)),
    incarnation: bytes.slice(INCARNATION_AT, INCARNATION_AT + SIZE.incarnation),
  };
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

/** Cuts a plaintext into fields of those sizes and the rest. */
export function cut(bytes: Uint8Array, ...sizes: number[]): Uint8Array[] {
  let offset = 0;
  const fields = sizes.map((size) => {
    offset += size;
    return bytes.slice(offset - size, offset);
  });
  return [...fields, bytes.slice(offset)];
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

function frameHead(type: number): Uint8Array {
  return Uint8Array.of(type, PROTOCOL_VERSION, 0, 0);
}

function expectFrame(frame: Uint8Array, type: number, minimum: number, maximum: number): void {
  if (frame[0] === type && frame.length > 1 && frame[1] !== PROTOCOL_VERSION) throw new SealwireError('version');
  const reserved = type === FRAME_TYPE.start ? 0 : (frame[2] ?? 0) | (frame[3] ?? 0);
  if (frame[0] !== type || frame.length < minimum || frame.length > maximum || reserved !== 0) {
    throw new SealwireError('handshake_failed');
  }
}
