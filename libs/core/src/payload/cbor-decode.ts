import { readU16, readU32, toHex } from '../bytes.js';
import { SealwireError } from '../errors.js';
import { LIMITS } from '../limits.js';
import { KeyCount, TAG } from './cbor.js';
import { date, double, half, refuse, single } from './read-number.js';
import { TextReader } from './text.js';

/** How {@link decodeValue} makes values. */
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
export function decodeValue(bytes: Uint8Array, options: DecodeOptions = {}): unknown {
  try {
    return new Reader(bytes, options.bytes, options.revive).only();
  } catch (error) {
    throw error instanceof SealwireError ? error : new SealwireError('bad_payload', undefined, { cause: error });
  }
}

/** Objects of up to so many properties are expected to have the names of the one before. */
const FEW = 16;
/** An index so large that V8 keeps the elements of an object with it in a dictionary for good. */
const FARTHEST = 2 ** 32 - 2;
const NINE = 0x39;
const INDEX = /^(0|[1-9]\d{0,9})$/;

class Reader {
  private at = 0;
  /** announced so far, the outermost one first */
  private items = 1;
  private readonly data: Uint8Array;
  private readonly texts: TextReader;
  /** memory of all empty byte strings of this payload */
  private nothing: ArrayBuffer | undefined;
  /** names of the last object of each size */
  private readonly names: (readonly string[] | undefined)[] = [];

  constructor(
    bytes: Uint8Array,
    private readonly copy: DecodeOptions['bytes'],
    private readonly revive: Revive | undefined,
  ) {
    // of a Buffer `slice` would make views
    this.data = bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    this.texts = new TextReader(this.data);
  }

  only(): unknown {
    const value = this.item(0);
    return this.at === this.data.length ? value : refuse();
  }

  /** `depth`: open arrays, objects and tags. */
  private item(depth: number): unknown {
    if (this.at >= this.data.length) refuse();
    const head = this.data[this.at++] as number;
    const minor = head & 0x1f;
    switch (head >>> 5) {
      case 0:
        return minor < 24 ? minor : this.argument(minor);
      case 1:
        return this.negative(this.argument(minor));
      case 2:
        return this.bytes(this.argument(minor));
      case 3:
        return this.text(this.argument(minor));
      case 4:
        return this.array(this.open(this.argument(minor), 1, depth), depth + 1);
      case 5:
        return this.object(this.open(this.argument(minor), 2, depth), depth + 1);
      case 6:
        return this.tagged(this.argument(minor), depth);
      default:
        return this.simple(minor);
    }
  }

  private head(major: number): number {
    const head = this.data[this.at++] ?? refuse();
    return head >>> 5 === major ? this.argument(head & 0x1f) : refuse();
  }

  /** The integer in a head, in its shortest form. What lies behind the end reads as 0. */
  private argument(minor: number): number {
    if (minor < 24) return minor;
    const { data, at } = this;
    let value: number;
    let least: number;
    switch (minor) {
      case 24:
        value = data[at] ?? 0;
        least = 24;
        break;
      case 25:
        value = readU16(data, at);
        least = 0x100;
        break;
      case 26:
        value = readU32(data, at);
        least = 0x1_0000;
        break;
      case 27:
        value = readU32(data, at) * 0x1_0000_0000 + readU32(data, at + 4);
        least = 0x1_0000_0000;
        break;
      default:
        return refuse();
    }
    this.at = at + (1 << (minor - 24));
    return this.at <= data.length && value >= least && value <= Number.MAX_SAFE_INTEGER ? value : refuse();
  }

  private negative(argument: number): number {
    return argument < Number.MAX_SAFE_INTEGER ? -1 - argument : refuse();
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
    if (this.copy) return this.copy(this.data.subarray(start, this.at));
    // a view for each: one object for all of them would be one key of a Map
    if (length > 0) return this.data.slice(start, this.at);
    this.nothing ??= new ArrayBuffer(0);
    return new Uint8Array(this.nothing);
  }

  private text(length: number): string {
    const start = this.take(length);
    return this.texts.read(start, this.at);
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
    if (expected) {
      for (; done < length; done++) {
        const name = expected[done] as string;
        if (!this.skip(name)) break;
        object[name] = this.item(depth);
      }
      // the names of an object differ
      if (done === length) return object;
    }
    let indexed = false;
    let sparse = false;
    for (; done < length; done++) {
      const name = this.text(this.head(3));
      if (name === '__proto__' || name.length > LIMITS.keyText) refuse();
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
    switch (tag) {
      case TAG.date:
        return date(this.item(depth + 1));
      case TAG.bigint:
        return this.bigint();
      case TAG.negativeBigint:
        return -1n - this.bigint();
      case TAG.set:
        return this.set(this.open(this.head(4), 1, depth + 1), depth + 2);
      case TAG.map:
        return this.map(this.open(this.head(5), 2, depth + 1), depth + 2);
      case TAG.stream:
        return this.revive ? this.revive(this.item(depth + 1)) : refuse();
      default:
        return refuse();
    }
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
    if (length === 0) return 0n;
    if (this.data[start] === 0) refuse();
    // through hexadecimal text: adding byte by byte would take quadratic time
    return BigInt(`0x${toHex(this.data.subarray(start, this.at))}`);
  }

  private simple(minor: number): unknown {
    switch (minor) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
        return null;
      case 23:
        return undefined;
      case 25:
        return half(readU16(this.data, this.take(2)));
      case 26:
        return single(readU32(this.data, this.take(4)));
      case 27:
        return double(this.data, this.take(8));
      default:
        return refuse();
    }
  }
}

/** For an index of up to 1023 V8 would make room for all indexes below it: 12 KB for an object of 8 bytes. */
function useDictionary(object: Record<number, unknown>): void {
  object[FARTHEST] = undefined;
  delete object[FARTHEST];
}
