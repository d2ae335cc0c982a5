import type { IncomingMessage } from 'node:http';
import { LIMITS, SealwireError, SIZE } from '@sealwire/core';

/** What is read of a body that nobody wants any more, before its connection is closed. */
const REST = { bytes: 1_048_576, milliseconds: 1_000 };
const CHUNK_HEAD = 3;
/** of a sealed piece: 64 to 65,536 bytes of plaintext and a tag */
const PIECE = { least: 64 + SIZE.tag, most: 65_536 + SIZE.tag };

/**
 * How long header and first chunk of a live call are together; undefined if too little of it is there to say.
 * @throws SealwireError `bad_frame`
 */
export function headLength(bytes: Uint8Array): number | undefined {
  const at = SIZE.callHeader;
  if (bytes.length < at + CHUNK_HEAD) return undefined;
  const [high = 0, middle = 0, low = 0] = bytes.subarray(at);
  const length = ((high & 0x7f) << 16) | (middle << 8) | low;
  if (length < PIECE.least || length > PIECE.most) throw new SealwireError('bad_frame');
  return at + CHUNK_HEAD + length;
}

/** What is set aside for a payload whose end is missing: a piece that is not whole, and the least for its beginning. */
const PAYLOAD = 3 * LIMITS.chunk;

/** What holds bodies that wait for their end. */
export interface WaitingRoom {
  /** milliseconds that a body may take; of a live one, that may pass without a byte */
  readonly bodyTimeout: number;
  /** Sets bytes aside. @throws SealwireError `busy` if too many bytes wait already */
  hold(bytes: number): void;
  free(bytes: number): void;
  /** @param giveUp called if the server stops meanwhile @returns takes that back */
  wait(giveUp: () => void): () => void;
}

/** The body of a live call, of which header and first chunk have come. */
export class LiveBody {
  /** header and first chunk */
  readonly head: Uint8Array;
  #next: Uint8Array | undefined;
  readonly #request: IncomingMessage | undefined;
  #chunks: AsyncIterator<Uint8Array> | undefined;
  /** rejects what waits for more */
  #giveUp: ((error: Error) => void) | undefined;

  /**
   * @param bytes what has come
   * @param request brings the rest, undefined if there is none
   * @throws SealwireError `bad_frame`
   */
  constructor(
    bytes: Uint8Array,
    request: IncomingMessage | undefined,
    private readonly room: WaitingRoom,
  ) {
    const length = headLength(bytes);
    if (length === undefined || bytes.length < length) throw new SealwireError('bad_frame');
    this.head = bytes.subarray(0, length);
    if (bytes.length > length) this.#next = bytes.subarray(length);
    this.#request = request;
  }

  /**
   * Reads until `isEnough` says so of what came. As long as a payload has no end its number is not asked for, and anybody can send its
   * beginning again: it waits like every other body, with its bytes counted and its time limited.
   * @throws SealwireError `busy` if too many bytes wait already; `stream_cut` if it broke off, or took too long
   */
  async until(isEnough: (bytes: Uint8Array) => boolean): Promise<void> {
    let held = 0;
    const hold = (bytes: number): void => {
      this.room.hold(bytes);
      held += bytes;
    };
    const end = performance.now() + this.room.bodyTimeout;
    const over = this.room.wait(() => this.#giveUp?.(new SealwireError('busy')));
    try {
      hold(this.head.length + PAYLOAD);
      for (;;) {
        const bytes = await this.next(end - performance.now());
        if (!bytes) throw new SealwireError('stream_cut');
        if (isEnough(bytes)) return;
        // a buffer that doubles
        hold(2 * bytes.length);
      }
    } finally {
      over();
      this.room.free(held);
    }
  }

  /**
   * More of it; undefined at its end.
   * @param silence milliseconds in which something has to come
   * @throws SealwireError `stream_cut` if it broke off, or nothing came in time
   */
  async next(silence = this.room.bodyTimeout): Promise<Uint8Array | undefined> {
    const next = this.#next;
    this.#next = undefined;
    if (next || !this.#request) return next;
    // a connection that is answered before it was read to its end is still needed for the answer
    this.#chunks ??= this.#request.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
    let timer: NodeJS.Timeout | undefined;
    const silent = new Promise<never>((_, reject) => {
      this.#giveUp = reject;
      timer = setTimeout(() => reject(new SealwireError('stream_cut', 'Nothing came for too long.')), silence);
    });
    try {
      const { done, value } = await Promise.race([this.#chunks.next(), silent]);
      return done ? undefined : value;
    } catch (error) {
      throw error instanceof SealwireError ? error : new SealwireError('stream_cut', undefined, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Nobody reads it any more. A short rest is read, so that the connection can be used again; else it is closed. */
  close(): void {
    this.#giveUp?.(new SealwireError('stream_cut'));
    const request = this.#request;
    if (!request || request.complete || request.destroyed) return;
    let rest = REST.bytes;
    const timer = setTimeout(() => request.socket.destroy(), REST.milliseconds).unref();
    request.once('close', () => clearTimeout(timer));
    request.once('end', () => clearTimeout(timer));
    request.on('data', (chunk: Uint8Array) => {
      rest -= chunk.length;
      // not closed at once: a connection that is reset may take the answer with it
      if (rest < 0) request.pause();
    });
    request.on('error', () => undefined);
    // while the iterator waits for more, which nobody takes any more, nothing flows
    request.removeAllListeners('readable');
    request.resume();
  }
}
