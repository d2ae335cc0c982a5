import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { decodeValue, encodeValue, LIMITS, RemoteFile, SealwireError, type StreamInfo } from '@sealwire/core';
import { encodeFailure, type IncomingStream, IncomingStreams, UNIT } from '@sealwire/core/live';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../session.js';
import { bytesOf, collect, revived, settled } from './support.js';

const NOTHING = new Uint8Array();
type Items = AsyncIterableIterator<unknown>;
type Bytes = ReadableStream<Uint8Array>;

function incoming(continued?: IncomingStream, onCancel: (k: number) => unknown = () => undefined) {
  const streams = new IncomingStreams({ errorOf: revived, continued, onCancel });
  const announce = (...reference: unknown[]) => streams.revive(reference);
  const item = (k: number, value: unknown) => streams.accept({ kind: UNIT.item, stream: k, bytes: encodeValue(value) });
  const data = (k: number, length: number, byte = 1) =>
    streams.accept({ kind: UNIT.data, stream: k, bytes: new Uint8Array(length).fill(byte) });
  const end = (k: number) => streams.accept({ kind: UNIT.end, stream: k, bytes: NOTHING });
  const error = (k: number) =>
    streams.accept({ kind: UNIT.error, stream: k, bytes: encodeFailure({ code: 'late', message: 'Too late.' }) });
  return { streams, announce, item, data, end, error };
}

/** Whether a promise is still pending. */
async function pends(promise: void | Promise<void>): Promise<boolean> {
  let pending = true;
  void Promise.resolve(promise).then(() => {
    pending = false;
  });
  await settled();
  return pending;
}

function last<T>(times: number, action: () => T): T {
  for (let i = 1; i < times; i++) action();
  return action();
}

describe('a stream', () => {
  it('brings its items in order and its end, whether they or the consumer come first', async () => {
    const { announce, item, end, streams } = incoming();
    const items = announce('items', 0) as Items;
    item(0, 1n);
    const all = collect(items);
    await settled();
    item(0, { a: undefined });
    expect(streams.open).toBe(1);
    end(0);
    expect(await all).toEqual([1n, { a: undefined }]);
    expect(streams.open).toBe(0);
    expect(await items.next()).toEqual({ done: true, value: undefined });
  });

  it('fails behind what arrived, once and alone', async () => {
    const { announce, item, error, end } = incoming();
    const [failing, whole] = [announce('items', 0) as Items, announce('items', 1) as Items];
    item(0, 1);
    item(1, 2);
    error(0);
    end(1);
    expect(await failing.next()).toEqual({ done: false, value: 1 });
    await expect(failing.next()).rejects.toMatchObject({ code: 'late', message: 'Too late.' });
    expect(await failing.next()).toEqual({ done: true, value: undefined });
    expect(await collect(whole)).toEqual([2]);
  });

  it('that is cut says what had arrived of it', async () => {
    const { announce, item, data, streams } = incoming();
    const [items, bytes, later] = [
      announce('items', 0) as Items,
      announce('bytes', 1, { offset: 100 }) as Bytes,
      announce('items', 2) as Items,
    ];
    item(0, 1);
    item(0, 2);
    data(1, 20);
    const waiting = later.next();
    streams.fail(new SealwireError('stream_cut'));
    await expect(collect(items)).rejects.toMatchObject({ code: 'stream_cut', details: { items: 2 } });
    await expect(bytesOf(bytes)).rejects.toMatchObject({ code: 'stream_cut', details: { bytes: 120 } });
    await expect(waiting).rejects.toMatchObject({ code: 'stream_cut', details: { items: 0 } });
  });

  it('that fails with nobody reading it disturbs nobody', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    const { announce, streams, item } = incoming();
    const file = announce('file', 0, { name: 'a', type: '' }) as RemoteFile;
    const kept = [announce('items', 1), announce('bytes', 2), file.stream()];
    item(1, 1);
    streams.fail(new Error('gone'));
    await settled();
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
    expect(kept).toHaveLength(3);
  });

  it('of a file tells what it is of, and is read once', async () => {
    const { announce, data, end } = incoming();
    const modified = new Date(5000);
    const file = announce('file', 3, { name: 'a.csv', type: 'text/csv', size: 4, modified }) as RemoteFile;
    expect(file).toBeInstanceOf(RemoteFile);
    expect({ ...file }).toEqual({ name: 'a.csv', type: 'text/csv', size: 4, modified });
    data(3, 4, 65);
    end(3);
    const blob = await file.blob();
    expect([blob.type, await blob.text()]).toEqual(['text/csv', 'AAAA']);
    expect(() => file.stream()).toThrow('read once');
    expect({ ...new RemoteFile() }).toMatchObject({ name: '', type: '' });
  });

  it('of a file hands out no byte more than was told, and ends with no byte less', () => {
    const { announce, data, end } = incoming();
    announce('file', 0, { name: '', type: '', size: 4, offset: 1 });
    data(0, 2);
    expect(codeOf(() => end(0))).toBe('bad_payload');
    expect(codeOf(() => data(0, 2))).toBe('bad_payload');
  });

  it('hands out bytes in memory of their own', async () => {
    const { announce, streams } = incoming();
    const reader = (announce('bytes', 0) as Bytes).getReader();
    const piece = new Uint8Array(100).fill(1);
    const early = reader.read();
    await settled();
    for (const at of [0, 50]) streams.accept({ kind: UNIT.data, stream: 0, bytes: piece.subarray(at, at + 10) });
    piece.fill(0);
    for (const read of [early, reader.read()]) {
      const { value } = await read;
      expect(value).toEqual(new Uint8Array(10).fill(1));
      expect(value?.buffer.byteLength).toBe(10);
    }
  });
});

describe('a consumer', () => {
  it('that is behind holds the rest up, and lets it go on', async () => {
    const { announce, item } = incoming();
    const items = announce('items', 0) as Items;
    for (let i = 1; i < LIMITS.streamItems; i++) expect(item(0, i)).toBeUndefined();
    const held = item(0, 0);
    expect(await pends(held)).toBe(true);
    await items.next();
    expect(await pends(held)).toBe(false);
  });

  it('is behind with its bytes too', async () => {
    const { announce, data } = incoming();
    const reader = (announce('bytes', 0) as Bytes).getReader();
    for (let i = 1; i < 16; i++) expect(data(0, 65_536)).toBeUndefined();
    const held = data(0, 65_536);
    expect(await pends(held)).toBe(true);
    await reader.read();
    expect(await pends(held)).toBe(false);
  });

  it.each([
    ['items', (value: unknown) => (value as Items).return?.()],
    ['bytes', (value: unknown) => (value as Bytes).cancel()],
  ])('of %s that breaks off has the rest thrown away, and says so', async (kind, stop) => {
    const left: number[] = [];
    const { announce, streams, item, data, end } = incoming(undefined, (k) => left.push(k));
    const [one, two] = [announce(kind, 0), announce(kind, 1)];
    const send = (k: number) => (kind === 'items' ? item(k, 'x'.repeat(65_000)) : data(k, 65_000));
    const held = last(17, () => send(0));
    expect(await pends(held)).toBe(true);
    await stop(one);
    expect(await pends(held)).toBe(false);
    expect(left).toEqual([0]);
    for (let i = 0; i < 100; i++) expect(send(0)).toBeUndefined();
    await stop(two);
    expect(left).toEqual([0, 1]);
    end(0);
    expect(streams.open).toBe(1);
  });

  it('that ends a loop early breaks off', async () => {
    let cancelled = 0;
    const { announce, streams, item } = incoming(undefined, () => cancelled++);
    announce('items', 0);
    item(0, 1);
    for await (const value of streams.list[0]!.value as Items) if (value === 1) break;
    expect(cancelled).toBe(1);
  });

  it('that waits itself is not held up by another one, up to a limit', async () => {
    const { announce, item, data } = incoming();
    const [rows, log] = [announce('items', 0) as Items, announce('bytes', 1) as Bytes];
    const held = last(17, () => data(1, 65_536));
    expect(await pends(held)).toBe(true);
    const first = rows.next();
    expect(await pends(held)).toBe(false);
    for (let i = 17; i < 16 * 16 - 1; i++) expect(data(1, 65_536)).toBeUndefined();
    expect(data(1, 65_536)).toBeUndefined();
    item(0, 'arrived');
    expect(await first).toEqual({ done: false, value: 'arrived' });
    // nobody ever asked for the log, which was in the way
    await expect(bytesOf(log)).rejects.toMatchObject({
      code: 'stream_cut',
      message: 'Another stream was read first: read them in order, or at the same time.',
      details: { bytes: expect.any(Number) },
    });
    expect(data(1, 65_536)).toBeUndefined();
  });

  it('that is slow is waited for, whoever else waits', async () => {
    const { announce, data } = incoming();
    const [rows, log] = [announce('items', 0) as Items, (announce('bytes', 1) as Bytes).getReader()];
    const read = log.read();
    await settled();
    data(1, 65_536);
    await read;
    void rows.next();
    const held = last(16 * 16, () => data(1, 65_536));
    expect(await pends(held)).toBe(true);
    expect((await log.read()).value?.length).toBe(65_536);
    expect(await pends(held)).toBe(false);
  });

  it('that is garbage breaks off', async () => {
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    const left: number[] = [];
    const { announce, streams } = incoming(undefined, (k) => left.push(k));
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    (() => {
      announce('items', 0);
      reader = (announce('file', 1, { name: '', type: '' }) as RemoteFile).stream().getReader();
    })();
    const until = async (done: () => boolean) => {
      for (let i = 0; i < 50 && !done(); i++) {
        gc();
        await settled();
      }
    };
    await until(() => streams.list[0]!.cancelled);
    expect(streams.list.map((stream) => stream.cancelled)).toEqual([true, false]);
    expect([left, reader?.read !== undefined]).toEqual([[0], true]);
    reader = undefined;
    await until(() => left.length > 1);
    expect(left).toEqual([0, 1]);
  });
});

it('what is over keeps nothing alive, even if its message holds it', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const over = (end: (all: ReturnType<typeof incoming>) => void) => {
    // as a client does, whose message holds the outcome of the call
    const all = incoming(undefined, () => value);
    const value = all.announce('items', 0) as object;
    end(all);
    return new WeakRef(value);
  };
  const refs = [
    over(({ streams }) => streams.fail(new Error('over'))),
    over(({ streams }) => streams.list[0]?.cancel()),
  ];
  const alive = () => refs.filter((ref) => ref.deref()).length;
  for (let i = 0; i < 50 && alive() > 0; i++) {
    await settled();
    gc();
  }
  expect(alive()).toBe(0);
});

describe('a stream that goes on in another run', () => {
  it('brings its items on, and knows positions', async () => {
    const one = incoming();
    const items = one.announce('items', 0, { resumable: true }) as Items;
    const [stream] = one.streams.list as [IncomingStream];
    one.item(0, ['a', 1]);
    one.item(0, ['b', 2]);
    one.item(0, [undefined, 3]);
    expect(stream.position).toEqual(['b', 2]);
    expect(await items.next()).toEqual({ done: false, value: 1 });
    expect([stream.position, stream.arrived]).toEqual([['b', 2], 3]);
    const two = incoming(stream);
    expect(two.announce('items', 0, { resumable: true })).toBe(items);
    two.item(0, ['c', 4]);
    two.end(0);
    expect(await items.next()).toEqual({ done: false, value: 2 });
    expect(await collect(items)).toEqual([3, 4]);
    expect(stream.position).toEqual(['c', 4]);
  });

  it('of a file takes up no other size', async () => {
    const one = incoming();
    const info = { name: '', type: '', resumable: true } as const;
    const file = one.announce('file', 0, { ...info, size: 4 }) as RemoteFile;
    one.data(0, 2, 1);
    const two = incoming(one.streams.list[0]);
    two.announce('file', 0, { ...info, size: 5, offset: 2 });
    await expect(file.bytes()).rejects.toMatchObject({ code: 'stream_changed' });
  });

  it.each<[string, StreamInfo, boolean]>([
    ['the same version from its offset', { resumable: true, version: 'v1', offset: 30 }, true],
    ['another version', { resumable: true, version: 'v2', offset: 30 }, false],
    ['another offset', { resumable: true, version: 'v1', offset: 20 }, false],
    ['its beginning', { resumable: true, version: 'v1' }, false],
  ])('of bytes takes up %s', async (_, info, same) => {
    const one = incoming();
    const bytes = one.announce('bytes', 0, { resumable: true, version: 'v1', offset: 10 }) as Bytes;
    one.data(0, 20, 1);
    const two = incoming(one.streams.list[0]);
    const value = two.announce('bytes', 7, info);
    expect(value === bytes).toBe(same);
    const all = bytesOf(bytes);
    // also of another one, which nobody reads
    two.data(7, 5, 2);
    two.end(7);
    if (!same) return expect(all).rejects.toMatchObject({ code: 'stream_changed' });
    expect(await all).toEqual(Uint8Array.from([...Array(20).fill(1), ...Array(5).fill(2)]));
  });
});

describe('malformed streams are refused:', () => {
  it.each<[string, ...unknown[]]>([
    ['no array', 1],
    ['no number', ['items']],
    ['an unknown kind', ['text', 0]],
    ['a number beyond u16', ['items', 65_536]],
    ['a fraction', ['items', 0.5]],
    ['a negative number', ['items', -1]],
    ['four parts', ['items', 0, {}, 0]],
    ['undefined as info', ['items', 0, undefined]],
    ['an unknown property', ['bytes', 0, { length: 1 }]],
    ['a property of another kind', ['bytes', 0, { name: 'a' }]],
    ['a file without a name', ['file', 0, { type: '' }]],
    ['a file without info', ['file', 0]],
    ['a Map as info', ['items', 0, new Map()]],
    ['a size below 0', ['file', 0, { name: '', type: '', size: -1 }]],
    ['a long name', ['file', 0, { name: 'x'.repeat(LIMITS.streamText + 1), type: '' }]],
    ['resumable false', ['items', 0, { resumable: false }]],
  ])('%s', (_, reference) => {
    expect(codeOf(() => incoming().streams.revive(reference))).toBe('bad_payload');
  });

  it('one that nobody expects', () => {
    const bytes = encodeValue([new Blob([])], { replace: () => ['items', 0] });
    expect(codeOf(() => decodeValue(bytes))).toBe('bad_payload');
  });

  it('one number twice, and more than there may be', () => {
    const { announce } = incoming();
    announce('items', 0);
    expect(codeOf(() => announce('bytes', 0))).toBe('bad_payload');
    for (let k = 1; k < LIMITS.streams; k++) announce('items', k);
    expect(codeOf(() => announce('items', 9999))).toBe('bad_payload');
  });

  it('units that no open stream can have', () => {
    const { announce, item, data, end, streams } = incoming();
    expect(codeOf(() => item(0, 1))).toBe('bad_payload');
    announce('items', 0);
    announce('bytes', 1);
    expect(codeOf(() => data(0, 1))).toBe('bad_payload');
    expect(codeOf(() => item(1, 1))).toBe('bad_payload');
    end(0);
    expect(codeOf(() => item(0, 1))).toBe('bad_payload');
    expect(codeOf(() => end(0))).toBe('bad_payload');
    expect(codeOf(() => streams.accept({ kind: UNIT.pulse, stream: 1, bytes: NOTHING }))).toBe('bad_payload');
    const failure = encodeValue(['code']);
    expect(codeOf(() => streams.accept({ kind: UNIT.error, stream: 1, bytes: failure }))).toBe('bad_payload');
  });

  it('an item that is none, to whoever reads it', async () => {
    const { announce, streams } = incoming();
    const items = announce('items', 0) as Items;
    const nested = Uint8Array.from([...Array(40).fill(0x81), 0]);
    for (const bytes of [Uint8Array.of(0xff), nested]) streams.accept({ kind: UNIT.item, stream: 0, bytes });
    await expect(items.next()).rejects.toMatchObject({ code: 'bad_payload' });
    expect(streams.list[0]?.cancelled).toBe(true);
    const paired = incoming();
    const positioned = paired.announce('items', 0, { resumable: true }) as Items;
    const waiting = positioned.next();
    paired.item(0, 1);
    await expect(waiting).rejects.toMatchObject({ code: 'bad_payload' });
  });
});
