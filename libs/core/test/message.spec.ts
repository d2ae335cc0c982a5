import {
  type CallNumber,
  concat,
  FRAME_TYPE,
  firstHeader,
  frameType,
  hedgedRandom,
  type KeySize,
  LIMITS,
  nextEpochSecret,
  openCall,
  openResult,
  parseCall,
  runSync,
  SIZE,
  sealCall,
  sealResult,
  toHex,
} from '@sealwire/core';
import { noblePrimitives } from '@sealwire/core/noble';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expand } from '../src/handshake/index.js';
import { pad } from '../src/message/index.js';
import { codeOf, flipped } from './session.js';
import { u32, utf8 } from './support/bytes.js';

const sessionId = primitives.random(16);
const secret = primitives.random(32);
const other = primitives.random(32);
const number: CallNumber = { lane: 1_700_000_000, counter: 5 };
const REFUSED = ['bad_frame', 'open_failed', 'version'];
const BOUNDARIES = [0, 1, 59, 60, 61, 62, 65_531, 65_532, 65_533, 131_067, 131_068, 131_069, 262_140, 300_000];

const keyOf = (keySize: KeySize, from = secret) => ({ primitives, keySize, secret: from });
const key = keyOf(32);
const random = hedgedRandom(primitives);
const call = (body: Uint8Array, over: { sessionId?: Uint8Array; number?: CallNumber; epoch?: number } = {}) =>
  runSync(sealCall(key, { epoch: 0, sessionId, number, ...over }, random, body));

/** A deep comparison of long arrays takes seconds. */
function expectSame(opened: Uint8Array, body: Uint8Array): void {
  expect(Buffer.compare(opened, body)).toBe(0);
}

describe('a call and its result', () => {
  it.each([16, 32] as const)('open to what was sealed, with keys of %i bytes', (keySize) => {
    const either = keyOf(keySize);
    const length = fc.oneof(fc.constantFrom(...BOUNDARIES), fc.nat({ max: 3000 }));
    fc.assert(
      fc.property(length, fc.nat(255), fc.nat(2 ** 32 - 1), fc.nat(2 ** 32 - 2), (size, epoch, lane, counter) => {
        const body = primitives.random(size);
        const x = { lane: lane || 1, counter };
        const sent = runSync(sealCall(either, { epoch, sessionId, number: x }, random, body));
        const parsed = parseCall(sent.frame);
        expect(parsed).toMatchObject({ epoch, number: x, sessionId });
        expectSame(openCall(either, parsed), body);
        const answer = sealResult(either, { epoch, callHeader: sent.header }, random, body);
        expectSame(runSync(openResult(either, parsed.header, answer)), body);
      }),
      { numRuns: 60, examples: BOUNDARIES.map((size) => [size, 0, 1, 0]) },
    );
  });

  it('are the same bytes with either set of primitives', () => {
    for (const size of [10, 140_000]) {
      const body = new Uint8Array(size).fill(7);
      const x = { epoch: 0, sessionId, number };
      const fixed = (length: number) => new Uint8Array(length).fill(5);
      const one = runSync(sealCall(key, x, fixed, body)).frame;
      expect(toHex(runSync(sealCall({ ...key, primitives: noblePrimitives }, x, fixed, body)).frame)).toBe(toHex(one));
      expectSame(openCall({ ...key, primitives: noblePrimitives }, parseCall(one)), body);
    }
  });

  it('take 56 bytes up and 32 down beyond the padded payload', () => {
    const sent = call(new Uint8Array(60));
    expect(sent.frame.length - 64).toBeLessThanOrEqual(56);
    const result = sealResult(key, { epoch: 0, callHeader: sent.header }, random, new Uint8Array(60));
    expect(result.length - 64).toBeLessThanOrEqual(32);
  });

  it('take another key with every salt', () => {
    const keys = new Set<string>();
    const noting = {
      ...key,
      primitives: {
        ...primitives,
        seal: (...args: Parameters<typeof primitives.seal>) => {
          keys.add(toHex(args[0]));
          return primitives.seal(...args);
        },
      },
    };
    const x = { epoch: 0, sessionId, number };
    for (let i = 0; i < 20; i++) {
      const { header } = runSync(sealCall(noting, x, random, new Uint8Array(5)));
      sealResult(noting, { epoch: 0, callHeader: header }, random, new Uint8Array(5));
    }
    expect(keys.size).toBe(40);
  });
});

describe('the key of a message', () => {
  it.each([32, 16] as const)(
    'of %i bytes is erased once it sealed or opened, also if the frame does not open',
    (size) => {
      const keys: Uint8Array[] = [];
      const noting = <A extends unknown[], R>(method: (key: Uint8Array, ...rest: A) => R) => {
        return (use: Uint8Array, ...rest: A) => {
          expect(use.every((byte) => byte === 0)).toBe(false);
          keys.push(use);
          return method(use, ...rest);
        };
      };
      const { seal, open } = primitives;
      const noted = { ...keyOf(size), primitives: { ...primitives, seal: noting(seal), open: noting(open) } };
      for (const length of [5, 140_000]) {
        const { frame, header } = runSync(
          sealCall(noted, { epoch: 0, sessionId, number }, random, new Uint8Array(length)),
        );
        openCall(noted, parseCall(frame));
        const result = sealResult(noted, { epoch: 0, callHeader: header }, random, new Uint8Array(length));
        runSync(openResult(noted, header, result));
        expect(codeOf(() => runSync(openResult(noted, header, flipped(result, result.length - 1))))).toBe(
          'open_failed',
        );
      }
      expect(keys.length).toBe(5 + 4 * 3 + 1);
      expect(keys.filter((use) => use.some((byte) => byte !== 0))).toEqual([]);
    },
  );
});

describe('the salt of a message', () => {
  const stuck = (length: number, context: Uint8Array) => primitives.sha256(context).slice(0, length);
  const at = (frame: Uint8Array, offset: number) => toHex(frame.slice(offset, offset + 8));

  it('is drawn with the padded plaintext: another plaintext never has the same, even if all else repeats', () => {
    const contexts: string[] = [];
    const noting = (length: number, context: Uint8Array) => {
      contexts.push(toHex(context));
      return stuck(length, context);
    };
    const bodies = [new Uint8Array(5), new Uint8Array(6), new Uint8Array(70_000)];
    const calls = bodies.map((body) => runSync(sealCall(key, { epoch: 0, sessionId, number }, noting, body)));
    const results = bodies.map((body) => sealResult(key, { epoch: 0, callHeader: head36 }, noting, body));
    expect(contexts).toEqual([...bodies, ...bodies].map((body) => toHex(pad(body))));
    expect(new Set(calls.map(({ frame }) => at(frame, 28))).size).toBe(3);
    expect(new Set(results.map((frame) => at(frame, 4))).size).toBe(3);
  });

  const head36 = primitives.random(36);
});

describe('a key of 16 bytes', () => {
  it('has a nonce that nobody knows beforehand, other for every message', () => {
    const nonces: string[] = [];
    const seal: typeof primitives.seal = (...use) => {
      nonces.push(toHex(use[1]));
      return primitives.seal(...use);
    };
    const short = { ...keyOf(16), primitives: { ...primitives, seal } };
    for (let i = 0; i < 5; i++) runSync(sealCall(short, { epoch: 0, sessionId, number }, random, new Uint8Array(4)));
    expect(new Set([...nonces, `${'00'.repeat(11)}01`]).size).toBe(6);
    nonces.length = 0;
    runSync(sealCall({ ...short, keySize: 32 }, { epoch: 0, sessionId, number }, random, new Uint8Array(4)));
    expect(nonces).toEqual([`${'00'.repeat(11)}01`]);
  });
});

describe('first calls', () => {
  const digest = primitives.random(16);

  it('have a header that names their place in lane 0 and step 3', () => {
    const header = firstHeader(sessionId, digest, 258);
    expect(header.length).toBe(SIZE.callHeader);
    expect(toHex(header)).toBe(`11010000${toHex(sessionId)}0000000000000102${toHex(digest.slice(0, 8))}`);
  });

  it('have results that open for their own place only', () => {
    const [one, two] = [0, 1].map((index) => firstHeader(sessionId, digest, index)) as [Uint8Array, Uint8Array];
    const result = sealResult(key, { epoch: 0, callHeader: one }, random, new Uint8Array(9));
    expectSame(runSync(openResult(key, one, result)), new Uint8Array(9));
    expect(codeOf(() => runSync(openResult(key, two, result)))).toBe('open_failed');
  });

  it('can be asked for by a frame of lane 0', () => {
    const { frame } = call(new Uint8Array(), { number: { lane: 0, counter: 3 } });
    expect(parseCall(frame).number).toEqual({ lane: 0, counter: 3 });
    expect(openCall(key, parseCall(frame)).length).toBe(0);
  });
});

describe('a damaged frame', () => {
  const body = primitives.random(150);

  it('is refused with any bit flipped, and the true one still opens', () => {
    const { frame, header } = call(body);
    for (let bit = 0; bit < 8 * frame.length; bit++) {
      expect(REFUSED, `call bit ${bit}`).toContain(codeOf(() => openCall(key, parseCall(flipped(frame, bit)))));
    }
    expectSame(openCall(key, parseCall(frame)), body);
    const result = sealResult(key, { epoch: 0, callHeader: header }, random, body);
    for (let bit = 0; bit < 8 * result.length; bit++) {
      expect(REFUSED, `result bit ${bit}`).toContain(
        codeOf(() => runSync(openResult(key, header, flipped(result, bit)))),
      );
    }
    expectSame(runSync(openResult(key, header, result)), body);
  });

  it('is refused with any bit of a long message flipped', () => {
    const { frame } = call(primitives.random(140_000));
    const bit = fc.nat(8 * frame.length - 1);
    const chunkHeads = [36, 36 + 3 + 65_552, 36 + 2 * (3 + 65_552)].flatMap((at) =>
      Array.from({ length: 24 }, (_, i): [number] => [8 * at + i]),
    );
    fc.assert(
      fc.property(bit, (at) => {
        expect(REFUSED).toContain(codeOf(() => openCall(key, parseCall(flipped(frame, at)))));
      }),
      { numRuns: 150, examples: chunkHeads },
    );
  });

  it('is refused cut at any length or lengthened', () => {
    const { frame, header } = call(body);
    const result = sealResult(key, { epoch: 0, callHeader: header }, random, body);
    for (let length = 0; length < frame.length; length++) {
      expect(REFUSED).toContain(codeOf(() => openCall(key, parseCall(frame.slice(0, length)))));
    }
    for (let length = 0; length < result.length; length++) {
      expect(REFUSED).toContain(codeOf(() => runSync(openResult(key, header, result.slice(0, length)))));
    }
    expect(codeOf(() => openCall(key, parseCall(concat(frame, u32(0)))))).toBe('open_failed');
    expect(codeOf(() => runSync(openResult(key, header, concat(result, u32(0)))))).toBe('open_failed');
  });

  it('is told apart by what is visible: type, version, flags', () => {
    const { frame } = call(body);
    const with_ = (at: number, value: number) => frame.map((byte, i) => (i === at ? value : byte));
    expect(codeOf(() => parseCall(with_(0, FRAME_TYPE.result)))).toBe('bad_frame');
    expect(codeOf(() => parseCall(with_(1, 2)))).toBe('version');
    expect(codeOf(() => parseCall(with_(2, 2)))).toBe('bad_frame');
    expect(frameType(frame)).toBe('call');
    expect(frameType(new Uint8Array(40))).toBeUndefined();
    expect(frameType(new Uint8Array())).toBeUndefined();
    expect(codeOf(() => frameType(with_(1, 2)))).toBe('version');
  });
});

describe('the chunks of a message', () => {
  const body = primitives.random(140_000);
  const { frame } = call(body);
  const head = frame.slice(0, SIZE.callHeader);
  const chunks: Uint8Array[] = [];
  for (let at = SIZE.callHeader; at < frame.length; at += chunks.at(-1)?.length ?? frame.length) {
    const length = ((frame[at] ?? 0) << 16) | ((frame[at + 1] ?? 0) << 8) | (frame[at + 2] ?? 0);
    chunks.push(frame.slice(at, at + 3 + length));
  }

  it('are three here, and open in their order only', () => {
    expect(chunks.length).toBe(3);
    const picks = fc.array(fc.nat(2), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(picks, (order) => {
        const moved = concat(head, ...order.map((i) => chunks[i] ?? head));
        if (order.join() === '0,1,2') expectSame(openCall(key, parseCall(moved)), body);
        else expect(codeOf(() => openCall(key, parseCall(moved)))).toBe('open_failed');
      }),
      {
        numRuns: 60,
        examples: [
          [[0, 1, 2]],
          [[0, 1]],
          [[0, 2]],
          [[1, 2]],
          [[0]],
          [[2]],
          [[0, 2, 1]],
          [[0, 1, 1, 2]],
          [[0, 1, 2, 2]],
        ],
      },
    );
  });

  it('are refused cut anywhere, even between two', () => {
    for (const length of [36, 37, 39, 1000, 36 + 65_555, 36 + 65_556, 36 + 2 * 65_555, frame.length - 1]) {
      expect(REFUSED).toContain(codeOf(() => openCall(key, parseCall(frame.slice(0, length)))));
    }
  });

  it('are not taken from another message under the same secret', () => {
    const foreign = call(body).frame;
    const mixed = concat(head, chunks[0] ?? head, foreign.slice(SIZE.callHeader + (chunks[0]?.length ?? 0)));
    expect(codeOf(() => openCall(key, parseCall(mixed)))).toBe('open_failed');
  });

  /** A call of the given pieces, the last one marked so. */
  function inPieces(padded: Uint8Array, sizes: number[]): Uint8Array {
    const header = head.map((byte, i) => (i === 2 ? 1 : byte));
    const messageKey = expand(primitives, secret, utf8('call'), header);
    const parts: Uint8Array[] = [header];
    let at = 0;
    for (const [i, size] of sizes.entries()) {
      const nonce = concat(new Uint8Array(7), u32(i), Uint8Array.of(i === sizes.length - 1 ? 1 : 0));
      const sealed = primitives.seal(messageKey, nonce, header, padded.subarray(at, at + size));
      parts.push(u32(sealed.length).subarray(1), sealed);
      at += size;
    }
    return concat(...parts);
  }

  it('may be shorter than they could be, the last one alone as short as it likes', () => {
    const content = primitives.random(3 * LIMITS.minimumChunk - 4 - 16);
    const padded = pad(content);
    const least = LIMITS.minimumChunk;
    const opens = (sizes: number[]) => openCall(key, parseCall(inPieces(padded, sizes)));
    expectSame(opens([least, padded.length - least]), content);
    expectSame(opens([least, least, padded.length - 2 * least]), content);
    expectSame(opens([padded.length - 1, 1]), content);
    expectSame(opens([padded.length, 0]), content);
    expectSame(opens([padded.length]), content);
    for (const short of [0, 1, least - 1]) {
      expect(codeOf(() => opens([short, padded.length - short]))).toBe('bad_frame');
      expect(codeOf(() => opens([least, short, padded.length - least - short]))).toBe('bad_frame');
    }
  });

  it('never make opening dear: a body of many pieces costs no more than ten times one of few', () => {
    const padded = pad(new Uint8Array(2 ** 20 - 4));
    const time = (size: number) => {
      const sizes = Array<number>(Math.ceil(padded.length / size)).fill(size);
      const parsed = parseCall(inPieces(padded, sizes));
      const rounds = Array.from({ length: 5 }, () => {
        const start = performance.now();
        openCall(key, parsed);
        return performance.now() - start;
      });
      return Math.min(...rounds);
    };
    const few = time(LIMITS.chunk);
    expect(time(LIMITS.minimumChunk)).toBeLessThan(Math.max(10 * few, 60));
  });

  it('are bounded one by one', () => {
    const sealed = primitives.random(LIMITS.chunk + SIZE.tag + 1);
    const whole = concat(
      head.map((byte, i) => (i === 2 ? 0 : byte)),
      sealed,
    );
    expect(codeOf(() => openCall(key, parseCall(whole)))).toBe('bad_frame');
    const stream = concat(head, u32(sealed.length).subarray(1), sealed);
    expect(codeOf(() => openCall(key, parseCall(stream)))).toBe('bad_frame');
    const short = concat(head, Uint8Array.of(0, 0, 15), primitives.random(15));
    expect(codeOf(() => openCall(key, parseCall(short)))).toBe('bad_frame');
  });
});

describe('a result', () => {
  const body = primitives.random(40);
  const one = call(body);
  const result = sealResult(key, { epoch: 0, callHeader: one.header }, random, body);

  it('opens for its own call only', () => {
    const strangers = [
      call(body).header,
      call(body, { number: { ...number, counter: 6 } }).header,
      call(body, { sessionId: primitives.random(16) }).header,
      one.header.slice(0, 35),
    ];
    for (const header of strangers) expect(codeOf(() => runSync(openResult(key, header, result)))).toBe('open_failed');
    expectSame(runSync(openResult(key, one.header, result)), body);
  });

  it('does not open with the secret of the other direction', () => {
    expect(codeOf(() => runSync(openResult(keyOf(32, other), one.header, result)))).toBe('open_failed');
    expect(codeOf(() => openCall(keyOf(32, other), parseCall(one.frame)))).toBe('open_failed');
  });

  it('sealed again is another frame that opens too', () => {
    const again = sealResult(key, { epoch: 0, callHeader: one.header }, random, body);
    expect(toHex(again)).not.toBe(toHex(result));
    expectSame(runSync(openResult(key, one.header, again)), body);
  });
});

describe('epochs', () => {
  it('step one way, apart for each direction', () => {
    const next = nextEpochSecret(primitives, secret, 'c2s');
    expect(next.length).toBe(32);
    expect(nextEpochSecret(primitives, secret, 'c2s')).toEqual(next);
    expect(nextEpochSecret(primitives, secret, 's2c')).not.toEqual(next);
    const { frame } = call(new Uint8Array(9));
    expect(codeOf(() => openCall(keyOf(32, next), parseCall(frame)))).toBe('open_failed');
    expect(openCall(key, parseCall(frame))).toEqual(new Uint8Array(9));
  });

  it('travel as their low byte', () => {
    expect(parseCall(call(new Uint8Array(), { epoch: 258 }).frame).epoch).toBe(2);
  });
});
