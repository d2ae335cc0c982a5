/** Major types of RFC 8949, section 3.1. */
export const MAJOR = { unsigned: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6, other: 7 } as const;

/** Whole heads of major type 7. */
export const SIMPLE = { false: 0xf4, true: 0xf5, null: 0xf6, undefined: 0xf7, half: 0xf9, single: 0xfa, double: 0xfb };

const START = 512;
const HEAD = 9;
/** For shorter text a loop is faster than the way through the platform's encoder. */
const SHORT_TEXT = 64;

const encoder = new TextEncoder();

/** Writes the heads and scalars of CBOR, each in its shortest form, into memory that grows. */
export class CborWriter {
  private data = new Uint8Array(START);
  private length = 0;

  /** A copy, so that no unused memory is kept with it. */
  written(): Uint8Array {
    return this.data.slice(0, this.length);
  }

  byte(value: number): void {
    this.reserve(1);
    this.data[this.length++] = value;
  }

  /** @param argument a safe integer that is not negative */
  head(major: number, argument: number): void {
    this.reserve(HEAD);
    const { data } = this;
    const type = major << 5;
    if (argument < 24) {
      data[this.length++] = type | argument;
    } else if (argument < 0x100) {
      data[this.length++] = type | 24;
      data[this.length++] = argument;
    } else if (argument < 0x1_0000) {
      data[this.length++] = type | 25;
      data[this.length++] = argument >>> 8;
      data[this.length++] = argument;
    } else if (argument < 0x1_0000_0000) {
      data[this.length++] = type | 26;
      this.u32(argument);
    } else {
      data[this.length++] = type | 27;
      this.u32(argument / 0x1_0000_0000);
      this.u32(argument);
    }
  }

  number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) this.float(value);
    else if (value < 0) this.head(MAJOR.negative, -1 - value);
    else this.head(MAJOR.unsigned, value);
  }

  bytes(bytes: Uint8Array): void {
    this.head(MAJOR.bytes, bytes.length);
    this.append(bytes);
  }

  text(text: string): void {
    const start = this.length;
    this.head(MAJOR.text, text.length);
    const from = this.length;
    this.reserve(3 * text.length);
    if (text.length <= SHORT_TEXT && this.ascii(text)) return;
    const { written } = encoder.encodeInto(text, this.data.subarray(from));
    this.length = from + written;
    if (written === text.length) return;
    // not all of it was ASCII, so its length in bytes is known only now
    const bytes = this.data.slice(from, this.length);
    this.length = start;
    this.head(MAJOR.text, written);
    this.append(bytes);
  }

  private ascii(text: string): boolean {
    const { data } = this;
    let { length } = this;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) return false;
      data[length++] = code;
    }
    this.length = length;
    return true;
  }

  private float(value: number): void {
    this.reserve(HEAD);
    const view = new DataView(this.data.buffer, this.length);
    const single = Math.fround(value) === value || Number.isNaN(value);
    const half = single ? toHalf(value) : undefined;
    view.setUint8(0, half !== undefined ? SIMPLE.half : single ? SIMPLE.single : SIMPLE.double);
    if (half !== undefined) view.setUint16(1, half);
    else if (single) view.setFloat32(1, value);
    else view.setFloat64(1, value);
    this.length += half !== undefined ? 3 : single ? 5 : 9;
  }

  private u32(value: number): void {
    const { data } = this;
    data[this.length++] = value >>> 24;
    data[this.length++] = value >>> 16;
    data[this.length++] = value >>> 8;
    data[this.length++] = value;
  }

  private append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.data.set(bytes, this.length);
    this.length += bytes.length;
  }

  private reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.data.length) return;
    const data = new Uint8Array(Math.max(needed, 4 * this.data.length));
    data.set(this.data.subarray(0, this.length));
    this.data = data;
  }
}

/** The 16 bits that stand for exactly this number (IEEE 754 binary16), where there are some. */
function toHalf(value: number): number | undefined {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  if (size > 65_504) return undefined;
  // the last place of a half is worth 2^-24 below 2^-14, and doubles with each power of two above
  const exponent = size < 2 ** -14 ? 0 : Math.floor(Math.log2(size)) + 15;
  const places = size * 2 ** (24 - Math.max(exponent - 1, 0));
  return Number.isInteger(places) ? sign | (exponent === 0 ? places : (exponent << 10) + places - 1024) : undefined;
}
