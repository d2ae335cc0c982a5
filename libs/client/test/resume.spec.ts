import { at, toHex } from '@sealwire/core';
import { CompleteStream, EncodedItem } from '@sealwire/core/live';
import { describe, expect, it, vi } from 'vitest';
import { type LiveFunction, LivePeerServer } from '../../../test/support/peer/live-server.js';
import { remoteBytes } from './support/bytes.js';
import { type Any, collect, cutAfter, type LiveNetwork, openedLive, readBy } from './support/live.js';
import { gate, useFakeTimers } from './support/remote.js';

/** A subscription over a fixed list, from behind the position that its consumer saw last. */
function watching(server: LivePeerServer, count: number) {
  const resumes: unknown[] = [];
  server.live.watch = async ({ call, resumable }) => {
    resumable.on = true;
    resumes.push(call.resume && { ...call.resume, run: toHex(call.resume.run) });
    const from = call.resume ? (call.resume.position as number) + 1 : 0;
    return (async function* () {
      for (let i = from; i < count; i++) {
        yield at(i, { i, filler: 'x'.repeat(500) });
        if (i % 10 === 9) await new Promise((resolve) => setImmediate(resolve));
      }
    })();
  };
  return resumes;
}

const indices = (items: Any[]) => items.map(({ i }) => i);
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

describe('a resumable stream', () => {
  it('goes on by itself after each cut, with no item twice and none lost', async () => {
    let cuts = 0;
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        const response = await next();
        return response.body instanceof Uint8Array || cuts >= 5
          ? response
          : cutAfter(response, 10_000 + 7_000 * cuts++);
      },
    });
    const resumes = watching(server, 300);
    const events: string[] = [];
    remote.$events.on('resuming', ({ functionName, attempt }: Any) => events.push(`${functionName} ${attempt}`));
    remote.$events.on('streamResumed', ({ functionName }: Any) => events.push(functionName));
    expect(indices(await collect(await remote.watch()))).toEqual(upTo(300));
    expect(cuts).toBe(5);
    expect(resumes[0]).toBeUndefined();
    expect(resumes).toHaveLength(6);
    // each names the run that it goes on with
    expect(new Set(resumes.slice(1).map((resume: Any) => resume.run)).size).toBe(5);
    expect(events.slice(0, 2)).toEqual(['watch 1', 'watch']);
  });

  it('pauses longer each time if each run is cut behind its first piece, until one has lasted', async () => {
    useFakeTimers();
    let cut = (): void => {};
    let cutting = true;
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        const response = await next();
        let reads = 0;
        return readBy(response, (body) => {
          if (reads++ === 0) return body.read();
          if (cutting) throw new Error('connection reset');
          return new Promise((_, reject) => {
            cut = () => reject(new Error('connection reset'));
          });
        });
      },
    });
    const begun: number[] = [];
    server.live.ticks = async ({ call, resumable }) => {
      resumable.on = true;
      begun.push(performance.now());
      const from = call.resume ? (call.resume.position as number) + 1 : 0;
      return (async function* () {
        yield at(from, from);
        await new Promise(() => {});
      })();
    };
    const items: unknown[] = [];
    const read = async (): Promise<void> => {
      for await (const item of await remote.ticks()) items.push(item);
    };
    read().catch(() => {});
    await vi.advanceTimersByTimeAsync(60_000);
    // pauses of at least 50 ms, then twice as long each time up to 2.5 seconds
    expect(begun.length).toBeLessThan(30);
    expect(items.length).toBeGreaterThan(10);
    expect(items).toEqual(upTo(items.length));
    cutting = false;
    await vi.advanceTimersByTimeAsync(12_000);
    cut();
    const before = begun.length;
    await vi.advanceTimersByTimeAsync(110);
    expect(begun).toHaveLength(before + 1);
  });

  /** Ends the first two results, each behind its first part if it is one of those, else when it has brought many. */
  function cutTwice(early: readonly number[]): LiveNetwork {
    let cuts = 0;
    return async (_request, next) => {
      const response = await next();
      if (response.body instanceof Uint8Array || cuts >= 2) return response;
      if (!early.includes(cuts++)) return cutAfter(response, 10_000);
      let reads = 0;
      return readBy(response, (body) => {
        if (reads++ === 0) return body.read();
        throw new Error('connection reset');
      });
    };
  }

  it('names the run that its last item is of, though the run before had the same position', async () => {
    const { server, remote } = await openedLive({ network: cutTwice([]) });
    const runs: unknown[] = [];
    server.live.page = async ({ call, resumable }) => {
      resumable.on = true;
      runs.push(call.resume && toHex(call.resume.run));
      const last = runs.length === 3;
      return (async function* () {
        for (let i = 0; i < (last ? 1 : 100); i++) yield at('page 7', 'x'.repeat(500));
      })();
    };
    await collect(await remote.page());
    expect(runs).toEqual([undefined, expect.any(String), expect.any(String)]);
    expect(runs[2]).not.toBe(runs[1]);
  });

  it('names the run that brought its position, and not one that brought items without any', async () => {
    const { server, remote } = await openedLive({ network: cutTwice([1]) });
    const resumes: Any[] = [];
    server.live.watch = async ({ call, resumable }) => {
      resumable.on = true;
      resumes.push(call.resume);
      return (async function* () {
        if (resumes.length === 1) for (let i = 0; i < 100; i++) yield at(7, 'x'.repeat(500));
        else yield 'a sign of life';
        if (resumes.length === 2) await new Promise(() => undefined);
      })();
    };
    await collect(await remote.watch());
    expect(resumes).toEqual([undefined, expect.objectContaining({ position: 7 }), resumes[1]]);
  });

  it('names the run that its last item is of, and not one that brought nothing before it was cut', async () => {
    const { server, remote } = await openedLive({ network: cutTwice([1]) });
    const resumes: Any[] = [];
    server.live.objects = async ({ call, resumable }) => {
      resumable.on = true;
      resumes.push(call.resume);
      const from = call.resume ? (call.resume.position as Any).i + 1 : 0;
      const silent = resumes.length === 2;
      return (async function* () {
        if (silent) await new Promise(() => {});
        for (let i = from; i < 100; i++) yield at({ i }, 'x'.repeat(500));
      })();
    };
    // nobody reads, so the last item is decoded anew at each cut
    const items = await remote.objects();
    await vi.waitFor(() => expect(resumes).toHaveLength(3));
    expect(resumes[2]).toEqual(resumes[1]);
    expect(await collect(items)).toHaveLength(100);
  });

  it.each(['cancelled', 'deadline'])('goes on after a resumption that the server gave up as %s', async (code) => {
    let cuts = 0;
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        const response = await next();
        return response.body instanceof Uint8Array || cuts++ > 0 ? response : cutAfter(response, 10_000);
      },
    });
    const resumes = watching(server, 100);
    const items = await remote.watch();
    const { watch } = server.live;
    server.live.watch = async () => {
      server.live.watch = watch as never;
      throw Object.assign(new Error('Nobody waits for the call any more.'), { code });
    };
    expect(indices(await collect(items))).toEqual(upTo(100));
    expect(resumes).toHaveLength(2);
  });

  it('goes on in a new session', async () => {
    const { server, remote } = await openedLive();
    let ends = 0;
    server.live.watch = async ({ call, resumable, end }) => {
      resumable.on = true;
      const from = call.resume ? (call.resume.position as number) + 1 : 0;
      return (async function* () {
        for (let i = from; i < 20; i++) {
          yield at(i, i);
          await new Promise((resolve) => setImmediate(resolve));
          if (i === 9 && ends++ === 0) {
            for (const session of server.sessions.values()) session.ended = true;
            end('session_ended');
          }
        }
      })();
    };
    expect(await collect(await remote.watch())).toEqual(upTo(20));
    expect(server.sessions.size).toBe(2);
  });

  /** One that is cut once; the metadata of its resumption is never made the first time. */
  async function withoutMetadata(timeout = 30_000) {
    const asked = gate();
    let [isCut, calls] = [false, 0];
    const { server, remote } = await openedLive({
      timeout,
      metadata() {
        if (++calls !== 3) return {};
        asked.open();
        return new Promise(() => {});
      },
      async network(_request, next) {
        const response = await next();
        if (response.body instanceof Uint8Array || isCut) return response;
        isCut = true;
        return cutAfter(response, 10_000);
      },
    });
    watching(server, 300);
    return { remote, asked };
  }

  it.each(['its signal', '$close()'])('ends by %s while metadata is being made for its resumption', async (what) => {
    const { remote, asked } = await withoutMetadata();
    const giving = new AbortController();
    const items = collect(await remote.$call({ signal: giving.signal }).watch());
    await asked.passed;
    if (what === '$close()') remote.$close();
    else giving.abort(Object.assign(new Error('enough'), { code: 'given_up' }));
    await expect(items).rejects.toMatchObject({ code: what === '$close()' ? 'closed' : 'given_up' });
  });

  it('asks for the metadata of its resumption again if it is not there in the time of a call', async () => {
    const { remote } = await withoutMetadata(300);
    expect(indices(await collect(await remote.watch()))).toEqual(upTo(300));
  });

  it('leaves the new session alone if it is told late that its own has ended', async () => {
    const { server, remote } = await openedLive();
    const ends: (() => void)[] = [];
    server.live.endless = async ({ end }) => {
      ends.push(() => end('session_ended'));
      return (async function* () {
        yield 1;
        await new Promise(() => undefined);
      })();
    };
    const renewed = vi.fn();
    remote.$events.on('renewed', renewed);
    const streams = [];
    for (const _ of [1, 2, 3]) {
      const items = (await remote.endless())[Symbol.asyncIterator]();
      await items.next();
      streams.push(items);
    }
    for (const session of server.sessions.values()) session.ended = true;
    for (const [k, items] of streams.entries()) {
      ends[k]!();
      await expect(items.next()).rejects.toMatchObject({ code: 'stream_cut' });
      expect(await remote.add(k, 1)).toBe(k + 1);
    }
    expect(renewed).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ reason: 'session_ended' }));
    expect(server.sessions.size).toBe(2);
  });

  it('ends as changed if it is answered by a value, or by a stream that had ended', async () => {
    for (const value of [5, new CompleteStream([new EncodedItem(6)])]) {
      const { server, remote } = await openedLive({
        network: async (_request, next) => {
          const response = await next();
          return response.body instanceof Uint8Array ? response : cutAfter(response, 3_000);
        },
      });
      watching(server, 300);
      const items = await remote.watch();
      server.live = {};
      server.onCall = () => ({ outcomes: [{ ok: true, value }] });
      await expect(collect(items)).rejects.toMatchObject({ code: 'stream_changed' });
    }
  });

  it('goes on with bytes at their offset, and ends if their version is another one', async () => {
    const content = new Uint8Array(200_000).map((_, i) => i * 7);
    let cuts = 0;
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        const response = await next();
        return response.body instanceof Uint8Array ? response : cutAfter(response, cuts++ % 2 ? 1e9 : 70_000);
      },
    });
    let version = 'v1';
    const offsets: unknown[] = [];
    server.live.document = ({ call, resumable }) => {
      resumable.on = true;
      offsets.push(call.resume?.position);
      const offset = (call.resume?.position as number) ?? 0;
      return remoteBytes(new Response(content.slice(offset)).body!, { version, offset });
    };
    const bytes = new Uint8Array(await new Response(await remote.document()).arrayBuffer());
    expect(bytes).toEqual(content);
    expect(offsets).toEqual([undefined, expect.any(Number)]);
    expect(offsets[1]).toBeGreaterThan(50_000);

    const changing = (await remote.document()).getReader();
    await changing.read();
    version = 'v2';
    const rest = (async () => {
      while (!(await changing.read()).done);
    })();
    await expect(rest).rejects.toMatchObject({ name: 'RemoteError', code: 'stream_changed' });
  });

  it('leaves the others of its batch alone if it has changed', async () => {
    const content = new Uint8Array(200_000).map((_, i) => i * 7);
    let cuts = 0;
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        const response = await next();
        return response.body instanceof Uint8Array ? response : cutAfter(response, cuts++ ? 1e9 : 150_000);
      },
    });
    server.live.document = ({ call, resumable }, changes: boolean) => {
      resumable.on = true;
      const offset = (call.resume?.position as number) ?? 0;
      const version = changes && call.resume ? 'v2' : 'v1';
      return remoteBytes(new Response(content.slice(offset)).body!, { version, offset });
    };
    const settled = await remote.$batch((r: Any) => [r.document(true), r.document(false)]);
    const read = ({ value }: Any) => new Response(value).arrayBuffer();
    const [changed, whole] = await Promise.allSettled(settled.map(read));
    expect(changed).toMatchObject({ status: 'rejected', reason: { code: 'stream_changed' } });
    expect(new Uint8Array((whole as PromiseFulfilledResult<ArrayBuffer>).value)).toEqual(content);
    expect(cuts).toBe(2);
  });

  it.each([0, 1])('ends where an item has no position, in place %i of what waits', async (place) => {
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        const response = await next();
        return response.body instanceof Uint8Array ? response : cutAfter(response, 5_000);
      },
    });
    let runs = 0;
    server.live.watch = ({ resumable }) => {
      resumable.on = true;
      runs++;
      const items = [at(0, 'first'), at(1, 'second'), at(2, 'x'.repeat(20_000))];
      items[place] = new EncodedItem('no pair') as never;
      return (async function* () {
        yield* items;
      })();
    };
    const items = (await remote.watch())[Symbol.asyncIterator]();
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (place === 1) expect(await items.next()).toEqual({ done: false, value: 'first' });
    await expect(items.next()).rejects.toMatchObject({ code: 'bad_payload' });
    expect(await items.next()).toEqual({ done: true, value: undefined });
    expect(runs).toBe(1);
  });

  it('goes on as a batch that shares one connection', async () => {
    let cuts = 0;
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        const response = await next();
        return response.body instanceof Uint8Array || cuts++ > 0 ? response : cutAfter(response, 100_000);
      },
    });
    watching(server, 100);
    const settled = await remote.$batch((r: Any) => [r.watch(), r.watch(), r.watch()]);
    server.seen.length = 0;
    const all = await Promise.all(settled.map(({ value }: Any) => collect(value)));
    for (const items of all) expect(indices(items as Any[])).toEqual(upTo(100));
    expect(server.count('call')).toBe(1);
  });

  it('is not asked for again when its consumer has gone', async () => {
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        const response = await next();
        return response.body instanceof Uint8Array ? response : cutAfter(response, 20_000);
      },
    });
    const resumes = watching(server, 1000);
    for await (const { i } of (await remote.watch()) as AsyncIterable<Any>) if (i === 5) break;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(resumes.length).toBeLessThanOrEqual(2);
  });

  it.each(['waits', 'asks'])('is given up if its consumer leaves while it %s to go on', async (when) => {
    useFakeTimers();
    let cuts = 0;
    const tries: AbortSignal[] = [];
    const { server, remote } = await openedLive({
      network: async ({ signal }, next) => {
        if (cuts > 0) {
          tries.push(signal);
          if (when === 'asks') await new Promise((_, reject) => signal.addEventListener('abort', reject));
          throw new Error('no network');
        }
        const response = await next();
        return response.body instanceof Uint8Array || cuts++ > 0 ? response : cutAfter(response, 20_000);
      },
    });
    const resumes = watching(server, 1_000);
    const items = (await remote.watch())[Symbol.asyncIterator]();
    await vi.waitFor(() => expect(tries.length).toBeGreaterThan(0));
    await items.return();
    await vi.advanceTimersByTimeAsync(10);
    const before = tries.length;
    expect(tries.every(({ aborted }) => aborted)).toBe(when === 'asks');
    await vi.advanceTimersByTimeAsync(120_000);
    expect(tries).toHaveLength(before);
    expect(resumes).toHaveLength(1);
  });

  it('ends with the error of the function that will not go on', async () => {
    let cuts = 0;
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        const response = await next();
        return response.body instanceof Uint8Array || cuts++ > 0 ? response : cutAfter(response, 20_000);
      },
    });
    watching(server, 100);
    const items = await remote.watch();
    server.live.watch = () => {
      throw Object.assign(new Error('too old'), { code: 'position_gone' });
    };
    await expect(collect(items)).rejects.toMatchObject({ code: 'position_gone' });
  });

  /** Cut once, and then refused until there is a new token. */
  async function expired(refresh: () => unknown) {
    let cuts = 0;
    const { server, remote } = await openedLive({
      timeout: 300,
      refresh,
      network: async (_request, next) => {
        const response = await next();
        return response.body instanceof Uint8Array || cuts++ > 0 ? response : cutAfter(response, 20_000);
      },
    });
    watching(server, 100);
    const watch = server.live.watch as LiveFunction;
    const items = await remote.watch();
    server.live.watch = (context) => {
      if (context.call.metadata?.authorization === 'new') return watch(context);
      throw Object.assign(new Error('Unauthorized'), { code: 'unauthorized', details: { status: 401, ran: false } });
    };
    return collect(items);
  }

  it.each([
    ['could not be reached', () => Promise.reject(new TypeError('Failed to fetch'))],
    ['cannot be asked now', () => Promise.reject(Object.assign(new Error('Try later.'), { retryable: true }))],
    ['does not answer', () => new Promise(() => {})],
  ])('goes on though whoever gives new tokens %s at first', async (_, first) => {
    let asked = 0;
    const answers = expired(() => (asked++ === 0 ? first() : { authorization: 'new' }));
    expect(indices(await answers)).toEqual(upTo(100));
    expect(asked).toBe(2);
  });

  it.each([
    ['there is no new token', new Error('The log-in is over.')],
    ['asking for one is mistaken', new TypeError('token is not a function')],
  ])('ends if %s', async (_, error) => {
    const refused = expired(() => Promise.reject(error));
    await expect(refused).rejects.toMatchObject({ code: 'unauthorized', retryable: false });
    await expect(refused).rejects.toThrow(`refresh() failed: ${error.message}`);
  });

  it('ends with the reason of its signal, and with $close, also while it waits to go on', async () => {
    let dead = false;
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        if (dead) throw new Error('no network');
        const response = await next();
        return response.body instanceof Uint8Array ? response : cutAfter(response, 20_000);
      },
    });
    watching(server, 1000);
    const controller = new AbortController();
    const items = await remote.$call({ signal: controller.signal }).watch();
    const others = await remote.watch();
    dead = true;
    const read = collect(items);
    const readOthers = collect(others);
    setTimeout(() => controller.abort(new Error('enough')), 200);
    await expect(read).rejects.toThrow('enough');
    setTimeout(() => remote.$close(), 100);
    await expect(readOthers).rejects.toMatchObject({ code: 'closed' });
  });
});

it('ends a stream that cannot go on with stream_cut, and tells what had arrived', async () => {
  const { server, remote } = await openedLive({
    network: async (_request, next) => {
      const response = await next();
      return response.body instanceof Uint8Array ? response : cutAfter(response, 150_000);
    },
  });
  server.live.document = () => new Response(new Uint8Array(300_000)).body;
  let read = 0;
  const reading = (async () => {
    for await (const chunk of (await remote.document()) as ReadableStream<Uint8Array>) read += chunk.length;
  })();
  const error = await reading.catch((e: unknown) => e);
  expect(error).toMatchObject({ code: 'stream_cut', details: { bytes: read } });
  expect(server.runs).toHaveLength(1);
});

/** @returns the second item of a stream that has brought one and is silent, at a server whose pulses come every two seconds */
async function silent(network?: LiveNetwork): Promise<[Promise<unknown>]> {
  const server = new LivePeerServer();
  server.pulse = 2;
  const { remote } = await openedLive({ server, ...(network && { network }) });
  server.live.silent = async function* () {
    yield 1;
    await new Promise(() => {});
  } as Any;
  const items = (await remote.silent())[Symbol.asyncIterator]();
  expect(await items.next()).toEqual({ done: false, value: 1 });
  // it would be waited for outside of an array
  return [items.next()];
}

it('takes three silent pulses for a cut, and none of a consumer that does not read', async () => {
  useFakeTimers();
  const [next] = await silent();
  const ended = vi.fn();
  next.catch(ended);
  await vi.advanceTimersByTimeAsync(5_900);
  expect(ended).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(200);
  await expect(next).rejects.toMatchObject({ code: 'stream_cut' });
});

it.each([
  ['a byte every second is a cut', 1, true],
  ['two bytes a millisecond are none', 2_000, false],
])('of a piece that has not opened, %s', async (_, bytes, isCut) => {
  useFakeTimers();
  const [next] = await silent(async (_request, next) => {
    let reads = 0;
    return readBy(await next(), async (body) => {
      if (reads++ === 0) return body.read();
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      // head of a piece, and what may be in it
      return { done: false, value: reads === 2 ? Uint8Array.of(0, 255, 255) : new Uint8Array(bytes) };
    });
  });
  const ended = vi.fn();
  next.catch(ended);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(ended).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(10_000);
  const cut = expect.objectContaining({ code: 'stream_cut' });
  expect(ended.mock.calls).toEqual(isCut ? [[cut]] : []);
});

it('takes no silence for a cut if the server says that it sends no pulses', async () => {
  useFakeTimers();
  const server = new LivePeerServer();
  server.pulse = 0;
  const { remote } = await openedLive({ server });
  server.live.silent = async function* () {
    await new Promise((resolve) => setTimeout(resolve, 600_000));
    yield 1;
  } as Any;
  const next = (await remote.silent())[Symbol.asyncIterator]().next();
  await vi.advanceTimersByTimeAsync(600_000);
  expect(await next).toEqual({ done: false, value: 1 });
});

it.each([
  ['silence', undefined, 'stream_cut'],
  ['its signal', (given: AbortController) => given.abort(new Error('enough')), undefined],
  ['$close()', (_: AbortController, remote: Any) => remote.$close(), 'closed'],
])('ends a stream whose message is over before it, and whose connection stays open, by %s', async (_, end, code) => {
  useFakeTimers();
  const server = new LivePeerServer();
  server.pulse = 2;
  const { remote } = await openedLive({
    server,
    network: async (_request, next) =>
      readBy(await next(), async (body) => {
        const result = await body.read();
        return result.done ? new Promise<never>(() => {}) : result;
      }),
  });
  server.live.stopped = async (context) => {
    // in the piece that announces the stream
    process.nextTick(() => context.end('busy'));
    return { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) };
  };
  const given = new AbortController();
  const items = (await remote.$call({ signal: given.signal }).stopped())[Symbol.asyncIterator]();
  const ended = vi.fn();
  items.next().catch(ended);
  await vi.advanceTimersByTimeAsync(end ? 100 : 5_900);
  expect(ended).not.toHaveBeenCalled();
  end?.(given, remote);
  await vi.advanceTimersByTimeAsync(200);
  expect(ended).toHaveBeenCalledExactlyOnceWith(expect.objectContaining(code ? { code } : { message: 'enough' }));
});
