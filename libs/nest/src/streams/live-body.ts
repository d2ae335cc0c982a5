import type { IncomingMessage } from 'node:http';
import { SealwireError, SIZE } from '@sealwire/core';

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

/** The body of a live call, of which header and first chunk have come. */
export class LiveBody {
  /** header and first chunk */
  readonly head: Uint8Array;
  #next: Uint8Array | undefined;
  readonly #request: IncomingMessage | undefined;
  #chunks: AsyncIterator<Uint8Array> | undefined;

  /**
   * @param bytes what has come
   * @param request brings the rest, undefined if there is none
   * @param silence milliseconds in which something has to come
   * @throws SealwireError `bad_frame`
   */
  constructor(
    bytes: Uint8Array,
    request: IncomingMessage | undefined,
    private readonly silence: number,
  ) {
    const length = headLength(bytes);
    if (length === undefined || bytes.length < length) throw new SealwireError('bad_frame');
    this.head = bytes.subarray(0, length);
    if (bytes.length > length) this.#next = bytes.subarray(length);
    this.#request = request;
  }

  /**
   * More of it; undefined at its end.
   * @throws SealwireError `stream_cut` if it broke off, or nothing came in time
   */
  async next(): Promise<Uint8Array | undefined> {
    const next = this.#next;
    this.#next = undefined;
    if (next || !this.#request) return next;
    // a connection that is answered before it was read to its end is still needed for the answer
    this.#chunks ??= this.#request.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
    let timer: NodeJS.Timeout | undefined;
    const silent = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new SealwireError('stream_cut', 'Nothing came for too long.')), this.silence);
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
    const request = this.#request;
    if (!request || request.complete || request.destroyed) return;
    let rest = REST.bytes;
    const close = (): void => {
      request.socket.destroy();
    };
    const timer = setTimeout(close, REST.milliseconds).unref();
    request.once('close', () => clearTimeout(timer));
    request.once('end', () => clearTimeout(timer));
    request.on('data', (chunk: Uint8Array) => {
      rest -= chunk.length;
      if (rest < 0) close();
    });
    request.on('error', () => undefined);
    request.resume();
  }
}
