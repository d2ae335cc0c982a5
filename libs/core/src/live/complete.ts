import { SealwireError } from '../errors.js';
import { decodeReply, type Reply } from '../payload/calls.js';
import { isBytes } from '../payload/cbor.js';
import { decodeValue } from '../payload/cbor-decode.js';
import { BegunStream, type EncodedItem } from './at.js';
import { type Consumed, Consumer, DONE, type Result } from './incoming-stream.js';

/**
 * A sequence of items that has ended before the result that holds it is sealed: an ordinary result holds all of it (PROTOCOL.md
 * section 8.3), and in a live one it streams like any other.
 *
 * @example
 * const value = new CompleteStream([new EncodedItem(1n), new EncodedItem(2n)]);
 * encodeReply({ outcomes: [{ ok: true, value }] }, undefined, { replace: completeReference });
 */
export class CompleteStream extends BegunStream {
  constructor(items: EncodedItem[]) {
    super(items, NOTHING);
  }

  /** Bytes of all items. */
  get length(): number {
    return this.items.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }
}

const NOTHING: AsyncIterableIterator<unknown> = {
  next: () => Promise.resolve(DONE),
  [Symbol.asyncIterator]: () => NOTHING,
};

/**
 * Hook of the encoders: what stands in tag 27 for a {@link CompleteStream}, undefined for every other value.
 * @example
 * completeReference(new CompleteStream([new EncodedItem(1n)])); // ['items', [Uint8Array [0xc2, 0x41, 0x01]]]
 */
export function completeReference(value: object): readonly unknown[] | undefined {
  return value instanceof CompleteStream ? ['items', value.items.map(({ bytes }) => bytes)] : undefined;
}

/**
 * Reads the payload of an ordinary result. A stream that it holds is read once like any other.
 * @throws SealwireError `bad_payload`
 * @example
 * decodeResult(fromHex('8200820000'));
 */
export function decodeResult(bytes: Uint8Array): Reply {
  return decodeReply(bytes, { revive });
}

function revive(reference: unknown): object {
  const [kind, items] = Array.isArray(reference) && reference.length === 2 ? reference : [];
  if (kind !== 'items' || !Array.isArray(items)) throw new SealwireError('bad_payload');
  if (!items.every((item) => isBytes(item) && item.length > 0)) throw new SealwireError('bad_payload');
  return new Consumer(new CompleteItems(items));
}

/** Items that are all there, as they came, until somebody asks for them. */
class CompleteItems implements Consumed {
  used = false;
  private at = 0;

  constructor(private readonly items: Uint8Array[]) {}

  async next(): Promise<Result> {
    const item = this.items[this.at++];
    try {
      if (item) return { done: false, value: decodeValue(item) };
    } catch (error) {
      this.cancel();
      throw error;
    }
    this.cancel();
    return DONE;
  }

  cancel(): void {
    this.used = true;
    this.items.length = 0;
  }
}
