import { LIMITS } from '../limits.js';

/** Tags of the IANA registry that a payload may hold (PROTOCOL.md section 5.5). */
export const TAG = { date: 1, bigint: 2, negativeBigint: 3, stream: 27, set: 258, map: 259 } as const;

/** Where a float becomes bytes and back. */
export const scratch = new DataView(new ArrayBuffer(8));

/** The other numbers are floats. */
export function isInteger(value: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

/** @returns bytes of the shortest float that keeps the value */
export function floatSize(value: number): 2 | 4 | 8 {
  if (!Number.isFinite(value)) return 2;
  if (Math.fround(value) !== value) return 8;
  scratch.setFloat32(0, value);
  // half precision has 10 bits of fraction and counts in steps of 2^-24
  const half = (scratch.getUint16(2) & 0x1fff) === 0 && Math.abs(value) <= 65_504 && Number.isInteger(value * 2 ** 24);
  return half ? 2 : 4;
}

const DIGITS = /^\d{1,10}$/;

/**
 * Whether an engine hashes this key without a secret, so that a peer can choose many that fall into one bucket of a Map.
 * V8 does so with numbers and bigints, and older versions (CVE-2026-21717) with text that could be an index of an array.
 * All other text is hashed with a seed that Node draws at its start.
 */
function isNumeric(key: unknown): boolean {
  if (typeof key === 'string') return DIGITS.test(key);
  return typeof key === 'number' || typeof key === 'bigint';
}

/** Counts the keys of one map, or the items of one set. */
export class KeyCount {
  #numeric = 0;

  /** @returns what is wrong with the next key, undefined if nothing is */
  add(key: unknown): string | undefined {
    if (isNumeric(key) && ++this.#numeric > LIMITS.numericKeys) {
      return `more than ${LIMITS.numericKeys} numbers, bigints or texts of digits in one collection`;
    }
    return typeof key === 'string' ? keyFault(key) : undefined;
  }
}

/** @returns what is wrong with a text that is a key, undefined if nothing is */
export function keyFault(key: string): string | undefined {
  return key.length > LIMITS.keyText ? `a key of more than ${LIMITS.keyText} characters` : undefined;
}
