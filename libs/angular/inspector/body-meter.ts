import { describeFrame, type FrameField, ɵFRAME_LAYOUT } from '@sealwire/client';
import type { WireBody, WirePiece } from './exchange.js';
import { isLive } from './sizes.js';

/** Bytes of a body that are kept. */
export const KEPT_BYTES = 4096;
const KEPT_FIELDS = 64;
const KEPT_PIECES = 60;
const { header, tag: TAG, chunkHead: HEAD, lastChunk: LAST } = ɵFRAME_LAYOUT;
const [CALL, RESULT] = [0x11, 0x12];

/** Follows a body as it goes by: keeps its beginning and counts its chunks, whatever its length is. */
export class BodyMeter {
  #size = 0;
  #head = new Uint8Array(0);
  #complete = false;
  /** what was read of the head before it grew */
  #described: { readonly head: Uint8Array; readonly fields: readonly FrameField[] } | undefined;
  #pieces: WirePiece[] = [];
  #pieceCount = 0;
  /** bytes to go to the head of the next chunk; undefined before the frame's header is there, or if there are no chunks */
  #skip: number | undefined;
  #partial = 0;
  #partialBytes = 0;
  #last = false;
  payload: number | undefined;

  add(bytes: Uint8Array): void {
    const from = this.#size;
    this.#size += bytes.length;
    if (this.#head.length < KEPT_BYTES && bytes.length > 0) {
      const more = bytes.subarray(0, KEPT_BYTES - this.#head.length);
      const head = new Uint8Array(this.#head.length + more.length);
      head.set(this.#head);
      head.set(more, this.#head.length);
      this.#head = head;
    }
    this.#count(bytes, from);
  }

  end(): void {
    this.#complete = true;
  }

  get head(): Uint8Array {
    return this.#head;
  }

  get isLive(): boolean {
    return this.#isChunked && isLive(this.#head);
  }

  /** The last chunk has passed. */
  get isOver(): boolean {
    return this.#last && this.#skip === 0;
  }

  get shown(): WireBody {
    return {
      size: this.#size,
      head: this.#head,
      complete: this.#complete,
      fields: this.#fields(),
      pieces: this.#pieces,
      pieceCount: this.#pieceCount,
      payload: this.payload,
    };
  }

  #fields(): readonly FrameField[] {
    if (this.#described?.head !== this.#head) {
      const fields = (describeFrame(this.#head)?.fields ?? []).slice(0, KEPT_FIELDS);
      this.#described = { head: this.#head, fields };
    }
    const { fields } = this.#described;
    const end = fields.at(-1);
    if (!end || end.offset + end.length === this.#size) return fields;
    // what was not kept is known by its length
    const opaque = fields.findIndex(({ name }) => name === 'sealed' || name === 'cut');
    const clear = opaque < 0 ? fields : fields.slice(0, opaque);
    const last = clear.at(-1);
    const offset = last ? last.offset + last.length : 0;
    const rest = this.#size - offset;
    if (this.#isChunked) return [...clear, { name: 'further chunks', offset, length: rest }];
    if (!this.#complete || rest <= TAG) return [...clear, { name: 'sealed', offset, length: rest }];
    return [
      ...clear,
      { name: 'sealed', offset, length: rest - TAG },
      { name: 'tag', offset: this.#size - TAG, length: TAG },
    ];
  }

  get #isChunked(): boolean {
    return (this.#head[0] === CALL || this.#head[0] === RESULT) && ((this.#head[2] ?? 0) & 1) !== 0;
  }

  #count(bytes: Uint8Array, from: number): void {
    if (!this.#isChunked) return;
    let at = 0;
    this.#skip ??= header(this.#head[0] === CALL ? 'call' : 'result') - from;
    while (at < bytes.length && !this.isOver) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, bytes.length - at);
        at += step;
        this.#skip -= step;
        continue;
      }
      this.#partial = this.#partial * 256 + (bytes[at++] ?? 0);
      if (++this.#partialBytes < HEAD) continue;
      this.#piece(this.#partial);
      [this.#partial, this.#partialBytes] = [0, 0];
    }
  }

  #piece(head: number): void {
    const length = head & ~LAST;
    this.#skip = length;
    this.#pieceCount++;
    this.#pieces = [...this.#pieces.slice(1 - KEPT_PIECES), { length, last: (head & LAST) !== 0, at: Date.now() }];
    this.#last = (head & LAST) !== 0;
  }
}
