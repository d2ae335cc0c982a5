import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { concat, decodeValue, encodeValue, LIMITS } from '@sealwire/core';
import { describe, expect, it } from 'vitest';
import { u16, u32 } from './support/bytes.js';

const badPayload = expect.objectContaining({ code: 'bad_payload' });
const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));
const joined = (first: Uint8Array, rest: readonly Uint8Array[]) => new Uint8Array(Buffer.concat([first, ...rest]));
const arrayOf = (parts: readonly Uint8Array[]) => joined(head(4, parts.length), parts);
const setOf = (parts: readonly Uint8Array[]) => joined(hex('d90102'), [head(4, parts.length), ...parts]);
const mapOf = (keys: readonly Uint8Array[]) =>
  joined(hex('d90103'), [head(5, keys.length), ...keys.flatMap((key) => [key, hex('00')])]);
const objectOf = (keys: readonly string[]) =>
  joined(
    head(5, keys.length),
    keys.flatMap((key) => [encodeValue(key), hex('00')]),
  );

function head(major: number, length: number): Uint8Array {
  if (length < 24) return Uint8Array.of((major << 5) | length);
  if (length < 256) return Uint8Array.of((major << 5) | 24, length);
  return length < 65_536
    ? concat(Uint8Array.of((major << 5) | 25), u16(length))
    : concat(Uint8Array.of((major << 5) | 26), u32(length));
}

/** V8's hash of a number that is no small integer: public, and the same in every process. */
function hashOfDouble(value: number): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const mask = (1n << 64n) - 1n;
  let hash = view.getBigUint64(0);
  hash = (~hash + ((hash << 18n) & mask)) & mask;
  hash ^= hash >> 31n;
  hash = (hash * 21n) & mask;
  hash ^= hash >> 11n;
  hash = (hash + (hash << 6n)) & mask;
  hash ^= hash >> 22n;
  return Number(hash & 0x3fff_ffffn);
}

/** Inverse of {@link hashOfDouble} for a chosen 64-bit state. */
function doubleOfHash(state: bigint): number {
  const mask = (1n << 64n) - 1n;
  const unshift = (value: bigint, by: bigint) => {
    let out = value;
    for (let i = by; i < 64n; i += by) out = value ^ (out >> by);
    return out;
  };
  const inverse = (odd: bigint) => {
    let out = odd;
    for (let i = 0; i < 6; i++) out = (out * (2n - odd * out)) & mask;
    return out;
  };
  let hash = unshift(state, 22n);
  hash = (hash * inverse(65n)) & mask;
  hash = unshift(hash, 11n);
  hash = (hash * inverse(21n)) & mask;
  hash = unshift(hash, 31n);
  // ~h + (h << 18) is h * (2^18 - 1) - 1
  hash = ((hash + 1n) * inverse((1n << 18n) - 1n)) & mask;
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, hash);
  return view.getFloat64(0);
}

function collidingDoubles(count: number): number[] {
  const found: number[] = [];
  for (let i = 1n; found.length < count; i++) {
    const value = doubleOfHash((i << 32n) | 5n);
    if (Number.isFinite(value) && Math.fround(value) !== value && !Number.isInteger(value)) found.push(value);
  }
  return found;
}

/** milliseconds of the fastest of five runs */
function fastest(run: () => unknown): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    run();
    least = Math.min(least, performance.now() - start);
  }
  return least;
}

const attempt = (bytes: Uint8Array) => () => {
  try {
    decodeValue(bytes);
  } catch (error) {
    expect(error).toEqual(badPayload);
  }
};

/** Time for hostile bytes as a multiple of the time for harmless text of as many bytes and items. */
function slowdown(hostile: Uint8Array, harmless: Uint8Array): number {
  return fastest(attempt(hostile)) / fastest(attempt(harmless));
}

const texts = (count: number, length: number) =>
  Array.from({ length: count }, (_, i) => encodeValue(`k${i.toString(36)}`.padEnd(length, '.')));

describe('keys whose hashes collide', () => {
  const doubles = collidingDoubles(100_000);

  it('are what the test thinks they are', () => {
    expect(new Set(doubles.slice(0, 1_000).map(hashOfDouble)).size).toBe(1);
    const some = doubles.slice(0, 8_000);
    const others = some.map((_, i) => i + 0.1);
    const quadratic = fastest(() => new Set(some)) / fastest(() => new Set(others));
    expect(quadratic).toBeGreaterThan(20);
  });

  const numbers = doubles.map((value) => encodeValue(value));
  const bigints = Array.from({ length: 50_000 }, (_, i) => encodeValue((BigInt(i + 1) << 64n) | 7n));
  const few = <T>(items: readonly T[]) => items.slice(0, LIMITS.numericKeys);
  const many = 60_000;

  it.each<[string, Uint8Array, Uint8Array, number?]>([
    ['a Set of 100000 numbers', setOf(numbers), setOf(texts(many, 16))],
    ['a Set of numbers, as many as items are taken', setOf(numbers.slice(0, many)), setOf(texts(many, 8))],
    ['a Map of numbers', mapOf(numbers.slice(0, 30_000)), setOf(texts(30_000, 9))],
    ['a Set of bigints', setOf(bigints.slice(0, 30_000)), setOf(texts(30_000, 9))],
    ['a Map of bigints', mapOf(bigints.slice(0, 20_000)), setOf(texts(20_000, 9))],
    [
      '63 Sets of as many numbers as one may hold',
      arrayOf(Array.from({ length: 63 }, () => setOf(few(numbers)))),
      arrayOf(Array.from({ length: 63 }, () => setOf(texts(LIMITS.numericKeys, 8)))),
      // each collection may cost the square of its limit, and the limit of items allows no more of them
      40,
    ],
    [
      '30 Sets of as many bigints as one may hold',
      arrayOf(Array.from({ length: 30 }, () => setOf(few(bigints)))),
      arrayOf(Array.from({ length: 30 }, () => setOf(texts(LIMITS.numericKeys, 9)))),
      100,
    ],
    [
      'a Set of texts that are indexes',
      setOf(Array.from({ length: many }, (_, i) => encodeValue(String(i * 65_536)))),
      setOf(texts(many, 9)),
    ],
    [
      'an object of names that are indexes',
      objectOf(Array.from({ length: 30_000 }, (_, i) => String(i * 65_536))),
      objectOf(Array.from({ length: 30_000 }, (_, i) => `k${i * 65_536}`)),
    ],
    [
      'an object of names that are large integers',
      objectOf(Array.from({ length: 30_000 }, (_, i) => String(2 ** 40 + i * 65_536))),
      objectOf(Array.from({ length: 30_000 }, (_, i) => `k${2 ** 40 + i * 65_536}`)),
    ],
    [
      '2000 long texts of one length',
      setOf(Array.from({ length: 2_000 }, (_, i) => encodeValue(String(i).padStart(16_384, 'x')))),
      arrayOf(Array.from({ length: 2_000 }, (_, i) => encodeValue(String(i).padStart(16_384, 'x')))),
    ],
  ])('%s', (_, hostile, harmless, most = 8) => {
    expect(slowdown(hostile, harmless)).toBeLessThan(most);
  });

  it('are taken up to the limit, and one more is refused on both sides', () => {
    const { numericKeys } = LIMITS;
    const kinds: ((i: number) => unknown)[] = [(i) => i, (i) => BigInt(i), String, (i) => i + 0.5];
    for (const kind of kinds) {
      const keys = Array.from({ length: numericKeys + 1 }, (_, i) => kind(i));
      const all = new Set([...keys.slice(0, numericKeys), 'text', null]);
      expect(decodeValue(encodeValue(all))).toStrictEqual(all);
      const map = new Map(keys.slice(0, numericKeys).map((k) => [k, 1]));
      expect(decodeValue(encodeValue(map))).toStrictEqual(map);
      expect(() => encodeValue({ set: new Set(keys) })).toThrow(
        expect.objectContaining({ code: 'unsupported_value', path: `.set.items[${numericKeys}]` }),
      );
      expect(() => encodeValue(new Map(keys.map((k) => [k, 1])))).toThrow(/more than 1024 numbers/);
      expect(() => decodeValue(setOf(keys.map((key) => encodeValue(key))))).toThrow(badPayload);
      expect(() => decodeValue(mapOf(keys.map((key) => encodeValue(key))))).toThrow(badPayload);
    }
  });

  it('lets an object have any number of indexes', () => {
    const object = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [i * 3, i]));
    expect(decodeValue(encodeValue(object))).toStrictEqual(object);
  });

  it('takes a text of 16383 characters as key, no longer one', () => {
    const longest = 'x'.repeat(LIMITS.keyText);
    for (const make of [(k: string) => new Set([k]), (k: string) => new Map([[k, 1]]), (k: string) => ({ [k]: 1 })]) {
      expect(decodeValue(encodeValue(make(longest)))).toStrictEqual(make(longest));
      expect(() => encodeValue(make(`${longest}x`))).toThrow(/a key of more than 16383 characters/);
    }
    const longer = encodeValue(`${longest}x`);
    expect(() => decodeValue(setOf([longer]))).toThrow(badPayload);
    expect(() => decodeValue(mapOf([longer]))).toThrow(badPayload);
    expect(() => decodeValue(concat(hex('a1'), longer, hex('00')))).toThrow(badPayload);
  });
});

describe('payloads of very many items', () => {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');

  /** bytes of memory that the decoded value holds */
  function held(bytes: Uint8Array, options = {}): number {
    const used = () => {
      collect();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const before = used();
    const value = decodeValue(bytes, options);
    const after = used();
    expect(value).toBeDefined();
    return after - before;
  }

  const buffers = { bytes: (view: Uint8Array) => Buffer.allocUnsafeSlow(view.length).fill(view) };
  const full = LIMITS.payloadItems;
  it.each<[string, Uint8Array, object]>([
    ['empty byte strings', arrayOf(Array.from({ length: full - 1 }, () => hex('40'))), {}],
    ['empty byte strings as Buffer', arrayOf(Array.from({ length: full - 1 }, () => hex('40'))), buffers],
    ['byte strings of one byte', arrayOf(Array.from({ length: full - 1 }, () => hex('4100'))), {}],
    ['empty objects', arrayOf(Array.from({ length: full - 1 }, () => hex('a0'))), {}],
    ['empty arrays', arrayOf(Array.from({ length: full - 1 }, () => hex('80'))), {}],
    ['short arrays', arrayOf(Array.from({ length: full / 2 - 1 }, () => hex('8100'))), {}],
    ['arrays in arrays', arrayOf(Array.from({ length: full / 4 - 1 }, () => hex('81818100'))), {}],
    ['empty Maps', arrayOf(Array.from({ length: full / 2 - 1 }, () => hex('d90103a0'))), {}],
    ['empty Sets', arrayOf(Array.from({ length: full / 2 - 1 }, () => hex('d9010280'))), {}],
    ['Sets of one item', arrayOf(Array.from({ length: 21_000 }, () => hex('d901028101'))), {}],
    ['dates', arrayOf(Array.from({ length: full / 2 - 1 }, () => hex('c100'))), {}],
    ['bigints', arrayOf(Array.from({ length: full / 2 - 1 }, () => hex('c24101'))), {}],
    ['objects with the index 11', arrayOf(Array.from({ length: 21_000 }, () => objectOf(['11']))), {}],
    ['objects with the index 1023', arrayOf(Array.from({ length: 21_000 }, () => objectOf(['1023']))), {}],
    ['objects with the indexes 0 and 1023', arrayOf(Array.from({ length: 13_000 }, () => objectOf(['0', '1023']))), {}],
    ['objects of names of their own', arrayOf(Array.from({ length: 21_000 }, (_, i) => objectOf([`k${i}`]))), {}],
  ])('%s take little memory', (_, bytes, options) => {
    decodeValue(bytes, options);
    expect(held(bytes, options)).toBeLessThan(40_000_000);
  });

  it.each<[string, Uint8Array]>([
    ['empty byte strings', hex('40')],
    ['empty objects', hex('a0')],
    ['short arrays', hex('8100')],
    ['numbers', hex('00')],
  ])('a megabyte of %s is refused before it is read', (_, part) => {
    const bytes = arrayOf(Array.from({ length: Math.floor(1_048_576 / part.length) }, () => part));
    expect(() => decodeValue(bytes)).toThrow(badPayload);
    expect(allocated(bytes)).toBeLessThan(1_000_000);
  });

  /** bytes of memory that are allocated while it is refused */
  function allocated(bytes: Uint8Array): number {
    collect();
    const before = process.memoryUsage().heapUsed;
    attempt(bytes)();
    return process.memoryUsage().heapUsed - before;
  }

  it('counts every value, key and tag', () => {
    const fill = (items: number) => new Array(items).fill(0);
    const cases: [unknown, number][] = [
      [0, 1],
      [{ a: 1 }, 3],
      [[0], 2],
      [new Map([[1, 2]]), 4],
      [new Set([1]), 3],
      [new Date(0), 2],
      [1n, 2],
    ];
    for (const [value, items] of cases) {
      const fits = [value, ...fill(full - 1 - items)];
      expect(decodeValue(encodeValue(fits))).toStrictEqual(fits);
      const over = [...fits, 0];
      expect(() => encodeValue(over)).toThrow(`more than ${full} items`);
      expect(() => decodeValue(arrayOf(over.map((part) => encodeValue(part))))).toThrow(badPayload);
    }
  });
});

describe('bytes', () => {
  it('share no memory with the payload nor with each other', () => {
    const payload = encodeValue([new Uint8Array(100).fill(1), Uint8Array.of(2), new Uint8Array(0), new Uint8Array(0)]);
    const parts = decodeValue(payload) as Uint8Array[];
    payload.fill(9);
    expect(parts).toStrictEqual([new Uint8Array(100).fill(1), Uint8Array.of(2), new Uint8Array(0), new Uint8Array(0)]);
    expect(parts.map(({ buffer }) => buffer.byteLength)).toEqual([100, 1, 0, 0]);
    expect(parts[2]).not.toBe(parts[3]);
  });

  it('are what the hook makes of them', () => {
    const bytes = (view: Uint8Array) => {
      const copy = Buffer.allocUnsafeSlow(view.length);
      copy.set(view);
      return copy;
    };
    const value = decodeValue(encodeValue([Uint8Array.of(1, 2), new Map([[new Uint8Array(0), 1]])]), { bytes });
    expect(value).toStrictEqual([Buffer.of(1, 2), new Map([[Buffer.alloc(0), 1]])]);
  });

  it('of another realm are bytes, and dates are dates', () => {
    const [bytes, date] = runInNewContext('[new Uint8Array([1, 2]), new Date(5)]');
    expect(bytes instanceof Uint8Array).toBe(false);
    expect(decodeValue(encodeValue([bytes, date]))).toStrictEqual([Uint8Array.of(1, 2), new Date(5)]);
  });
});
