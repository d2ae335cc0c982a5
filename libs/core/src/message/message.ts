import { concat, erase, pad, padLength, readU32, u32, unpad, utf8, writeU32 } from '../bytes.js';
import type { ClientPrimitives, MacKey, Primitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { type AeadKey, aeadKey, expand, type KeySize, type Random } from '../handshake/key-schedule.js';
import { LIMITS, SIZE } from '../limits.js';
import { isPending, runSync, type Step, wait } from '../steps.js';
import { FLAGS_LIVE, FRAME_TYPE, PROTOCOL_VERSION } from './frame-type.js';
import { type CallNumber, encodeCallNumber, FIRST_LANE } from './numbers.js';

/** More than one chunk; each is preceded by its u24 length. */
export const FLAG_CHUNKED = 0x01;
export const CHUNK_HEAD = 3;
/** Bytes of a padded body from which on it is hashed off the calling thread, if the platform does that. */
const LONG = 4_096;
export const CALL_LABEL = utf8('call');
export const RESULT_LABEL = utf8('result');

/** The clear fields of a call frame. */
export interface CallFrame {
  /** low byte of the epoch */
  readonly epoch: number;
  readonly sessionId: Uint8Array;
  readonly number: CallNumber;
  /** the 36 bytes that are the associated data of the call and part of its result's */
  readonly header: Uint8Array;
  readonly chunked: boolean;
  /** its pieces are used as they arrive: `openLiveCall` opens them, and `chunks` may be empty */
  readonly live: boolean;
  readonly chunks: Uint8Array;
}

/** A traffic secret and the primitives that use it. */
export interface MessageKey<P extends ClientPrimitives = Primitives> {
  readonly primitives: P;
  readonly keySize: KeySize;
  /** traffic secret of that direction and epoch, 32 bytes; F_results for results of first calls */
  readonly secret: P extends Primitives ? Uint8Array : MacKey;
}

/**
 * Seals a message of calls as a call frame (PROTOCOL.md section 5.1).
 * @returns the frame, and the 36 bytes of its header that open its result
 * @example
 * const key = { primitives, keySize: 32 as const, secret: secrets.clientToServer };
 * const message = { epoch: 0, sessionId, number: { lane: 1, counter: 0 } };
 * const { frame, header } = await run(sealCall(key, message, random, encodeCalls([{ name: 'rates', args: [] }])));
 */
export function* sealCall(
  key: MessageKey<ClientPrimitives>,
  call: { epoch: number; sessionId: Uint8Array; number: CallNumber },
  random: Random,
  body: Uint8Array,
): Step<{ frame: Uint8Array; header: Uint8Array }> {
  const message = newFrame(FRAME_TYPE.call, call.epoch, SIZE.callHeader, body);
  const { frame, padded } = message;
  frame.set(call.sessionId, 4);
  writeU32(frame, 20, call.number.lane);
  writeU32(frame, 24, call.number.counter);
  const { digest } = key.primitives;
  const long = digest && padded.length >= LONG;
  // whose epoch may be over when the digest is there
  const copy = long && key.secret instanceof Uint8Array ? key.secret.slice() : undefined;
  try {
    salt(message, random, long ? yield* wait(digest(padded)) : padded);
    const header = frame.slice(0, SIZE.callHeader);
    yield* sealChunks(copy ? { ...key, secret: copy } : key, CALL_LABEL, header, message);
    return { frame, header };
  } finally {
    if (copy) erase(copy);
  }
}

/**
 * Reads the clear fields of a call frame. Nothing of it is authenticated yet.
 * @throws SealwireError `bad_frame` or `version`
 * @example
 * const { sessionId, number } = parseCall(frame);
 */
export function parseCall(frame: Uint8Array): CallFrame {
  const { epoch, chunked, live } = parseHead(frame, FRAME_TYPE.call, SIZE.callHeader);
  return {
    epoch,
    chunked,
    live,
    sessionId: frame.subarray(4, 20),
    number: { lane: readU32(frame, 20), counter: readU32(frame, 24) },
    header: frame.subarray(0, SIZE.callHeader),
    chunks: frame.subarray(SIZE.callHeader),
  };
}

/**
 * Opens a call frame and returns its payload.
 * @throws SealwireError `open_failed`, `bad_frame` or `bad_payload`
 * @example
 * const calls = decodeCalls(openCall({ primitives, keySize: 32, secret: secrets.clientToServer }, parseCall(frame)));
 */
export function openCall(key: MessageKey, call: CallFrame): Uint8Array {
  return runSync(openChunks(key, CALL_LABEL, call.header, call));
}

/**
 * Seals a reply as the result frame of one call frame (PROTOCOL.md section 5.2). A number's result is sealed once, and these
 * bytes are kept.
 * @example
 * const call = parseCall(frame);
 * const key = { primitives, keySize: 32 as const, secret: secrets.serverToClient };
 * const reply = encodeReply({ outcomes: [{ ok: true, value: 200n }] });
 * const result = sealResult(key, { epoch: call.epoch, callHeader: call.header }, random, reply);
 */
export function sealResult(
  key: MessageKey,
  result: { epoch: number; callHeader: Uint8Array },
  random: Random,
  body: Uint8Array,
): Uint8Array {
  const message = newFrame(FRAME_TYPE.result, result.epoch, SIZE.resultHeader, body);
  salt(message, random, message.padded);
  const bound = concat(message.frame.subarray(0, SIZE.resultHeader), result.callHeader);
  runSync(sealChunks(key, RESULT_LABEL, bound, message));
  return message.frame;
}

/**
 * Opens the answer to the call with that header of 36 bytes, and no other, and returns its payload.
 * @throws SealwireError `open_failed`, `bad_frame`, `version` or `bad_payload`
 * @example
 * const key = { primitives, keySize: 32 as const, secret: secrets.serverToClient };
 * const reply = decodeReply(await run(openResult(key, call.header, frame)));
 */
export function* openResult(
  key: MessageKey<ClientPrimitives>,
  callHeader: Uint8Array,
  frame: Uint8Array,
): Step<Uint8Array> {
  const { chunked, live } = parseHead(frame, FRAME_TYPE.result, SIZE.resultHeader);
  const bound = concat(frame.subarray(0, SIZE.resultHeader), callHeader);
  return yield* openChunks(key, RESULT_LABEL, bound, { chunked, live, chunks: frame.subarray(SIZE.resultHeader) });
}

/**
 * Stands in for the call header of first calls, which have no frame of their own: 11 01 00 00 || session id || u32 0 ||
 * u32 index || first 8 bytes of the digest of step 3 (PROTOCOL.md section 3.4).
 * @example
 * const header = firstHeader(sessionId, finishing.digest, 0);
 * await run(openResult({ primitives, keySize: 32, secret: finishing.firstResults }, header, frame));
 */
export function firstHeader(sessionId: Uint8Array, digest: Uint8Array, index: number): Uint8Array {
  const head = Uint8Array.of(FRAME_TYPE.call, PROTOCOL_VERSION, 0, 0);
  const number = encodeCallNumber({ lane: FIRST_LANE, counter: index });
  return concat(head, sessionId, number, digest.subarray(0, SIZE.salt));
}

export function parseHead(
  frame: Uint8Array,
  type: number,
  header: number,
): { epoch: number; chunked: boolean; live: boolean } {
  const [first, version, flags = 0, epoch = 0] = frame;
  const live = flags === FLAGS_LIVE;
  if (first !== type || frame.length < header + (live ? 0 : SIZE.tag)) throw new SealwireError('bad_frame');
  if (version !== PROTOCOL_VERSION) throw new SealwireError('version');
  if (!live && (flags & ~FLAG_CHUNKED) !== 0) throw new SealwireError('bad_frame');
  return { epoch, chunked: flags !== 0, live };
}

interface NewFrame {
  readonly frame: Uint8Array;
  /** a view at the end of the frame; what is sealed goes in front of it and never reaches what is not sealed yet */
  readonly padded: Uint8Array;
  readonly header: number;
}

/** Room for a whole frame, with its head, the padded body at its end. */
function newFrame(type: number, epoch: number, header: number, body: Uint8Array): NewFrame {
  const length = padLength(body.length);
  const flags = length > LIMITS.chunk ? FLAG_CHUNKED : 0;
  const overhead = sealedOverhead(length);
  const frame = new Uint8Array(header + overhead + length);
  const padded = frame.subarray(header + overhead);
  pad(body, padded);
  frame[0] = type;
  frame[1] = PROTOCOL_VERSION;
  frame[2] = flags;
  frame[3] = epoch;
  return { frame, padded, header };
}

/**
 * The salt depends on the padded body: two plaintexts never share one, not even on a machine that was cloned with its random
 * generator.
 * @param context the padded body, or its digest
 */
function salt({ frame, header }: NewFrame, random: Random, context: Uint8Array): void {
  frame.set(random(SIZE.salt, context), header - SIZE.salt);
}

function sealedOverhead(paddedLength: number): number {
  const chunks = Math.ceil(paddedLength / LIMITS.chunk);
  return chunks * (SIZE.tag + (chunks > 1 ? CHUNK_HEAD : 0));
}

/**
 * Bytes of the call frame that {@link sealCall} makes of a body of that length.
 * @example
 * callFrameLength(200); // 260
 */
export function callFrameLength(bodyLength: number): number {
  const length = padLength(bodyLength);
  return SIZE.callHeader + sealedOverhead(length) + length;
}

/** STREAM: nonce = 0^7 || u32 chunk index || last. A cut, moved or dropped chunk has another nonce and does not open. */
export function chunkNonce(mask: Uint8Array, index: number, last: boolean): Uint8Array {
  const nonce = mask.slice();
  for (let i = 0; i < 4; i++) nonce[7 + i] = (nonce[7 + i] as number) ^ (index >>> (24 - 8 * i));
  if (last) nonce[11] = (nonce[11] as number) ^ 1;
  return nonce;
}

function* sealChunks(
  key: MessageKey<ClientPrimitives>,
  label: Uint8Array,
  ad: Uint8Array,
  { frame, padded, header }: NewFrame,
): Step<void> {
  const derived = expand(key.primitives, key.secret, label, ad);
  const block = isPending(derived) ? ((yield derived) as Uint8Array) : derived;
  const { key: aes, nonce } = aeadKey(block, key.keySize);
  const chunked = padded.length > LIMITS.chunk;
  for (let index = 0, offset = 0, at = header; offset < padded.length; index++, offset += LIMITS.chunk) {
    const piece = padded.subarray(offset, offset + LIMITS.chunk);
    const length = piece.length + SIZE.tag;
    if (chunked) {
      frame.set(u32(length).subarray(1), at);
      at += CHUNK_HEAD;
    }
    const last = offset + LIMITS.chunk >= padded.length;
    const out = frame.subarray(at, at + length);
    yield* wait(key.primitives.seal(aes, chunkNonce(nonce, index, last), ad, piece, out));
    at += length;
  }
  erase(block);
}

function* openChunks(
  key: MessageKey<ClientPrimitives>,
  label: Uint8Array,
  ad: Uint8Array,
  { chunked, live, chunks }: { chunked: boolean; live: boolean; chunks: Uint8Array },
): Step<Uint8Array> {
  if (live || (!chunked && chunks.length > LIMITS.chunk + SIZE.tag)) throw new SealwireError('bad_frame');
  const { primitives } = key;
  const derived = expand(primitives, key.secret, label, ad);
  const block = isPending(derived) ? ((yield derived) as Uint8Array) : derived;
  const aead = aeadKey(block, key.keySize);
  try {
    const opened = chunked
      ? yield* openEach(primitives, aead, ad, chunks)
      : yield* wait(primitives.open(aead.key, chunkNonce(aead.nonce, 0, true), ad, chunks));
    return unpad(opened);
  } finally {
    erase(block);
  }
}

function* openEach(
  primitives: ClientPrimitives,
  { key, nonce }: AeadKey,
  ad: Uint8Array,
  chunks: Uint8Array,
): Step<Uint8Array> {
  const padded = new Uint8Array(chunks.length);
  let opened = 0;
  for (let index = 0, offset = 0; offset < chunks.length; index++) {
    const length = ((chunks[offset] ?? 0) << 16) | ((chunks[offset + 1] ?? 0) << 8) | (chunks[offset + 2] ?? 0);
    const start = offset + CHUNK_HEAD;
    offset = start + length;
    const last = offset === chunks.length;
    // an AEAD call costs as much as a thousand bytes: pieces of one byte would make a body as dear as a thousand
    const minimum = SIZE.tag + (last ? 0 : LIMITS.minimumChunk);
    const maximum = LIMITS.chunk + SIZE.tag;
    if (length < minimum || length > maximum || offset > chunks.length || index >= LIMITS.chunksPerMessage) {
      throw new SealwireError('bad_frame');
    }
    const piece = chunks.subarray(start, offset);
    padded.set(yield* wait(primitives.open(key, chunkNonce(nonce, index, last), ad, piece)), opened);
    opened += length - SIZE.tag;
  }
  return padded.subarray(0, opened);
}
