import { SealwireError } from '../errors.js';
import { Unsendable } from '../payload/cbor.js';
import { encodeValue } from '../payload/cbor-encode.js';
import { sourceOf } from './sources.js';

/**
 * An item with the position after which its stream can be gone on with, as {@link at} makes it.
 * @example
 * new At(7, { square: 49 }).position; // 7
 */
export class At {
  constructor(
    readonly position: unknown,
    readonly item: unknown,
  ) {}
}

/**
 * Gives an item of a resumable stream its position.
 *
 * @param position any value that can be sent; the handler that goes on with the stream gets the last one that arrived
 * @example
 * async function* numbers(from: number) {
 *   for (let i = from; i < 100; i++) yield at(i, { square: i * i });
 * }
 */
export function at<T>(position: unknown, item: T): T {
  return new At(position, item) as T;
}

const NO_STREAMS = {
  replace(value: object): undefined {
    if (sourceOf(value)) throw new Unsendable('a stream inside of an item');
  },
};

/**
 * An item of a stream that is not resumable, encoded before it is streamed.
 *
 * @throws UnsupportedValueError
 * @example
 * new EncodedItem({ cents: 5n }).bytes.length; // 10
 */
export class EncodedItem {
  readonly bytes: Uint8Array;

  constructor(item: unknown) {
    this.bytes = encodeItem(item, false, Number.POSITIVE_INFINITY);
  }
}

/**
 * A sequence of which the first items were read before it is streamed: they leave at once, and the rest as it is read.
 *
 * @example
 * async function* rest() {
 *   yield 2;
 * }
 * encodeOutcome({ ok: true, value: new BegunStream([new EncodedItem(1)], rest()) }, streams);
 */
export class BegunStream implements AsyncIterable<unknown> {
  /**
   * @param items are taken out of it when it is streamed
   * @param rest reads what is behind them
   */
  constructor(
    readonly items: EncodedItem[],
    private readonly rest: AsyncIterableIterator<unknown>,
  ) {}

  [Symbol.asyncIterator](): AsyncIterableIterator<unknown> {
    return this.rest;
  }

  /** It is not read any more. */
  return(): unknown {
    return this.rest.return?.();
  }
}

/**
 * An item of a stream, which holds no streams; in a resumable one `[position, item]`.
 *
 * @param limit bytes that the other side takes
 * @throws SealwireError `too_large`
 */
export function encodeItem(value: unknown, resumable: boolean, limit: number): Uint8Array {
  if (value instanceof EncodedItem) return value.bytes;
  const isAt = value instanceof At;
  const item = isAt ? value.item : value;
  const bytes = encodeValue(resumable ? [isAt ? value.position : undefined, item] : item, NO_STREAMS);
  if (bytes.length <= limit) return bytes;
  const sentence = `An item has ${bytes.length} bytes, and ${limit} is what the other side takes.`;
  throw new SealwireError('too_large', sentence);
}
