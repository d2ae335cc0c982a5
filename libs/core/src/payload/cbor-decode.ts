import { readU16, readU32, readU64, toHex } from '../bytes.js';
import { SealwireError } from '../errors.js';
import { LIMITS } from '../limits.js';
import { floatSize, isInteger, KeyCount, keyFault, scratch, TAG } from './cbor.js';

/** How a value is read. */
export interface DecodeOptions {
  /**
   * Makes the value of a byte string. `view` is a part of the payload: the function must copy it.
   * @default a `Uint8Array` with memory of its own
   * @example (view) => { const copy = Buffer.allocUnsafeSlow(view.length); copy.set(view); return copy; }
   */
  readonly bytes?: ((view: Uint8Array) => Uint8Array) | undefined;
  /**
   * Makes the value of a reference to a stream (`IncomingStreams.revive`).
   * @default such a reference is refused
   */
  readonly revive?: Revive | undefined;
}

/** Gets what stands in tag 27. @throws SealwireError `bad_payload` */
export type Revive = (reference: unknown) => unknown;

/**
 * Reads one value of PROTOCOL.md section 5.5. Every value has one form only, apart from the order of properties, keys and
 * items. The time is linear in the bytes, whatever they are.
 *
 * @throws SealwireError `bad_payload` for anything but one well-formed value within the limits
 * @example
 * decodeValue(encodeValue(new Map([[1, 2n]]))); // Map(1) { 1 => 2n }
 */
export function decodeValue(bytes: Uint8Array, options?: DecodeOptions): unknown {
  return decodeCounted(bytes, options).value;
}

/** @returns the value, and how many items it is */
export function decodeCounted(bytes: Uint8Array, options: DecodeOptions = {}): { value: unknown; items: number } {
  try {
    const reader = new Reader(bytes, options);
    return { value: reader.only(), items: reader.items };
  } catch (error) {
    throw error instanceof SealwireError ? error : new SealwireError('bad_payload', undefined, { cause: error });
  }
}

type Slice = (this: Uint8Array, start: number, end: number) => string;
/** Node's own conversions cost half of the portable one, which needs a view of the part for each text. */
const { latin1Slice, utf8Slice } =
  (globalThis as { Buffer?: { prototype: { latin1Slice?: Slice; utf8Slice?: Slice } } }).Buffer?.prototype ?? {};
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** Up to this length V8 copies a part of a text; a longer part would keep the whole text in memory. */
const COPIED = 12;
/** A larger payload is not converted as a whole. */
const WHOLE = 262_144;

/** Objects of up to so many properties are expected to have the names of the one before. */
const FEW = 16;
/** the least integers of heads with 1, 2, 4 and 8 bytes */
const LEAST = [24, 0x100, 0x1_0000, 0x1_0000_0000];
const INDEX = /^(0|[1-9]\d{0,9})$/;
const NINE = 0x39;
/** An index so large that V8 keeps the elements of an object with it in a dictionary for good. */
const FARTHEST = 2 ** 32 - 2;

class Reader {
  /** announced so far, the outermost one first */
  items = 1;
  private at = 0;
  private readonly data: Uint8Array;
  /** the payload with a character for each byte, made for the first short text */
  private whole: string | undefined;
  /** memory of all empty byte strings of this payload */
  private nothing: ArrayBuffer | undefined;
  /** names of the last object of each size */
  private readonly names: (readonly string[] | undefined)[] = [];

  constructor(
    bytes: Uint8Array,
    private readonly options: DecodeOptions,
  ) {
    // of a Buffer `slice` would make views
    this.data = bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  only(): unknown {
    const value = this.item(0);
    return this.at === this.data.length ? value : refuse();
  }

  /** `depth`: open arrays, objects and tags. */
  private item(depth: number): unknown {
    const head = this.data[this.take(1)] as number;
    const minor = head & 0x1f;
    const major = head >>> 5;
    if (major === 7) return minor < 24 ? simple(minor) : this.float(minor);
    const argument = minor < 24 ? minor : this.argument(minor);
    if (major === 3) return this.text(argument);
    if (major === 0) return argument;
    if (major === 5) return this.object(this.open(argument, 2, depth), depth + 1);
    if (major === 4) return this.array(this.open(argument, 1, depth), depth + 1);
    if (major === 2) return this.bytes(argument);
    if (major === 6) return this.tagged(argument, depth);
    return argument < Number.MAX_SAFE_INTEGER ? -1 - argument : refuse();
  }

  /** Reads a head of that major type. */
  private head(major: number): number {
    const head = this.data[this.take(1)] as number;
    return head >>> 5 === major ? this.argument(head & 0x1f) : refuse();
  }

  /** The integer of a head, in its shortest form. */
  private argument(minor: number): number {
    if (minor < 24) return minor;
    if (minor > 27) return refuse();
    const size = 1 << (minor - 24);
    const start = this.take(size);
    const { data } = this;
    const read = size === 2 ? readU16 : size === 4 ? readU32 : readU64;
    const value = size === 1 ? (data[start] as number) : read(data, start);
    return value >= (LEAST[minor - 24] as number) && value <= Number.MAX_SAFE_INTEGER ? value : refuse();
  }

  /** Refuses a container before anything is made of what it announces. */
  private open(length: number, itemsEach: number, depth: number): number {
    const items = length * itemsEach;
    this.items += items;
    if (items > this.data.length - this.at || this.items > LIMITS.payloadItems || depth >= LIMITS.cborDepth) refuse();
    return length;
  }

  /** Moves behind the next `length` bytes. */
  private take(length: number): number {
    const start = this.at;
    if (length > this.data.length - start) refuse();
    this.at = start + length;
    return start;
  }

  private bytes(length: number): Uint8Array {
    const start = this.take(length);
    const { bytes } = this.options;
    if (bytes) return bytes(this.data.subarray(start, this.at));
    // a view for each: one object for all of them would be one key of a Map
    if (length > 0) return this.data.slice(start, this.at);
    this.nothing ??= new ArrayBuffer(0);
    return new Uint8Array(this.nothing);
  }

  private text(length: number): string {
    const start = this.take(length);
    const { data, at } = this;
    if (length <= COPIED && data.length <= WHOLE && latin1Slice) {
      let all = 0;
      for (let i = start; i < at; i++) all |= data[i] as number;
      this.whole ??= latin1Slice.call(data, 0, data.length);
      if (all < 0x80) return this.whole.substring(start, at);
    }
    const text = utf8Slice?.call(data, start, at);
    // the mark that stands for malformed bytes may have been sent as well
    return text === undefined || text.includes('\uFFFD') ? utf8.decode(data.subarray(start, at)) : text;
  }

  private array(length: number, depth: number): unknown[] {
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.item(depth));
    return items;
  }

  private object(length: number, depth: number): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    const expected = length <= FEW ? this.names[length] : undefined;
    let done = 0;
    for (; expected && done < length; done++) {
      const name = expected[done] as string;
      if (!this.skip(name)) break;
      object[name] = this.item(depth);
    }
    // the expected names differ from each other
    if (expected && done === length) return object;
    let indexed = false;
    let sparse = false;
    for (; done < length; done++) {
      const name = this.text(this.head(3));
      if (name === '__proto__' || keyFault(name)) refuse();
      if (name.charCodeAt(0) <= NINE && INDEX.test(name)) {
        indexed = true;
        if (!sparse && Number(name) >= 4 * length + 8) {
          sparse = true;
          useDictionary(object);
        }
      }
      object[name] = this.item(depth);
    }
    const names = Object.keys(object);
    if (names.length !== length) refuse();
    if (!indexed && length <= FEW) this.names[length] = names;
    return object;
  }

  /** Whether that name comes next, as short ASCII; it is read then. */
  private skip(name: string): boolean {
    const { data, at } = this;
    const { length } = name;
    if (length > 23 || data[at] !== (0x60 | length) || at + length >= data.length) return false;
    for (let i = 0; i < length; i++) {
      const code = data[at + 1 + i] as number;
      if (code !== name.charCodeAt(i) || code >= 0x80) return false;
    }
    this.at = at + 1 + length;
    return true;
  }

  private tagged(tag: number, depth: number): unknown {
    this.open(1, 1, depth);
    if (tag === TAG.date) return date(this.item(depth + 1));
    if (tag === TAG.bigint) return this.bigint();
    if (tag === TAG.negativeBigint) return -1n - this.bigint();
    if (tag === TAG.set) return this.set(this.open(this.head(4), 1, depth + 1), depth + 2);
    if (tag === TAG.map) return this.map(this.open(this.head(5), 2, depth + 1), depth + 2);
    const { revive } = this.options;
    return tag === TAG.stream && revive ? revive(this.item(depth + 1)) : refuse();
  }

  private set(length: number, depth: number): Set<unknown> {
    const set = new Set<unknown>();
    const count = new KeyCount();
    for (let i = 0; i < length; i++) set.add(this.key(count, depth));
    return set.size === length ? set : refuse();
  }

  private map(length: number, depth: number): Map<unknown, unknown> {
    const map = new Map<unknown, unknown>();
    const count = new KeyCount();
    for (let i = 0; i < length; i++) map.set(this.key(count, depth), this.item(depth));
    return map.size === length ? map : refuse();
  }

  /** In a Map and a Set -0 would become 0. */
  private key(count: KeyCount, depth: number): unknown {
    const key = this.item(depth);
    return count.add(key) || Object.is(key, -0) ? refuse() : key;
  }

  /** No byte of 0 in front, so 0n has no byte at all. */
  private bigint(): bigint {
    const length = this.head(2);
    const start = this.take(length);
    if (length > 0 && this.data[start] === 0) refuse();
    // through hexadecimal text: adding byte by byte would take quadratic time
    return BigInt(`0x0${toHex(this.data.subarray(start, this.at))}`);
  }

  /** A float in its shortest form. */
  private float(minor: number): number {
    if (minor < 25 || minor > 27) return refuse();
    const size = 1 << (minor - 24);
    const start = this.take(size);
    for (let i = 0; i < size; i++) scratch.setUint8(i, this.data[start + i] as number);
    const value = size === 2 ? half(scratch.getUint16(0)) : size === 4 ? scratch.getFloat32(0) : scratch.getFloat64(0);
    return isInteger(value) || floatSize(value) !== size ? refuse() : value;
  }
}

function simple(minor: number): unknown {
  if (minor === 20 || minor === 21) return minor === 21;
  return minor === 22 ? null : minor === 23 ? undefined : refuse();
}

function half(bits: number): number {
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 31 && fraction !== 0) return bits === 0x7e00 ? Number.NaN : refuse();
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return (bits & 0x8000 ? -1 : 1) * (exponent === 31 ? Number.POSITIVE_INFINITY : size);
}

function date(seconds: unknown): Date {
  if (typeof seconds !== 'number') return refuse();
  // in two parts: for the farthest dates the product would round a millisecond away
  const whole = Math.trunc(seconds);
  const value = new Date(whole * 1000 + Math.round((seconds - whole) * 1000));
  return Object.is(value.getTime() / 1000, seconds) ? value : refuse();
}

/** For an index of up to 1023 V8 would make room for all indexes below it: 12 KB for an object of 8 bytes. */
function useDictionary(object: Record<number, unknown>): void {
  object[FARTHEST] = undefined;
  delete object[FARTHEST];
}

function refuse(): never {
  throw new SealwireError('bad_payload');
}
