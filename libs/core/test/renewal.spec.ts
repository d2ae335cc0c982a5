import {
  callIdentity,
  concat,
  encodeCallNumber,
  FIRST_LANE,
  frameDigest,
  LIMITS,
  type NumberAnswer,
  proveSession,
  type Renewal,
  toHex,
} from '@sealwire/core';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeAnswers,
  decodeFirstCalls,
  decodeRenewalAnswers,
  decodeRenewals,
  encodeAnswers,
  encodeFirstCalls,
  encodeRenewalAnswers,
  encodeRenewals,
} from '../src/handshake/index.js';
import { codeOf } from './session.js';
import { u16, u32 } from './support/bytes.js';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const counter = fc.nat(2 ** 32 - 1);
const number = fc.record({ number: fc.record({ lane: counter, counter }), digest: bytes(16) });
const renewals = fc.array(
  fc.record({ sessionId: bytes(16), proof: bytes(16), numbers: fc.array(number, { maxLength: 60 }) }),
  { maxLength: 4 },
);
const answer = fc.oneof(
  fc.constantFrom<NumberAnswer>({ known: 'unknown' }, { known: 'never_ran' }, { known: 'ran' }, { known: 'running' }),
  fc.record({ known: fc.constant('result' as const), frame: fc.uint8Array({ maxLength: 500 }) }),
);
const answers = fc.array(fc.record({ proof: bytes(16), answers: fc.array(answer, { maxLength: 60 }) }), {
  maxLength: 4,
});
const list = (given: NumberAnswer[]) => ({ proof: new Uint8Array(16), answers: given });
const someNumber = { number: { lane: 1, counter: 2 }, digest: new Uint8Array(16) };
const renewal = (count: number): Renewal => ({
  sessionId: new Uint8Array(16),
  proof: new Uint8Array(16),
  numbers: Array(count).fill(someNumber),
});

describe('renewals', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(renewals, answers, fc.array(answer), fc.array(fc.uint8Array()), (asked, given, list, calls) => {
        expect(decodeRenewals(encodeRenewals(asked))).toEqual(asked);
        expect(decodeRenewalAnswers(encodeRenewalAnswers(given))).toEqual(given);
        expect(decodeAnswers(encodeAnswers(list))).toEqual(list);
        expect(decodeFirstCalls(encodeFirstCalls(calls))).toEqual(calls);
      }),
    );
  });

  it('are refused cut at any length, or with a byte more', () => {
    const result: NumberAnswer = { known: 'result', frame: new Uint8Array(9) };
    const blocks: [Uint8Array, (bytes: Uint8Array) => unknown][] = [
      [encodeRenewals([renewal(2), renewal(0)]), decodeRenewals],
      [encodeRenewalAnswers([list([result]), list([])]), decodeRenewalAnswers],
      [encodeAnswers([result, { known: 'ran' }]), decodeAnswers],
      [encodeFirstCalls([new Uint8Array(9), new Uint8Array(0)]), decodeFirstCalls],
    ];
    for (const [block, decode] of blocks) {
      for (let length = 0; length < block.length; length++) {
        expect(codeOf(() => decode(block.slice(0, length)))).toBe('bad_payload');
      }
      expect(codeOf(() => decode(concat(block, new Uint8Array(1))))).toBe('bad_payload');
      expect(codeOf(() => decode(block))).toBe('nothing was thrown');
    }
  });

  it('are refused beyond their limits, though all bytes are there', () => {
    const half = LIMITS.renewalNumbers / 2;
    expect(decodeRenewals(encodeRenewals([renewal(half), renewal(half)])).length).toBe(2);
    expect(codeOf(() => encodeRenewals([renewal(half), renewal(half + 1)]))).toBe('too_large');
    expect(codeOf(() => encodeRenewals(Array(5).fill(renewal(0))))).toBe('too_large');
    const one = (count: number) => encodeRenewals([renewal(count)]).slice(1);
    expect(codeOf(() => decodeRenewals(concat(Uint8Array.of(2), one(half), one(half))))).toBe('nothing was thrown');
    expect(codeOf(() => decodeRenewals(concat(Uint8Array.of(2), one(half), one(half), u16(0))))).toBe('bad_payload');
    expect(codeOf(() => decodeRenewals(concat(Uint8Array.of(2), one(half), one(1), one(half))))).toBe('bad_payload');
    const more = concat(
      one(half),
      encodeRenewals([renewal(half)]).slice(1, 33),
      u16(half + 1),
      new Uint8Array(24 * (half + 1)),
    );
    expect(codeOf(() => decodeRenewals(concat(Uint8Array.of(2), more)))).toBe('bad_payload');
    expect(codeOf(() => decodeRenewals(concat(Uint8Array.of(5), ...Array(5).fill(one(0)))))).toBe('bad_payload');

    const ran = (count: number) => list(Array(count).fill({ known: 'ran' }));
    expect(decodeRenewalAnswers(encodeRenewalAnswers([ran(half), ran(half)])).length).toBe(2);
    expect(codeOf(() => decodeRenewalAnswers(encodeRenewalAnswers([ran(half), ran(half + 1)])))).toBe('bad_payload');
    expect(codeOf(() => decodeRenewalAnswers(encodeRenewalAnswers(Array(5).fill(list([])))))).toBe('bad_payload');
    expect(codeOf(() => decodeAnswers(encodeAnswers(ran(257).answers)))).toBe('bad_payload');
    expect(codeOf(() => encodeFirstCalls(Array(257).fill(new Uint8Array(1))))).toBe('too_large');
    expect(codeOf(() => decodeFirstCalls(concat(u16(257), new Uint8Array(4 * 257))))).toBe('bad_payload');
  });

  it('never believe a count or a length, nor an answer of another kind', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
        for (const decode of [decodeRenewals, decodeRenewalAnswers, decodeAnswers, decodeFirstCalls]) {
          expect(['bad_payload', 'nothing was thrown']).toContain(codeOf(() => decode(noise)));
        }
      }),
      { examples: [[concat(u16(1), u32(0xffffffff))], [concat(u16(1), Uint8Array.of(3), u32(0xffffffff))]] },
    );
    expect(codeOf(() => decodeAnswers(concat(u16(1), Uint8Array.of(5))))).toBe('bad_payload');
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

  it('of first calls counts their places in lane 0', () => {
    expect(toHex(encodeCallNumber({ lane: FIRST_LANE, counter: 3 }))).toBe('0000000000000003');
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
