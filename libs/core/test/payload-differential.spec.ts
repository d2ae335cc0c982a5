import { decodeValue, encodeValue, toHex } from '@sealwire/core';
import { describe, expect, it } from 'vitest';
import { referenceDecode, referenceEncode } from './support/reference-codec.js';

/** Ten times as many in a long run: PAYLOAD_FUZZ=10, another seed: PAYLOAD_SEED=7. */
const times = Number(process.env.PAYLOAD_FUZZ ?? 1);
const seed = Number(process.env.PAYLOAD_SEED ?? 1);

/** xorshift32: quick, and the same in every run with that seed. */
class Chance {
  private state: number;

  constructor(start: number) {
    this.state = Math.imul(start, 0x9e37_79b1) | 1;
  }

  below(bound: number): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % bound;
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  float(): number {
    scratch.setUint32(0, this.below(2 ** 32));
    scratch.setUint32(4, this.below(2 ** 32));
    return scratch.getFloat64(0);
  }
}

const scratch = new DataView(new ArrayBuffer(8));
const TEXTS = [
  '',
  'a',
  'id',
  'EUR',
  'ä',
  '\u{1F600}',
  '\uFEFFx',
  '\uFFFD',
  'x'.repeat(23),
  'x'.repeat(24),
  'é'.repeat(12),
];
const NUMBERS = [
  0,
  -0,
  1,
  -1,
  23,
  24,
  255,
  256,
  65_535,
  65_536,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53 - 1,
  1 - 2 ** 53,
  2 ** 53,
];
const FLOATS = [NaN, Infinity, -Infinity, 0.5, 65_504.5, 2 ** -24, 2 ** -25, 2 ** -14, 1.1, 3.4e38, 1e300, 5e-324];

function text(chance: Chance): string {
  if (chance.below(3) > 0) return chance.of(TEXTS);
  const length = chance.of([3, 12, 13, 30, 80, 300]);
  const base = chance.of([0x20, 0x20, 0xe0, 0x3040]);
  return Array.from({ length }, () => String.fromCharCode(base + chance.below(90))).join('');
}

function number(chance: Chance): number {
  switch (chance.below(5)) {
    case 0:
      return chance.of(NUMBERS);
    case 1:
      return chance.of(FLOATS);
    case 2:
      return chance.below(2 ** 32) - 2 ** 31;
    case 3:
      return Math.fround(chance.float());
    default:
      return chance.float();
  }
}

function bigint(chance: Chance): bigint {
  let value = 0n;
  for (let i = chance.below(5); i > 0; i--) value = (value << 32n) | BigInt(chance.below(2 ** 32) >>> chance.below(32));
  return chance.below(2) ? value : -value;
}

function scalar(chance: Chance): unknown {
  switch (chance.below(9)) {
    case 0:
      return chance.of([null, undefined, true, false]);
    case 1:
    case 2:
      return number(chance);
    case 3:
      return bigint(chance);
    case 4:
      return new Uint8Array(chance.of([0, 1, 23, 24, 300])).fill(chance.below(256));
    case 5:
      return new Date(
        chance.of([0, -1, 1500, 8.64e15, -8.64e15, NaN, chance.below(2 ** 32) * 1000 + chance.below(1000)]),
      );
    default:
      return text(chance);
  }
}

function value(chance: Chance, depth: number): unknown {
  const many = chance.of([0, 1, 2, 3, 5]);
  const items = (make: () => unknown) => Array.from({ length: many }, make);
  const inner = () => value(chance, depth - 1);
  switch (depth > 0 ? chance.below(8) : 7) {
    case 0:
      return items(inner);
    case 1:
      return new Map(items(() => [scalar(chance), inner()]) as [unknown, unknown][]);
    case 2:
      return new Set(items(() => scalar(chance)));
    case 3:
    case 4:
      return Object.fromEntries(items(() => [chance.below(6) ? text(chance) : chance.below(2_000), inner()]) as []);
    case 5:
      // rows, of the same names
      return items(() => ({ id: scalar(chance), amount: number(chance), note: text(chance) }));
    default:
      return scalar(chance);
  }
}

/** A machine with other work takes longer; the tests compare values and no times. */
const TIME = { timeout: 240_000 };

describe('the codec and its reference', () => {
  it('write the same bytes of 60000 random values and read them back', TIME, () => {
    const chance = new Chance(seed);
    for (let i = 0; i < 60_000 * times; i++) {
      const sent = value(chance, 3);
      const bytes = encodeValue(sent);
      if (toHex(bytes) !== toHex(referenceEncode(sent))) expect(toHex(bytes)).toBe(toHex(referenceEncode(sent)));
      const read = decodeValue(bytes);
      if (toHex(encodeValue(read)) !== toHex(bytes)) expect(read).toStrictEqual(sent);
      if (i % 20 === 0) {
        expect(read).toStrictEqual(sent);
        expect(referenceDecode(bytes)).toStrictEqual(sent);
      }
    }
  });

  it('take the same ones of a million hostile payloads, and read the same', TIME, () => {
    const chance = new Chance(seed + 1);
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    let taken = 0;
    try {
      for (let i = 0; i < 1_000_000 * times; i++) {
        const bytes = hostile(chance);
        const own = outcome(() => decodeValue(bytes));
        const reference = outcome(() => referenceDecode(bytes));
        const agree = (own === undefined) === (reference === undefined);
        if (!agree && !holdsTinyHalf((own ?? reference)?.value))
          expect([toHex(bytes), own]).toEqual([toHex(bytes), reference]);
        if (own === undefined) continue;
        taken++;
        if (taken % 10 === 0 && agree) expect(own).toStrictEqual(reference);
      }
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
    }
    expect(taken).toBeGreaterThan(100_000);
  });
});

/** cborg writes most subnormal numbers of half precision with four bytes. */
function holdsTinyHalf(value: unknown): boolean {
  if (typeof value === 'number') return value !== 0 && Math.abs(value) < 2 ** -14 && Number.isInteger(value * 2 ** 24);
  if (value instanceof Map) return [...value].flat(1).some(holdsTinyHalf);
  if (value instanceof Date) return holdsTinyHalf(value.getTime() / 1000);
  if (value instanceof Set || Array.isArray(value)) return [...value].some(holdsTinyHalf);
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return false;
  return Object.values(value).some(holdsTinyHalf);
}

function outcome(read: () => unknown): { value: unknown } | undefined {
  try {
    return { value: read() };
  } catch {
    return undefined;
  }
}

/** Bytes that begin something, and ends of ranges. */
const HEADS = [
  0x00, 0x01, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x20, 0x37, 0x38, 0x39, 0x3b, 0x40, 0x41, 0x58, 0x60, 0x61, 0x62,
  0x63, 0x78, 0x79, 0x80, 0x81, 0x82, 0x98, 0x9f, 0xa0, 0xa1, 0xa2, 0xb8, 0xbf, 0xc1, 0xc2, 0xc3, 0xd8, 0xd9, 0xe0,
  0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xff, 0x7e, 0x7c, 0x02, 0x03, 0xc0, 0xed, 0xa0, 0xef, 0xbb, 0x30,
  0x31,
];
const PARTS = [
  'd9010280',
  'd90103a0',
  'd9010281',
  'd90103a1',
  'f97e00',
  'f98000',
  'fb3ff199999999999a',
  'c24101',
  'a16131',
].map((text) => [...Buffer.from(text, 'hex')]);
const seeds = Array.from({ length: 400 }, (_, i) => encodeValue(value(new Chance(i + 1), 2))).filter(
  (s) => s.length < 120,
);

function hostile(chance: Chance): Uint8Array {
  if (chance.below(2)) {
    const bytes = chance.of(seeds).slice();
    for (let edits = chance.below(3); edits >= 0 && bytes.length > 0; edits--) {
      const at = chance.below(bytes.length);
      bytes[at] = chance.below(2) ? chance.of(HEADS) : (bytes[at] as number) ^ (1 << chance.below(8));
    }
    return chance.below(8) ? bytes : bytes.subarray(0, chance.below(bytes.length + 1));
  }
  const bytes: number[] = [];
  for (let left = 1 + chance.below(8); left > 0; left--) {
    if (chance.below(4) === 0) bytes.push(...chance.of(PARTS));
    else bytes.push(chance.below(5) ? chance.of(HEADS) : chance.below(256));
  }
  return Uint8Array.from(bytes);
}
