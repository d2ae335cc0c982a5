import { concat, EMPTY, erase, u32, writeU32 } from '../bytes.js';
import type { ClientPrimitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import type { Random } from '../handshake/key-schedule.js';
import { LIMITS, SIZE } from '../limits.js';
import { isPending, runSync, type Step } from '../steps.js';
import { FLAGS_LIVE, FRAME_TYPE, PROTOCOL_VERSION } from './frame-type.js';
import { LAST, LiveKey } from './live-key.js';
import { BODY_AT, newPiece, type PieceBody, roomOf } from './live-room.js';
import { CALL_LABEL, CHUNK_HEAD, type MessageKey, RESULT_LABEL } from './message.js';
import type { CallNumber } from './numbers.js';

/**
 * Seals the pieces of one live message in one direction (PROTOCOL.md section 8), one after the other.
 *
 * @example
 * const { sealer, first } = sealLiveCall(key, { epoch: 0, sessionId, number }, random, body, false);
 * await send(await run(first));
 * await send(await run(sealer.seal(new Uint8Array(), true)));
 */
export class LiveSealer {
  /** tags of all pieces, if they can be sealed again */
  readonly #tags: Uint8Array[] = [];
  #erased = false;

  /** @internal */
  constructor(
    /** 36 bytes of a call, 12 of a result; they are sent first */
    readonly header: Uint8Array,
    private readonly pieces: LiveKey,
    private readonly repeatable: boolean,
  ) {}

  /**
   * Seals the next piece.
   *
   * @param body 0 to `firstPieceBody` bytes, of later pieces up to `pieceBody` (section 8.1)
   * @returns u24 head || sealed piece, in memory of its own
   * @throws SealwireError `bad_frame` after the last piece; `stream_changed` for another piece than the first time
   */
  seal(body: Uint8Array, last: boolean): Step<Uint8Array> {
    return this.sealPadded(newChunk(body), last);
  }

  /**
   * The same for a body of `OutgoingStreams`, copied as little as the platform allows.
   * @returns parts of the piece: in the memory of the body, or in memory of their own if bytes are lent to it, which are read at once
   */
  *sealInPlace(body: PieceBody, last: boolean): Step<readonly Uint8Array[]> {
    const [own, lent] = body;
    if (!lent) return [yield* this.sealPadded(padded(own), last)];
    const { sealScattered } = this.pieces.primitives;
    if (!sealScattered) return [yield* this.sealPadded(newChunk(own, lent), last)];
    if (own.length + lent.length !== LIMITS.pieceBody) throw new RangeError('bytes are lent to a whole piece only');
    const chunk = new Uint8Array(own.buffer, own.byteOffset - BODY_AT, BODY_AT + own.length);
    writeU32(chunk, CHUNK_HEAD, LIMITS.pieceBody);
    const { pieces } = this;
    const index = this.#begin(chunk, LIMITS.piece, last);
    if (pieces.deriving) yield pieces.deriving;
    const nonce = pieces.nonce(index, last);
    const sealed = sealScattered(pieces.aes, nonce, pieces.ad, chunk.subarray(CHUNK_HEAD), lent);
    const parts = [chunk.slice(0, CHUNK_HEAD), ...sealed];
    this.#end(parts, index, last);
    return parts;
  }

  /**
   * @internal
   * @param chunk room for head and tag around the padded body
   * @param frame what is returned: the chunk, or the beginning of the message that ends with it
   */
  *sealPadded(chunk: Uint8Array, last: boolean, frame = chunk): Step<Uint8Array> {
    const { pieces } = this;
    const sealed = chunk.subarray(CHUNK_HEAD);
    const body = sealed.subarray(0, sealed.length - SIZE.tag);
    const index = this.#begin(chunk, body.length, last);
    if (pieces.deriving) yield pieces.deriving;
    const sealing = pieces.primitives.seal(pieces.aes, pieces.nonce(index, last), pieces.ad, body, sealed);
    if (isPending(sealing)) yield sealing;
    this.#end([chunk], index, last);
    return frame;
  }

  /**
   * Begins anew with the first piece. Only the same pieces can be sealed then: two plaintexts under one nonce would open
   * both to whoever listens.
   * @throws SealwireError `bad_frame` unless it was made to be repeatable, and after `erase`
   */
  again(): void {
    if (!this.repeatable || this.#erased) throw new SealwireError('bad_frame');
    this.pieces.restart();
  }

  /** Nothing can be sealed any more. A sealer that is not repeatable does so itself after the last piece. */
  erase(): void {
    this.#erased = true;
    this.pieces.erase();
  }

  /** Writes the head of a piece. @param length bytes of its plaintext @returns its place, of which its nonce is made */
  #begin(chunk: Uint8Array, length: number, last: boolean): number {
    chunk.set(u32((length + SIZE.tag) | (last ? LAST : 0)).subarray(1));
    return this.pieces.next(last, length);
  }

  /** @param parts of the sealed piece, which ends with its tag */
  #end(parts: readonly Uint8Array[], index: number, last: boolean): void {
    if (!this.repeatable) {
      if (last) this.erase();
      return;
    }
    const tag = (parts.at(-1) as Uint8Array).subarray(-SIZE.tag);
    const before = this.#tags[index];
    if (!before) this.#tags[index] = tag.slice();
    else if (!this.pieces.primitives.equal(before, tag)) {
      erase(...parts);
      this.erase();
      throw new SealwireError('stream_changed');
    }
  }
}

/** A whole chunk with a copy of the body in it. */
function newChunk(body: Uint8Array, rest: Uint8Array = EMPTY): Uint8Array {
  const piece = newPiece(body.length + rest.length);
  piece.set(body);
  piece.set(rest, body.length);
  return padded(piece);
}

/** The chunk around a body that has room for it. */
function padded(body: Uint8Array): Uint8Array {
  const chunk = new Uint8Array(body.buffer, body.byteOffset - BODY_AT, roomOf(body.length));
  writeU32(chunk, CHUNK_HEAD, body.length);
  chunk.fill(0, BODY_AT + body.length, chunk.length - SIZE.tag);
  return chunk;
}

/**
 * Begins a live call. `first` seals what is sent first: header and first chunk, of which the digest of the call is made.
 *
 * @param call with `repeatable` the same pieces can be sealed once more, as long as nobody erases the sealer
 * @param firstBody a body of `OutgoingStreams` is sealed where it is, other bytes are copied
 * @example
 * const { sealer, first } = sealLiveCall(key, { epoch: 0, sessionId, number }, random, body, false);
 * await send(await run(first));
 * await send(await run(sealer.seal(encodeUnit(UNIT.item, 0, encodeValue(1n)), false)));
 * await send(await run(sealer.seal(encodeUnit(UNIT.end, 0, new Uint8Array()), true)));
 */
export function sealLiveCall(
  key: MessageKey<ClientPrimitives>,
  call: { epoch: number; sessionId: Uint8Array; number: CallNumber; repeatable?: boolean },
  random: Random,
  firstBody: Uint8Array | PieceBody,
  last: boolean,
): { sealer: LiveSealer; first: Step<Uint8Array> } {
  const { lane, counter } = call.number;
  const type = Uint8Array.of(FRAME_TYPE.call, PROTOCOL_VERSION, FLAGS_LIVE, call.epoch);
  const head = concat(type, call.sessionId, u32(lane), u32(counter));
  const repeatable = call.repeatable === true;
  return begin(key, { label: CALL_LABEL, head, answers: EMPTY, repeatable }, random, firstBody, last);
}

/**
 * Begins a live result, which opens for the call of that header only. `first` is sent first: header and first chunk.
 *
 * @param firstBody a body of `OutgoingStreams` is sealed where it is, other bytes are copied
 * @example
 * const { sealer, first } = sealLiveResult(key, { epoch: call.epoch, callHeader: call.header }, random, body, false);
 * await send(first);
 * await send(runSync(sealer.seal(encodeUnit(UNIT.item, 0, encodeValue(1n)), true)));
 */
export function sealLiveResult(
  key: MessageKey,
  result: { epoch: number; callHeader: Uint8Array },
  random: Random,
  firstBody: Uint8Array | PieceBody,
  last: boolean,
): { sealer: LiveSealer; first: Uint8Array } {
  const head = Uint8Array.of(FRAME_TYPE.result, PROTOCOL_VERSION, FLAGS_LIVE, result.epoch);
  const message = { label: RESULT_LABEL, head, answers: result.callHeader, repeatable: false };
  const { sealer, first } = begin(key, message, random, firstBody, last);
  return { sealer, first: runSync(first) };
}

/** @param message `head`: its header up to the salt, `answers`: header of the call that it answers */
function begin(
  key: MessageKey<ClientPrimitives>,
  message: { label: Uint8Array; head: Uint8Array; answers: Uint8Array; repeatable: boolean },
  random: Random,
  firstBody: Uint8Array | PieceBody,
  last: boolean,
): { sealer: LiveSealer; first: Step<Uint8Array> } {
  const chunk = firstBody instanceof Uint8Array ? newChunk(firstBody) : padded(firstBody[0]);
  // the salt depends on the first padded piece, as that of every message does on its plaintext
  const salt = random(SIZE.salt, chunk.subarray(CHUNK_HEAD, chunk.length - SIZE.tag));
  const header = concat(message.head, salt);
  const pieces = new LiveKey(key, message.label, concat(header, message.answers));
  const sealer = new LiveSealer(header, pieces, message.repeatable);
  const frame = new Uint8Array(chunk.buffer, chunk.byteOffset - header.length, header.length + chunk.length);
  frame.set(header);
  return { sealer, first: sealer.sealPadded(chunk, last, frame) };
}
