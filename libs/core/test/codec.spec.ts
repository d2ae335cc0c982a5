import {
  type Call,
  decodeCalls,
  decodeReply,
  decodeValue,
  encodeCalls,
  encodeReply,
  encodeValue,
  LIMITS,
  type Reply,
  toHex,
} from '@sealwire/core';
import { decode as laxDecode, encode as plainEncode } from 'cborg';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const badPayload = expect.objectContaining({ code: 'bad_payload' });
const roundTrip = (value: unknown) => decodeValue(encodeValue(value));

/** `[[[ ... ]]]` */
function nested(levels: number): unknown[] {
  let value: unknown[] = [];
  for (let i = 1; i < levels; i++) value = [value];
  return value;
}

const scalar = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 60 }),
  fc.string({ maxLength: 300 }),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.double(),
  fc.boolean(),
  fc.bigInt(),
  fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }),
  fc.date({ noInvalidDate: false }),
  fc.uint8Array({ maxLength: 300 }),
  fc.constantFrom(null, undefined, Number.NaN, Infinity, -Infinity, -0, 0),
);
// `toStrictEqual` takes a property of the name constructor for the constructor; a case below has one
const key = fc
  .string({ unit: 'grapheme', maxLength: 30 })
  .filter((text) => text !== '__proto__' && text !== 'constructor');
const { value: anyValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    scalar,
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(key, tie('value'), { maxKeys: 5, noNullPrototype: true }),
    fc
      .uniqueArray(fc.tuple(scalar, tie('value')), { maxLength: 4, selector: ([k]) => k, comparator: 'SameValueZero' })
      .map((entries) => new Map(entries)),
    fc.uniqueArray(scalar, { maxLength: 4, comparator: 'SameValueZero' }).map((items) => new Set(items)),
  ),
}));

describe('values', () => {
  it('are asked for streams only if they may be one', () => {
    const asked: object[] = [];
    const iterable = { async *[Symbol.asyncIterator]() {} };
    const replace = (value: object) => {
      asked.push(value);
      return value === iterable ? ['items', 0] : undefined;
    };
    encodeValue([{ plain: Object.create(null) }, new Map([[1, new Set([new Date(0)])]]), iterable], { replace });
    expect(asked).toEqual([iterable]);
  });

  it('come back with their types', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        expect(roundTrip(value)).toStrictEqual(value);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each<[string, unknown]>([
    ['-0', -0],
    ['a date before 1970 with milliseconds', new Date(-1)],
    ['the last date', new Date(8.64e15)],
    ['an invalid date', new Date(Number.NaN)],
    ['0n', 0n],
    ['-1n', -1n],
    ['a number beyond the safe integers', 2 ** 60],
    ['a byte-order mark', '\uFEFFtext'],
    ['a byte-order mark before a long text', `\uFEFF${'x'.repeat(100)}`],
    ['text outside the basic plane', '\u{1F600}'.repeat(20)],
    ['a property that is undefined', { a: undefined }],
    ['a key named constructor', { constructor: 1, toString: 2, prototype: { x: 1 } }],
    ['a Map with a key named __proto__', new Map([['__proto__', 1]])],
    ['the text __proto__', ['__proto__', { a: '__proto__' }]],
    ['an empty Map and Set', [new Map(), new Set()]],
    [
      'empty bytes as two keys',
      new Map([
        [new Uint8Array(0), 1],
        [new Uint8Array(0), 2],
      ]),
    ],
    ['a text of 70000', 'ä'.repeat(70_000)],
    ['bytes of 70000', new Uint8Array(70_000).fill(7)],
  ])('%s', (_, value) => expect(roundTrip(value)).toStrictEqual(value));

  it('keep the order of properties', () => {
    expect(Object.keys(roundTrip({ zebra: 1, a: 2, Mm: 3 }) as object)).toEqual(['zebra', 'a', 'Mm']);
  });

  it('takes a Buffer for bytes and an instance for its own properties', () => {
    class Money {
      readonly currency = 'EUR';
      constructor(readonly amount: bigint) {}
      get text() {
        return `${this.amount}`;
      }
    }
    expect(roundTrip(Buffer.from('abc'))).toStrictEqual(Uint8Array.of(97, 98, 99));
    expect(roundTrip([new Money(5n)])).toStrictEqual([{ amount: 5n, currency: 'EUR' }]);
    expect(roundTrip({ url: new URL('https://x.test/') })).toStrictEqual({ url: 'https://x.test/' });
  });

  it('are encoded into memory of their own, and read from any view', () => {
    const bytes = encodeValue({ a: new Uint8Array(300) });
    expect(bytes.constructor).toBe(Uint8Array);
    const value = decodeValue(Buffer.from(bytes)) as { a: Uint8Array };
    expect(value.a.constructor).toBe(Uint8Array);
    expect(value.a.buffer.byteLength).toBe(300);
    expect(decodeValue(new Uint8Array([0, 0, ...bytes]).subarray(2))).toStrictEqual(value);
  });

  it('uses the tags of RFC 8949 and its registry', () => {
    expect(toHex(encodeValue(new Date(1_363_896_240_000)))).toBe('c11a514b67b0');
    expect(toHex(encodeValue(new Date(1_363_896_240_500)))).toBe('c1fb41d452d9ec200000');
    expect(toHex(encodeValue(2n ** 64n))).toBe('c249010000000000000000');
    expect(toHex(encodeValue(-(2n ** 64n) - 1n))).toBe('c349010000000000000000');
    expect(toHex(encodeValue(new Set([1])))).toBe('d9010281' + '01');
    expect(toHex(encodeValue(new Map([[1, 2]])))).toBe('d90103a1' + '0102');
    expect(laxDecode(encodeValue({ a: [1, 'x', null] }))).toEqual({ a: [1, 'x', null] });
  });

  it('takes no integer beyond the safe range for a number', () => {
    expect(decodeValue(plainEncode(Number.MAX_SAFE_INTEGER))).toBe(Number.MAX_SAFE_INTEGER);
    expect(decodeValue(plainEncode(Number.MIN_SAFE_INTEGER))).toBe(Number.MIN_SAFE_INTEGER);
    for (const value of [2n ** 53n, 2n ** 63n, -(2n ** 53n), -(2n ** 63n)]) {
      expect(() => decodeValue(plainEncode(value))).toThrow(badPayload);
    }
  });

  it('carries a bigint of 100000 bytes in linear time', () => {
    const value = (1n << 800_000n) + 12_345n;
    const start = performance.now();
    expect(roundTrip(value) === value).toBe(true);
    expect(performance.now() - start).toBeLessThan(2_000);
  });
});

describe('values that no payload can hold', () => {
  const cyclic: Record<string, unknown> = { list: [] };
  (cyclic.list as unknown[]).push(cyclic, cyclic);
  const mapped = new Map<string, unknown>();
  mapped.set('self', new Set([mapped]));

  it.each<[string, unknown, RegExp]>([
    ['a function', { a: [0, { run: () => 1 }] }, /^The value, at `\.a\[1\]\.run`, cannot be sent: a function\.$/],
    ['a symbol', new Map([['k', Symbol('s')]]), /^The value, at `\.get\("k"\)`, cannot be sent: a symbol\.$/],
    ['a bare function', () => 1, /^The value cannot be sent: a function\.$/],
    ['a cycle', cyclic, /^The value, at `\.list\[0\]`, cannot be sent: a reference to what holds it\.$/],
    ['a cycle through Map and Set', mapped, /reference to what holds it/],
    ['100000 levels', nested(100_000), /nested deeper than 32 levels/],
    ['a promise', { a: Promise.resolve(1) }, /^The value, at `\.a`, cannot be sent: a value of type Promise\.$/],
    ['an error', new Error('x'), /type Error/],
    ['a regular expression', /x/, /type RegExp/],
    [
      'another typed array',
      [new Float64Array(2)],
      /^The value, at `\[0\]`, cannot be sent: a value of type Float64Array\.$/,
    ],
    ['a DataView', new DataView(new ArrayBuffer(2)), /type DataView/],
    [
      'an own property named __proto__',
      JSON.parse('{"a":{"__proto__":1}}'),
      /^The value, at `\.a\.__proto__`, cannot be sent/,
    ],
  ])('%s', (_, value, message) => {
    expect(() => encodeValue(value)).toThrow(
      expect.objectContaining({ code: 'unsupported_value', message: expect.stringMatching(message) }),
    );
    expect(roundTrip('still works')).toBe('still works');
  });

  it('the same object twice is no cycle', () => {
    const shared = { a: 1 };
    expect(roundTrip([shared, shared])).toStrictEqual([{ a: 1 }, { a: 1 }]);
  });

  it('encodes and decodes to the same depth', () => {
    expect(roundTrip(nested(LIMITS.cborDepth))).toStrictEqual(nested(LIMITS.cborDepth));
    expect(() => encodeValue(nested(LIMITS.cborDepth + 1))).toThrow();
    expect(() => decodeValue(plainEncode(nested(LIMITS.cborDepth + 1)))).toThrow(badPayload);
  });
});

describe('hostile bytes', () => {
  it.each<[string, string]>([
    ['nothing', ''],
    ['100000 arrays in each other', `${'81'.repeat(100_000)}00`],
    ['100000 objects in each other', 'a16161'.repeat(100_000)],
    ['100000 tags in each other', `${'c1'.repeat(100_000)}00`],
    ['100000 Maps in each other', 'd90103a1'.repeat(100_000)],
    ['an array longer than the input', '9affffffff00'],
    ['an array of 2^64 - 1', '9bffffffffffffffff00'],
    ['an array of 2^53', '9b002000000000000000'],
    ['an object longer than the input', 'baffffffff616100'],
    ['bytes longer than the input', '5affffffff00'],
    ['bytes of 2^64 - 1', '5bffffffffffffffff00'],
    ['text longer than the input', '7affffffff61'],
    ['text of 2^64 - 1', '7bffffffffffffffff61'],
    ['a text head that is cut', '79ff'],
    ['an indefinite array', '9f01ff'],
    ['an indefinite object', 'bf616101ff'],
    ['indefinite text', '7f6161ff'],
    ['indefinite bytes', '5f4161ff'],
    ['a break alone', 'ff'],
    ['a break inside an array', '81ff'],
    ['trailing bytes', '0000'],
    ['a duplicate key', 'a2616101616102'],
    ['a duplicate key, empty array as value', 'a2616180616180'],
    ['a duplicate key of a Map', 'd90103a201010102'],
    ['a duplicate item of a Set', 'd90102820101'],
    ['a number as key of an object', 'a10102'],
    ['a key named __proto__', `a1695f5f70726f746f5f5fa1616101`],
    ['a second key named __proto__', `a261618101695f5f70726f746f5f5f01`],
    ['a key named __proto__ with a longer head', `a178095f5f70726f746f5f5f01`],
    ['__proto__ in an object inside a Map', 'd90103a101a1695f5f70726f746f5f5f01'],
    ['broken UTF-8', '62c328'],
    ['broken UTF-8 in a long text', `7840${'61'.repeat(62)}c328`],
    ['an unknown tag', 'c000'],
    ['an unknown tag of 8 bytes', 'dbffffffffffffffff00'],
    ['a tag without content', 'c1'],
    ['a date of text', 'c16161'],
    ['a date of a bigint', 'c1c24101'],
    ['a bigint of an integer', 'c201'],
    ['a Set of an object', 'd90102a0'],
    ['a Map of an array', 'd9010380'],
    ['a simple value', 'e0'],
    ['a simple value of two bytes', 'f8ff'],
    ['a reserved head', '1c'],
    ['a reserved text head', '7c'],
  ])('%s', (_, hex) => {
    expect(() => decodeValue(Buffer.from(hex, 'hex'))).toThrow(badPayload);
  });

  it('cut at every length', () => {
    const bytes = encodeValue({
      a: [1, 2n, 'text', new Date(5)],
      b: new Map([[1, new Set([0.1])]]),
      c: new Uint8Array(30),
    });
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeValue(bytes.subarray(0, length))).toThrow(badPayload);
    }
  });

  it('of any content give a value or one kind of error, and pollute nothing', () => {
    const before = Object.getOwnPropertyNames(Object.prototype);
    const seed = encodeValue({
      a: [1, 2n, 'text', new Date(5)],
      b: new Map([[1, new Set([0.1])]]),
      constructor: { x: 1 },
    });
    const mutated = fc
      .array(fc.tuple(fc.nat(seed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
      .map((edits) => {
        const bytes = seed.slice();
        for (const [position, byte] of edits) bytes[position] = byte;
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), mutated), (bytes) => {
        try {
          const value = decodeValue(bytes);
          if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
            expect([Object.prototype, Map.prototype, Set.prototype, Date.prototype, Uint8Array.prototype]).toContain(
              Object.getPrototypeOf(value),
            );
          }
        } catch (error) {
          expect(error).toEqual(badPayload);
        }
      }),
      { numRuns: 20_000 },
    );
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before);
  });
});

describe('calls', () => {
  const callId = new Uint8Array(16).fill(1);
  const incarnation = new Uint8Array(8).fill(2);

  it('come back', () => {
    const calls: Call[] = [
      { name: 'payments.transfer', args: [{ amount: 5n }, undefined] },
      { name: 'x', args: [], resend: { callId, incarnation } },
    ];
    expect(decodeCalls(encodeCalls(calls))).toStrictEqual(calls);
    expect(laxDecode(encodeCalls([{ name: 'f', args: [1] }]))).toEqual([['f', [1]]]);
    const most = Array.from({ length: LIMITS.batch }, () => ({ name: 'f'.repeat(LIMITS.functionName), args: [] }));
    expect(decodeCalls(encodeCalls(most))).toStrictEqual(most);
  });

  it.each<[string, unknown]>([
    ['no call', []],
    ['too many calls', Array.from({ length: LIMITS.batch + 1 }, () => ['f', []])],
    ['no array', { name: 'f' }],
    ['a call that is no array', ['f']],
    ['an empty call', [[]]],
    ['no arguments', [['f']]],
    ['arguments that are no array', [['f', { 0: 1, length: 1 }]]],
    ['a name that is no text', [[1, []]]],
    ['an empty name', [['', []]]],
    ['a name too long', [['f'.repeat(LIMITS.functionName + 1), []]]],
    ['an identity without an incarnation', [['f', [], callId]]],
    ['an identity too short', [['f', [], callId.subarray(1), incarnation]]],
    ['an identity of text', [['f', [], 'x'.repeat(16), incarnation]]],
    ['an incarnation too long', [['f', [], callId, callId]]],
    ['a part too many', [['f', [], callId, incarnation, 0]]],
  ])('%s is refused', (_, value) => {
    expect(() => decodeCalls(encodeValue(value))).toThrow(badPayload);
  });
});

describe('replies', () => {
  const incarnation = new Uint8Array(8).fill(2);
  const replies: Reply[] = [
    { outcomes: [{ ok: true, value: undefined }] },
    {
      outcomes: [
        { ok: true, value: new Map([[1, 2n]]) },
        { ok: false, code: 'not_found', message: 'No such account.' },
        { ok: false, code: 'invalid', message: '', details: { field: ['amount'] } },
      ],
    },
    { first: new Uint8Array([1, 2, 3]) },
    { status: 'running' },
    { status: 'number_conflict' },
    { status: 'number_too_old' },
    { status: 'result_gone' },
    { status: 'outcome_unknown' },
    { status: 'session_ended' },
    { status: 'busy' },
    { status: 'lane_moved', lane: 4_294_967_295, known: 'never_ran', incarnation },
  ];

  it('come back', () => {
    for (const reply of replies) expect(decodeReply(encodeReply(reply))).toStrictEqual(reply);
    expect(laxDecode(encodeReply({ outcomes: [{ ok: true, value: 7 }] }))).toEqual([0, [0, 7]]);
  });

  it.each<[string, unknown]>([
    ['an empty reply', []],
    ['no array', 0],
    ['no outcome', [0]],
    ['too many outcomes', [0, ...Array.from({ length: LIMITS.batch + 1 }, () => [0, 1])]],
    ['an unknown kind', [3, [0, 1]]],
    ['a first result that is no bytes', [2, [0, 1]]],
    ['a first result with a part too many', [2, incarnation, 0]],
    ['an outcome that is no array', [0, 1]],
    ['an outcome without a value', [0, [0]]],
    ['an outcome of two values', [0, [0, 1, 2]]],
    ['an outcome of an unknown kind', [0, [2, 1]]],
    ['an error without a message', [0, [1, 'code']]],
    ['an error whose code is no text', [0, [1, 5, 'message']]],
    ['an error with a part too many', [0, [1, 'code', 'message', {}, 0]]],
    ['no status', [1]],
    ['an unknown status', [1, 'fine']],
    ['a status named like a property of every object', [1, 'toString']],
    ['a status with a part too many', [1, 'busy', 1]],
    ['a lane move without parts', [1, 'lane_moved']],
    ['a lane beyond 32 bits', [1, 'lane_moved', 2 ** 32, 'ran', incarnation]],
    ['a broken lane', [1, 'lane_moved', 0.5, 'ran', incarnation]],
    ['unknown knowledge', [1, 'lane_moved', 1, 'perhaps', incarnation]],
    ['an incarnation too short', [1, 'lane_moved', 1, 'ran', incarnation.subarray(1)]],
  ])('%s is refused', (_, value) => {
    expect(() => decodeReply(encodeValue(value))).toThrow(badPayload);
  });
});
