import { readU32, writeU32 } from '../bytes.js';
import { SealwireError } from '../errors.js';

const LENGTH = 4;
const FLOOR = 64;

/** u32 length || body || zeros up to {@link paddedLength} (PROTOCOL.md section 5.3). */
export function pad(body: Uint8Array): Uint8Array {
  const padded = new Uint8Array(paddedLength(LENGTH + body.length));
  padInto(padded, body);
  return padded;
}

/** `padded` is of the right length and all zeros. */
export function padInto(padded: Uint8Array, body: Uint8Array): void {
  writeU32(padded, 0, body.length);
  padded.set(body, LENGTH);
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
