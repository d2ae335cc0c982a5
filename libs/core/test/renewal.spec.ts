import {
  callIdentity,
  concat,
  encodeCallNumber,
  FIRST_CALLS,
  frameDigest,
  LIMITS,
  proveSession,
  type Renewal,
  type RenewalAnswer,
  toHex,
} from '@sealwire/core';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { u16, u32 } from '../src/bytes.js';
import {
  decodeRenewalAnswers,
  decodeRenewals,
  encodeRenewalAnswers,
  encodeRenewals,
} from '../src/handshake/renewal.js';
import { codeOf } from './session.js';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const counter = fc.nat(2 ** 32 - 1);
const number = fc.record({ number: fc.record({ lane: counter, counter }), digest: bytes(16) });
const renewals = fc.array(
  fc.record({ sessionId: bytes(16), proof: bytes(16), numbers: fc.array(number, { maxLength: 60 }) }),
  { maxLength: 4 },
);
const answer = fc.oneof(
  fc.constantFrom<RenewalAnswer>({ known: 'unknown' }, { known: 'never_ran' }, { known: 'ran' }),
  fc.record({ known: fc.constant('result' as const), reply: fc.uint8Array({ maxLength: 500 }) }),
);
const answers = fc.array(fc.array(answer, { maxLength: 60 }), { maxLength: 4 });
const someNumber = { number: { lane: 1, counter: 2 }, digest: new Uint8Array(16) };
const renewal = (count: number): Renewal => ({
  sessionId: new Uint8Array(16),
  proof: new Uint8Array(16),
  numbers: Array(count).fill(someNumber),
});

describe('renewals', () => {
  it('come back as they were and leave what follows them', () => {
    fc.assert(
      fc.property(renewals, bytes(9), (value, rest) => {
        const block = encodeRenewals(value);
        expect(decodeRenewals(concat(block, rest))).toEqual({ renewals: value, length: block.length });
      }),
    );
  });

  it('and their answers too', () => {
    fc.assert(
      fc.property(answers, bytes(9), (value, rest) => {
        const block = encodeRenewalAnswers(value);
        expect(decodeRenewalAnswers(concat(block, rest))).toEqual({ answers: value, length: block.length });
      }),
    );
  });

  it('are refused cut at any length', () => {
    const [one, two] = [
      encodeRenewals([renewal(2), renewal(0)]),
      encodeRenewalAnswers([[{ known: 'result', reply: new Uint8Array(9) }], []]),
    ];
    for (let length = 0; length < one.length; length++) {
      expect(codeOf(() => decodeRenewals(one.slice(0, length)))).toBe('bad_payload');
    }
    for (let length = 0; length < two.length; length++) {
      expect(codeOf(() => decodeRenewalAnswers(two.slice(0, length)))).toBe('bad_payload');
    }
  });

  it('are refused beyond their limits, though all bytes are there', () => {
    const half = LIMITS.renewalNumbers / 2;
    expect(decodeRenewals(encodeRenewals([renewal(half), renewal(half)])).renewals.length).toBe(2);
    expect(codeOf(() => decodeRenewals(encodeRenewals([renewal(half), renewal(half + 1)])))).toBe('bad_payload');
    expect(codeOf(() => decodeRenewals(encodeRenewals(Array(5).fill(renewal(0)))))).toBe('bad_payload');

    const ran = (count: number): RenewalAnswer[] => Array(count).fill({ known: 'ran' });
    expect(decodeRenewalAnswers(encodeRenewalAnswers([ran(half), ran(half)])).answers.length).toBe(2);
    expect(codeOf(() => decodeRenewalAnswers(encodeRenewalAnswers([ran(half), ran(half + 1)])))).toBe('bad_payload');
    expect(codeOf(() => decodeRenewalAnswers(encodeRenewalAnswers(Array(5).fill([]))))).toBe('bad_payload');
  });

  it('never believe a count or a length, nor an answer of another kind', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
        for (const decode of [decodeRenewals, decodeRenewalAnswers]) {
          expect(['bad_payload', 'nothing was thrown']).toContain(codeOf(() => decode(noise)));
        }
      }),
      { examples: [[concat(Uint8Array.of(1), u16(1), Uint8Array.of(3), u32(0xffffffff))]] },
    );
    expect(codeOf(() => decodeRenewalAnswers(concat(Uint8Array.of(1), u16(1), Uint8Array.of(5))))).toBe('bad_payload');
  });

  it('are proved by the renewal key over this very handshake', () => {
    const [key, h, other] = [primitives.random(32), primitives.random(32), primitives.random(32)];
    const proof = proveSession(primitives, key, h);
    expect(proof.length).toBe(16);
    expect(proveSession(primitives, key, h)).toEqual(proof);
    expect(proveSession(primitives, key, other)).not.toEqual(proof);
    expect(proveSession(primitives, other, h)).not.toEqual(proof);
  });
});

describe('a call identity', () => {
  it('differs with key, lane, counter, first frame and index', () => {
    const keys = [primitives.random(32), primitives.random(32)];
    const digests = ['one', 'another'].map((frame) => frameDigest(primitives, new TextEncoder().encode(frame)));
    const identities = keys.flatMap((key) =>
      [1, 2, 256].flatMap((lane) =>
        [1, 2, 256].flatMap((counter) =>
          digests.flatMap((digest) =>
            [0, 1, 255].map((index) =>
              toHex(callIdentity(primitives, key, { number: { lane, counter }, digest }, index)),
            ),
          ),
        ),
      ),
    );
    expect(new Set(identities).size).toBe(108);
    expect(new Set(identities.map((text) => text.length))).toEqual(new Set([32]));
  });

  it('of first calls is that of number 0 in lane 0, eight zero bytes', () => {
    expect(encodeCallNumber(FIRST_CALLS)).toEqual(new Uint8Array(8));
  });

  it('is not the digest, which changes with every byte of the frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.nat(), (frame, at) => {
        const changed = frame.slice();
        changed[at % frame.length] = (changed[at % frame.length] ?? 0) ^ 1;
        expect(frameDigest(primitives, frame).length).toBe(16);
        expect(frameDigest(primitives, changed)).not.toEqual(frameDigest(primitives, frame));
      }),
    );
  });
});
