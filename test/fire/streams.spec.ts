import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRemote, type Remote, type RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { mulberry32 } from '../support/chaos-proxy.js';
import type { ServerProcess } from '../support/server-process.js';
import {
  buffered,
  cutAfter,
  recut,
  StreamProxy,
  type StreamProxyOptions,
  trickle,
  whole,
} from '../support/stream-proxy.js';
import { pattern, patternHash } from './pattern.js';
import type { StreamsController, seen } from './streams-controller.js';
import { failureOf, fullSpeed, hashOf, listOf, ownHeap, range, slowly, source } from './streams-support.js';
import { World } from './world.js';

const LONG = process.env.SEALWIRE_FIRE === 'long';
const SEED = Number(process.env.SEALWIRE_FIRE_SEED ?? 20_260_101);
const MiB = 2 ** 20;
const GiB = 2 ** 30;
/** bytes that the memory of a process may grow by */
const AHEAD = 16 * MiB;
/** bytes that all buffers between a producer and its consumer may hold, those of the system included */
const UNREAD = 2 * MiB + systemBuffers();
const SLOW_MS = LONG ? 30_000 : 3_000;
const TIMEOUT = 120_000;

/** Bytes that Linux lets the two buffers of a connection grow to (tcp(7)): 36 MiB on some machines. */
function systemBuffers(): number {
  const most = (name: string): number => {
    const file = `/proc/sys/net/ipv4/${name}`;
    return existsSync(file) ? Number(readFileSync(file, 'utf8').trim().split(/\s+/)[2]) : 8 * MiB;
  };
  return most('tcp_rmem') + most('tcp_wmem');
}

type Api = RemoteApi<StreamsController>;

let world: World;
/** of one deployment: any of them takes any call */
let replicas: ServerProcess[];
/** alone, with its sessions in memory */
let alone: ServerProcess;

vi.setConfig({ testTimeout: TIMEOUT });

beforeAll(async () => {
  world = await World.create();
  const nodeFlags = ['--expose-gc'];
  const servers = ['postgres', 'postgres', 'postgres', 'memory'] as const;
  const started = await Promise.all(servers.map((ledger) => world.server({ ledger, nodeFlags }).start()));
  alone = started.pop() as ServerProcess;
  replicas = started;
}, TIMEOUT);

afterAll(() => world.end());

describe('a proxy', () => {
  const random = mulberry32(SEED);
  const nginx = { up: whole, down: buffered(8_192) };
  it.each<[string, Omit<StreamProxyOptions, 'upstreams'>, number]>([
    ['that buffers as nginx does', { ...nginx, obedient: true }, 4 * MiB],
    ['that buffers whatever the server asks', nginx, 4 * MiB],
    ['that cuts chunks anew', { up: recut(9_000, random), down: recut(9_000, random) }, MiB],
    ['that lets one byte through at a time', { up: trickle, down: trickle }, LONG ? MiB : 6_000],
  ])('%s changes nothing of what arrives', async (_, options, length) => {
    const remote = await throughProxy([alone], options);
    expect(await listOf(await remote.plain(500, 0))).toEqual(range(500));
    expect(await hashOf(await remote.bytes(length))).toBe(patternHash(length));
    const sent = await remote.upload('shaped', source(length).stream, 0);
    expect(sent).toEqual({ length, hash: patternHash(length) });
  });

  it('that buffers as nginx does holds no item back', async () => {
    const remote = await throughProxy([alone], { ...nginx, obedient: true });
    const items = (await remote.halted())[Symbol.asyncIterator]();
    expect(await items.next()).toEqual({ done: false, value: 1 });
    await remote.pass();
    expect(await items.next()).toEqual({ done: false, value: 2 });
    expect(await items.next()).toEqual({ done: true, value: undefined });
  });
});

describe('a connection that breaks after some bytes, again and again', () => {
  const random = mulberry32(SEED + 1);
  const cut = (least: number, most: number) => cutAfter(() => least + Math.floor(random() * (most - least)));

  it('leaves no gap and no duplicate in a resumable stream', async () => {
    const proxy = await proxyTo([alone], {});
    const remote = open(proxy.url);
    const items = await remote.numbers(4_000, 0);
    // shorter than a piece can be
    proxy.down = cut(4_000, 12_000);
    expect((await listOf(items)).map(([i]) => i)).toEqual(range(4_000));
    proxy.down = cut(200_000, 600_000);
    expect(await hashOf(await remote.file(4 * MiB))).toBe(patternHash(4 * MiB));
    expect(proxy.broken).toBeGreaterThan(5);
  });

  it('is stream_cut for every other, with what had arrived', async () => {
    const proxy = await proxyTo([alone], {});
    const remote = open(proxy.url);
    await remote.pass();
    proxy.down = cut(100_000, 300_000);
    const items: number[] = [];
    const failure = await failureOf(async () => {
      for await (const item of await remote.plain(100_000, 0)) items.push(item);
    });
    expect(failure).toMatchObject({ code: 'stream_cut', details: { items: items.length } });
    expect(items).toEqual(range(items.length));
    proxy.down = cut(200_000, 300_000);
    let length = 0;
    const bytes = await failureOf(async () => {
      for await (const part of await remote.bytes(4 * MiB)) length += part.length;
    });
    expect(bytes).toMatchObject({ code: 'stream_cut', details: { bytes: length } });
    expect(length).toBeGreaterThan(0);
  });
});

describe('a consumer that is 100 times slower than its producer', () => {
  it('lets the server make no more than what buffers hold', async () => {
    const remote = open(`${alone.url}`);
    const before = await heaps(alone);
    const made = (await seenBy(alone)).made;
    const reader = (await remote.bytes(GiB)).getReader();
    const { taken, pause } = await fullSpeed(() => reader.read().then(({ value }) => value?.length ?? 0));
    let consumed = taken;
    await slowly(pause, SLOW_MS, async () => {
      consumed += (await reader.read()).value?.length ?? 0;
    });
    expect((await seenBy(alone)).made - made - consumed).toBeLessThan(UNREAD);
    const after = await heaps(alone);
    for (const [side, bytes] of after.entries()) expect(bytes - (before[side] ?? 0)).toBeLessThan(AHEAD);
    const { closed } = await seenBy(alone);
    await reader.cancel();
    await vi.waitFor(async () => expect((await seenBy(alone)).closed).toBe(closed + 1));
  });

  it('lets the client read no more of its source than what buffers hold', async () => {
    const remote = open(`${alone.url}`);
    const before = await heaps(alone);
    const { taken } = await seenBy(alone);
    const read = source(GiB);
    const controller = new AbortController();
    const call = remote.$call({ timeout: TIMEOUT, signal: controller.signal }).upload('slow', read.stream, 20);
    const failed = failureOf(() => call);
    await sleep(SLOW_MS);
    expect(read.given).toBeGreaterThan(0);
    expect(read.given - ((await seenBy(alone)).taken - taken)).toBeLessThan(UNREAD);
    const after = await heaps(alone);
    for (const [side, bytes] of after.entries()) expect(bytes - (before[side] ?? 0)).toBeLessThan(AHEAD);
    const { cut } = await seenBy(alone);
    controller.abort();
    await failed;
    await vi.waitFor(async () => expect((await seenBy(alone)).cut).toBe(cut + 1), { timeout: 20_000 });
  });
});

describe('200 streams at once', () => {
  it('each bring what is theirs, though connections break under half of them', async () => {
    const random = mulberry32(SEED + 2);
    let body = 0;
    const proxy = await proxyTo(replicas, {});
    const remote = open(proxy.url);
    await remote.pass();
    const broken = cutAfter(() => 300 + Math.floor(random() * 3_000));
    proxy.down = (chunks) => (body++ % 2 === 0 ? broken(chunks) : recut(700, random)(chunks));
    const streams = Array.from({ length: 200 }, (_, index) => index);
    const got = await Promise.all(
      streams.map(async (index) => (await listOf(await remote.numbers(100 + index, 1))).map(([i]) => i)),
    );
    expect(got).toEqual(streams.map((index) => range(100 + index)));
    expect(proxy.broken).toBeGreaterThan(50);
  });
});

describe('kill -9 in the middle', () => {
  it.each(['memory', 'postgres'] as const)(
    'goes on with a resumable stream and cuts every other, ledger %s',
    async (ledger) => {
      const server = ledger === 'memory' ? alone : (replicas[0] as ServerProcess);
      const proxy = await proxyTo([server], {});
      const remote = open(proxy.url);
      const pid = server.pid;
      const seenPids = new Set<number>();
      const numbers: number[] = [];
      const items: number[] = [];
      let waits: () => void = () => undefined;
      const begun = new Promise<void>((resolve) => {
        waits = () => numbers.length > 50 && items.length > 50 && resolve();
      });
      const resumable = (async () => {
        for await (const [i, by] of await remote.numbers(400, 2)) {
          numbers.push(i);
          seenPids.add(by);
          waits();
        }
      })();
      const other = failureOf(async () => {
        for await (const i of await remote.plain(100_000, 2)) {
          items.push(i);
          waits();
        }
      });
      await begun;
      await server.end('SIGKILL');
      expect(await other).toMatchObject({ code: 'stream_cut', details: { items: items.length } });
      expect(items).toEqual(range(items.length));
      await server.start();
      await resumable;
      expect(numbers).toEqual(range(400));
      expect(seenPids).toEqual(new Set([pid, server.pid]));
    },
  );
});

describe('three replicas', () => {
  it('go on with a stream at whichever is up', async () => {
    const proxy = await proxyTo(replicas, {});
    const remote = open(proxy.url);
    const resumed = vi.fn();
    remote.$events.on('streamResumed', resumed);
    const numbers: number[] = [];
    const pids: number[] = [];
    for await (const [i, pid] of await remote.numbers(300, 1)) {
      numbers.push(i);
      if (pids.at(-1) !== pid) pids.push(pid);
      if (i === 100 || i === 200) proxy.breakAll();
    }
    expect(numbers).toEqual(range(300));
    expect(pids).toHaveLength(3);
    expect(new Set(pids)).toEqual(new Set(replicas.map((replica) => replica.pid)));
    expect(resumed).toHaveBeenCalledTimes(2);
  });
});

describe('an upload that is cut in the middle', () => {
  it('fails in the function, and is not repeated if its source cannot be read again', async () => {
    const proxy = await proxyTo([alone], {});
    const remote = open(proxy.url);
    await remote.pass();
    const { cut } = await seenBy(alone);
    proxy.up = cutAfter(() => 300_000);
    const name = `cut/${SEED}`;
    const failure = await failureOf(() => remote.upload(name, source(4 * MiB).stream, 0));
    expect(failure.code).toBe('stream_cut');
    await vi.waitFor(async () => expect((await seenBy(alone)).cut).toBe(cut + 1), { timeout: 20_000 });
    expect(world.runs().get(name)).toEqual([alone.pid]);
  });

  it('rolls an exactly-once function back, and a file comes whole afterwards by itself', async () => {
    const proxy = await proxyTo(replicas, {});
    const remote = open(proxy.url);
    await remote.pass();
    let bodies = 0;
    proxy.up = cutAfter(() => (bodies++ === 0 ? 300_000 : Number.POSITIVE_INFINITY));
    const file = new File([pattern(0, MiB) as Uint8Array<ArrayBuffer>], 'a.bin');
    expect(await remote.uploadOnce('file', file)).toEqual({ length: MiB, hash: patternHash(MiB) });
    expect(bodies).toBeGreaterThan(1);
  });
});

const seenBy = (server: ServerProcess) => server.ask<typeof seen>('seen');

/** Bytes in use after a collection: of the server, and of this process. */
async function heaps(server: ServerProcess): Promise<number[]> {
  return [await server.ask<number>('heapUsed'), await ownHeap()];
}

function open(url: string): Remote<Api> {
  const { serverKey, secureKey } = world.client('trace');
  const remote = createRemote<Api>({ url: `${url}/remote/trace`, serverKey, secureKey, waitForServer: true });
  onTestFinished(() => remote.$close());
  return remote;
}

async function proxyTo(
  upstreams: readonly ServerProcess[],
  options: Omit<StreamProxyOptions, 'upstreams'>,
): Promise<StreamProxy> {
  const proxy = await StreamProxy.start({ upstreams, ...options });
  onTestFinished(() => proxy.close());
  return proxy;
}

async function throughProxy(...given: Parameters<typeof proxyTo>): Promise<Remote<Api>> {
  return open((await proxyTo(...given)).url);
}
