import { Readable } from 'node:stream';
import { at, concat, decodeValue, encodeOutcome, encodeValue, LIMITS, StreamSource } from '@sealwire/core';
import { encodeUnit, OutgoingStreams, UNIT, type Unit } from '@sealwire/core/live';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { behindRun, errorOf, settled } from './support.js';

const NOTHING = new Uint8Array();

/** Runs the streams of a value; `pause()` makes the next write wait for `go()`. */
function running(value: unknown, prepare: (out: OutgoingStreams) => void = (out) => out.finish()) {
  const out = new OutgoingStreams();
  out.send(UNIT.outcome, 0, encodeOutcome({ ok: true, value }, out));
  prepare(out);
  const units: Unit[] = [];
  const bodies: number[] = [];
  const reader = behindRun(1_000_000, 256);
  const control = { paused: false, last: false, go: (): void => undefined };
  const done = out.run((parts, last) => {
    const body = concat(...parts);
    bodies.push(body.length);
    units.push(...reader.push(body));
    control.last = last;
    if (control.paused)
      return new Promise((resolve) => {
        control.go = resolve;
      });
    return undefined;
  }, errorOf);
  const of = (k: number, kind: number = UNIT.item) =>
    units.filter((unit) => unit.stream === k && unit.kind === kind).map(({ bytes }) => decodeValue(bytes));
  const ends = () => units.filter(({ kind }) => kind === UNIT.end || kind === UNIT.error).map(({ stream }) => stream);
  return { out, done, units, bodies, control, of, ends };
}

/** Counts how often it was asked, and how often it was closed. */
function source(length = Number.POSITIVE_INFINITY, item: (i: number) => unknown = (i) => i) {
  const seen = { asked: 0, closed: 0, reason: undefined as unknown };
  const iterator: AsyncIterableIterator<unknown> = {
    next: async () =>
      seen.asked < length ? { done: false, value: item(seen.asked++) } : { done: true, value: undefined },
    return: async () => {
      seen.closed++;
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]: () => iterator,
  };
  return { seen, iterator };
}

/** On a busy machine sources may be read for so long that other work goes on in between. */
function stopClock(): void {
  vi.spyOn(performance, 'now').mockReturnValue(0);
  onTestFinished(() => void vi.restoreAllMocks());
}

describe('a source', () => {
  it('is not asked while a write waits, nor for more than a piece before', async () => {
    const { seen, iterator } = source(Number.POSITIVE_INFINITY, () => 'x'.repeat(1000));
    const { control, out, units } = running([iterator], () => {});
    control.paused = true;
    await settled();
    const { asked } = seen;
    expect(asked).toBeLessThanOrEqual(66 + 66);
    await settled();
    expect(seen.asked).toBe(asked);
    for (let i = 0; i < 5; i++) {
      const before = seen.asked;
      control.go();
      await settled();
      expect(seen.asked - before).toBeLessThanOrEqual(67);
      expect(seen.asked).toBeGreaterThan(before);
    }
    expect(seen.asked - units.filter(({ kind }) => kind === UNIT.item).length).toBeLessThanOrEqual(67);
    out.cancel(undefined);
    expect(seen.closed).toBe(1);
  });

  it('brings what comes in one turn in one piece', async () => {
    stopClock();
    const { done, bodies, of } = running([source(100).iterator]);
    await done;
    expect(of(0)).toHaveLength(100);
    expect(bodies).toHaveLength(1);
  });

  it('does not wait for more to bring what it has', async () => {
    async function* slow() {
      yield 1;
      await new Promise(() => {});
    }
    const { of, out } = running([slow()]);
    await settled();
    expect(of(0)).toEqual([1]);
    out.cancel(undefined);
  });

  it('shares with others: 200 of them go on alike', async () => {
    const sources = Array.from({ length: 200 }, () => source(Number.POSITIVE_INFINITY, () => 'x'.repeat(3000)));
    const { control, out } = running(sources.map(({ iterator }) => iterator));
    control.paused = true;
    for (let i = 0; i < 60; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      control.go();
    }
    const asked = sources.map(({ seen }) => seen.asked);
    expect(Math.min(...asked)).toBeGreaterThan(2);
    expect(Math.max(...asked) - Math.min(...asked)).toBeLessThanOrEqual(2);
    out.cancel(undefined);
    await settled();
    expect(sources.map(({ seen }) => seen.closed)).toEqual(sources.map(() => 1));
  });

  it('is told apart by what it is', async () => {
    const bytes = new Uint8Array(10).fill(1);
    const value = {
      generator: source(1).iterator,
      web: new Blob([bytes]).stream(),
      node: Readable.from([bytes], { objectMode: false }),
      objects: Readable.from([{ a: 1 }]),
      blob: new Blob([bytes], { type: 'text/plain' }),
      stated: new StreamSource('bytes', new Blob([bytes]), { version: 'v1', offset: 4 }),
    };
    const { done, units, ends } = running(value);
    await done;
    const references: unknown[] = [];
    const revive = (reference: unknown) => references.push(reference);
    decodeValue(units[0]!.bytes, { revive });
    expect(references).toEqual([
      ['items', 0],
      ['bytes', 1, {}],
      ['bytes', 2, {}],
      ['items', 3],
      ['file', 4, { name: '', type: 'text/plain', size: 10 }],
      ['bytes', 5, { version: 'v1', offset: 4 }],
    ]);
    expect(ends().sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(units.filter(({ kind }) => kind === UNIT.error)).toEqual([]);
    const data = units.filter(({ kind }) => kind === UNIT.data).map(({ stream, bytes: part }) => [stream, part.length]);
    expect(data.sort()).toEqual([
      [1, 10],
      [2, 10],
      [4, 10],
      [5, 10],
    ]);
  });

  it('sends its items with their positions if its function can go on with it', async () => {
    const out = new OutgoingStreams();
    async function* entries() {
      yield at('a', 1);
      yield 2;
    }
    out.send(UNIT.outcome, 0, encodeValue(entries(), { replace: out.replaceResumable }));
    out.finish();
    const units: Unit[] = [];
    await out.run((body) => void units.push(...behindRun(1000, 1).push(concat(...body))), errorOf);
    expect(decodeValue(units[0]!.bytes, { revive: (reference) => reference })).toEqual([
      'items',
      0,
      { resumable: true },
    ]);
    expect(units.slice(1, 3).map(({ bytes }) => decodeValue(bytes))).toEqual([
      ['a', 1],
      [undefined, 2],
    ]);
  });
});

describe('a stream that can be gone on with', () => {
  it('begins with short pieces, which become longer: something arrives also if connections soon break', async () => {
    const out = new OutgoingStreams();
    const bytes = new StreamSource('bytes', ReadableStream.from([new Uint8Array(400_000)]), {});
    out.send(UNIT.outcome, 0, encodeValue(bytes, { replace: out.replaceResumable }));
    out.finish();
    const bodies: number[] = [];
    const units: Unit[] = [];
    const reader = behindRun(1_000_000, 1);
    await out.run((parts) => {
      const body = concat(...parts);
      bodies.push(body.length);
      units.push(...reader.push(body));
    }, errorOf);
    // with the length in front of each none needs padding
    expect(bodies.slice(0, 8)).toEqual([1_020, 2_044, 4_092, 8_188, 16_380, 32_764, 65_532, 131_068]);
    const data = units.filter(({ kind }) => kind === UNIT.data).map((unit) => unit.bytes.length);
    expect(data.reduce((sum, length) => sum + length)).toBe(400_000);
  });
});

describe('the first of many items', () => {
  const first = async (item: (i: number) => unknown): Promise<number> => {
    const { seen, iterator } = source(1_000, item);
    const out = new OutgoingStreams();
    out.send(UNIT.outcome, 0, encodeOutcome({ ok: true, value: iterator }, out));
    out.finish();
    let asked = 0;
    let sent = 0;
    await out.run((body) => {
      sent += concat(...body).length;
      // the outcome alone leaves before it
      if (asked === 0 && seen.asked > 0) {
        asked = seen.asked;
        out.cancel(undefined);
      }
    }, errorOf);
    expect(sent).toBeLessThanOrEqual(1_020);
    return asked;
  };

  it('does not wait for those that would fill a long piece', async () => {
    expect(await first((i) => `small ${i}`)).toBeLessThan(200);
  });

  it('does not wait for others that take long and never wait', async () => {
    const slow = (i: number) => {
      for (const until = performance.now() + 6; performance.now() < until; );
      return i;
    };
    expect(await first(slow)).toBe(1);
  });
});

it('a failure that cannot be told ends the message', async () => {
  const { iterator } = source(2, () => {
    throw new Error('dry');
  });
  const out = new OutgoingStreams();
  out.send(UNIT.outcome, 0, encodeOutcome({ ok: true, value: iterator }, out));
  out.finish();
  const told = out.run(
    () => undefined,
    () => {
      throw new TypeError('of no use');
    },
  );
  await expect(told).rejects.toThrow('of no use');
});

describe('a source is closed once', () => {
  it.each([
    ['when nobody reads any more', (run: ReturnType<typeof running>) => run.out.cancel(new Error('gone'))],
    ['when the message is stopped', (run: ReturnType<typeof running>) => run.out.stop(UNIT.status, NOTHING, 'over')],
    ['when its outcome is not sent', (run: ReturnType<typeof running>) => run.out.drop(0, 'over')],
  ])('%s', async (_, end) => {
    const { seen, iterator } = source(Number.POSITIVE_INFINITY, () => 'x'.repeat(30_000));
    const run = running([iterator]);
    run.control.paused = true;
    await settled();
    end(run);
    run.out.cancel('again');
    run.control.go();
    await settled();
    expect(seen.closed).toBe(1);
    const { asked } = seen;
    await settled();
    expect(seen.asked).toBe(asked);
  });

  it('when a write fails, with which the run ends', async () => {
    const { seen, iterator } = source();
    const out = new OutgoingStreams();
    out.send(UNIT.outcome, 0, encodeValue(iterator, out));
    await expect(out.run(() => Promise.reject(new Error('reset')), errorOf)).rejects.toThrow('reset');
    expect(seen.closed).toBe(1);
    const again = source();
    const thrown = new OutgoingStreams();
    thrown.send(UNIT.outcome, 0, encodeValue(again.iterator, thrown));
    const failing = () => {
      throw new Error('closed');
    };
    await expect(thrown.run(failing, errorOf)).rejects.toThrow('closed');
    expect(again.seen.closed).toBe(1);
  });

  it('when an item cannot be sent, which is its error', async () => {
    const { seen, iterator } = source(5, (i) => (i === 2 ? () => 1 : i));
    const { done, of, control } = running([iterator]);
    await done;
    expect(of(0)).toEqual([0, 1]);
    expect(of(0, UNIT.error)[0]).toEqual(['failed', expect.stringContaining('a function')]);
    expect(seen.closed).toBe(1);
    expect(control.last).toBe(true);
  });

  it('when an item holds a stream', async () => {
    const { seen, iterator } = source(1, () => [source().iterator]);
    const { done, of } = running([iterator]);
    await done;
    expect(of(0, UNIT.error)[0]).toEqual(['failed', expect.stringContaining('a stream inside of an item')]);
    expect(seen.closed).toBe(1);
  });

  it('never when it came to its end, or threw', async () => {
    const whole = source(3);
    const failing = source(3, (i) => {
      if (i === 1) throw new Error('midway');
      return i;
    });
    const { done, of, ends } = running([whole.iterator, failing.iterator]);
    await done;
    expect([whole.seen.closed, failing.seen.closed]).toEqual([0, 0]);
    expect(of(0)).toEqual([0, 1, 2]);
    expect(of(1)).toEqual([0]);
    expect(of(1, UNIT.error)).toEqual([['failed', 'Error: midway']]);
    expect(ends().sort()).toEqual([0, 1]);
  });

  it('even before it was read', async () => {
    const out = new OutgoingStreams();
    let begun = false;
    const generator = (async function* () {
      begun = true;
      yield 1;
    })();
    let cancelled: unknown;
    const web = new ReadableStream({
      cancel: (reason) => {
        cancelled = reason;
      },
    });
    const node = new Readable({ read: () => undefined });
    encodeValue([generator, web, node, new Blob(['a'])], out);
    out.cancel('never sent');
    await settled();
    expect(await generator.next()).toEqual({ done: true, value: undefined });
    expect(begun).toBe(false);
    expect(cancelled).toBe('never sent');
    expect(node.destroyed).toBe(true);
  });

  it('whatever kind it is', async () => {
    let cancelled = 0;
    const web = new ReadableStream({
      pull: (c) => c.enqueue(new Uint8Array(70_000)),
      cancel: () => {
        cancelled++;
      },
    });
    let finallyRan = 0;
    const generator = (async function* () {
      try {
        for (;;) yield 'x'.repeat(70_000);
      } finally {
        finallyRan++;
      }
    })();
    const node = new Readable({
      read() {
        this.push(Buffer.alloc(70_000));
      },
    });
    let destroyed = 0;
    node.on('close', () => {
      destroyed++;
    });
    const run = running([web, generator, node]);
    run.control.paused = true;
    await settled();
    run.out.cancel(new Error('gone'));
    await settled();
    expect({ cancelled, finallyRan, destroyed }).toEqual({ cancelled: 1, finallyRan: 1, destroyed: 1 });
  });

  it('and whatever it does then', async () => {
    const rejecting = source();
    rejecting.iterator.return = () => Promise.reject(new Error('while closing'));
    const throwing = source();
    throwing.iterator.return = () => {
      throw new Error('while closing');
    };
    const run = running([rejecting.iterator, throwing.iterator]);
    await settled();
    run.out.cancel(undefined);
    await run.done;
  });
});

it.each([5, undefined])(
  'a source whose iterator gives %s in place of a result fails, as in a loop over it',
  async (given) => {
    const wrong = { [Symbol.asyncIterator]: () => ({ next: async () => given }) };
    const { done, of } = running([wrong]);
    await done;
    expect(of(0, UNIT.error)).toEqual([['failed', 'TypeError: An iterator gave a result that is no object.']]);
  },
);

describe('a stream of bytes', () => {
  it('fills a few pieces in one turn of the event loop, and then lets other work go on', async () => {
    stopClock();
    const chunk = new Uint8Array(65_536);
    const endless = new ReadableStream<Uint8Array>({ pull: (controller) => controller.enqueue(chunk) });
    const { bodies, out, done } = running(endless);
    const turns: number[] = [];
    for (let turn = 0; turn < 20; turn++) {
      const before = bodies.length;
      await new Promise((resolve) => setImmediate(resolve));
      turns.push(bodies.length - before);
    }
    out.cancel(undefined);
    await done;
    expect(Math.max(...turns), String(turns)).toBeLessThanOrEqual(4);
    expect(bodies.length).toBeGreaterThan(40);
  });

  it.each([
    ['each write is over at once', new Uint8Array(65_536), 5_000],
    ['chunks are empty', NOTHING, 1_000_000],
  ])('lets other work go on too if %s', async (_, chunk, length) => {
    let left = length;
    const long = new ReadableStream<Uint8Array>({
      pull: (controller) => (left-- > 0 ? controller.enqueue(chunk) : controller.close()),
    });
    const out = new OutgoingStreams();
    out.send(UNIT.outcome, 0, encodeOutcome({ ok: true, value: long }, out));
    out.finish();
    // as a response whose connection takes everything: drained before its turn ends
    const write = () => new Promise<void>((resolve) => process.nextTick(resolve));
    const done = out.run(write, errorOf);
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(left).toBeGreaterThan(0);
    out.cancel(undefined);
    await done;
  });

  it('fills pieces', async () => {
    stopClock();
    const web = ReadableStream.from([new Uint8Array(200_000), new Uint8Array(1), NOTHING, new Uint8Array(65_536)]);
    const { done, bodies, units } = running([web]);
    await done;
    expect(bodies.slice(0, -1)).toEqual([65_532, 131_068]);
    const lengths = units.filter(({ kind }) => kind === UNIT.data).map(({ bytes }) => bytes.length);
    expect(lengths.reduce((sum, length) => sum + length)).toBe(265_537);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(LIMITS.dataUnit);
  });

  it('makes long pieces of bytes, and goes back to short ones behind values', async () => {
    const web = ReadableStream.from(Array.from({ length: 20 }, () => new Uint8Array(65_536)));
    const values = source(3, () => 'x'.repeat(300_000));
    const { done, bodies } = running([web, values.iterator]);
    await done;
    expect(bodies.filter((length) => length === LIMITS.pieceBody).length).toBeGreaterThan(1);
    expect(bodies.filter((length) => length === LIMITS.firstPieceBody).length).toBeGreaterThan(3);
  });

  it('makes one unit of what fits a piece, however it was cut', async () => {
    stopClock();
    const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => i);
    const lengths = [...Array.from({ length: 5_000 }, () => 1), 65_536, 65_536, 63_928];
    const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, length) => sum + length, 0));
    const parts = lengths.map((length, i) => bytes.subarray(starts[i], (starts[i] ?? 0) + length));
    const { done, bodies, units } = running([ReadableStream.from(parts)]);
    await done;
    const data = units.filter(({ kind }) => kind === UNIT.data);
    expect(Buffer.concat(data.map((unit) => unit.bytes)).equals(bytes)).toBe(true);
    expect(data.length).toBeLessThanOrEqual(bodies.length);
  });

  it('joins nothing with the bytes of another stream', async () => {
    const parts = (value: number) =>
      ReadableStream.from(Array.from({ length: 300 }, () => new Uint8Array(100).fill(value)));
    const { done, units, ends } = running([parts(1), parts(2)]);
    await done;
    for (const k of [0, 1]) {
      const data = units.filter(({ kind, stream }) => kind === UNIT.data && stream === k);
      expect(Buffer.concat(data.map(({ bytes }) => bytes)).equals(new Uint8Array(30_000).fill(k + 1))).toBe(true);
    }
    expect(ends().sort()).toEqual([0, 1]);
  });

  it('ends with an error if it gives something else, and is closed', async () => {
    let cancelled = 0;
    const web = new ReadableStream({
      pull: (c) => c.enqueue('text'),
      cancel: () => {
        cancelled++;
      },
    });
    const { done, of } = running([web]);
    await done;
    expect(of(0, UNIT.error)[0]).toEqual(['failed', expect.stringContaining('no Uint8Array')]);
    expect(cancelled).toBe(1);
  });

  it('that failed before it was read is an error of the stream alone', async () => {
    const node = new Readable({ read: () => undefined });
    const out = new OutgoingStreams();
    const outcome = encodeValue([node, source(2).iterator], out);
    node.destroy(new Error('no such file'));
    await settled();
    out.send(UNIT.outcome, 0, outcome);
    out.finish();
    const units: Unit[] = [];
    const reader = behindRun(1000, 1);
    await out.run((body) => void units.push(...reader.push(concat(...body))), errorOf);
    expect(units.filter(({ kind }) => kind === UNIT.error).map(({ stream }) => stream)).toEqual([0]);
    expect(units.filter(({ kind }) => kind === UNIT.item)).toHaveLength(2);
  });
});

describe('a message', () => {
  it('takes outcomes and streams while it runs, and ends after the last of them', async () => {
    const { out, done, units, control } = running(1, () => {});
    await settled();
    expect(units).toHaveLength(1);
    out.send(UNIT.progress, 1, encodeValue('half'));
    out.send(UNIT.outcome, 1, encodeOutcome({ ok: true, value: source(2).iterator }, out));
    await settled();
    expect(units.map(({ kind }) => kind)).toEqual([
      UNIT.outcome,
      UNIT.progress,
      UNIT.outcome,
      UNIT.item,
      UNIT.item,
      UNIT.end,
    ]);
    expect(control.last).toBe(false);
    out.finish();
    await done;
    expect(control.last).toBe(true);
  });

  it('keeps the newest progress alone for a reader that is behind', async () => {
    const { out, done, control, of, units } = running(1, () => {});
    control.paused = true;
    out.send(UNIT.pulse, 0, NOTHING);
    await settled();
    const note = 'x'.repeat(1000);
    for (let i = 0; i < 1000; i++) out.send(UNIT.progress, 1, encodeValue([i, note]));
    control.paused = false;
    control.go();
    await settled();
    const seen = of(1, UNIT.progress).map((value) => (value as [number])[0]);
    expect(seen.length).toBeLessThan(70);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(999);
    control.paused = true;
    for (let i = 0; i < 200; i++) out.send(UNIT.progress, 1, encodeValue([i, note]));
    out.send(UNIT.outcome, 1, encodeOutcome({ ok: true, value: 2 }));
    out.finish();
    control.paused = false;
    control.go();
    await done;
    expect(units.at(-1)).toMatchObject({ kind: UNIT.outcome, stream: 1 });
    expect(decodeValue(units.at(-2)!.bytes)).toEqual([199, note]);
  });

  it('of no stream ends with its last outcome, in one piece', async () => {
    const { done, bodies, control } = running(1);
    await done;
    expect(bodies).toHaveLength(1);
    expect(control.last).toBe(true);
  });

  it('that is stopped ends with that unit, behind units that are whole', async () => {
    const run = running([source(Number.POSITIVE_INFINITY, () => 'x'.repeat(200_000)).iterator]);
    run.control.paused = true;
    await settled();
    run.out.stop(UNIT.status, encodeValue([1, 'busy']), 'stopping');
    run.out.send(UNIT.progress, 0, encodeValue(1));
    run.control.paused = false;
    run.control.go();
    await run.done;
    expect(run.units.at(-1)).toMatchObject({ kind: UNIT.status, bytes: encodeValue([1, 'busy']) });
    expect(run.control.last).toBe(true);
  });

  it('goes on without a stream that its reader has left, which is closed and ends, before it is read and while it is', async () => {
    const [pending, rest] = [source(1), source(3)];
    const silent = { ...pending.iterator, next: () => new Promise<never>(() => {}) };
    const unread = source(3);
    const { out, done, units, ends, of } = running(
      [{ [Symbol.asyncIterator]: () => silent }, unread.iterator, rest.iterator],
      (out) => {
        expect([out.leave(1, 'left'), out.leave(1, 'left'), out.leave(3, 'left'), out.leave(0.5, 'left')]).toEqual([
          true,
          false,
          false,
          false,
        ]);
        out.finish();
      },
    );
    await vi.waitFor(() => expect(ends()).toEqual([1, 2]));
    expect([0, 1, 2, 3].map((k) => out.isOpen(k))).toEqual([true, false, false, false]);
    expect(out.leave(0, 'left')).toBe(true);
    await done;
    expect(ends()).toEqual([1, 2, 0]);
    expect([pending.seen.closed, unread.seen, of(2)]).toEqual([
      1,
      { asked: 0, closed: 1, reason: undefined },
      [0, 1, 2],
    ]);
    expect(units.filter(({ kind }) => kind === UNIT.end)).toHaveLength(3);
    expect(out.leave(2, 'left')).toBe(false);
  });

  it('keeps units in their order, also one of many pieces', async () => {
    const large = source(3, (i) => new Uint8Array(150_000).fill(i));
    const { done, of, bodies } = running([large.iterator, source(3).iterator]);
    await done;
    expect(of(0)).toEqual([0, 1, 2].map((i) => new Uint8Array(150_000).fill(i)));
    expect(of(1)).toEqual([0, 1, 2]);
    expect(Math.max(...bodies)).toBe(LIMITS.firstPieceBody);
  });

  it('holds so many streams, each once', () => {
    const many = (length: number) => Array.from({ length }, () => source().iterator);
    expect(() => encodeValue(many(LIMITS.streams), new OutgoingStreams())).not.toThrow();
    expect(() => encodeValue(many(LIMITS.streams + 1), new OutgoingStreams())).toThrow('more than 256 streams');
    const { iterator } = source();
    expect(() => encodeValue([iterator, iterator], new OutgoingStreams())).toThrow(
      '[1]`, cannot be sent: a stream that',
    );
    expect(() => encodeValue(new Blob(['a']))).toThrow('Blob');
  });

  it('can be read again only if it holds nothing but Blobs', () => {
    const blobs = new OutgoingStreams();
    encodeValue([new Blob(['a']), new File(['b'], 'b')], blobs);
    expect(blobs.repeatable).toBe(true);
    encodeValue(source().iterator, blobs);
    expect(blobs.repeatable).toBe(false);
    expect(() => blobs.again()).toThrow(TypeError);
  });
});

it('a unit is its head and its bytes', () => {
  expect(encodeUnit(UNIT.data, 258, Uint8Array.of(9))).toEqual(Uint8Array.of(2, 1, 2, 0, 0, 0, 1, 9));
});

describe('a description that no reader takes', () => {
  it.each<[string, object]>([
    ['name', { name: 'x'.repeat(LIMITS.streamText + 1), type: '' }],
    ['name', { type: '' }],
    ['type', { name: '' }],
    ['size', { name: '', type: '', size: Number.NaN }],
    ['size', { name: '', type: '', size: -1 }],
    ['offset', { name: '', type: '', offset: 1.5 }],
    ['modified', { name: '', type: '', modified: 5 }],
  ])('is refused where the value is encoded, by its %s: %j', (name, info) => {
    const out = new OutgoingStreams();
    const value = [new StreamSource('file', new Blob(['a']), info)];
    expect(() => encodeOutcome({ ok: true, value }, out)).toThrow(
      `\`[0]\`, cannot be sent: a file with such a ${name}`,
    );
    expect(out.size).toBe(0);
  });
});

describe('a file', () => {
  it.each([0, 1, 2, 4])('that is said to have %i bytes and has 3 ends with an error', async (size) => {
    const bytes = new Blob(['abc']).stream();
    const { done, of, ends } = running(new StreamSource('file', bytes, { name: '', type: '', size }));
    await done;
    expect([ends(), of(0, UNIT.error)]).toEqual([[0], [['failed', `TypeError: A file of ${size} bytes had 3 bytes.`]]]);
  });

  it('that goes on behind an offset states the size of the whole', async () => {
    const bytes = new Blob(['abc']).stream();
    const { done, of, ends } = running(new StreamSource('file', bytes, { name: '', type: '', size: 5, offset: 2 }));
    await done;
    expect([ends(), of(0, UNIT.error)]).toEqual([[0], []]);
  });

  it.each([3, 4, 6])('of %i bytes that brings three behind an offset of two ends with an error', async (size) => {
    const bytes = new Blob(['abc']).stream();
    const { done, of, units } = running(new StreamSource('file', bytes, { name: '', type: '', size, offset: 2 }));
    await done;
    expect(of(0, UNIT.error)).toEqual([['failed', `TypeError: A file of ${size} bytes had 5 bytes.`]]);
    // never more than was told
    const sent = units.filter(({ kind }) => kind === UNIT.data).reduce((sum, unit) => sum + unit.bytes.length, 0);
    expect(sent).toBe(size < 5 ? 0 : 3);
  });
});

it('an item that is longer than the other side takes ends its stream', async () => {
  const { seen, iterator } = source(3, (i) => 'x'.repeat(i * 100));
  const { done, of } = running([iterator], (out) => {
    out.itemLimit = 150;
    out.finish();
  });
  await done;
  expect(of(0)).toHaveLength(2);
  expect(of(0, UNIT.error)).toEqual([
    ['failed', expect.stringContaining('An item has 202 bytes, and 150 is what the other side takes.')],
  ]);
  expect([seen.asked, seen.closed]).toEqual([3, 1]);
});
