import { EMPTY, erase, fromHex, writeU32 } from '../bytes.js';
import { LIMITS } from '../limits.js';
import {
  type EncodeOptions,
  headSize,
  isBytes,
  isInteger,
  isIterable,
  Keys,
  keyFault,
  kindOf,
  type Replace,
  scratch,
  shortestFloat,
  standIn,
  TAG,
  Unsendable,
  UnsupportedValueError,
  writeText,
} from './cbor.js';

/**
 * Writes one value in the only form that {@link decodeValue} takes. An instance of a class stands for its own enumerable
 * properties, an object with `toJSON` for what that returns.
 *
 * @throws UnsupportedValueError that names the place, for what no payload can hold
 * @example
 * encodeValue({ lines: [1n, new Date()] })
 */
export function encodeValue(value: unknown, options?: EncodeOptions): Uint8Array {
  try {
    return write((writer) => writer.item(value, 0), options);
  } catch (error) {
    throw new UnsupportedValueError('The value', error);
  }
}

const ROOM = 16_384;
/** A larger buffer is not used again. */
const KEPT_ROOM = 262_144;
/** A buffer in which payloads are written before their length is known; it holds zeros in between. */
let spare: Uint8Array | undefined;

/** @returns what `fill` wrote, in memory of its own */
export function write(fill: (writer: Writer) => void, options?: EncodeOptions): Uint8Array {
  // taken, as a toJSON() may encode something itself
  const writer = new Writer(spare ?? new Uint8Array(ROOM), options?.replace);
  spare = undefined;
  try {
    fill(writer);
    return writer.written();
  } finally {
    spare = writer.release();
  }
}

/** Writes items one behind the other, each in its shortest form. It throws {@link Unsendable}. */
export class Writer {
  /** items that the payload may hold */
  limit: number = LIMITS.payloadItems;
  /** announced so far, the outermost one first */
  private items = 1;
  private at = 0;

  constructor(
    private buffer: Uint8Array,
    private readonly replace: Replace | undefined,
  ) {}

  written(): Uint8Array {
    return this.buffer.slice(0, this.at);
  }

  /** Leaves nothing of the payload in memory that is used again. */
  release(): Uint8Array | undefined {
    this.buffer.fill(0, 0, this.at);
    return this.buffer.length <= KEPT_ROOM ? this.buffer : undefined;
  }

  /** Runs `fill`; if that throws, what it wrote is undone and `instead` runs. */
  attempt(fill: () => void, instead: (thrown: unknown) => void): void {
    const { at, items } = this;
    try {
      fill();
    } catch (thrown) {
      erase(this.buffer.subarray(at, this.at));
      this.at = at;
      this.items = items;
      instead(thrown);
    }
  }

  /** `depth`: open arrays, objects and tags. */
  item(value: unknown, depth: number): void {
    if (typeof value === 'string') this.text(value);
    else if (typeof value === 'number') this.number(value);
    else if (typeof value === 'boolean') this.head(7, value ? 21 : 20);
    else if (value === null || value === undefined) this.head(7, value === null ? 22 : 23);
    else if (typeof value === 'object') this.object(value, depth);
    else if (typeof value === 'bigint') this.bigint(value, depth);
    else throw new Unsendable(`a ${typeof value}`);
  }

  /** The head of an array whose items follow. */
  open(length: number, depth: number): void {
    this.enter(length, depth);
    this.head(4, length);
  }

  /** The head of a Map whose keys, in their order, and values follow two levels deeper. */
  openMap(size: number, depth: number): void {
    this.tag(TAG.map, depth);
    this.enter(2 * size, depth + 1);
    this.head(5, size);
  }

  /** An item that was encoded before, and how many items it is. */
  encoded(bytes: Uint8Array, items: number): void {
    this.count(items - 1);
    this.raw(bytes);
  }

  private object(value: object, depth: number): void {
    const prototype = Object.getPrototypeOf(value);
    const plain = prototype === Object.prototype || prototype === null;
    if (plain) this.replaced(value, depth, true);
    else if (Array.isArray(value)) this.array(value, depth);
    else if (value instanceof Map) this.map(value, depth);
    else if (value instanceof Set) this.set(value, depth);
    else if (isBytes(value)) this.bytes(value);
    else if (value instanceof Date || (!isIterable(value) && kindOf(value) === 'Date')) {
      this.tag(TAG.date, depth);
      this.number(Date.prototype.getTime.call(value) / 1000);
    } else this.replaced(value, depth, false);
  }

  /** An object that is none of the types with a form of their own. */
  private replaced(value: object, depth: number, plain: boolean): void {
    const reference = !plain || Symbol.asyncIterator in value ? this.replace?.(value) : undefined;
    const stand = reference ?? standIn(value);
    if (reference) {
      this.tag(TAG.stream, depth);
      this.array(reference, depth + 1);
    } else if (stand !== value) this.item(stand, depth);
    // promises, errors, regular expressions, typed arrays ...: their own properties don't say what they hold
    else if (!plain && kindOf(value) !== 'Object') throw new Unsendable(`a value of type ${kindOf(value)}`);
    else this.properties(value as Record<string, unknown>, depth);
  }

  private properties(value: Record<string, unknown>, depth: number): void {
    const names = Object.keys(value);
    let name = '';
    this.enter(2 * names.length, depth);
    this.head(5, names.length);
    try {
      for (name of names) {
        const fault = name === '__proto__' ? 'a property of this name' : keyFault(name);
        if (fault) throw new Unsendable(fault);
        this.text(name);
        this.item(value[name], depth + 1);
      }
    } catch (thrown) {
      throw Unsendable.below(thrown, value, name);
    }
  }

  private array(items: readonly unknown[], depth: number): void {
    this.open(items.length, depth);
    this.each(items, items, depth + 1);
  }

  private set(set: ReadonlySet<unknown>, depth: number): void {
    const items = [...set];
    this.tag(TAG.set, depth);
    this.open(items.length, depth + 1);
    this.each(set, items, depth + 2, 1);
  }

  private map(map: ReadonlyMap<unknown, unknown>, depth: number): void {
    const parts = [...map].flat(1);
    this.openMap(parts.length / 2, depth);
    this.each(map, parts, depth + 2, 2);
  }

  /** What a container holds; each `keyed`-th item, from the first one on, is a key. */
  private each(holder: object, items: readonly unknown[], depth: number, keyed = 0): void {
    const { length } = items;
    const keys = keyed > 0 ? new Keys() : undefined;
    let i = 0;
    try {
      for (; i < length; i++) this.item(keys && i % keyed === 0 ? keys.next(items[i]) : items[i], depth);
    } catch (thrown) {
      throw Unsendable.below(thrown, holder, i);
    }
  }

  /** Always a bignum, so that it arrives as a bigint whatever its size. */
  private bigint(value: bigint, depth: number): void {
    this.tag(value < 0n ? TAG.negativeBigint : TAG.bigint, depth);
    const hex = (value < 0n ? -1n - value : value).toString(16);
    this.bytes(hex === '0' ? EMPTY : fromHex(hex.length % 2 === 0 ? hex : `0${hex}`));
  }

  private tag(tag: number, depth: number): void {
    this.enter(1, depth);
    this.head(6, tag);
  }

  private enter(items: number, depth: number): void {
    if (depth >= LIMITS.cborDepth) throw new Unsendable(`nested deeper than ${LIMITS.cborDepth} levels`);
    this.count(items);
  }

  private count(items: number): void {
    this.items += items;
    if (this.items > this.limit) throw new Unsendable(`more than ${LIMITS.payloadItems} items in one message`);
  }

  private text(text: string): void {
    const { length } = text;
    this.reserve(3 * length);
    if (length < 24 && this.shortText(text, length)) return;
    // the head of ASCII comes first, and moves the text if that is longer
    const start = this.at + headSize(length);
    const written = writeText(this.buffer, text, start);
    if (written !== length) {
      if (/\p{Surrogate}/u.test(text)) {
        erase(this.buffer.subarray(start, start + written));
        throw new Unsendable('a text with half of a surrogate pair');
      }
      this.buffer.copyWithin(this.at + headSize(written), start, start + written);
    }
    this.head(3, written);
    this.at += written;
  }

  /** For short ASCII a loop is faster than any conversion. */
  private shortText(text: string, length: number): boolean {
    const { buffer, at } = this;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) return false;
      buffer[at + 1 + i] = code;
    }
    buffer[at] = 0x60 | length;
    this.at = at + 1 + length;
    return true;
  }

  private bytes(bytes: Uint8Array): void {
    this.head(2, bytes.length);
    this.raw(bytes);
  }

  private raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  private number(value: number): void {
    if (!isInteger(value)) this.float(value);
    else if (value < 0) this.head(1, -1 - value);
    else this.head(0, value);
  }

  private float(value: number): void {
    const size = shortestFloat(value);
    this.reserve(0);
    this.buffer[this.at++] = size === 2 ? 0xf9 : size === 4 ? 0xfa : 0xfb;
    for (let i = 0; i < size; i++) this.buffer[this.at++] = scratch.getUint8(i);
  }

  private head(major: number, argument: number): void {
    this.reserve(0);
    const { buffer } = this;
    const first = major << 5;
    if (argument < 24) buffer[this.at++] = first | argument;
    else if (argument < 0x100) this.unsigned(first | 24, argument, 1);
    else if (argument < 0x1_0000) this.unsigned(first | 25, argument, 2);
    else if (argument < 0x1_0000_0000) this.unsigned(first | 26, argument, 4);
    else {
      this.unsigned(first | 27, Math.floor(argument / 0x1_0000_0000), 4);
      writeU32(buffer, this.at, argument);
      this.at += 4;
    }
  }

  private unsigned(first: number, value: number, size: number): void {
    const { buffer } = this;
    buffer[this.at++] = first;
    for (let shift = 8 * (size - 1); shift >= 0; shift -= 8) buffer[this.at++] = value >>> shift;
  }

  /** Room for a head of at most nine bytes and `length` bytes behind it. */
  private reserve(length: number): void {
    const needed = this.at + 9 + length;
    if (needed <= this.buffer.length) return;
    const old = this.buffer;
    this.buffer = new Uint8Array(Math.max(2 * old.length, needed));
    this.buffer.set(old);
    erase(old);
  }
}
