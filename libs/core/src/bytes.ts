/** Byte helpers, and padding. Integers are big-endian (PROTOCOL.md section 1). */

import { SealwireError } from './errors.js';

const encoder = new TextEncoder();
/** Node's own conversion: a text made of parts would keep every part in memory. */
const { hexSlice } =
  (globalThis as { Buffer?: { prototype: { hexSlice?: (this: Uint8Array, start: number, end: number) => string } } })
    .Buffer?.prototype ?? {};
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
  if (hexSlice) return hexSlice.call(bytes, 0, bytes.length);
  return Array.from(bytes, (byte) => HEX[byte]).join('');
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

/** bytes of the length in front of a padded body */
export const LENGTH = 4;
/** a padded body has so many bytes at least */
const FLOOR = 64;

/**
 * u32 length || body || zeros up to {@link paddedLength} (PROTOCOL.md section 5.3).
 * @param padded where it is written to: all zeros, of the right length
 */
export function pad(body: Uint8Array, padded: Uint8Array = new Uint8Array(padLength(body.length))): Uint8Array {
  writeU32(padded, 0, body.length);
  padded.set(body, LENGTH);
  return padded;
}

/** @returns how many bytes {@link pad} makes of a body of that length */
export function padLength(bodyLength: number): number {
  return paddedLength(LENGTH + bodyLength);
}

/** @returns a view of the body inside `padded`, which is exactly what {@link pad} makes of it */
export function unpad(padded: Uint8Array): Uint8Array {
  const { body, rest } = unpadFirst(padded);
  if (rest.length > 0) throw new SealwireError('bad_payload');
  return body;
}

/** A padded body at the start of `bytes`, and what follows it; both are views. */
export function unpadFirst(bytes: Uint8Array): { body: Uint8Array; rest: Uint8Array } {
  const end = LENGTH + readU32(bytes, 0);
  if (bytes.length < LENGTH || end > bytes.length) throw new SealwireError('bad_payload');
  const paddedEnd = paddedLength(end);
  if (paddedEnd > bytes.length) throw new SealwireError('bad_payload');
  let beyond = 0;
  for (let i = end; i < paddedEnd; i++) beyond |= bytes[i] as number;
  if (beyond !== 0) throw new SealwireError('bad_payload');
  return { body: bytes.subarray(LENGTH, end), rest: bytes.subarray(paddedEnd) };
}

/**
 * Padmé (Nikitin et al., "Reducing metadata leakage from encrypted files", 2019): only the leading bits of a length stay,
 * S = floor(log2 E) + 1 of them after the first, E = floor(log2 n). At most 12 % are added from 64 bytes on, and
 * only O(log log n) bits of the length show.
 */
export function paddedLength(length: number): number {
  if (length <= FLOOR) return FLOOR;
  const exponent = floorLog2(length);
  const unit = 2 ** (exponent - (floorLog2(exponent) + 1));
  return Math.ceil(length / unit) * unit;
}

function floorLog2(value: number): number {
  return 31 - Math.clz32(value);
}
