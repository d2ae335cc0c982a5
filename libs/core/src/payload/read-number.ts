import { readU32 } from '../bytes.js';
import { SealwireError } from '../errors.js';
import { fitsHalf, isInteger, scratch } from './cbor.js';

// Each function refuses a value that has a shorter form.

export function half(bits: number): number {
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  let size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  if (exponent === 31) {
    if (fraction !== 0) return bits === 0x7e00 ? Number.NaN : refuse();
    size = Number.POSITIVE_INFINITY;
  }
  const value = bits & 0x8000 ? -size : size;
  return isInteger(value) ? refuse() : value;
}

export function single(bits: number): number {
  scratch.setUint32(0, bits);
  const value = scratch.getFloat32(0);
  return isInteger(value) || Number.isNaN(value) || fitsHalf(value, bits) ? refuse() : value;
}

export function double(bytes: Uint8Array, start: number): number {
  scratch.setUint32(0, readU32(bytes, start));
  scratch.setUint32(4, readU32(bytes, start + 4));
  const value = scratch.getFloat64(0);
  return isInteger(value) || Number.isNaN(value) || Math.fround(value) === value ? refuse() : value;
}

export function date(seconds: unknown): Date {
  if (typeof seconds !== 'number') return refuse();
  // in two parts: for the farthest dates the product would round a millisecond away
  const whole = Math.trunc(seconds);
  const value = new Date(whole * 1000 + Math.round((seconds - whole) * 1000));
  return Object.is(value.getTime() / 1000, seconds) ? value : refuse();
}

export function refuse(): never {
  throw new SealwireError('bad_payload');
}
