import { concat, unpad } from '../bytes.js';
import type { ClientPrimitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { isPending, type Step } from '../steps.js';
import { FRAME_TYPE } from './frame-type.js';
import { LiveKey } from './live-key.js';
import { CALL_LABEL, type CallFrame, CHUNK_HEAD, type MessageKey, parseHead, RESULT_LABEL } from './message.js';

/** A padded piece has 64 bytes at least. */
const LEAST = 64 + SIZE.tag;
const MOST = LIMITS.piece + SIZE.tag;

/**
 * Opens the pieces of a live message as their bytes arrive, cut anywhere. After an error it opens nothing more.
 *
 * @example
 * const opener = openLiveResult(key, call.header, frame);
 * for await (const bytes of arriving) for (const body of await run(opener.push(bytes))) await consume(body);
 * opener.end();
 */
export class LiveOpener {
  #failed: unknown;
  #lastOpened = false;
  /** head of the next chunk as far as it came */
  readonly #head = new Uint8Array(CHUNK_HEAD);
  #headLength = 0;
  /** the next piece, if it does not come whole */
  #part: Uint8Array | undefined;
  #partLength = 0;

  /** @internal */
  constructor(private readonly pieces: LiveKey) {}

  /** The last piece has opened. */
  get ended(): boolean {
    return this.#lastOpened;
  }

  /**
   * Opens what is complete. Each call ends before the next one begins.
   *
   * @returns bodies of the pieces that are complete with these bytes; views of memory that nothing else uses
   * @throws SealwireError `open_failed`, `bad_frame` or `bad_payload`
   */
  *push(bytes: Uint8Array): Step<Uint8Array[]> {
    if (this.#failed !== undefined) throw this.#failed;
    try {
      return yield* this.#take(bytes);
    } catch (error) {
      this.#failed = error;
      this.#lastOpened = false;
      this.pieces.erase();
      throw error;
    }
  }

  /** The bytes are at their end. @throws SealwireError `stream_cut` unless the last piece has opened */
  end(): void {
    if (this.#failed !== undefined) throw this.#failed;
    if (this.#lastOpened) return;
    this.erase();
    throw this.#failed;
  }

  /** Nothing more is opened, and the key of the message is erased; for whoever gives it up before its end. */
  erase(): void {
    if (this.#lastOpened) return;
    this.#failed ??= new SealwireError('stream_cut');
    this.pieces.erase();
  }

  *#take(bytes: Uint8Array): Step<Uint8Array[]> {
    const bodies: Uint8Array[] = [];
    let at = 0;
    while (at < bytes.length) {
      if (this.#lastOpened) throw new SealwireError('bad_frame');
      while (this.#headLength < CHUNK_HEAD && at < bytes.length) this.#head[this.#headLength++] = bytes[at++] as number;
      if (this.#headLength < CHUNK_HEAD) break;
      const [high = 0, middle = 0, low = 0] = this.#head;
      const length = ((high & 0x7f) << 16) | (middle << 8) | low;
      if (length < LEAST || !this.pieces.fits(length - SIZE.tag)) throw new SealwireError('bad_frame');
      const missing = length - this.#partLength;
      const arrived = bytes.subarray(at, at + missing);
      at += arrived.length;
      let sealed = arrived;
      if (arrived.length < length) {
        const part = this.#room(this.#partLength + arrived.length, length);
        part.set(arrived, this.#partLength);
        this.#partLength += arrived.length;
        if (arrived.length < missing) break;
        sealed = part.subarray(0, length);
      }
      bodies.push(yield* this.#open(sealed, (high & 0x80) !== 0));
      // a long stream has one full piece after the other; one that rests holds no memory
      if (length < MOST) this.#part = undefined;
      this.#headLength = this.#partLength = 0;
    }
    return bodies;
  }

  /** Grows with what has arrived: a head alone sets little aside. */
  #room(needed: number, length: number): Uint8Array {
    const part = this.#part;
    if (part && part.length >= needed) return part;
    const larger = new Uint8Array(Math.min(length, Math.max(LIMITS.chunk, 2 * needed)));
    if (part) larger.set(part.subarray(0, this.#partLength));
    this.#part = larger;
    return larger;
  }

  *#open(sealed: Uint8Array, last: boolean): Step<Uint8Array> {
    const { pieces } = this;
    const index = pieces.next(last, sealed.length - SIZE.tag);
    if (pieces.deriving) yield pieces.deriving;
    const { primitives, aes, ad } = pieces;
    const opening = primitives.open(aes, pieces.nonce(index, last), ad, sealed);
    const body = unpad(isPending(opening) ? ((yield opening) as Uint8Array) : opening);
    // erased meanwhile: then nobody takes it, and it is not the end
    if (this.#failed !== undefined) throw this.#failed;
    if (last) this.pieces.erase();
    this.#lastOpened = last;
    return body;
  }
}

/**
 * Opens a live call.
 *
 * @param call of `parseCall`, with `live` set; the bytes behind its header are pushed
 * @throws SealwireError `bad_frame` if it is not live
 * @example
 * const opener = openLiveCall(key, call);
 * for await (const bytes of arriving) for (const body of runSync(opener.push(bytes))) await consume(body);
 * opener.end();
 */
export function openLiveCall(key: MessageKey, call: CallFrame): LiveOpener {
  if (!call.live) throw new SealwireError('bad_frame');
  return new LiveOpener(new LiveKey(key, CALL_LABEL, call.header));
}

/**
 * Opens a live result.
 *
 * @param resultHeader the first 12 bytes of the answer; the bytes behind them are pushed
 * @throws SealwireError `bad_frame` or `version`
 * @example
 * const opener = openLiveResult(key, call.header, frame);
 * for await (const bytes of arriving) for (const body of await run(opener.push(bytes))) await consume(body);
 * opener.end();
 */
export function openLiveResult(
  key: MessageKey<ClientPrimitives>,
  callHeader: Uint8Array,
  resultHeader: Uint8Array,
): LiveOpener {
  const header = resultHeader.slice(0, SIZE.resultHeader);
  if (!parseHead(header, FRAME_TYPE.result, SIZE.resultHeader).live) throw new SealwireError('bad_frame');
  return new LiveOpener(new LiveKey(key, RESULT_LABEL, concat(header, callHeader)));
}
