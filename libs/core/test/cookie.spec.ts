import { type CookieState, cookieKeyId, deriveCookieKey, openCookie, SIZE, sealCookie, toHex } from '@sealwire/core';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf, flipped, suiteOf } from './session.js';

const suite = suiteOf(primitives);
const key = { id: primitives.random(4), key: primitives.random(32) };
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const arbitrary: fc.Arbitrary<CookieState> = fc.record({
  issued: fc.nat(Number.MAX_SAFE_INTEGER),
  sessionId: bytes(16),
  flags: fc.nat(3),
  keySize: fc.constantFrom(16 as const, 32 as const),
  keyId: bytes(8),
  ck: bytes(32),
  h: bytes(32),
  c1: bytes(32),
  s1: bytes(32),
  clientEphemeral: bytes(32),
});
const state = fc.sample(arbitrary, 1)[0] as CookieState;

describe('a cookie', () => {
  it('comes back as it was, always of the same size', () => {
    fc.assert(
      fc.property(arbitrary, (value) => {
        const cookie = sealCookie(suite, key, 'payments', value);
        expect(cookie.length).toBe(SIZE.cookie);
        expect(cookieKeyId(cookie)).toEqual(key.id);
        expect(openCookie(primitives, key, 'payments', cookie)).toEqual(value);
      }),
    );
  });

  it('of another module or key is refused', () => {
    const cookie = sealCookie(suite, key, 'payments', state);
    expect(codeOf(() => openCookie(primitives, key, 'public', cookie))).toBe('open_failed');
    expect(codeOf(() => openCookie(primitives, { ...key, key: primitives.random(32) }, 'payments', cookie))).toBe(
      'open_failed',
    );
    expect(codeOf(() => openCookie(primitives, key, 'payments', cookie))).toBe('nothing was thrown');
  });

  it('is refused with any bit flipped and at any other length', () => {
    const cookie = sealCookie(suite, key, 'payments', state);
    for (let bit = 0; bit < 8 * cookie.length; bit++) {
      expect(
        codeOf(() => openCookie(primitives, key, 'payments', flipped(cookie, bit))),
        `bit ${bit}`,
      ).toBe('open_failed');
    }
    for (let length = 0; length < cookie.length; length++) {
      expect(codeOf(() => openCookie(primitives, key, 'payments', cookie.slice(0, length)))).toBe('open_failed');
    }
    expect(codeOf(() => openCookie(primitives, key, 'payments', new Uint8Array([...cookie, 0])))).toBe('open_failed');
  });

  it('never repeats a key, even where the operating system repeats its randomness', () => {
    const stuck = suiteOf({ ...primitives, random: (length) => new Uint8Array(length) });
    const salts = Array.from({ length: 50 }, () => toHex(sealCookie(stuck, key, 'payments', state).slice(4, 16)));
    expect(new Set(salts).size).toBe(50);
  });

  it('is sealed under a key of its own, with nonce zero', () => {
    const used: string[][] = [];
    const seal: typeof primitives.seal = (...use) => {
      used.push([toHex(use[0]), toHex(use[1])]);
      return primitives.seal(...use);
    };
    const noting = { ...suite, primitives: { ...primitives, seal } };
    const cookies = [1, 2].map(() => sealCookie(noting, key, 'payments', state));
    expect(used).toEqual(
      cookies.map((cookie) => [toHex(primitives.hmac(key.key, cookie.slice(4, 16))), '00'.repeat(12)]),
    );
    expect(used[0]).not.toEqual(used[1]);
  });

  it('has a key that needs the shared random part, the private key of the server and the incarnation', () => {
    const [random, other, incarnation] = [primitives.random(32), primitives.random(32), primitives.random(8)];
    const derived = deriveCookieKey(primitives, random, other, incarnation);
    expect(derived).toEqual(primitives.hmac(random, other, incarnation));
    expect(deriveCookieKey(primitives, random, random, incarnation)).not.toEqual(derived);
    expect(deriveCookieKey(primitives, other, other, incarnation)).not.toEqual(derived);
    expect(deriveCookieKey(primitives, random, other, primitives.random(8))).not.toEqual(derived);
  });
});
