import { concat, isLive, LIMITS, openResult, parseCall, runSync } from '@sealwire/core';
import { openLiveCall, openLiveResult, type PieceBody } from '@sealwire/core/live';
import { noblePrimitives } from '@sealwire/core/noble';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf, flipped } from '../session.js';
import { beginCall, bytesOf, collect, key, random, reading, sealed, sealing } from './support.js';

/** `__proto__` is no name that a payload can hold. */
const json = fc.jsonValue().filter((value) => !JSON.stringify(value).includes('__proto__'));

const sessionId = primitives.random(16);
const number = { lane: 5, counter: 9 };
const REFUSED = ['bad_frame', 'open_failed', 'bad_payload', 'stream_cut', 'version'];

/** Bodies as a live call, and the chunks it is sent as. */
function call(bodies: readonly Uint8Array[], over: { repeatable?: boolean } = {}) {
  const [firstBody = new Uint8Array(), ...others] = bodies;
  const begun = beginCall(key, { epoch: 3, sessionId, number, ...over }, random, firstBody, others.length === 0);
  const chunks = [
    begun.first.slice(36),
    ...others.map((body, i) => runSync(begun.sealer.seal(body, i === others.length - 1))),
  ];
  return { sealer: begun.sealer, header: begun.sealer.header, chunks };
}

function open(header: Uint8Array, bytes: readonly Uint8Array[], from = key): Uint8Array[] {
  const opener = openLiveCall(from, parseCall(header));
  const bodies = bytes.flatMap((part) => runSync(opener.push(part)));
  opener.end();
  return bodies;
}

describe('a live call', () => {
  it.each([16, 32] as const)('opens piece by piece to what was sealed, with keys of %i bytes', (keySize) => {
    const either = { ...key, keySize };
    const begun = beginCall(either, { epoch: 258, sessionId, number }, random, Uint8Array.of(1), false);
    const head = parseCall(begun.first.subarray(0, 36));
    expect(head).toMatchObject({ live: true, chunked: true, epoch: 2, number, sessionId });
    expect(isLive(begun.first)).toBe(true);
    const opener = openLiveCall(either, head);
    expect(runSync(opener.push(begun.first.subarray(36)))).toEqual([Uint8Array.of(1)]);
    expect(runSync(opener.push(runSync(begun.sealer.seal(new Uint8Array(), false))))).toEqual([new Uint8Array()]);
    expect(opener.ended).toBe(false);
    expect(runSync(opener.push(runSync(begun.sealer.seal(Uint8Array.of(2, 3), true))))).toEqual([Uint8Array.of(2, 3)]);
    expect(opener.ended).toBe(true);
    opener.end();
  });

  it('is the same bytes with either set of primitives', () => {
    const fixed = (length: number) => new Uint8Array(length).fill(5);
    const [one, two] = [primitives, noblePrimitives].map((either) => {
      const begun = beginCall({ ...key, primitives: either }, { epoch: 0, sessionId, number }, fixed, number8, false);
      return concat(begun.first, runSync(begun.sealer.seal(number8, true)));
    });
    expect(one).toEqual(two);
  });
  const number8 = new Uint8Array(8).fill(1);

  it('takes 36 bytes of header, and 19 beyond each padded piece of up to 65536', () => {
    const { header, chunks } = call([new Uint8Array(60), new Uint8Array(LIMITS.firstPieceBody)]);
    expect(header.length).toBe(36);
    expect(chunks.map((chunk) => chunk.length)).toEqual([19 + 64, 19 + 65_536]);
    expect(() => call([new Uint8Array(LIMITS.firstPieceBody + 1)])).toThrow('65536');
  });

  it('has pieces of up to twice the longest before them, and no more than 262144', () => {
    const lengths = [65_536, 131_072, 64, 131_072, 262_144, 262_144];
    const { header, chunks } = call(lengths.map((length) => new Uint8Array(length - 4)));
    expect(chunks.map((chunk) => chunk.length - 19)).toEqual(lengths);
    const opener = openLiveCall(key, parseCall(header));
    expect(chunks.flatMap((chunk) => runSync(opener.push(chunk)).map((body) => body.length + 4))).toEqual(lengths);
    for (const longer of [
      [65_536 + 2_048],
      [64, 131_072 + 4_096],
      [65_536, 262_144],
      [65_536, 131_072, 262_144, 262_144 + 8_192],
    ]) {
      expect(() => call(longer.map((length) => new Uint8Array(length - 4))), String(longer)).toThrow(RangeError);
    }
  });

  it('opens no piece that is longer, and sets nothing aside for it', () => {
    const head = (length: number) => Uint8Array.of(length >>> 16, length >>> 8, length);
    const { header, chunks } = call([new Uint8Array(65_532), new Uint8Array(60)]);
    const fresh = () => openLiveCall(key, parseCall(header));
    expect(codeOf(() => runSync(fresh().push(head(65_536 + 17))))).toBe('bad_frame');
    const opener = fresh();
    runSync(opener.push(chunks[0]!));
    expect(runSync(opener.push(head(131_072 + 16)))).toEqual([]);
    const before = process.memoryUsage().arrayBuffers;
    runSync(opener.push(Uint8Array.of(1)));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(80_000);
    const other = fresh();
    runSync(other.push(chunks[0]!));
    expect(codeOf(() => runSync(other.push(head(131_072 + 17))))).toBe('bad_frame');
  });

  it('does not open as a whole frame, nor a whole frame as a live one', async () => {
    const { header, chunks } = call([Uint8Array.of(1)]);
    const { chunks: result, callHeader } = await sealed(1n);
    expect(codeOf(() => runSync(openResult(key, callHeader, concat(...result))))).toBe('bad_frame');
    const plain = header.map((byte, i) => (i === 2 ? 1 : byte));
    expect(codeOf(() => openLiveCall(key, parseCall(concat(plain, ...chunks))))).toBe('bad_frame');
    const alone = header.map((byte, i) => (i === 2 ? 2 : byte));
    expect(codeOf(() => parseCall(concat(alone, ...chunks)))).toBe('bad_frame');
    expect(codeOf(() => openLiveResult(key, callHeader, plain))).toBe('bad_frame');
    expect(isLive(plain) || isLive(alone)).toBe(false);
  });

  it('seals nothing after its last piece, nor once its key is erased', () => {
    const { sealer } = call([Uint8Array.of(1)]);
    expect(codeOf(() => runSync(sealer.seal(new Uint8Array(), true)))).toBe('bad_frame');
    const begun = beginCall(key, { epoch: 0, sessionId, number }, random, new Uint8Array(), false);
    begun.sealer.erase();
    expect(codeOf(() => runSync(begun.sealer.seal(new Uint8Array(), false)))).toBe('bad_frame');
  });

  it('can be sealed once more if it was made so, with the same pieces only', () => {
    const bodies = [1, 2, 3].map((byte) => new Uint8Array(100).fill(byte));
    const { sealer, chunks } = call(bodies, { repeatable: true });
    sealer.again();
    expect(bodies.map((body, i) => runSync(sealer.seal(body, i === 2)))).toEqual(chunks);
    sealer.again();
    runSync(sealer.seal(bodies[0] as Uint8Array, false));
    expect(codeOf(() => runSync(sealer.seal(bodies[0] as Uint8Array, false)))).toBe('stream_changed');
    expect(codeOf(() => runSync(sealer.seal(bodies[1] as Uint8Array, false)))).toBe('bad_frame');
    expect(codeOf(() => sealer.again())).toBe('bad_frame');
    expect(codeOf(() => call(bodies).sealer.again())).toBe('bad_frame');
  });

  it('can be sealed further than the first time', () => {
    const begun = beginCall(key, { epoch: 0, sessionId, number, repeatable: true }, random, number8, false);
    begun.sealer.again();
    const chunks = [runSync(begun.sealer.seal(number8, false)), runSync(begun.sealer.seal(number8, true))];
    expect(open(begun.sealer.header, chunks)).toEqual([number8, number8]);
  });
});

describe('whoever changes a live message', () => {
  const bodies = [primitives.random(5000), primitives.random(10), primitives.random(900), new Uint8Array(50)];
  const { header, chunks } = call(bodies);
  const refusal = (bytes: readonly Uint8Array[], head = header) => codeOf(() => open(head, bytes));

  it('makes it fail, with any bit turned', () => {
    const whole = concat(header, ...chunks);
    const turned = (bit: number) => {
      const bytes = flipped(whole, bit);
      return codeOf(() => {
        const parsed = parseCall(bytes.subarray(0, 36));
        open(parsed.header, [bytes.subarray(36)]);
      });
    };
    fc.assert(
      fc.property(fc.nat(whole.length * 8 - 1), (bit) => {
        expect(REFUSED).toContain(turned(bit));
      }),
      { numRuns: 400 },
    );
    for (let bit = 0; bit < 36 * 8 + 24; bit++) expect(REFUSED, `bit ${bit}`).toContain(turned(bit));
  });

  it('makes it fail, with pieces dropped, doubled or swapped', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(chunks.length - 1), { maxLength: 6 }), (order) => {
        fc.pre(order.join() !== chunks.map((_, i) => i).join());
        expect(REFUSED).toContain(refusal(order.map((i) => chunks[i] as Uint8Array)));
      }),
      { examples: [[[]], [[0]], [[0, 1, 2]], [[0, 1, 2, 3, 3]], [[0, 1, 1, 2, 3]], [[1, 0, 2, 3]], [[3]], [[0, 3]]] },
    );
  });

  it('makes it cut, wherever that is', () => {
    const bytes = concat(...chunks);
    for (let length = 0; length < bytes.length; length += length < 200 ? 1 : 37) {
      expect(refusal([bytes.subarray(0, length)])).toBe('stream_cut');
    }
  });

  it('leaves no key behind when it is given up', () => {
    const keys: Uint8Array[] = [];
    const hmac: typeof primitives.hmac = (...parts) => {
      const block = primitives.hmac(...parts);
      keys.push(block);
      return block;
    };
    const begun = call([new Uint8Array(10), new Uint8Array(10)]);
    const opener = openLiveCall({ ...key, primitives: { ...primitives, hmac } }, parseCall(begun.header));
    runSync(opener.push(begun.chunks[0] as Uint8Array));
    expect(keys).toHaveLength(1);
    expect(keys[0]).not.toEqual(new Uint8Array(32));
    opener.erase();
    expect(keys[0]).toEqual(new Uint8Array(32));
    expect(codeOf(() => runSync(opener.push(begun.chunks[1] as Uint8Array)))).toBe('stream_cut');
    expect(codeOf(() => opener.end())).toBe('stream_cut');
    expect(opener.ended).toBe(false);
  });

  it('adds nothing behind its end', () => {
    expect(refusal([...chunks, new Uint8Array(1)])).toBe('bad_frame');
    expect(refusal([concat(...chunks, new Uint8Array(1))])).toBe('bad_frame');
  });

  it('marks no other piece as the last one', () => {
    const marked = (chunk: Uint8Array) => chunk.map((byte, i) => (i === 0 ? byte ^ 0x80 : byte));
    expect(refusal([marked(chunks[0] as Uint8Array)])).toBe('open_failed');
    expect(refusal([...chunks.slice(0, 3), marked(chunks[3] as Uint8Array)])).toBe('open_failed');
  });

  it('is met before memory is taken for what a head promises', () => {
    for (const length of [0, 16, 79, 65_553, 0x7fffff]) {
      const head = Uint8Array.of(length >>> 16, length >>> 8, length);
      expect(refusal([head])).toBe('bad_frame');
    }
    expect(refusal([Uint8Array.of(0, 0, 80)])).toBe('stream_cut');
  });

  it('meets the same error ever after', () => {
    const opener = openLiveCall(key, parseCall(header));
    expect(codeOf(() => runSync(opener.push(new Uint8Array(3))))).toBe('bad_frame');
    expect(codeOf(() => runSync(opener.push(chunks[0] as Uint8Array)))).toBe('bad_frame');
    expect(codeOf(() => opener.end())).toBe('bad_frame');
    expect(opener.ended).toBe(false);
  });

  it('cannot take its pieces to another message under the same secret', () => {
    const other = call(bodies);
    expect(refusal([chunks[0] as Uint8Array, other.chunks[1] as Uint8Array])).toBe('open_failed');
    expect(refusal(chunks, other.header)).toBe('open_failed');
  });
});

describe('bytes of a live result, cut anywhere,', () => {
  it('bring the same values', async () => {
    const chunk = fc.uint8Array({ maxLength: 200 });
    await fc.assert(
      fc.asyncProperty(
        fc.record({ items: fc.array(json, { maxLength: 20 }), bytes: fc.array(chunk, { maxLength: 20 }) }),
        fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 3000 })), { minLength: 1 }),
        async ({ items, bytes }, cuts) => {
          const value = {
            items: (async function* () {
              yield* items;
            })(),
            bytes: ReadableStream.from(bytes),
          };
          const { chunks, callHeader } = await sealed(value);
          const whole = concat(...chunks);
          const reader = reading(callHeader);
          for (let at = 0, i = 0; at < whole.length; i++) {
            const length = cuts[i % cuts.length] as number;
            await reader.push(whole.subarray(at, at + length));
            at += length;
          }
          reader.end();
          const got = reader.value as { items: AsyncIterable<unknown>; bytes: ReadableStream<Uint8Array> };
          expect(await collect(got.items)).toEqual(items);
          expect(Buffer.from(await bytesOf(got.bytes))).toEqual(Buffer.concat(bytes));
        },
      ),
      { numRuns: 50 },
    );
  });

  it('come one by one', async () => {
    const { chunks, callHeader } = await sealed({ file: new File([new Uint8Array(3000).fill(3)], 'a') });
    const reader = reading(callHeader);
    for (const byte of concat(...chunks)) await reader.push(Uint8Array.of(byte));
    reader.end();
    const { file } = reader.value as { file: { bytes(): Promise<Uint8Array> } };
    expect(await file.bytes()).toEqual(new Uint8Array(3000).fill(3));
  });
});

it('a Blob makes the same pieces each time that it is read', async () => {
  const blob = new Blob([primitives.random(1_500_000)]);
  const bodies = async () => {
    const seen: Uint8Array[] = [];
    const again = sealing([blob, blob]).out.again();
    again.finish();
    const write = (body: PieceBody) => void seen.push(concat(...body));
    await again.run(write, () => ({ code: '', message: '' }), 'steady');
    return seen.map((body) => Buffer.from(body).toString('hex'));
  };
  const first = await bodies();
  expect(first.length).toBeGreaterThan(8);
  expect(await bodies()).toEqual(first);
});
