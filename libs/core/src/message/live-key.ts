import { EMPTY, erase } from '../bytes.js';
import type { ClientPrimitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { aeadKey, expand, type KeySize } from '../handshake/key-schedule.js';
import { LIMITS } from '../limits.js';
import { isPending } from '../steps.js';
import { chunkNonce, type MessageKey } from './message.js';

/** In the head of a piece: it is the last one. Its nonce says the same. */
export const LAST = 0x800000;

/** Key and nonces of one live message in one direction. */
export class LiveKey {
  #index = 0;
  /** bytes of plaintext that the next piece has at most */
  #most: number = LIMITS.chunk;
  #block: Uint8Array = EMPTY;
  #mask: Uint8Array = EMPTY;
  #erased = false;
  readonly primitives: ClientPrimitives;
  aes: Uint8Array = EMPTY;
  /** that the platform derives the key; it is there afterwards */
  deriving: PromiseLike<void> | undefined;
  /** the last one is over, or the key is gone */
  done = false;

  constructor(
    key: MessageKey<ClientPrimitives>,
    label: Uint8Array,
    readonly ad: Uint8Array,
  ) {
    this.primitives = key.primitives;
    const block = expand(key.primitives, key.secret, label, ad);
    if (!isPending(block)) this.#set(block, key.keySize);
    else {
      this.deriving = block.then((bytes) => this.#set(bytes, key.keySize));
      // whoever seals or opens is told
      this.deriving.then(undefined, () => {});
    }
  }

  /** Whether the next piece may be so long: memory for pieces that did not open yet grows with those that did. */
  fits(length: number): boolean {
    return length <= this.#most;
  }

  /** Takes the place of the next piece. @param length bytes of its plaintext */
  next(last: boolean, length: number): number {
    const index = this.#index;
    if (!this.fits(length)) throw new RangeError(`this piece has ${this.#most} bytes at most`);
    this.#most = Math.max(this.#most, Math.min(LIMITS.piece, 2 * length));
    if (this.done || index >= LIMITS.chunksPerMessage) throw new SealwireError('bad_frame');
    this.#index++;
    this.done = last;
    return index;
  }

  nonce(index: number, last: boolean): Uint8Array {
    if (this.#erased) throw new SealwireError('open_failed');
    return chunkNonce(this.#mask, index, last);
  }

  restart(): void {
    this.#index = 0;
    this.#most = LIMITS.chunk;
    this.done = false;
  }

  erase(): void {
    this.done = true;
    this.#erased = true;
    erase(this.#block);
  }

  #set(block: Uint8Array, keySize: KeySize): void {
    this.deriving = undefined;
    this.#block = block;
    ({ key: this.aes, nonce: this.#mask } = aeadKey(block, keySize));
    if (this.#erased) erase(block);
  }
}
