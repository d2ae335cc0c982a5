import * as core from '@sealwire/core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

/** Browsers have no Buffer, whose conversions the library takes if they are there. */
describe('without Buffer', () => {
  let portable: typeof core;
  beforeAll(async () => {
    vi.resetModules();
    vi.stubGlobal('Buffer', undefined);
    portable = await import('@sealwire/core');
    vi.unstubAllGlobals();
  });
  afterAll(() => vi.resetModules());

  const texts = [
    '',
    'id',
    'x'.repeat(23),
    'x'.repeat(24),
    'é'.repeat(12),
    'ä',
    '\uFEFFx',
    '\uFFFD',
    '\u{1F600}'.repeat(99),
  ];

  it('payloads have the same bytes', () => {
    expect(portable.decodeValue).not.toBe(core.decodeValue);
    const bytes = portable.encodeValue(texts);
    expect(bytes).toEqual(core.encodeValue(texts));
    expect(portable.decodeValue(bytes)).toEqual(texts);
    expect(core.decodeValue(bytes)).toEqual(texts);
  });

  it('texts with half of a surrogate pair, and bytes that are no UTF-8, are refused', () => {
    expect(() => portable.encodeValue(['x'.repeat(30), '\uD83D'])).toThrow('a text with half of a surrogate pair');
    expect(() => portable.decodeValue(Uint8Array.of(0x62, 0xc3, 0x28))).toThrow('The payload is malformed.');
  });

  it('hexadecimal text is the same', () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    expect(portable.toHex(bytes)).toBe(core.toHex(bytes));
    expect(portable.toHex(new Uint8Array())).toBe('');
    expect(core.toHex(bytes.subarray(1, 3))).toBe('0102');
  });
});
