import { Unsendable } from '../payload/cbor.js';
import { encodeValue } from '../payload/cbor-encode.js';
import { sourceOf } from './sources.js';

/** An item with the position after which its stream can be gone on with. */
class At {
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

/** An item of a stream, which holds no streams; in a resumable one `[position, item]`. */
export function encodeItem(value: unknown, resumable: boolean): Uint8Array {
  if (!(value instanceof At)) return encodeValue(resumable ? [undefined, value] : value, NO_STREAMS);
  return encodeValue(resumable ? [value.position, value.item] : value.item, NO_STREAMS);
}
