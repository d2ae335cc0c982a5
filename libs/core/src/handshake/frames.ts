import { concat } from '../bytes.js';
import type { ClientPrimitives, Primitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { FRAME_TYPE, PROTOCOL_VERSION } from '../message/frame-type.js';
import { runSync, type Soon, type Step } from '../steps.js';
import type { KeySize, Random } from './key-schedule.js';

/** The means that both roles of the handshake share. */
export interface HandshakeSuite<P extends ClientPrimitives = Primitives> {
  readonly primitives: P;
  readonly random: P extends Primitives ? Random : Random<Soon<Uint8Array>>;
}

/** Flag of step 1: the client pinned a server key. */
export const FLAG_PINNED = 0x01;
/** Flag of step 1: the client uses a SecureKey. */
export const FLAG_SECURE_KEY = 0x02;

/** Bytes of a field, or an integer of so many bits. */
type Spec = number | 'u8' | 'u16' | 'u32' | 'u64';
type Fields<S> = { readonly [name in keyof S]: S[name] extends number ? Uint8Array : number };

/** Fields of known sizes one behind the other, and a rest. */
interface Layout<S> {
  readonly size: number;
  /** @throws RangeError if a field has another size: it would shift all that follow */
  write(fields: Fields<S>, ...rest: readonly Uint8Array[]): Uint8Array;
  /** @throws SealwireError `bad_payload` if `bytes` are too few. The fields are copies, the rest is a view. */
  read(bytes: Uint8Array): Fields<S> & { readonly rest: Uint8Array };
}

function layout<const S extends Record<string, Spec>>(specs: S): Layout<S> {
  let size = 0;
  const places = Object.entries(specs).map(([name, spec]) => {
    const start = size;
    size += typeof spec === 'number' ? spec : Number(spec.slice(1)) / 8;
    return { name, start, end: size, integer: typeof spec !== 'number' };
  });
  return {
    size,
    write(fields, ...rest) {
      const out = concat(new Uint8Array(size), ...rest);
      for (const { name, start, end } of places) {
        const field: Uint8Array | number = fields[name] as Uint8Array | number;
        if (typeof field === 'number') writeUnsigned(out.subarray(start, end), field);
        else if (field.length === end - start) out.set(field, start);
        else throw new RangeError(`${name} is ${end - start} bytes long`);
      }
      return out;
    },
    read(bytes) {
      if (bytes.length < size) throw new SealwireError('bad_payload');
      const fields: Record<string, Uint8Array | number> = { rest: bytes.subarray(size) };
      for (const { name, start, end, integer } of places) {
        const field = bytes.slice(start, end);
        fields[name] = integer ? field.reduce((value, byte) => value * 256 + byte, 0) : field;
      }
      return fields as Fields<S> & { rest: Uint8Array };
    },
  };
}

function writeUnsigned(out: Uint8Array, value: number): void {
  let rest = value;
  for (let i = out.length - 1; i >= 0; i--, rest = Math.floor(rest / 256)) out[i] = rest;
}

const { key, randomKey, nonceNumber, sessionId, options, salt, incarnation } = SIZE;
/** server keys that the options have room for */
const PINS = 4;

// PROTOCOL.md sections 3.2 to 3.5: the clear bytes of the four steps up to a cookie or what is sealed
export const START = /* @__PURE__ */ layout({
  head: 4,
  serverKeyId: SIZE.serverKeyId,
  keyId: SIZE.keyId,
  clientEphemeral: key,
  encapsulationKey: SIZE.encapsulationKey,
});
export const START_ANSWER = /* @__PURE__ */ layout({
  head: 4,
  serverEphemeral: key,
  kemCiphertext: SIZE.kemCiphertext,
  cookieSize: 'u16',
});
export const FINISH = /* @__PURE__ */ layout({ head: 4, salt, cookieSize: 'u16' });
export const FINISH_ANSWER = /* @__PURE__ */ layout({ head: 4, secondEphemeral: key });

// and the plaintexts inside
export const SEALED_1 = /* @__PURE__ */ layout({ c1: randomKey, a: nonceNumber, options });
export const SEALED_2 = /* @__PURE__ */ layout({ s1: randomKey, a: nonceNumber, sessionId, options });
export const SEALED_3 = /* @__PURE__ */ layout({ c2: randomKey, b: nonceNumber });
export const SEALED_4 = /* @__PURE__ */ layout({
  s2: randomKey,
  b: nonceNumber,
  lane: 'u32',
  idle: 'u32',
  lifetime: 'u32',
  incarnation,
});
const OPTIONS = /* @__PURE__ */ layout({
  policy: 'u8',
  minKeySize: 'u8',
  reserved: 'u8',
  suites: 'u8',
  pinCount: 'u8',
  pins: PINS * SIZE.serverKeyId,
  incarnation,
  maxBody: 'u32',
  age: 'u64',
  maxUpload: 'u64',
  pulse: 'u16',
  unused: 13,
});

/** PROTOCOL.md appendix E.2 */
export const COOKIE = /* @__PURE__ */ layout({
  issued: 'u64',
  sessionId,
  flags: 'u8',
  keySize: 'u8',
  reserved: 'u16',
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
  const { rest: sealed, head, ...fields } = parse(frame, FRAME_TYPE.start, START, SEALED_1.size);
  const [, , flags = 0, keySize] = head;
  if (flags > 3 || (keySize !== 16 && keySize !== 32)) throw new SealwireError('handshake_failed');
  // a name without its key would be written down as if it had been proved
  const unused = [
    ...((flags & FLAG_PINNED) === 0 ? fields.serverKeyId : []),
    ...((flags & FLAG_SECURE_KEY) === 0 ? fields.keyId : []),
  ];
  if (unused.some((byte) => byte !== 0)) throw new SealwireError('handshake_failed');
  return { ...fields, flags, keySize, sealed };
}

export function parseStartAnswer(frame: Uint8Array) {
  const maximum = LIMITS.handshakeFrame;
  const { rest, cookieSize, ...fields } = parse(frame, FRAME_TYPE.startAnswer, START_ANSWER, SEALED_2.size, maximum);
  if (rest.length !== cookieSize + SEALED_2.size + SIZE.tag) throw new SealwireError('handshake_failed');
  return { ...fields, cookie: rest.slice(0, cookieSize), sealed: rest.slice(cookieSize) };
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
  const maximum = LIMITS.handshakeFrame + LIMITS.firstCalls;
  const { salt, cookieSize, rest } = parse(frame, FRAME_TYPE.finish, FINISH, SIZE.cookie + SEALED_3.size, maximum);
  if (cookieSize !== SIZE.cookie) throw new SealwireError('handshake_failed');
  const cookie = rest.slice(0, SIZE.cookie);
  return { salt, cookie, clear: frame.slice(0, sealedAt), sealed: rest.subarray(SIZE.cookie) };
}

export function parseFinishAnswer(frame: Uint8Array) {
  // Padmé adds at most 12 %
  const maximum = LIMITS.handshakeFrame + 2 * LIMITS.finishAnswerResults;
  const { rest: sealed, ...fields } = parse(frame, FRAME_TYPE.finishAnswer, FINISH_ANSWER, SEALED_4.size, maximum);
  return { ...fields, sealed };
}

/** The clear fields of a step, behind which at least `sealed` bytes and their tag follow. */
function parse<S>(frame: Uint8Array, type: number, layout: Layout<S>, sealed: number, maximum?: number) {
  const [first, version, flags = 0, keySize = 0] = frame;
  if (first === type && version !== undefined && version !== PROTOCOL_VERSION) throw new SealwireError('version');
  const minimum = layout.size + sealed + SIZE.tag;
  const reserved = type === FRAME_TYPE.start ? 0 : flags | keySize;
  if (first !== type || frame.length < minimum || frame.length > (maximum ?? minimum) || reserved !== 0) {
    throw new SealwireError('handshake_failed');
  }
  return { ...layout.read(frame), clear: frame.slice(0, layout.size) };
}

/** A step of the server: whatever fails in it, a frame's version apart, is the one `handshake_failed` that tells nothing. */
export function opaquely<P extends unknown[], R>(step: (...parameters: P) => Step<R>): (...parameters: P) => R {
  return (...parameters) => {
    try {
      return runSync(step(...parameters));
    } catch (error) {
      throw opaqueError(error);
    }
  };
}

/** The same for a step of the client. */
export function opaqueStep<P extends unknown[], R>(step: (...parameters: P) => Step<R>): (...parameters: P) => Step<R> {
  return function* (...parameters) {
    try {
      return yield* step(...parameters);
    } catch (error) {
      throw opaqueError(error);
    }
  };
}

function opaqueError(error: unknown): unknown {
  return error instanceof SealwireError && error.code !== 'version' ? new SealwireError('handshake_failed') : error;
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

const POLICY = ['force', 'requirePinned', 'requireSecureKey'] as const;

export function encodeServerOptions(value: ServerOptions): Uint8Array {
  const pins = new Uint8Array(PINS * SIZE.serverKeyId);
  const pinCount = Math.min(value.pins.length, PINS);
  for (let i = 0; i < pinCount; i++) pins.set(value.pins[i] ?? [], i * SIZE.serverKeyId);
  const policy = POLICY.reduce((bits, name, i) => bits | (value[name] ? 1 << i : 0), 0);
  // of the suites, bit 0 is the one of version 1
  return OPTIONS.write({ ...value, policy, pins, pinCount, suites: 1, reserved: 0, unused: new Uint8Array(13) });
}

/** @throws SealwireError `bad_payload` unless these are exactly the bytes that a server writes */
export function decodeServerOptions(bytes: Uint8Array): ServerOptions {
  const { policy, minKeySize, pinCount, pins, incarnation, maxBody, age, maxUpload, pulse } = OPTIONS.read(bytes);
  const [force = false, requirePinned = false, requireSecureKey = false] = POLICY.map((_, i) => !!((policy >> i) & 1));
  const value: ServerOptions = {
    ...{ force, requirePinned, requireSecureKey, incarnation, maxBody, age, maxUpload, pulse },
    minKeySize: minKeySize === 32 ? 32 : 16,
    pins: Array.from({ length: Math.min(pinCount, PINS) }, (_, i) => pins.slice(4 * i, 4 * i + 4)),
  };
  const exact = encodeServerOptions(value);
  if (![age, maxUpload].every(Number.isSafeInteger) || exact.some((byte, i) => byte !== bytes[i])) {
    throw new SealwireError('bad_payload');
  }
  return value;
}

/** The session's terms as step 4 tells them; times in seconds. */
export interface SessionTerms {
  readonly lane: number;
  readonly idle: number;
  readonly lifetime: number;
  /** 8 bytes; another value means another state of the database */
  readonly incarnation: Uint8Array;
}
