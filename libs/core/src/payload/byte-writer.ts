import { erase } from '../bytes.js';
import { fitsHalf, isInteger, scratch } from './cbor.js';
import { writeText } from './text.js';
import { Unsendable } from './unsupported.js';

/** A larger buffer is not used again. */
const KEPT_ROOM = 262_144;
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Writes heads, numbers, texts and bytes into a buffer that grows, each in its shortest form. */
export class ByteWriter {
  protected at = 0;

  constructor(protected buffer: Uint8Array) {}

  written(): Uint8Array {
    return this.buffer.slice(0, this.at);
  }

  /** Leaves nothing of the payload in memory that is used again. */
  release(): Uint8Array | undefined {
    this.buffer.fill(0, 0, this.at);
    return this.buffer.length <= KEPT_ROOM ? this.buffer : undefined;
  }

  protected text(text: string): void {
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

  protected bytes(bytes: Uint8Array): void {
    this.head(2, bytes.length);
    this.raw(bytes);
  }

  protected raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  protected number(value: number): void {
    if (!isInteger(value)) this.float(value);
    else if (value < 0) this.head(1, -1 - value);
    else this.head(0, value);
  }

  private float(value: number): void {
    if (Math.fround(value) !== value && !Number.isNaN(value)) {
      scratch.setFloat64(0, value);
      this.sized(0xfb, 4, scratch.getUint32(0));
      this.at = put(this.buffer, this.at, 4, scratch.getUint32(4));
      return;
    }
    scratch.setFloat32(0, value);
    const bits = scratch.getUint32(0);
    if (Number.isNaN(value)) this.sized(0xf9, 2, 0x7e00);
    else if (fitsHalf(value, bits)) this.sized(0xf9, 2, half(value, bits));
    else this.sized(0xfa, 4, bits);
  }

  protected head(major: number, argument: number): void {
    const first = major << 5;
    if (argument < 24) this.byte(first | argument);
    else if (argument < 0x100) this.sized(first | 24, 1, argument);
    else if (argument < 0x1_0000) this.sized(first | 25, 2, argument);
    else if (argument < 0x1_0000_0000) this.sized(first | 26, 4, argument);
    else {
      this.sized(first | 27, 4, Math.floor(argument / 0x1_0000_0000));
      this.at = put(this.buffer, this.at, 4, argument >>> 0);
    }
  }

  private sized(head: number, size: number, value: number): void {
    this.reserve(0);
    this.buffer[this.at] = head;
    this.at = put(this.buffer, this.at + 1, size, value);
  }

  protected byte(value: number): void {
    this.reserve(0);
    this.buffer[this.at++] = value;
  }

  /** Room for a head of at most nine bytes and `length` bytes behind it. */
  protected reserve(length: number): void {
    if (this.at + 9 + length > this.buffer.length) this.grow(length);
  }

  private grow(length: number): void {
    const buffer = new Uint8Array(Math.max(2 * this.buffer.length, this.at + 9 + length));
    const used = this.buffer.subarray(0, this.at);
    buffer.set(used);
    erase(used);
    this.buffer = buffer;
  }
}

function half(value: number, bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const size = Math.abs(value);
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  // below the smallest normal number the fraction counts steps of 2^-24
  if (size < 2 ** -14) return sign | (size * 2 ** 24);
  return sign | (((bits & 0x7fff_ffff) >>> 13) - (112 << 10));
}

function headSize(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 0x100) return 2;
  if (argument < 0x1_0000) return 3;
  return argument < 0x1_0000_0000 ? 5 : 9;
}

function put(buffer: Uint8Array, start: number, size: number, value: number): number {
  let at = start;
  if (size === 4) {
    buffer[at++] = value >>> 24;
    buffer[at++] = value >>> 16;
  }
  if (size >= 2) buffer[at++] = value >>> 8;
  buffer[at++] = value;
  return at;
}
