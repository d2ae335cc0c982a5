import { readU32, u32 } from '../bytes.js';
import { SealwireError } from '../errors.js';

const LENGTH = 4;
const FLOOR = 64;

/** u32 length || body || zeros up to {@link paddedLength} (PROTOCOL.md section 5.3). */
export function pad(body: Uint8Array): Uint8Array {
  const padded = new Uint8Array(paddedLength(LENGTH + body.length));
  padded.set(u32(body.length));
  padded.set(body, LENGTH);
  return padded;
}

/** @returns a view of the body inside `padded` */
export function unpad(padded: Uint8Array): Uint8Array {
  const end = LENGTH + readU32(padded, 0);
  if (padded.length < LENGTH || end > padded.length) throw new SealwireError('bad_payload');
  for (let i = end; i < padded.length; i++) if (padded[i] !== 0) throw new SealwireError('bad_payload');
  return padded.subarray(LENGTH, end);
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
