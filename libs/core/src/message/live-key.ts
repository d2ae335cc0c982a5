import { erase } from '../bytes.js';
import type { ClientPrimitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { aeadKey, expand } from '../handshake/key-schedule.js';
import { LIMITS } from '../limits.js';
import { chunkNonce, type MessageKey } from './message.js';

/** In the head of a piece: it is the last one. Its nonce says the same. */
export const LAST = 0x800000;

/** Key and nonces of one live message in one direction. */
export class LiveKey {
  private index = 0;
  private readonly block: Uint8Array;
  private readonly mask: Uint8Array;
  readonly primitives: ClientPrimitives;
  readonly aes: Uint8Array;
  /** the last one is over, or the key is gone */
  done = false;

  constructor(
    key: MessageKey<ClientPrimitives>,
    label: Uint8Array,
    readonly ad: Uint8Array,
  ) {
    this.primitives = key.primitives;
    this.block = expand(key.primitives, key.secret, label, ad);
    ({ key: this.aes, nonce: this.mask } = aeadKey(this.block, key.keySize));
  }

  /** Place and nonce of the next piece. */
  next(last: boolean): { index: number; nonce: Uint8Array } {
    const { index } = this;
    if (this.done || index >= LIMITS.chunksPerMessage) throw new SealwireError('bad_frame');
    this.index++;
    this.done = last;
    return { index, nonce: chunkNonce(this.mask, index, last) };
  }

  restart(): void {
    this.index = 0;
    this.done = false;
  }

  erase(): void {
    this.done = true;
    erase(this.block);
  }
}
