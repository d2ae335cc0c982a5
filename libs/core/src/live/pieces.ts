import { LIMITS, SIZE } from '../limits.js';
import { BODY_AT, newPiece, roomOf } from '../message/live-room.js';
import { UNIT, type UnitKind } from './units.js';

const PIECE = LIMITS.pieceBody;
const LEAST = 1_024;
/** Memory of pieces that have left, for the next ones: as many as are made while one is on its way. */
const SPARE = 8;

/**
 * Takes the body of the next piece, in memory of its own that `LiveSealer.sealInPlace` takes. While its promise is pending no
 * source is read.
 */
export type WritePiece = (body: Uint8Array, last: boolean) => void | Promise<void>;

/** Units one behind the other, cut into bodies of pieces. Holds no memory while it holds no unit. */
export class Pieces {
  private ready: Uint8Array[] = [];
  private spare: ArrayBuffer[] = [];
  /** the last piece was as long as pieces get, so the next one will be too */
  private flowing = false;
  private buffer: Uint8Array | undefined;
  /** bytes of the last body: the next one probably needs as many */
  private hint = LEAST;
  used = 0;
  /** the unit that ends where the buffer does, if it is one of data: more of the same stream is added to it */
  private growing: { readonly stream: number; readonly head: number } | undefined;
  /** bytes of a full body */
  private limit: number = PIECE;

  /** A whole body waits. */
  get full(): boolean {
    return this.ready.length > 0;
  }

  /** More waits than the next body takes. */
  get moreThanOne(): boolean {
    return this.ready.length > 1 || (this.full && this.used > 0);
  }

  /** Bytes of data of that stream that end where a piece does. */
  roomForData(stream: number): number {
    if (this.growing?.stream === stream) return this.limit - this.used;
    const room = this.limit - this.used - SIZE.unitHead;
    return room >= Math.min(LEAST, this.limit / 2) ? room : Math.min(PIECE, 2 * this.limit) - SIZE.unitHead;
  }

  /** The next bodies are short and become longer, so that something arrives also if connections soon break. */
  beginShort(): void {
    if (this.used < LEAST) this.limit = LEAST;
  }

  add(kind: UnitKind, stream: number, bytes: Uint8Array): void {
    const { length } = bytes;
    const { used, growing } = this;
    if (kind === UNIT.data && growing?.stream === stream && used + length <= this.limit) {
      const buffer = this.room(length);
      buffer.set(bytes, used);
      writeHead(buffer, growing.head, kind, stream, used + length - growing.head - SIZE.unitHead);
      this.wrote(length);
      return;
    }
    this.growing = undefined;
    if (used + SIZE.unitHead + length <= this.limit) {
      const buffer = this.room(SIZE.unitHead + length);
      writeHead(buffer, used, kind, stream, length);
      buffer.set(bytes, used + SIZE.unitHead);
      if (kind === UNIT.data) this.growing = { stream, head: used };
      this.wrote(SIZE.unitHead + length);
      return;
    }
    const head = new Uint8Array(SIZE.unitHead);
    writeHead(head, 0, kind, stream, length);
    this.append(head);
    this.append(bytes);
  }

  /** The next body, the whole rest if none is full. */
  take(): Uint8Array {
    const full = this.ready.shift();
    this.flowing = full?.length === PIECE;
    if (full) return full;
    this.spare = [];
    const body = (this.buffer ?? newPiece(0)).subarray(0, this.used);
    if (this.used > 0) this.hint = this.used;
    this.buffer = this.growing = undefined;
    this.used = 0;
    return body;
  }

  /** The memory of a piece is used again. @param piece all of it has been sent */
  reuse({ buffer }: Uint8Array): void {
    if (!this.flowing || this.spare.length >= SPARE || buffer.byteLength !== roomOf(PIECE)) return;
    this.spare.push(buffer as ArrayBuffer);
  }

  clear(): void {
    this.ready = [];
    this.spare = [];
    this.flowing = false;
    this.buffer = this.growing = undefined;
    this.used = 0;
  }

  private append(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; ) {
      const part = bytes.subarray(from, from + this.limit - this.used);
      this.room(part.length).set(part, this.used);
      this.wrote(part.length);
      from += part.length;
    }
  }

  /** @returns the buffer, with room for so many more bytes, which still fit the piece */
  private room(length: number): Uint8Array {
    const needed = this.used + length;
    if (!this.buffer) this.buffer = this.newBody(Math.max(needed, Math.min(this.limit, this.hint + LEAST)));
    else if (this.buffer.length < needed) {
      const larger = this.newBody(Math.min(this.limit, Math.max(needed, 2 * this.buffer.length)));
      larger.set(this.buffer.subarray(0, this.used));
      this.buffer = larger;
    }
    return this.buffer;
  }

  private newBody(length: number): Uint8Array {
    const spare = length === PIECE ? this.spare.pop() : undefined;
    return spare ? new Uint8Array(spare, BODY_AT, PIECE) : newPiece(length);
  }

  private wrote(length: number): void {
    this.used += length;
    if (this.used < this.limit) return;
    this.ready.push((this.buffer as Uint8Array).subarray(0, this.used));
    this.buffer = this.growing = undefined;
    this.hint = this.limit = Math.min(PIECE, 2 * this.limit);
    this.used = 0;
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
