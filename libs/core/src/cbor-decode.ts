import { readU16, readU32, toHex } from './bytes.js';
import { TAG } from './cbor-encode.js';
import { MAJOR, SIMPLE } from './cbor-writer.js';
import { SealwireError } from './errors.js';
import { LIMITS } from './limits.js';

/** @throws SealwireError `bad_payload` for anything but one well-formed item within the limits. */
export function decodeValue(bytes: Uint8Array): unknown {
  try {
    const reader = new CborReader(bytes);
    const value = reader.item(1);
    return reader.done ? value : refuse();
  } catch {
    // broken UTF-8 and a bigint that no engine can hold have errors of their own
    throw new SealwireError('bad_payload');
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** For shorter text a loop is faster than the way through the platform's decoder. */
const SHORT_TEXT = 16;
const TEXT = MAJOR.text << 5;

/**
 * Reads items one inside the other. Depth and lengths are checked before anything is made for them, so what a payload can
 * cost is bounded by its own length.
 */
class CborReader {
  private position = 0;
  private readonly keys: (string | undefined)[] = [];

  constructor(private readonly data: Uint8Array) {}

  get done(): boolean {
    return this.position === this.data.length;
  }

  /** @param level that a container at this place would be of, 1 for the outermost */
  item(level: number): unknown {
    const head = this.head();
    switch (head >>> 5) {
      case MAJOR.unsigned:
        return safe(this.argument(head));
      case MAJOR.negative:
        return safe(minusOneMinus(this.argument(head)));
      case MAJOR.bytes:
        return new Uint8Array(this.bytes(head));
      case MAJOR.text:
        return this.text(head);
      case MAJOR.array:
        return this.array(this.count(head, 1, level), level + 1);
      case MAJOR.map:
        return this.object(this.count(head, 2, level), level + 1);
      case MAJOR.tag:
        return this.tagged(this.count(head, 0, level), level + 1);
      default:
        return this.other(head);
    }
  }

  private array(length: number, level: number): unknown[] {
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.item(level));
    return items;
  }

  private object(size: number, level: number): Record<string, unknown> {
    const value: Record<string, unknown> = {};
    for (let i = 0; i < size; i++) {
      const key = this.key();
      if (key === '__proto__') refuse();
      value[key] = this.item(level);
    }
    // keys that fell together were duplicates
    return Object.keys(value).length === size ? value : refuse();
  }

  private tagged(tag: number, level: number): unknown {
    switch (tag) {
      case TAG.date:
        return date(this.item(level));
      case TAG.bigint:
        return this.bignum();
      case TAG.negativeBigint:
        return -1n - this.bignum();
      case TAG.set: {
        const head = this.head();
        const items = head >>> 5 === MAJOR.array ? this.array(this.count(head, 1, level), level + 1) : refuse();
        const set = new Set(items);
        return set.size === items.length ? set : refuse();
      }
      case TAG.map: {
        const head = this.head();
        return head >>> 5 === MAJOR.map ? this.map(this.count(head, 2, level), level + 1) : refuse();
      }
      default:
        return refuse();
    }
  }

  private map(size: number, level: number): Map<unknown, unknown> {
    const value = new Map<unknown, unknown>();
    for (let i = 0; i < size; i++) {
      const key = this.item(level);
      value.set(key, this.item(level));
    }
    return value.size === size ? value : refuse();
  }

  private bignum(): bigint {
    const head = this.head();
    // through hexadecimal text: adding byte by byte would take quadratic time
    return head >>> 5 === MAJOR.bytes ? BigInt(`0x0${toHex(this.bytes(head))}`) : refuse();
  }

  private other(head: number): unknown {
    switch (head) {
      case SIMPLE.false:
        return false;
      case SIMPLE.true:
        return true;
      case SIMPLE.null:
        return null;
      case SIMPLE.undefined:
        return undefined;
      case SIMPLE.half:
        return fromHalf(readU16(this.data, this.skip(2)));
      case SIMPLE.single:
        return this.view(4).getFloat32(0);
      case SIMPLE.double:
        return this.view(8).getFloat64(0);
      default:
        return refuse();
    }
  }

  /** The rows of a list share their keys: one that was read before is compared, not made again. */
  private key(): string {
    const head = this.head();
    const { data, keys, position: start } = this;
    const slot = (head ^ (data[start] ?? 0)) & 0x1f;
    const known = keys[slot];
    if (known !== undefined && head === TEXT + known.length && isAt(data, start, known)) {
      this.position = start + known.length;
      return known;
    }
    const key = head >>> 5 === MAJOR.text ? this.text(head) : refuse();
    // only where each byte was a character of its own, so that the comparison is one of texts
    if (this.position - start === key.length) keys[slot] = key;
    return key;
  }

  private text(head: number): string {
    const bytes = this.count(head, 1, 0);
    const start = this.skip(bytes);
    const { data } = this;
    if (bytes <= SHORT_TEXT) {
      let text = '';
      let i = start;
      for (; i < this.position; i++) {
        const code = data[i] ?? 0;
        if (code >= 0x80) break;
        text += String.fromCharCode(code);
      }
      if (i === this.position) return text;
    }
    return utf8.decode(data.subarray(start, this.position));
  }

  private view(length: number): DataView {
    return new DataView(this.data.buffer, this.data.byteOffset + this.skip(length), length);
  }

  private bytes(head: number): Uint8Array {
    const start = this.skip(this.count(head, 1, 0));
    return this.data.subarray(start, this.position);
  }

  /** The argument of a head whose content is at least so many bytes for each one counted. */
  private count(head: number, bytesEach: number, level: number): number {
    const count = Number(this.argument(head));
    if (level > LIMITS.cborDepth || count * bytesEach > this.data.length - this.position) refuse();
    return count;
  }

  /** A bigint where it has 64 bits. */
  private argument(head: number): number | bigint {
    const short = head & 0x1f;
    if (short < 24) return short;
    switch (short) {
      case 24:
        return this.data[this.skip(1)] ?? 0;
      case 25:
        return readU16(this.data, this.skip(2));
      case 26:
        return readU32(this.data, this.skip(4));
      case 27:
        return this.view(8).getBigUint64(0);
      default:
        return refuse();
    }
  }

  private head(): number {
    return this.data[this.skip(1)] ?? 0;
  }

  /** Where the bytes begin that are stepped over. */
  private skip(bytes: number): number {
    const start = this.position;
    this.position = start + bytes;
    return this.position <= this.data.length ? start : refuse();
  }
}

/** Whether this text, all of it ASCII, stands there. */
function isAt(data: Uint8Array, start: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (data[start + i] !== text.charCodeAt(i)) return false;
  return true;
}

function minusOneMinus(value: number | bigint): number | bigint {
  return typeof value === 'bigint' ? -1n - value : -1 - value;
}

/** Integers that a number holds exactly are numbers. */
function safe(value: number | bigint): number | bigint {
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function date(seconds: unknown): Date {
  if (typeof seconds !== 'number') return refuse();
  // in two parts: for the farthest dates the product would round a millisecond away
  const whole = Math.trunc(seconds);
  return new Date(whole * 1000 + Math.round((seconds - whole) * 1000));
}

function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction : fraction + 1024) * 2 ** (Math.max(exponent, 1) - 25);
}

function refuse(): never {
  throw new SealwireError('bad_payload');
}
