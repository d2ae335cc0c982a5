import { LENGTH } from '../bytes.js';
import { LIMITS, SIZE } from '../limits.js';
import { newPiece, type PieceBody } from '../message/live-room.js';
import { UNIT, type UnitKind } from './units.js';

const PIECE = LIMITS.pieceBody;
/** a short piece, which needs no padding */
const LEAST = 1_024 - LENGTH;
/** what many a message with one stream or one item needs as a whole */
const SHORT = 256;
/** Bytes that cost more to copy than to send as a part of their own. */
const LONG = 8_192;

/**
 * Takes the body of the next piece for `LiveSealer.sealInPlace`. While its promise is pending no source is read. One that bytes are lent
 * to is read before it returns.
 */
export type WritePiece = (body: PieceBody, last: boolean) => void | Promise<void>;

/** Units one behind the other, cut into bodies of pieces. Holds no memory while it holds no unit. */
export class Pieces {
  #ready: { readonly body: PieceBody; readonly memory: Uint8Array | undefined }[] = [];
  #buffer: Uint8Array | undefined;
  /** memory of a long piece that was taken, for the next one */
  #spare: Uint8Array | undefined;
  /** bytes that the last body had in memory of its own: the next one probably needs as many */
  #hint = SHORT;
  used = 0;
  /** the unit that ends where the buffer does, if it is one of data: more of the same stream is added to it */
  #growing: { readonly stream: number; readonly head: number } | undefined;
  /** bytes of a full body */
  #limit: number = LIMITS.firstPieceBody;

  /** A whole body waits. */
  get full(): boolean {
    return this.#ready.length > 0;
  }

  /** More waits than the next body takes. */
  get moreThanOne(): boolean {
    return this.#ready.length > 1 || (this.full && this.used > 0);
  }

  /** Bytes of data of that stream that end where a piece does. */
  roomForData(stream: number): number {
    if (this.#growing?.stream === stream) return this.#limit - this.used;
    const room = this.#limit - this.used - SIZE.unitHead;
    return room >= Math.min(LEAST, this.#limit / 2) ? room : this.#following(UNIT.data) - SIZE.unitHead;
  }

  /** The next bodies are short and become longer, so that something arrives also if connections soon break. */
  beginShort(): void {
    if (this.used < LEAST) this.#limit = LEAST;
  }

  add(kind: UnitKind, stream: number, bytes: Uint8Array): void {
    const { length } = bytes;
    const { used } = this;
    const growing = this.#growing;
    if (kind === UNIT.data && growing?.stream === stream && used + length <= this.#limit) {
      writeHead(this.#room(0), growing.head, kind, stream, used + length - growing.head - SIZE.unitHead);
      this.#put(kind, bytes);
      return;
    }
    this.#growing = undefined;
    if (used + SIZE.unitHead + length <= this.#limit) {
      writeHead(this.#room(SIZE.unitHead), used, kind, stream, length);
      if (kind === UNIT.data) this.#growing = { stream, head: used };
      this.used += SIZE.unitHead;
      this.#put(kind, bytes);
      return;
    }
    const head = new Uint8Array(SIZE.unitHead);
    writeHead(head, 0, kind, stream, length);
    this.#append(kind, head);
    this.#append(kind, bytes);
  }

  /** The next body, the whole rest if none is full. */
  take(): PieceBody {
    const full = this.#ready.shift();
    // of a stream that rests nothing is kept
    this.#spare = full?.memory;
    return full?.body ?? [this.#end()];
  }

  clear(): void {
    this.#ready = [];
    this.#end();
  }

  #append(kind: UnitKind, bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; ) {
      const part = bytes.subarray(from, from + this.#limit - this.used);
      this.#put(kind, part);
      from += part.length;
    }
  }

  /** @param bytes fit the piece; they are lent to it if they fill it, for it is taken before their source is read again */
  #put(kind: UnitKind, bytes: Uint8Array): void {
    const { length } = bytes;
    const lent = length >= LONG && this.used + length === PIECE;
    if (!lent && length > 0) {
      this.#room(length).set(bytes, this.used);
      this.used += length;
    }
    if (!lent && this.used < this.#limit) return;
    const memory = lent ? this.#buffer : undefined;
    const own = this.#end();
    this.#ready.push({ body: lent ? [own, bytes] : [own], memory });
    this.#limit = this.#following(kind);
  }

  /** Bytes of the body behind a full one. Long ones are for bytes: values that wait for each other would come late. */
  #following(kind: UnitKind): number {
    return Math.min(kind === UNIT.data ? PIECE : LIMITS.firstPieceBody, 2 * this.#limit + LENGTH);
  }

  /** @returns what stands in memory of its own */
  #end(): Uint8Array {
    const own = (this.#buffer ?? newPiece(0)).subarray(0, this.used);
    // the next one may be a little longer
    this.#hint = this.used > SHORT ? this.used + LEAST : SHORT;
    this.#buffer = this.#growing = undefined;
    this.used = 0;
    return own;
  }

  /** @returns the buffer, with room for so many more bytes, which still fit the piece */
  #room(length: number): Uint8Array {
    const needed = this.used + length;
    if (!this.#buffer) {
      this.#buffer = this.#spare ?? newPiece(Math.min(this.#limit, Math.max(2 * needed, this.#hint)));
      this.#spare = undefined;
    }
    if (this.#buffer.length < needed) {
      const larger = newPiece(Math.min(this.#limit, Math.max(needed, 2 * this.#buffer.length)));
      larger.set(this.#buffer.subarray(0, this.used));
      this.#buffer = larger;
    }
    return this.#buffer;
  }
}

function writeHead(buffer: Uint8Array, at: number, kind: number, stream: number, length: number): void {
  buffer[at] = kind;
  buffer[at + 1] = stream >>> 8;
  buffer[at + 2] = stream;
  buffer[at + 3] = length >>> 24;
  buffer[at + 4] = length >>> 16;
  buffer[at + 5] = length >>> 8;
  buffer[at + 6] = length;
}
