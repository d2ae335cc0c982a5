import {
  type Call,
  decodeCalls,
  decodeReply,
  decodeValue,
  encodeCalls,
  encodeOutcome,
  encodeReply,
  encodeValue,
  LIMITS,
  largestArgument,
  type Outcome,
  UnsupportedValueError,
} from '@sealwire/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const roundTrip = (value: unknown) => decodeValue(encodeValue(value));
const refusal = (value: unknown): UnsupportedValueError => {
  try {
    encodeValue(value);
  } catch (error) {
    if (error instanceof UnsupportedValueError) return error;
    throw error;
  }
  throw new Error('it was taken');
};

/** `levels` arrays around a value */
function inside(levels: number, value: unknown): unknown {
  return levels === 0 ? value : [inside(levels - 1, value)];
}

const url = () => new URL('https://x.test/');
class Backwards extends Map<unknown, unknown> {
  override *[Symbol.iterator](): MapIterator<[unknown, unknown]> {
    yield [-0, 1];
    yield ['a', 1];
    yield* super[Symbol.iterator]();
  }
}

describe('what the encoder lets through, every decoder takes', () => {
  const scalar = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.array(fc.nat(0xffff), { maxLength: 3 }).map((codes) => String.fromCharCode(...codes)),
    fc.double(),
    fc.integer(),
    fc.bigInt(),
    fc.date({ noInvalidDate: false }),
    fc.uint8Array({ maxLength: 3 }),
    fc.constantFrom<unknown>(null, undefined, true, -0, 0, Number.NaN, '__proto__', '0', '4294967294', 'a', url()),
    fc.constantFrom<unknown>(Symbol('s'), () => 1, /x/, new Error('x'), new Float32Array(1), Object(1), Object('a')),
  );
  const { value: anything } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 6, depthSize: 'small' },
      scalar,
      fc.array(tie('value'), { maxLength: 4 }),
      fc
        .array(fc.tuple(fc.oneof(scalar.map(String), fc.string()), tie('value')), { maxLength: 4 })
        .map(Object.fromEntries),
      fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map((entries) => new Map(entries)),
      fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 2 }).map((entries) => new Backwards(entries)),
      fc.array(tie('value'), { maxLength: 4 }).map((items) => new Set(items)),
      tie('value').map((value) => ({ toJSON: () => value })),
      fc.tuple(fc.nat(34), tie('value')).map(([levels, value]) => inside(levels, value)),
    ),
  }));

  it('whatever it is', () => {
    let taken = 0;
    fc.assert(
      fc.property(anything, (value) => {
        let bytes: Uint8Array;
        try {
          bytes = encodeValue(value);
        } catch (error) {
          expect(error).toBeInstanceOf(UnsupportedValueError);
          return;
        }
        taken++;
        // the same value has the same bytes again
        expect(encodeValue(decodeValue(bytes))).toStrictEqual(bytes);
      }),
      { numRuns: 10_000 },
    );
    expect(taken).toBeGreaterThan(1_000);
  });

  it('to the same depth for every kind of value', () => {
    const { cborDepth } = LIMITS;
    const kinds: [unknown, number][] = [
      [1, 0],
      ['text', 0],
      [new Uint8Array(1), 0],
      [url(), 0],
      [[], 1],
      [{}, 1],
      [{ toJSON: () => ({}) }, 1],
      [1n, 1],
      [-1n, 1],
      [new Date(0), 1],
      [new Set([1]), 2],
      [new Map([[1, 1]]), 2],
      [new Set([1n]), 3],
      [new Map([[1n, 1]]), 3],
      [new Map([[1, new Date(0)]]), 3],
    ];
    for (const [value, levels] of kinds) {
      expect(() => roundTrip(inside(cborDepth - levels, value))).not.toThrow();
      if (levels === 0) continue;
      expect(refusal(inside(cborDepth - levels + 1, value)).reason).toBe('nested deeper than 32 levels');
      // in calls and replies the outer arrays count too
      expect(() =>
        decodeCalls(encodeCalls([{ name: 'f', args: [inside(cborDepth - levels - 3, value)] }])),
      ).not.toThrow();
      expect(() => encodeCalls([{ name: 'f', args: [inside(cborDepth - levels - 2, value)] }])).toThrow(/deeper/);
      const outcome = (more: number): Outcome => ({ ok: true, value: inside(cborDepth - levels - 2 + more, value) });
      expect(() => decodeReply(encodeReply({ outcomes: [encodeOutcome(outcome(0))] }))).not.toThrow();
      expect(() => encodeReply({ outcomes: [outcome(1)] })).toThrow(/deeper/);
      expect(() => encodeOutcome(outcome(1))).toThrow(/deeper/);
    }
  });
});

describe('an error names the place', () => {
  const late = {
    get amount() {
      throw new Error('not loaded');
    },
  };
  const cycle: Record<string, unknown> = {};
  cycle.lines = [1, { owner: cycle }];
  it.each<[string, unknown, string, string]>([
    ['a lone surrogate', { lines: ['a', 'b', 'c', 'x\uD83D'] }, '.lines[3]', 'a text with half of a surrogate pair'],
    ['a lone surrogate in a long text', [`${'x'.repeat(500)}\uDE00`], '[0]', 'a text with half of a surrogate pair'],
    ['a lone surrogate in a name', { '\uD83D': 1 }, '["\\ud83d"]', 'a text with half of a surrogate pair'],
    ['a name that is no identifier', { 'a b': { ä1: Symbol('s') } }, '["a b"].ä1', 'a symbol'],
    ['a long name', { ['x'.repeat(60)]: () => 1 }, `["${'x'.repeat(40)}..."]`, 'a function'],
    ['the value of a Map', new Map([['k', new Map([[5, [() => 1]]])]]), '.get("k").get(5)[0]', 'a function'],
    ['the value of a key that is no text', new Map([[{}, [() => 1]]]), '.values[0][0]', 'a function'],
    [
      'the key of a Map',
      new Map([
        ['a', 1],
        [/x/ as unknown, 2],
      ] as [unknown, unknown][]),
      '.keys[1]',
      'a value of type RegExp',
    ],
    ['the item of a Set', new Set([1, new WeakMap()]), '.items[1]', 'a value of type WeakMap'],
    ['a getter that throws', [late], '[0].amount', 'reading it threw "not loaded"'],
    [
      'a toJSON that throws',
      [
        {
          toJSON: () => {
            throw new Error('no');
          },
        },
      ],
      '[0]',
      'reading it threw "no"',
    ],
    [
      'a toJSON without end',
      {
        a: {
          toJSON() {
            return this;
          },
        },
      },
      '.a',
      'its toJSON() returns an object with toJSON() again and again',
    ],
    ['a cycle', { top: cycle }, '.top.lines[1].owner', 'a reference to what holds it'],
    ['items of a Set that fall together', new Set([url(), url()]), '.items[1]', 'it falls together with another one'],
    [
      'an item that falls together with a text',
      new Set(['https://x.test/', url()]),
      '.items[1]',
      'it falls together with another one',
    ],
    [
      'keys of a Map that fall together',
      new Map([
        [0, 1],
        [{ toJSON: () => -0 }, 2],
      ] as [unknown, unknown][]),
      '.keys[1]',
      'it falls together with another one',
    ],
    [
      'an array of 4 billion',
      { a: new Array(2 ** 32 - 1) },
      '.a',
      `more than ${LIMITS.payloadItems} items in one message`,
    ],
  ])('%s', (_, value, path, reason) => {
    expect(refusal(value)).toMatchObject({ code: 'unsupported_value', path, reason });
    expect(refusal(value).message).toBe(`The value, at \`${path}\`, cannot be sent: ${reason}.`);
  });

  it('keeps what was thrown as the cause', () => {
    expect(refusal([late]).cause).toEqual(new Error('not loaded'));
  });

  it('with the call and the argument', () => {
    const calls: Call[] = [
      { name: 'rate', args: [1] },
      { name: 'pay', args: [{}, { lines: [1, () => 1] }] },
    ];
    expect(() => encodeCalls(calls)).toThrow(
      expect.objectContaining({
        code: 'unsupported_value',
        message: 'Argument 2 of `pay`, at `.lines[1]`, cannot be sent: a function.',
        call: 1,
        argument: 1,
        path: '.lines[1]',
      }),
    );
    expect(() => encodeCalls([{ name: 'pay', args: [Symbol('s')] }])).toThrow(
      'Argument 1 of `pay` cannot be sent: a symbol.',
    );
    expect(() => encodeCalls([{ name: '', args: [] }])).toThrow(UnsupportedValueError);
    expect(() => encodeCalls([{ name: 'x'.repeat(129), args: [] }])).toThrow(UnsupportedValueError);
    expect(() => encodeCalls([])).toThrow(RangeError);
  });

  it('and leaves the next call as it was', () => {
    for (let i = 0; i < 3; i++) {
      refusal([{ a: 'secret'.repeat(100) }, () => 1]);
      expect(roundTrip({ a: i })).toStrictEqual({ a: i });
    }
  });
});

describe('values from elsewhere', () => {
  it.each<[string, unknown, unknown]>([
    ['holes of an array', Object.assign(new Array(3), { 0: 1, 2: 3 }), [1, undefined, 3]],
    ['an array with other properties', Object.assign([1], { more: 2 }), [1]],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
    ['a subclass of Map', new (class extends Map<number, number> {})([[1, 2]]), new Map([[1, 2]])],
    ['a subclass of Set', new (class extends Set<number> {})([1]), new Set([1])],
    ['a subclass of bytes', new (class extends Uint8Array {})([1]), Uint8Array.of(1)],
    ['a proxy of an object', new Proxy({ a: [1] }, {}), { a: [1] }],
    ['symbols as names', { [Symbol('s')]: 1, a: 1 }, { a: 1 }],
    ['equal objects of a Set', new Set([{}, {}, [], []]), new Set([{}, {}, [], []])],
    [
      'equal dates and bytes as keys',
      new Map([
        [new Date(0), 1],
        [new Date(0), 2],
      ]),
      new Map([
        [new Date(0), 1],
        [new Date(0), 2],
      ]),
    ],
    ['NaN as key', new Map([[Number.NaN, 1]]), new Map([[Number.NaN, 1]])],
    ['1, 1n and "1" in one Set', new Set([1, 1n, '1']), new Set([1, 1n, '1'])],
  ])('%s', (_, value, expected) => expect(roundTrip(value)).toStrictEqual(expected));

  it('that encode something themselves', () => {
    const inner = { toJSON: () => encodeValue({ deep: 'x'.repeat(100) }) };
    expect(roundTrip(['before', inner, 'after'])).toStrictEqual([
      'before',
      encodeValue({ deep: 'x'.repeat(100) }),
      'after',
    ]);
  });
});

describe('outcomes', () => {
  const taken = (outcomes: readonly (Outcome | Uint8Array)[]) =>
    decodeReply(
      encodeReply({ outcomes }, (error, index) => ({
        ok: false,
        code: 'internal',
        message: `${index}: ${error.reason}`,
      })),
    );

  it('that cannot be sent are replaced alone', () => {
    const good: Outcome = { ok: true, value: { a: [1n] } };
    const bad: Outcome = { ok: true, value: { a: ['x'.repeat(50), () => 1] } };
    expect(taken([good, bad, encodeOutcome(good), bad])).toStrictEqual({
      outcomes: [
        good,
        { ok: false, code: 'internal', message: '1: a function' },
        good,
        { ok: false, code: 'internal', message: '3: a function' },
      ],
    });
    expect(() => encodeReply({ outcomes: [bad] })).toThrow('The result, at `.a[1]`, cannot be sent: a function.');
  });

  it('leave the later ones room for a refusal each', () => {
    const large: Outcome = { ok: true, value: new Array(LIMITS.payloadItems - 5_000).fill(0) };
    const refused = (index: number): Outcome => ({
      ok: false,
      code: 'internal',
      message: `${index}: more than ${LIMITS.payloadItems} items in one message`,
    });
    const many = Array.from({ length: LIMITS.batch }, () => large);
    expect(taken(many)).toStrictEqual({ outcomes: [large, ...many.slice(1).map((_, i) => refused(i + 1))] });
    const stored = many.map((outcome) => encodeOutcome(outcome));
    expect(taken(stored)).toStrictEqual({ outcomes: [large, ...many.slice(1).map((_, i) => refused(i + 1))] });
  });

  it('keep their code if the message was cut inside a character', () => {
    expect(taken([{ ok: false, code: 'conflict', message: 'taken by \uD83D' }])).toStrictEqual({
      outcomes: [{ ok: false, code: 'conflict', message: 'taken by \uFFFD' }],
    });
  });
});

describe('calls', () => {
  it('of the most items can be sent again', () => {
    const resend = { callId: new Uint8Array(16), incarnation: new Uint8Array(8) };
    // array of calls, call, name, arguments, argument
    const call = { name: 'f', args: [new Array(LIMITS.payloadItems - 5 - 6).fill(0)] };
    const [read] = decodeCalls(encodeCalls([call]));
    expect(decodeCalls(encodeCalls([{ ...(read as Call), resend }]))).toStrictEqual([{ ...call, resend }]);
    const [first] = call.args;
    expect(() => encodeCalls([{ name: 'f', args: [[...(first as number[]), 0]] }])).toThrow(
      `more than ${LIMITS.payloadItems} items`,
    );
  });

  it('tell their largest argument', () => {
    const large = { a: new Map([[1, 'x'.repeat(300)]]), b: new Date(0.5), c: [1n, -1.5, 1e300] };
    const resend = { callId: new Uint8Array(16), incarnation: new Uint8Array(8) };
    const calls: Call[] = [
      { name: 'f', args: ['x'.repeat(200), 1], resend },
      { name: 'none', args: [] },
      { name: 'g', args: [1, large, new Uint8Array(100)] },
    ];
    expect(largestArgument(encodeCalls(calls))).toEqual({ call: 2, argument: 1, bytes: encodeValue(large).length });
    expect(largestArgument(encodeCalls([{ name: 'f', args: [] }]))).toBeUndefined();
  });
});
