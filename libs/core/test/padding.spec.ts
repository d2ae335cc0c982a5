import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pad, paddedLength, unpad, unpadFirst } from '../src/message/index.js';

describe('padding', () => {
  it('adds at most 12 % from 64 bytes to 1 MiB, never shortens and never falls', () => {
    let previous = 0;
    let worst = 0;
    for (let length = 1; length <= 2 ** 20; length++) {
      const padded = paddedLength(length);
      if (padded < length || padded < previous) throw new Error(`${length} became ${padded}`);
      if (length >= 64) worst = Math.max(worst, padded / length - 1);
      previous = padded;
    }
    expect(worst).toBeLessThanOrEqual(0.12);
    expect(worst).toBeGreaterThan(0.1);
  });

  it.each([
    [0, 64],
    [64, 64],
    [65, 72],
    [200, 208],
    [1000, 1024],
    [1025, 1088],
    [65_536, 65_536],
    [65_537, 67_584],
  ])('%i bytes become %i', (length, padded) => expect(paddedLength(length)).toBe(padded));

  it('hides all but a few lengths', () => {
    const lengths = new Set(Array.from({ length: 2 ** 16 }, (_, length) => paddedLength(length)));
    expect(lengths.size).toBeLessThan(150);
  });

  it('comes back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5_000 }), (body) => {
        const padded = pad(body);
        expect(padded.length).toBe(paddedLength(4 + body.length));
        expect(unpad(padded)).toEqual(body);
      }),
    );
  });

  it('is refused at every other length, longer or shorter', () => {
    const badPayload = expect.objectContaining({ code: 'bad_payload' });
    for (const size of [0, 60, 61, 100, 1000]) {
      const exact = pad(new Uint8Array(size).fill(1));
      for (const length of [
        4 + size,
        exact.length - 1,
        exact.length + 1,
        paddedLength(exact.length + 1),
        2 * exact.length,
      ]) {
        if (length === exact.length) continue;
        const other = new Uint8Array(length);
        other.set(exact.subarray(0, Math.min(length, exact.length)));
        expect(() => unpad(other), `${size} in ${length}`).toThrow(badPayload);
      }
    }
  });

  it('ends by itself where something follows', () => {
    const [one, two] = [pad(new Uint8Array(70).fill(1)), pad(new Uint8Array(3).fill(2))];
    const { body, rest } = unpadFirst(new Uint8Array([...one, ...two]));
    expect(body).toEqual(new Uint8Array(70).fill(1));
    expect(unpad(rest)).toEqual(new Uint8Array(3).fill(2));
  });

  it('is refused with a length beyond the end, anything after the body, or less than a length', () => {
    const badPayload = expect.objectContaining({ code: 'bad_payload' });
    const beyond = pad(new Uint8Array(10));
    beyond[3] = 61;
    expect(() => unpad(beyond)).toThrow(badPayload);
    const huge = pad(new Uint8Array(10)).fill(0xff, 0, 4);
    expect(() => unpad(huge)).toThrow(badPayload);
    for (const position of [14, 40, 63]) {
      const dirty = pad(new Uint8Array(10));
      dirty[position] = 1;
      expect(() => unpad(dirty)).toThrow(badPayload);
    }
    for (let length = 0; length < 4; length++) expect(() => unpad(new Uint8Array(length))).toThrow(badPayload);
  });
});
