/** Byte helpers. Integers are big-endian (PROTOCOL.md section 1). */

const encoder = new TextEncoder();
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export const EMPTY = new Uint8Array(0);

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/**
 * Joins byte strings into one with memory of its own.
 *
 * @example
 * const frame = concat(fromHex('1201'), new Uint8Array(10));
 */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value);
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  writeU32(bytes, 0, value);
  return bytes;
}

export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}

export function u64(value: number): Uint8Array {
  return concat(u32(Math.floor(value / 0x1_0000_0000)), u32(value % 0x1_0000_0000));
}

export function readU16(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);
}

export function readU32(bytes: Uint8Array, offset: number): number {
  return ((readU16(bytes, offset) << 16) | readU16(bytes, offset + 2)) >>> 0;
}

export function readU64(bytes: Uint8Array, offset: number): number {
  return readU32(bytes, offset) * 0x1_0000_0000 + readU32(bytes, offset + 4);
}

/**
 * Overwrites secrets with zeros. This is best effort: a garbage-collected runtime may hold copies (SECURITY.md, assumptions).
 *
 * @example
 * const { secret } = parseSecureKey(generateKeyText('swk1', primitives));
 * erase(secret);
 */
export function erase(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}

/**
 * Two lower-case hexadecimal digits for each byte.
 *
 * @example
 * toHex(Uint8Array.of(1, 255)); // 01ff
 */
export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/**
 * Reads hexadecimal digits of either case.
 *
 * @throws TypeError if the text has an odd length or another character
 * @example
 * fromHex('01ff'); // Uint8Array [1, 255]
 */
export function fromHex(text: string): Uint8Array {
  if (!/^([0-9a-f]{2})*$/i.test(text)) throw new TypeError('not hexadecimal text');
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}
