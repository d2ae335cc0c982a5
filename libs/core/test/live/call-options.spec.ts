import { type Call, decodeCalls, encodeCalls, encodeValue, LIMITS } from '@sealwire/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../session.js';

const callId = new Uint8Array(16).fill(1);
const incarnation = new Uint8Array(8).fill(2);
const run = new Uint8Array(16).fill(3);
const ordinary: Call = { name: 'f', args: [1] };

describe('options of a call', () => {
  it('arrive as they were given, alone and together', () => {
    const option = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
    const name = fc.stringMatching(/^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/).filter((text) => text !== '__proto__');
    fc.assert(
      fc.property(
        fc.record({
          resend: option(fc.constant({ callId, incarnation })),
          resume: option(fc.record({ run: fc.constant(run), position: fc.jsonValue() })),
          deadline: option(fc.integer({ min: 1, max: LIMITS.deadline })),
          metadata: option(fc.dictionary(name, fc.stringMatching(/^[\t -~é]*$/), { noNullPrototype: true })),
        }),
        (options) => {
          const given = Object.entries(options).filter(([, value]) => value !== undefined);
          const call: Call = { ...ordinary, ...Object.fromEntries(given) };
          expect(decodeCalls(encodeCalls([call]))).toEqual([call]);
        },
      ),
    );
  });

  it('tell the version of bytes that are gone on with', () => {
    const call: Call = { ...ordinary, resume: { run, position: 70_000, version: 'v2' } };
    expect(decodeCalls(encodeCalls([call]))).toEqual([call]);
  });

  it('take no place in a call without them', () => {
    expect(encodeCalls([ordinary])).toEqual(encodeValue([['f', [1]]]));
  });

  it.each<[string, unknown]>([
    ['no map', {}],
    ['an empty map', new Map()],
    ['an unknown key', new Map([[5, 1]])],
    ['a key that is no number', new Map([['3', 5]])],
    [
      'keys out of order',
      new Map<number, unknown>([
        [4, {}],
        [3, 5],
      ]),
    ],
    ['an identity alone', new Map([[0, callId]])],
    ['an incarnation alone', new Map([[1, incarnation]])],
    [
      'a short identity',
      new Map([
        [0, callId.slice(1)],
        [1, incarnation],
      ]),
    ],
    [
      'a long incarnation',
      new Map([
        [0, callId],
        [1, callId],
      ]),
    ],
    ['a run of another length', new Map([[2, [incarnation, 1]]])],
    ['a run without position', new Map([[2, [run]]])],
    ['a version that is no text', new Map([[2, [run, 1, 2]]])],
    ['four parts of a run', new Map([[2, [run, 1, 'v', 0]]])],
    ['a deadline of 0', new Map([[3, 0]])],
    ['a fraction of a deadline', new Map([[3, 1.5]])],
    ['a deadline beyond the limit', new Map([[3, LIMITS.deadline + 1]])],
    ['a deadline as bigint', new Map([[3, 5n]])],
    ['metadata that is an array', new Map([[4, []]])],
    ['metadata that is a Map', new Map([[4, new Map([['a', 'b']])]])],
    ['metadata that is null', new Map([[4, null]])],
    ['a name in upper case', new Map([[4, { Authorization: 'x' }]])],
    ['an empty name', new Map([[4, { '': 'x' }]])],
    ['a name with a space', new Map([[4, { 'a b': 'x' }]])],
    ['a long name', new Map([[4, { ['a'.repeat(129)]: 'x' }]])],
    ['a value that is no text', new Map([[4, { a: 1 }]])],
    ['a value with a line break', new Map([[4, { a: 'x\r\ny: z' }]])],
    ['a value with a null character', new Map([[4, { a: 'x\0' }]])],
    ['a long value', new Map([[4, { a: 'x'.repeat(8193) }]])],
    ['too many names', new Map([[4, Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`n${i}`, '']))]])],
  ])('are refused as %s', (_, options) => {
    expect(codeOf(() => decodeCalls(encodeValue([['f', [], options]])))).toBe('bad_payload');
  });

  it('are refused in the form of four parts, and where there are more', () => {
    expect(codeOf(() => decodeCalls(encodeValue([['f', [], callId, incarnation]])))).toBe('bad_payload');
    expect(codeOf(() => decodeCalls(encodeValue([['f', [], new Map([[3, 5]]), 0]])))).toBe('bad_payload');
  });

  it.each<[Partial<Call>, string]>([
    [{ deadline: 0 }, 'a deadline that is no integer'],
    [{ metadata: { Authorization: 'x' } }, 'metadata `Authorization`, whose name is no lower-case token'],
    [{ metadata: { a: 'x\ny' } }, 'metadata `a` that is no printable text'],
    [{ resume: { run: incarnation, position: 1 } }, 'a run id of another length'],
  ])('that nobody would take are not written: %o', (options, reason) => {
    expect(() => encodeCalls([{ ...ordinary, ...options }])).toThrow(`The call of \`f\` cannot be sent: ${reason}`);
  });
});
