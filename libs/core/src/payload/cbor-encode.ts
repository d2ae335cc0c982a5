import { EMPTY, erase, fromHex } from '../bytes.js';
import { LIMITS } from '../limits.js';
import { floatSize, isInteger, KeyCount, keyFault, scratch, TAG } from './cbor.js';
import { Unsendable, UnsupportedValueError } from './unsupported.js';

export interface EncodeOptions {
  /**
   * Finds streams (`OutgoingStreams.replace`).
   * @default a stream cannot be sent
   */
  readonly replace?: Replace | undefined;
}

/** @returns what stands in tag 27 for a value that is a stream, undefined for every other value */
export type Replace = (value: object) => readonly unknown[] | undefined;

/**
 * Writes one value in the only form that {@link decodeValue} takes. An instance of a class stands for its own enumerable
 * properties, an object with `toJSON` for what that returns.
 *
 * @throws UnsupportedValueError that names the place, for what no payload can hold
 * @example encodeValue({ lines: [1n, new Date()] })
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

type WriteText = (this: Uint8Array, text: string, offset: number) => number;
/** Node's own conversion costs half of the portable one, which needs a view of the buffer for each text. */
const { utf8Write } = (globalThis as { Buffer?: { prototype: { utf8Write?: WriteText } } }).Buffer?.prototype ?? {};
const encoder = new TextEncoder();
const LONE_SURROGATE = /\p{Surrogate}/u;

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

  /** An item that was encoded before, and how many items it is. */
  encoded(bytes: Uint8Array, items: number): void {
    this.count(items - 1);
    this.raw(bytes);
  }

  private object(value: object, depth: number): void {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) this.replaced(value, depth, 'Object');
    else if (Array.isArray(value)) this.array(value, depth);
    else if (value instanceof Map) this.map(value, depth);
    else if (value instanceof Set) this.set(value, depth);
    else {
      // by their tag, since a value may come from another realm (jest, node:vm)
      const kind = Object.prototype.toString.call(value).slice(8, -1);
      if (ArrayBuffer.isView(value) && kind === 'Uint8Array') this.bytes(value as Uint8Array);
      else if (kind === 'Date' || value instanceof Date) {
        this.tag(TAG.date, depth);
        this.number(Date.prototype.getTime.call(value) / 1000);
      } else this.replaced(value, depth, kind);
    }
  }

  /** An object that is none of the types with a form of their own. */
  private replaced(value: object, depth: number, kind: string): void {
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
      throw Unsendable.below(thrown, value, name);
    }
  }

  private array(items: readonly unknown[], depth: number): void {
    const { length } = items;
    let i = 0;
    this.open(length, depth);
    try {
      for (; i < length; i++) this.item(items[i], depth + 1);
    } catch (thrown) {
      throw Unsendable.below(thrown, items, i);
    }
  }

  private set(set: ReadonlySet<unknown>, depth: number): void {
    const items = [...set];
    const keys = new Keys();
    let i = 0;
    this.tag(TAG.set, depth);
    this.open(items.length, depth + 1);
    try {
      for (; i < items.length; i++) this.item(keys.next(items[i]), depth + 2);
    } catch (thrown) {
      throw Unsendable.below(thrown, set, i);
    }
  }

  private map(map: ReadonlyMap<unknown, unknown>, depth: number): void {
    const parts = [...map].flat(1);
    const keys = new Keys();
    let i = 0;
    this.tag(TAG.map, depth);
    this.enter(parts.length, depth + 1);
    this.head(5, parts.length / 2);
    try {
      for (; i < parts.length; i++) this.item(i % 2 === 0 ? keys.next(parts[i]) : parts[i], depth + 2);
    } catch (thrown) {
      throw Unsendable.below(thrown, map, i);
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
      if (LONE_SURROGATE.test(text)) {
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
    const size = floatSize(value);
    if (size === 2) scratch.setUint16(0, half(value));
    else if (size === 4) scratch.setFloat32(0, value);
    else scratch.setFloat64(0, value);
    this.reserve(0);
    this.buffer[this.at++] = 0xe0 | minorOf(size);
    for (let i = 0; i < size; i++) this.buffer[this.at++] = scratch.getUint8(i);
  }

  private head(major: number, argument: number): void {
    this.reserve(0);
    const { buffer, at } = this;
    const size = headSize(argument) - 1;
    buffer[at] = (major << 5) | (size === 0 ? argument : minorOf(size));
    if (size === 1) buffer[at + 1] = argument;
    else for (let i = size, rest = argument; i > 0; i--, rest = Math.floor(rest / 256)) buffer[at + i] = rest;
    this.at = at + 1 + size;
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

/** Writes UTF-8, a replacement mark for each lone surrogate. @returns bytes written */
function writeText(buffer: Uint8Array, text: string, offset: number): number {
  return utf8Write ? utf8Write.call(buffer, text, offset) : encoder.encodeInto(text, buffer.subarray(offset)).written;
}

/** What a head says of 1, 2, 4 or 8 bytes behind it. */
function minorOf(size: number): number {
  return 55 - Math.clz32(size);
}

/** The bits of a value that half precision keeps. */
function half(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  // below the smallest normal number the fraction counts steps of 2^-24
  if (size < 2 ** -14) return sign | (size * 2 ** 24);
  scratch.setFloat32(0, size);
  return sign | ((scratch.getUint32(0) >>> 13) - (112 << 10));
}

function headSize(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 0x100) return 2;
  if (argument < 0x1_0000) return 3;
  return argument < 0x1_0000_0000 ? 5 : 9;
}
