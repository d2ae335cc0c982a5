import { erase } from '../bytes.js';
import { LIMITS } from '../limits.js';
import { ByteWriter } from './byte-writer.js';
import { KeyCount, keyFault, TAG } from './cbor.js';
import { entry, property, Unsendable, UnsupportedValueError } from './unsupported.js';

/**
 * Writes one value in its one form (PROTOCOL.md section 5.5).
 *
 * @throws UnsupportedValueError that names the place in the value
 * @example
 * encodeValue({ lines: [1n, new Date()] });
 */
export function encodeValue(value: unknown, options?: EncodeOptions): Uint8Array {
  try {
    return write((writer) => writer.item(value, 0), options);
  } catch (error) {
    throw new UnsupportedValueError('The value', error);
  }
}

export interface EncodeOptions {
  /**
   * Finds streams (`OutgoingStreams.replace`).
   * @default a stream cannot be sent
   */
  readonly replace?: Replace | undefined;
}

/** @returns what stands in tag 27 for a value that is a stream, undefined for every other value */
export type Replace = (value: object) => readonly unknown[] | undefined;

const ROOM = 16_384;
/** Where payloads are written before their length is known; holds zeros in between. */
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

/** Writes items one behind the other. It throws {@link Unsendable}. */
export class Writer extends ByteWriter {
  /** items that the payload may hold */
  limit: number = LIMITS.payloadItems;
  /** announced so far, the outermost one first */
  private items = 1;

  constructor(
    buffer: Uint8Array,
    private readonly replace: Replace | undefined,
  ) {
    super(buffer);
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
    switch (typeof value) {
      case 'string':
        this.text(value);
        return;
      case 'number':
        this.number(value);
        return;
      case 'boolean':
        this.byte(value ? 0xf5 : 0xf4);
        return;
      case 'undefined':
        this.byte(0xf7);
        return;
      case 'bigint':
        this.bigint(value, depth);
        return;
      case 'object':
        if (value === null) this.byte(0xf6);
        else this.object(value, depth);
        return;
      default:
        throw new Unsendable(`a ${typeof value}`);
    }
  }

  /** The head of an array whose items follow. */
  open(length: number, depth: number): void {
    this.enter(length, depth);
    this.head(4, length);
  }

  /** An item that was encoded before, and how many items it is. */
  encoded(bytes: Uint8Array, items: number): void {
    this.count(items - 1);
    this.raw(bytes);
  }

  private object(value: object, depth: number): void {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) this.replaced(value, depth);
    else if (Array.isArray(value)) this.array(value, depth);
    else if (value instanceof Map) this.map(value, depth);
    else if (value instanceof Set) this.set(value, depth);
    else {
      // by their tag, since a value may come from another realm (jest, node:vm)
      const kind = Object.prototype.toString.call(value).slice(8, -1);
      if (ArrayBuffer.isView(value) && kind === 'Uint8Array') this.bytes(value as Uint8Array);
      else if (kind === 'Date' || value instanceof Date) this.date(Date.prototype.getTime.call(value), depth);
      else this.replaced(value, depth, kind);
    }
  }

  /** An object that is none of the types with a form of their own. */
  private replaced(value: object, depth: number, kind = 'Object'): void {
    const reference = this.replace?.(value);
    if (reference) {
      this.tag(TAG.stream, depth);
      this.array(reference, depth + 1);
      return;
    }
    const stand = standIn(value);
    if (stand !== value) this.item(stand, depth);
    // promises, errors, regular expressions, typed arrays ...: their own properties don't say what they hold
    else if (kind !== 'Object') throw new Unsendable(`a value of type ${kind}`);
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
      throw Unsendable.below(thrown, value, property(name));
    }
  }

  private array(items: readonly unknown[], depth: number): void {
    const { length } = items;
    let i = 0;
    this.open(length, depth);
    try {
      for (; i < length; i++) this.item(items[i], depth + 1);
    } catch (thrown) {
      throw Unsendable.below(thrown, items, `[${i}]`);
    }
  }

  private set(set: ReadonlySet<unknown>, depth: number): void {
    const items = [...set];
    this.tag(TAG.set, depth);
    this.open(items.length, depth + 1);
    const keys = new Keys();
    let i = 0;
    try {
      for (; i < items.length; i++) this.item(keys.next(items[i]), depth + 2);
    } catch (thrown) {
      throw Unsendable.below(thrown, set, `.items[${i}]`);
    }
  }

  private map(map: ReadonlyMap<unknown, unknown>, depth: number): void {
    const entries = [...map];
    this.tag(TAG.map, depth);
    this.enter(2 * entries.length, depth + 1);
    this.head(5, entries.length);
    const keys = new Keys();
    let step = '';
    let i = 0;
    try {
      for (const [key, item] of entries) {
        step = `.keys[${i}]`;
        this.item(keys.next(key), depth + 2);
        step = entry(key, i++);
        this.item(item, depth + 2);
      }
    } catch (thrown) {
      throw Unsendable.below(thrown, map, step);
    }
  }

  private date(milliseconds: number, depth: number): void {
    this.tag(TAG.date, depth);
    this.number(milliseconds / 1000);
  }

  /** Always a bignum, so that it arrives as a bigint whatever its size. */
  private bigint(value: bigint, depth: number): void {
    this.tag(value < 0n ? TAG.negativeBigint : TAG.bigint, depth);
    const size = value < 0n ? -1n - value : value;
    const hex = size === 0n ? '' : size.toString(16);
    const length = (hex.length + 1) >>> 1;
    this.head(2, length);
    this.reserve(length);
    for (let end = hex.length - 2 * (length - 1); end <= hex.length; end += 2) {
      if (length > 0) this.buffer[this.at++] = Number.parseInt(hex.slice(Math.max(0, end - 2), end), 16);
    }
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
}

/** The keys of one Map, or the items of one Set. */
class Keys {
  private readonly count = new KeyCount();
  private readonly scalars = new Set<unknown>();

  /** What is sent for the next key. */
  next(key: unknown): unknown {
    const stand = typeof key === 'object' && key !== null ? standIn(key) : key;
    const fault = this.count.add(stand);
    if (fault) throw new Unsendable(fault);
    if (typeof stand === 'object' && stand !== null) return stand;
    // of -0 only a subclass or a toJSON() makes a key
    const scalar = stand === 0 ? 0 : stand;
    if (this.scalars.has(scalar)) throw new Unsendable('it falls together with another one');
    this.scalars.add(scalar);
    return scalar;
  }
}

/** Follows `toJSON`, which dates and bytes have too though they need none. */
function standIn(value: object): unknown {
  let stand: unknown = value;
  for (let hops = 0; hops <= LIMITS.cborDepth; hops++) {
    if (typeof stand !== 'object' || stand === null || stand instanceof Date || ArrayBuffer.isView(stand)) return stand;
    if (!('toJSON' in stand) || typeof stand.toJSON !== 'function') return stand;
    stand = stand.toJSON();
  }
  throw new Unsendable('its toJSON() returns an object with toJSON() again and again');
}
