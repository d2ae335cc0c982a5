import { LENGTH, padLength, toHex } from './bytes.js';
import { LIMITS, SIZE } from './limits.js';
import { FRAME_TYPE, isLive } from './message/frame-type.js';
import { LAST } from './message/live-key.js';
import { CHUNK_HEAD, FLAG_CHUNKED } from './message/message.js';

/** A part of a frame that anybody on the way can tell apart, in the order of the bytes. */
export interface FrameField {
  readonly name: string;
  /** bytes before it */
  readonly offset: number;
  /** bytes */
  readonly length: number;
  /** of a number; of a flag byte too */
  readonly value?: number;
  /** hexadecimal, of ids and random bytes; absent for ciphertext and public keys */
  readonly text?: string;
}

type Kind = 'number' | 'text' | 'opaque';
type Part = readonly [name: string, length: number, kind?: Kind];
type FrameName = keyof typeof FRAME_TYPE;

/** Clear fields behind type and version (PROTOCOL.md sections 3.2 to 3.5, 5.1 and 5.2). */
const PARTS: Readonly<Record<FrameName, readonly Part[]>> = {
  start: [
    ['flags', 1, 'number'],
    ['key size', 1, 'number'],
    ['server key id', SIZE.serverKeyId, 'text'],
    ['SecureKey id', SIZE.keyId, 'text'],
    ['client ephemeral key', SIZE.key],
    ['encapsulation key', SIZE.encapsulationKey],
  ],
  startAnswer: [
    ['reserved', 2, 'number'],
    ['server ephemeral key', SIZE.key],
    ['KEM ciphertext', SIZE.kemCiphertext],
    ['cookie size', 2, 'number'],
    ['cookie', SIZE.cookie],
  ],
  finish: [
    ['reserved', 2, 'number'],
    ['salt', SIZE.salt, 'text'],
    ['cookie size', 2, 'number'],
    ['cookie', SIZE.cookie],
  ],
  finishAnswer: [
    ['reserved', 2, 'number'],
    ['second ephemeral key', SIZE.key],
  ],
  call: [
    ['flags', 1, 'number'],
    ['epoch', 1, 'number'],
    ['session id', SIZE.sessionId, 'text'],
    ['lane', 4, 'number'],
    ['counter', 4, 'number'],
    ['salt', SIZE.salt, 'text'],
  ],
  result: [
    ['flags', 1, 'number'],
    ['epoch', 1, 'number'],
    ['salt', SIZE.salt, 'text'],
  ],
};

/**
 * Lengths in bytes around what is sealed (PROTOCOL.md sections 3.2 to 3.5 and 5.1 to 5.3), for tools that show where the bytes of a
 * frame go.
 *
 * @example
 * const { header, tag, padded } = FRAME_LAYOUT;
 * const wholeCall = header('call') + padded(23) + tag; // 116, if its payload has 23 bytes
 */
export const FRAME_LAYOUT = {
  /** of all clear fields */
  header: (type: FrameName): number => 2 + PARTS[type].reduce((sum, [, length]) => sum + length, 0),
  tag: SIZE.tag,
  chunkHead: CHUNK_HEAD,
  /** the bit of a chunk head that says that no chunk follows; the others are the chunk's length */
  lastChunk: LAST,
  /** in front of a payload inside its padding */
  prefix: LENGTH,
  /** of a payload with its prefix and its padding */
  padded: (payload: number): number => padLength(payload),
  /** what each step of a handshake seals first, in this order */
  sealed: {
    start: { C1: SIZE.randomKey, A: SIZE.nonceNumber },
    startAnswer: { S1: SIZE.randomKey, A: SIZE.nonceNumber },
    finish: { C2: SIZE.randomKey, B: SIZE.nonceNumber },
    finishAnswer: { S2: SIZE.randomKey, B: SIZE.nonceNumber, terms: SIZE.terms },
  },
} as const;

/**
 * Names what a proxy can tell apart in a frame. It needs no key, opens nothing and checks nothing; a frame that breaks off ends with
 * a field `cut`.
 *
 * @returns the type of the frame and its fields, which cover all of its bytes; undefined if the first byte names no type
 * @example
 * for (const { name, offset, length } of describeFrame(body)?.fields ?? []) console.log(offset, length, name);
 */
export function describeFrame(
  frame: Uint8Array,
): { readonly type: FrameName; readonly fields: readonly FrameField[] } | undefined {
  const found = Object.entries(FRAME_TYPE).find(([, byte]) => byte === frame[0]);
  if (!found) return undefined;
  const type = found[0] as FrameName;
  const fields: FrameField[] = [];
  let at = 0;
  const take = (name: string, length: number, kind: Kind = 'opaque'): number => {
    const bytes = frame.subarray(at, at + length);
    const value = kind === 'number' ? bytes.reduce((sum, byte) => sum * 256 + byte, 0) : 0;
    if (bytes.length < length) {
      if (bytes.length > 0) fields.push({ name: 'cut', offset: at, length: bytes.length });
    } else {
      const shown = kind === 'number' ? { value } : kind === 'text' ? { text: toHex(bytes) } : {};
      fields.push({ name, offset: at, length, ...shown });
    }
    at = Math.min(at + length, frame.length);
    return value;
  };
  /** Ciphertext and its tag. */
  const seal = (name: string, length: number): void => {
    const sealed = length - SIZE.tag;
    if (sealed > 0) take(name, sealed);
    if (length > 0) take(sealed > 0 ? 'tag' : name, Math.min(length, SIZE.tag));
  };
  take('type', 1, 'number');
  take('version', 1, 'number');
  for (const [name, length, kind] of PARTS[type]) take(name, length, kind);
  const message = type === 'call' || type === 'result';
  if (!message || ((frame[2] ?? 0) & FLAG_CHUNKED) === 0) {
    seal('sealed', frame.length - at);
    return { type, fields };
  }
  while (at < frame.length) {
    const head = take('chunk head', CHUNK_HEAD, 'number');
    const length = head & ~LAST;
    if (length > (isLive(frame) ? LIMITS.piece : LIMITS.chunk) + SIZE.tag) break;
    const name = head === length ? 'chunk' : 'last chunk';
    if (frame.length - at < length) take(name, length);
    else seal(name, length);
  }
  seal('sealed', frame.length - at);
  return { type, fields };
}
