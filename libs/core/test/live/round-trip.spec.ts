import {
  concat,
  decodeCalls,
  decodeOutcome,
  encodeCalls,
  encodeOutcome,
  hedgedRandom,
  parseCall,
  RemoteFile,
  runSync,
} from '@sealwire/core';
import {
  IncomingStreams,
  type LiveSealer,
  OutgoingStreams,
  openLiveCall,
  openLiveResult,
  type PieceBody,
  sealLiveResult,
  UNIT,
  UnitReader,
} from '@sealwire/core/live';
import { noblePrimitives } from '@sealwire/core/noble';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { beginCall, bytesOf } from './support.js';

const random = hedgedRandom(primitives);
const key = { primitives, keySize: 32 as const, secret: primitives.random(32) };
const number = { lane: 1, counter: 0 };
const sessionId = primitives.random(16);
const errorOf = (thrown: unknown) => ({ code: 'failed', message: String(thrown) });
const revived = ({ code, message }: { code: string; message: string }) => Object.assign(new Error(message), { code });

async function* count(to: number) {
  for (let i = 0; i < to; i++) yield i;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** A live result with that value, as a client gets it. */
function result(value: unknown) {
  const callHeader = primitives.random(36);
  const out = new OutgoingStreams();
  out.send(UNIT.run, 0, new Uint8Array(16));
  out.send(UNIT.outcome, 0, encodeOutcome({ ok: true, value }, out));
  out.finish();
  const streams = new IncomingStreams({ errorOf: revived });
  const units = new UnitReader('result', 1_000_000, 1);
  let sealer: LiveSealer | undefined;
  let opener: ReturnType<typeof openLiveResult> | undefined;
  let found = (_: unknown): void => undefined;
  const outcome = new Promise<unknown>((resolve) => {
    found = resolve;
  });
  const take = async (bytes: Uint8Array) => {
    for (const body of runSync(opener!.push(bytes))) {
      for (const unit of units.push(body)) {
        if (unit.kind === UNIT.outcome) found(decodeOutcome(unit.bytes, { revive: streams.revive }));
        else if (unit.kind !== UNIT.run) await streams.accept(unit);
      }
    }
  };
  const done = out.run((body, last) => {
    if (sealer) return take(concat(...runSync(sealer.sealInPlace(body, last))));
    const begun = sealLiveResult(key, { epoch: 0, callHeader }, random, body, last);
    sealer = begun.sealer;
    opener = openLiveResult(key, callHeader, begun.first);
    return take(begun.first.subarray(12));
  }, errorOf);
  return { outcome, done: done.then(() => opener!.end()), streams };
}

describe('a live result', () => {
  it('brings items, bytes, a file and an error', async () => {
    const bytes = primitives.random(200_000);
    const { outcome, done } = result({
      items: count(1000),
      bytes: new Blob([bytes]).stream(),
      file: new File([bytes], 'a.bin', { type: 'application/x', lastModified: 5000 }),
      failing: (async function* () {
        yield 1n;
        throw new Error('midway');
      })(),
    });
    const { value } = (await outcome) as {
      value: {
        items: AsyncIterable<number>;
        bytes: ReadableStream<Uint8Array>;
        file: RemoteFile;
        failing: AsyncIterable<bigint>;
      };
    };
    expect(await collect(value.items)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(new Uint8Array(await new Response(value.bytes).arrayBuffer())).toEqual(bytes);
    expect(value.file).toBeInstanceOf(RemoteFile);
    expect(value.file).toMatchObject({ name: 'a.bin', type: 'application/x', size: 200_000, modified: new Date(5000) });
    expect(await value.file.bytes()).toEqual(bytes);
    const seen: bigint[] = [];
    await expect(async () => {
      for await (const item of value.failing) seen.push(item);
    }).rejects.toMatchObject({ code: 'failed', message: 'Error: midway' });
    expect(seen).toEqual([1n]);
    await done;
  });
});

describe('a body that is sealed where it is', () => {
  const result0 = { epoch: 0, callHeader: sessionId };
  const salt = new Uint8Array(8).fill(3);

  /** Sends a value; each piece is sealed by each of the primitives, and from a copy. */
  async function sent(value: unknown) {
    const out = new OutgoingStreams();
    const lent: number[] = [];
    const pieces: [readonly Uint8Array[], Uint8Array][] = [];
    const memory = new Set<ArrayBufferLike>();
    out.send(UNIT.outcome, 0, encodeOutcome({ ok: true, value }, out));
    out.finish();
    let sealers: LiveSealer[] | undefined;
    await out.run((body, last) => {
      lent.push(body[1]?.length ?? 0);
      const whole = concat(...body);
      if (!sealers) {
        const [copied, inPlace, portable] = [
          sealLiveResult(key, result0, () => salt, whole, last),
          sealLiveResult(key, result0, () => salt, body, last),
          sealLiveResult({ ...key, primitives: noblePrimitives }, result0, () => salt, whole, last),
        ];
        expect(Buffer.compare(inPlace.first, copied.first)).toBe(0);
        expect(Buffer.compare(portable.first, copied.first)).toBe(0);
        expect(inPlace.first.buffer).toBe(body[0].buffer);
        sealers = [copied.sealer, inPlace.sealer, portable.sealer];
        return;
      }
      const [copied, inPlace, portable] = sealers as [LiveSealer, LiveSealer, LiveSealer];
      const before = runSync(copied.seal(whole, last));
      const copy = new Uint8Array(new ArrayBuffer(Math.ceil(1.2 * body[0].length) + 100), 7, body[0].length);
      copy.set(body[0]);
      const other: PieceBody = body[1] ? [copy, body[1].slice()] : [copy];
      expect(Buffer.compare(concat(...runSync(portable.sealInPlace(other, last))), before)).toBe(0);
      const parts = runSync(inPlace.sealInPlace(body, last));
      expect(Buffer.compare(concat(...parts), before)).toBe(0);
      pieces.push([parts, before]);
      if (body[1]) memory.add(body[0].buffer);
      else expect(parts[0]?.buffer).toBe(body[0].buffer);
      // what is lent belongs to its source
      if (body[1]) expect(Buffer.compare(body[1], whole.subarray(body[0].length))).toBe(0);
    }, errorOf);
    // what is on its way is not written over by pieces that come later
    for (const [parts, before] of pieces) expect(Buffer.compare(concat(...parts), before)).toBe(0);
    return { lent, memory };
  }

  it.each([1, 50, 1000, 65_514, 65_536, 300_000])('is the same piece as of a copy, in chunks of %i', async (length) => {
    const chunks = [1, 2, 3, 4, 5, 6, 7, 8].map((byte) => new Uint8Array(length).fill(byte));
    await sent([new Blob(chunks).stream(), ReadableStream.from(chunks), count(length % 1999)]);
  });

  it('copies little of a file', async () => {
    const { lent } = await sent(new Blob([new Uint8Array(1_500_000)]));
    expect(lent.reduce((sum, length) => sum + length)).toBeGreaterThan(800_000);
  });

  it('is gathered in the memory of the one before it', async () => {
    // sealed by three, the pieces take so long that what is gathered would leave
    vi.spyOn(performance, 'now').mockReturnValue(0);
    onTestFinished(() => void vi.restoreAllMocks());
    const chunks = Array.from({ length: 60 }, () => new Uint8Array(65_536));
    const { lent, memory } = await sent(ReadableStream.from(chunks));
    expect(lent.filter((length) => length > 0).length).toBeGreaterThan(10);
    expect(memory.size).toBeLessThanOrEqual(3);
  });

  it('is taken before its source is asked for more, which may use its memory again', async () => {
    const memory = new Uint8Array(400_000);
    let value = 0;
    const source = ReadableStream.from(
      (async function* () {
        while (value < 6) yield memory.fill(++value);
      })(),
    );
    const { outcome, done } = result(source);
    const { value: stream } = (await outcome) as { value: ReadableStream<Uint8Array> };
    const bytes = await bytesOf(stream);
    await done;
    const sent = concat(...[1, 2, 3, 4, 5, 6].map((byte) => new Uint8Array(400_000).fill(byte)));
    expect(Buffer.compare(bytes, sent)).toBe(0);
  });

  it('is refused without room around it', () => {
    const begun = beginCall(key, { epoch: 0, sessionId, number }, random, new Uint8Array(), false);
    expect(() => runSync(begun.sealer.sealInPlace([new Uint8Array(100)], true))).toThrow(RangeError);
    expect(() => runSync(begun.sealer.sealInPlace([new Uint8Array(110).subarray(7)], true))).toThrow(RangeError);
    const short: PieceBody = [new Uint8Array(110).subarray(7), new Uint8Array(65_000)];
    expect(() => runSync(begun.sealer.sealInPlace(short, true))).toThrow(RangeError);
    const first = (body: Uint8Array) => sealLiveResult(key, result0, () => salt, [body], true);
    expect(() => first(new Uint8Array(100))).toThrow(RangeError);
    // room for the head of a piece, and none for the header of the message
    expect(() => first(new Uint8Array(200).subarray(7, 50))).toThrow(RangeError);
  });
});

describe('a live call', () => {
  it('brings a file among its arguments', async () => {
    const bytes = primitives.random(150_000);
    const out = new OutgoingStreams();
    const metadata = { authorization: 'Bearer x' };
    const payload = encodeCalls([{ name: 'keep', args: [new Blob([bytes])], deadline: 500, metadata }], out);
    out.send(UNIT.payload, 0, payload);
    out.finish();
    const sent: Uint8Array[] = [];
    let sealer: LiveSealer | undefined;
    await out.run((body, last) => {
      if (sealer) sent.push(concat(...runSync(sealer.sealInPlace(body, last))));
      else {
        const begun = beginCall(key, { epoch: 0, sessionId, number }, random, concat(...body), last);
        sealer = begun.sealer;
        sent.push(begun.first);
      }
    }, errorOf);
    const call = parseCall(sent[0]!.subarray(0, 36));
    expect(call).toMatchObject({ live: true, number });
    const opener = openLiveCall(key, call);
    const units = new UnitReader('call', 1_000_000);
    const streams = new IncomingStreams({ errorOf: revived });
    sent[0] = sent[0]!.subarray(36);
    let calls: ReturnType<typeof decodeCalls> = [];
    for (const chunk of sent) {
      for (const body of runSync(opener.push(chunk))) {
        for (const unit of units.push(body)) {
          if (unit.kind === UNIT.payload) calls = decodeCalls(unit.bytes, { revive: streams.revive });
          else streams.accept(unit);
        }
      }
    }
    opener.end();
    expect(streams.open).toBe(0);
    expect(calls[0]).toMatchObject({ name: 'keep', deadline: 500, metadata });
    expect(await (calls[0]!.args[0] as RemoteFile).bytes()).toEqual(bytes);
  });
});
