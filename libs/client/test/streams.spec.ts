import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type CallOptions, RemoteFile } from '@sealwire/client';
import { describe, expect, it, vi } from 'vitest';
import { type Any, collect, cutAfter, openedLive } from './support/live.js';
import { gate } from './support/remote.js';

async function* numbers(count: number, from = 0) {
  for (let i = from; i < count; i++) yield i;
}

describe('a live result', () => {
  it('holds items, bytes and files where the function put them', async () => {
    const { server, remote } = await openedLive();
    server.live.report = () => ({
      title: 'May',
      rows: numbers(3),
      raw: new Response('bytes').body,
      file: new File(['content'], 'a.txt', { type: 'text/plain', lastModified: 5 }),
    });
    const { title, rows, raw, file } = await remote.report();
    expect(title).toBe('May');
    expect(await collect(rows)).toEqual([0, 1, 2]);
    expect(raw).toBeInstanceOf(ReadableStream);
    expect(await new Response(raw).text()).toBe('bytes');
    expect(file).toBeInstanceOf(RemoteFile);
    expect(file).toMatchObject({ name: 'a.txt', type: 'text/plain', size: 7, modified: new Date(5) });
    expect(await (await file.blob()).text()).toBe('content');
  });

  it.each([
    ['came to its end', async (items: Any) => collect(items)],
    [
      'was left',
      async (items: Any) => {
        for await (const _ of items) break;
      },
    ],
    ['failed', async (items: Any) => collect(items).catch(() => {})],
  ])('throws if its items are read once more after the first loop %s', async (name, read) => {
    const { server, remote } = await openedLive();
    server.live.watch = async function* watch() {
      yield 1;
      if (name === 'failed') throw new Error('no paper');
    };
    const items = await remote.watch();
    await read(items);
    const again = collect(items);
    await expect(again).rejects.toThrow(TypeError);
    await expect(again).rejects.toThrow(/was read already: call the function again/);
  });

  it('lets a loop go on with what was begun, though nothing is left', async () => {
    const { server, remote } = await openedLive();
    server.live.watch = () => numbers(1);
    const items = await remote.watch();
    expect(await items.next()).toEqual({ done: false, value: 0 });
    expect(await collect(items)).toEqual([]);
  });

  it('resolves when its outcome came, before the source has ended', async () => {
    const { server, remote } = await openedLive();
    const hold = gate();
    server.live.watch = async function* watch() {
      yield 1;
      await hold.passed;
      yield 2;
    };
    const items = await remote.watch();
    const iterator = items[Symbol.asyncIterator]();
    expect(await iterator.next()).toEqual({ done: false, value: 1 });
    hold.open();
    expect(await iterator.next()).toEqual({ done: false, value: 2 });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it('ends with the error of its source behind the items before it', async () => {
    const { server, remote } = await openedLive();
    server.live.fails = async function* fails() {
      yield 1;
      throw Object.assign(new Error('no paper'), { code: 'out_of_paper' });
    };
    const items = await remote.fails();
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const item of items) seen.push(item);
    })();
    await expect(reading).rejects.toMatchObject({ name: 'RemoteError', code: 'out_of_paper', message: 'no paper' });
    expect(seen).toEqual([1]);
  });

  it('stops the source of a consumer that stops reading', async () => {
    const { server, remote } = await openedLive();
    let made = 0;
    server.live.many = async function* many() {
      for (;;) {
        made++;
        yield 'x'.repeat(1000);
      }
    };
    const items = await remote.many();
    const iterator = items[Symbol.asyncIterator]();
    await iterator.next();
    await vi.waitFor(async () => {
      const before = made;
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(made).toBe(before);
    });
    expect(made).toBeLessThan(10_000);
    await iterator.return();
  });

  it('closes the connection when nobody reads any of its streams', async () => {
    const { server, remote } = await openedLive();
    const closed = gate();
    server.live.two = ({ signal }) => {
      signal.addEventListener('abort', () => closed.open());
      return { a: numbers(1e9), b: numbers(1e9) };
    };
    const { a, b } = await remote.two();
    for await (const _ of a) break;
    const reader = b[Symbol.asyncIterator]();
    await reader.next();
    await reader.return();
    await closed.passed;
  });

  it.each([
    ['its signal', (given: AbortController) => given.abort(new Error('enough')), { message: 'enough' }],
    ['$close()', (_: AbortController, remote: Any) => remote.$close(), { code: 'closed' }],
  ])('ends by %s though its first piece brings more than its consumer takes', async (_, end, error) => {
    const { server, remote } = await openedLive();
    const closed = gate();
    server.live.many = ({ signal }) => {
      signal.addEventListener('abort', () => closed.open());
      return numbers(1e9);
    };
    const given = new AbortController();
    const items = await remote.$call({ signal: given.signal }).many();
    end(given, remote);
    await closed.passed;
    await expect(collect(items)).rejects.toMatchObject(error);
  });

  it('is cut, never short, if the connection ends before the last piece', async () => {
    const { server, remote } = await openedLive({
      network: async (_request, next) => cutAfter(await next(), 100_000),
    });
    server.live.long = async function* long() {
      for (let i = 0; ; i++) yield i + 'x'.repeat(1000);
    };
    const items = await remote.long();
    const seen: string[] = [];
    const reading = (async () => {
      for await (const item of items) seen.push(item as string);
    })();
    const error = await reading.catch((e: unknown) => e);
    expect(error).toMatchObject({ name: 'RemoteError', code: 'stream_cut', details: { items: seen.length } });
    expect(seen.length).toBeGreaterThan(10);
  });

  it('opens from single bytes', async () => {
    const { server, remote } = await openedLive({
      async network(_request, next) {
        const response = await next();
        if (response.body instanceof Uint8Array) return response;
        const reader = response.body;
        let rest = new Uint8Array(0);
        return {
          ...response,
          body: {
            async read() {
              if (rest.length === 0) {
                const { done, value } = await reader.read();
                if (done || !value) return { done: true };
                rest = value.slice();
              }
              const value = rest.subarray(0, 1);
              rest = rest.subarray(1);
              return { done: false, value };
            },
            cancel: (reason) => reader.cancel(reason),
          },
        };
      },
    });
    server.live.few = () => numbers(50);
    expect(await collect(await remote.few())).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it('is no answer if its first piece does not open', async () => {
    let forged = 0;
    const { server, remote } = await openedLive({
      async network({ body }, next) {
        if (forged > 0 || (body as Uint8Array)[0] !== 0x11) return next();
        forged++;
        const forgery = new Uint8Array(500);
        forgery.set([0x12, 1, 3]);
        return { status: 200, contentType: '', body: new Response(forgery).body!.getReader() };
      },
    });
    server.live.few = () => numbers(3);
    expect(await collect(await remote.few())).toEqual([0, 1, 2]);
    expect(forged).toBe(1);
    expect(server.runs).toHaveLength(1);
  });

  it('closes the connection of a stream that is garbage, read or not', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const { server, remote } = await openedLive();
    let closed = 0;
    server.live.endless = ({ signal }) => {
      signal.addEventListener('abort', () => closed++);
      return { file: new File(['x'.repeat(3_000_000)], 'f'), items: numbers(1e9) };
    };
    await remote.endless();
    await (async () => {
      const { items } = await remote.endless();
      await items.next();
    })();
    await remote.$batch((r: Any) => [r.endless()]);
    await vi.waitFor(
      () => {
        collectGarbage();
        expect(closed).toBe(3);
      },
      { timeout: 5_000 },
    );
    expect(await remote.add(1, 2)).toBe(3);
  });

  it('ends the streams of a batch that were handed out with the reason of its signal, as its entries', async () => {
    const { server, remote } = await openedLive();
    server.live.ticks = async function* () {
      for (let i = 0; ; i++) yield await new Promise((resolve) => setTimeout(resolve, 2, i));
    };
    server.live.never = () => new Promise(() => {});
    const giving = new AbortController();
    const reason = new Error('enough');
    const [ticks, never] = remote.$batch((r: Any) => [r.ticks(), r.never()], { signal: giving.signal }).entries;
    const items = ((await ticks) as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    await items.next();
    giving.abort(reason);
    await expect(never).rejects.toBe(reason);
    await expect(collect({ [Symbol.asyncIterator]: () => items })).rejects.toBe(reason);
  });

  /** With the signals of the requests that come now. */
  async function recorded() {
    const requests: AbortSignal[] = [];
    const opened = await openedLive({
      network: ({ signal }, next) => {
        requests.push(signal);
        return next();
      },
    });
    requests.length = 0;
    return { ...opened, requests };
  }

  it('goes on with what a batch handed out though another of its calls runs out of time', async () => {
    const { server, remote, requests } = await recorded();
    let i = 0;
    let closed = 0;
    const ticks = async function* () {
      try {
        for (;;) yield await new Promise((resolve) => setTimeout(resolve, 2, i++));
      } finally {
        closed++;
      }
    };
    const late = gate();
    server.live.ticks = ticks;
    server.live.late = async () => {
      await late.passed;
      return ticks();
    };
    const [first, second] = remote.$batch((r: Any) => [r.ticks(), r.late()], { timeout: 300 }).entries;
    const items = ((await first) as AsyncIterable<number>)[Symbol.asyncIterator]();
    await expect(second).rejects.toMatchObject({ code: 'outcome_unknown' });
    late.open();
    for (let before = i; i < before + 50; ) expect(await items.next()).toMatchObject({ done: false });
    expect(requests[0]?.aborted).toBe(false);
    await items.return?.();
    await vi.waitFor(() => expect([requests[0]?.aborted, closed]).toEqual([true, 2]));
  });

  it('closes the connection of a batch that ran out of time when what it handed out has ended', async () => {
    const { server, remote, requests } = await recorded();
    const end = gate();
    server.live.few = async function* () {
      yield 1;
      await end.passed;
    };
    server.live.never = () => new Promise(() => {});
    const [first, second] = remote.$batch((r: Any) => [r.few(), r.never()], { timeout: 200 }).entries;
    const items = await first;
    await expect(second).rejects.toMatchObject({ code: 'outcome_unknown' });
    expect(requests[0]?.aborted).toBe(false);
    end.open();
    expect(await collect(items as AsyncIterable<unknown>)).toEqual([1]);
    await vi.waitFor(() => expect(requests[0]?.aborted).toBe(true));
  });

  it('lets one stream of a result be read to its end before another one', async () => {
    const { server, remote } = await openedLive();
    server.live.two = () => ({
      first: new Response(new Uint8Array(3_000_000)).body,
      second: new Response(new Uint8Array(3_000_000)).body,
    });
    const { first, second } = await remote.two();
    expect((await new Response(second).arrayBuffer()).byteLength).toBe(3_000_000);
    expect((await new Response(first).arrayBuffer()).byteLength).toBe(3_000_000);
  });

  it.each([
    ['runs out of time', () => [{ timeout: 400 }, () => {}]],
    [
      'is given up',
      () => {
        const given = new AbortController();
        return [{ signal: given.signal }, () => given.abort(new Error('given up'))];
      },
    ],
  ] as const)('that begins and never comes keeps no connection when its call %s', async (_, how) => {
    let forging = false;
    const asked: AbortSignal[] = [];
    const begun = gate();
    const { remote } = await openedLive({
      async network({ signal }, next) {
        if (!forging) return next();
        asked.push(signal);
        // head and salt of a live result, and the beginning of a piece that never comes
        let head: Uint8Array | undefined = Uint8Array.of(0x12, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255);
        const read = async () => {
          if (!head) begun.open();
          const value = head ?? (await new Promise<never>(() => {}));
          head = undefined;
          return { done: false, value };
        };
        return { status: 200, contentType: '', body: { read, cancel: async () => {} } };
      },
    });
    forging = true;
    const [options, give] = how() as [CallOptions, () => void];
    const call = remote.$call(options).few();
    await begun.passed;
    give();
    await expect(call).rejects.toThrow();
    expect(asked.length).toBeGreaterThan(0);
    expect(asked.map(({ aborted }) => aborted)).toEqual(asked.map(() => true));
  });
});
