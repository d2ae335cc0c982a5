import { concat, readU32, u32, utf8 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { expand, type KeySize, PROTOCOL_VERSION } from '../handshake/key-schedule.js';
import { LIMITS, SIZE } from '../limits.js';
import { type CallNumber, FIRST_CALLS } from './call-number.js';
import { pad, unpad } from './padding.js';

export const CONTENT_TYPE = 'application/vnd.sealwire';

export const FRAME_TYPE = {
  start: 0x01,
  startAnswer: 0x02,
  finish: 0x03,
  finishAnswer: 0x04,
  call: 0x11,
  result: 0x12,
} as const;

const TYPE_NAMES = new Map(Object.entries(FRAME_TYPE).map(([name, type]) => [type, name as keyof typeof FRAME_TYPE]));

/** More than one chunk; each is preceded by its u24 length. */
const FLAG_STREAM = 0x01;
const CALL_LABEL = utf8('call');
const RESULT_LABEL = utf8('result');

export interface CallFrame {
  /** low byte of the epoch */
  readonly epoch: number;
  readonly sessionId: Uint8Array;
  readonly number: CallNumber;
  /** the 36 bytes that are the associated data of the call and part of its result's */
  readonly header: Uint8Array;
  readonly stream: boolean;
  readonly chunks: Uint8Array;
}

interface MessageKey {
  readonly primitives: Primitives;
  readonly keySize: KeySize;
  /** traffic secret of that direction and epoch, 32 bytes */
  readonly secret: Uint8Array;
}

/** Type of a frame, or undefined where the first byte names none. Throws `version` for a known type of another version. */
export function frameType(frame: Uint8Array): keyof typeof FRAME_TYPE | undefined {
  const found = (TYPE_NAMES as ReadonlyMap<number | undefined, keyof typeof FRAME_TYPE>).get(frame[0]);
  if (found && frame.length > 1 && frame[1] !== PROTOCOL_VERSION) throw new SealwireError('version');
  return found;
}

/** Call frame, PROTOCOL.md section 5.1. `salt` is 8 fresh random bytes. */
export function sealCall(
  key: MessageKey,
  call: { epoch: number; sessionId: Uint8Array; number: CallNumber; salt: Uint8Array },
  body: Uint8Array,
): { frame: Uint8Array; header: Uint8Array } {
  const padded = pad(body);
  const header = concat(
    Uint8Array.of(FRAME_TYPE.call, PROTOCOL_VERSION, streamFlag(padded), call.epoch),
    call.sessionId,
    u32(call.number.lane),
    u32(call.number.counter),
    call.salt,
  );
  return { frame: concat(header, sealChunks(key, callKey(key, header), header, padded)), header };
}

/** @throws SealwireError `bad_frame` or `version`; nothing of it is authenticated yet */
export function parseCall(frame: Uint8Array): CallFrame {
  if (frame.length < SIZE.callHeader + SIZE.tag || frame[0] !== FRAME_TYPE.call) throw new SealwireError('bad_frame');
  const { epoch, stream } = parseFlags(frame);
  const number = { lane: readU32(frame, 20), counter: readU32(frame, 24) };
  if (number.lane === FIRST_CALLS.lane) throw new SealwireError('bad_frame');
  return {
    epoch,
    stream,
    sessionId: frame.subarray(4, 20),
    number,
    header: frame.subarray(0, SIZE.callHeader),
    chunks: frame.subarray(SIZE.callHeader),
  };
}

/** @throws SealwireError `open_failed` for every reason that is not visible in the clear bytes */
export function openCall(key: MessageKey, call: CallFrame): Uint8Array {
  return openChunks(key, callKey(key, call.header), call.header, call);
}

/** Result frame, PROTOCOL.md section 5.2. A result sealed again takes a new salt and so a new key. */
export function sealResult(
  key: MessageKey,
  result: { epoch: number; callHeader: Uint8Array; salt: Uint8Array },
  body: Uint8Array,
): Uint8Array {
  const padded = pad(body);
  const header = concat(
    Uint8Array.of(FRAME_TYPE.result, PROTOCOL_VERSION, streamFlag(padded), result.epoch),
    result.salt,
  );
  const bound = concat(header, result.callHeader);
  return concat(header, sealChunks(key, resultKey(key, bound), bound, padded));
}

/** Opens the answer to the call with that header, and no other. */
export function openResult(key: MessageKey, callHeader: Uint8Array, frame: Uint8Array): Uint8Array {
  if (frame.length < SIZE.resultHeader + SIZE.tag || frame[0] !== FRAME_TYPE.result)
    throw new SealwireError('bad_frame');
  const { stream } = parseFlags(frame);
  const bound = concat(frame.subarray(0, SIZE.resultHeader), callHeader);
  return openChunks(key, resultKey(key, bound), bound, { stream, chunks: frame.subarray(SIZE.resultHeader) });
}

/** call key = Expand(clientToServer, "call" || call header) */
function callKey(key: MessageKey, header: Uint8Array): Uint8Array {
  return expand(key.primitives, key.secret, key.keySize, CALL_LABEL, header);
}

/** result key = Expand(serverToClient, "result" || result header || call header) */
function resultKey(key: MessageKey, bound: Uint8Array): Uint8Array {
  return expand(key.primitives, key.secret, key.keySize, RESULT_LABEL, bound);
}

function parseFlags(frame: Uint8Array): { epoch: number; stream: boolean } {
  if (frame[1] !== PROTOCOL_VERSION) throw new SealwireError('version');
  const flags = frame[2] ?? 0;
  const epoch = frame[3] ?? 0;
  if ((flags & ~FLAG_STREAM) !== 0) throw new SealwireError('bad_frame');
  return { epoch, stream: (flags & FLAG_STREAM) !== 0 };
}

function streamFlag(padded: Uint8Array): number {
  return padded.length > LIMITS.chunk ? FLAG_STREAM : 0;
}

/** STREAM: nonce = 0^7 || u32 chunk index || last. A cut, moved or dropped chunk has another nonce and does not open. */
function chunkNonce(index: number, last: boolean): Uint8Array {
  return Uint8Array.of(0, 0, 0, 0, 0, 0, 0, index >>> 24, index >>> 16, index >>> 8, index, last ? 1 : 0);
}

function sealChunks(key: MessageKey, messageKey: Uint8Array, ad: Uint8Array, padded: Uint8Array): Uint8Array {
  const { primitives } = key;
  if (streamFlag(padded) === 0) return primitives.seal(messageKey, chunkNonce(0, true), ad, padded);
  const parts: Uint8Array[] = [];
  for (let index = 0, offset = 0; offset < padded.length; index++, offset += LIMITS.chunk) {
    const chunk = padded.subarray(offset, offset + LIMITS.chunk);
    const sealed = primitives.seal(messageKey, chunkNonce(index, offset + LIMITS.chunk >= padded.length), ad, chunk);
    parts.push(u32(sealed.length).subarray(1), sealed);
  }
  return concat(...parts);
}

function openChunks(
  key: MessageKey,
  messageKey: Uint8Array,
  ad: Uint8Array,
  message: { stream: boolean; chunks: Uint8Array },
): Uint8Array {
  const { primitives } = key;
  const { stream, chunks } = message;
  const maximum = LIMITS.chunk + SIZE.tag;
  if (!stream) {
    if (chunks.length > maximum) throw new SealwireError('bad_frame');
    return unpad(primitives.open(messageKey, chunkNonce(0, true), ad, chunks));
  }
  const padded = new Uint8Array(chunks.length);
  let opened = 0;
  for (let index = 0, offset = 0; offset < chunks.length; index++) {
    const length = ((chunks[offset] ?? 0) << 16) | ((chunks[offset + 1] ?? 0) << 8) | (chunks[offset + 2] ?? 0);
    const end = offset + 3 + length;
    if (length < SIZE.tag || length > maximum || end > chunks.length || index >= LIMITS.chunksPerMessage) {
      throw new SealwireError('bad_frame');
    }
    const chunk = primitives.open(
      messageKey,
      chunkNonce(index, end === chunks.length),
      ad,
      chunks.subarray(offset + 3, end),
    );
    padded.set(chunk, opened);
    opened += chunk.length;
    offset = end;
  }
  return unpad(padded.subarray(0, opened));
}
