import type { Keys } from './keys.js';
import { BenchProcess } from './processes.js';
import type { ProfileGroup } from './profile.js';
import type { Memory } from './questions.js';
import { type Cell, median, printTable } from './statistics.js';

export interface StreamPlan {
  readonly rounds: number;
  /** pairs of a server and its client, one after the other */
  readonly pairs: number;
  /** bytes of one stream */
  readonly length: number;
  readonly items: number;
  readonly subscriptions: number;
  readonly profile: boolean;
}

const MiB = 2 ** 20;
/** Calls of each kind, also before what is measured: until the engine has compiled what they pass, which is more for a stream. */
const LATENCIES = 3_000;

/** A server of streams and its client. */
class Pair {
  private constructor(
    readonly title: string,
    readonly server: BenchProcess,
    readonly client: BenchProcess,
  ) {}

  static async open(title: string, kind: 'nest-streams' | 'sealed-streams', keys: Keys): Promise<Pair> {
    const server = await BenchProcess.start('server', { ...keys.env, BENCH_SERVER: kind });
    const env = { BENCH_URL: server.url ?? '', BENCH_KEYS: JSON.stringify(keys.client) };
    return new Pair(title, server, await BenchProcess.start('stream-client', env));
  }

  get both(): readonly BenchProcess[] {
    return [this.server, this.client];
  }

  async end(): Promise<void> {
    await Promise.all(this.both.map((process) => process.end()));
  }
}

async function withPairs(keys: Keys, work: (sealed: Pair, plain: Pair) => Promise<void>): Promise<void> {
  const plain = await Pair.open('plain Nest controller', 'nest-streams', keys);
  try {
    await withSealed(keys, (sealed) => work(sealed, plain));
  } finally {
    await plain.end();
  }
}

async function withSealed(keys: Keys, work: (sealed: Pair) => Promise<void>): Promise<void> {
  const sealed = await Pair.open('remote function', 'sealed-streams', keys);
  try {
    await work(sealed);
  } finally {
    await sealed.end();
  }
}

/** What streams through one pair of processes were like. */
interface Streamed {
  /** MiB/s of each round */
  readonly rates: readonly number[];
  /** the same as a share of the plain one's */
  readonly shares: readonly number[];
  /** milliseconds of CPU a MiB, of the server and the client */
  readonly cpu: readonly number[];
  /** bytes by which the server and the client grew at most */
  readonly growth: readonly number[];
}

/** One long stream of bytes at a time; the two take turns. A process is quick or slow for its life, so there are several. */
export async function measureBytes(keys: Keys, direction: 'down' | 'up', plan: StreamPlan): Promise<void> {
  const streamed = new Map<string, Streamed[]>();
  for (let left = plan.pairs; left > 0; left--) {
    await withPairs(keys, async (sealed, plain) => {
      for (const [{ title }, one] of await streamThrough(sealed, plain, direction, plan)) {
        streamed.set(title, [...(streamed.get(title) ?? []), one]);
      }
      if (plan.profile && left === 1) await printProfiles(sealed, () => sealed.client.ask(direction, plan.length));
    });
  }
  const rows = [...streamed].map(([title, all]) => [
    title,
    median(all.flatMap(({ rates }) => rates)).toFixed(0),
    `${median(all.flatMap(({ shares }) => shares)).toFixed(2)}x`,
    ...[0, 1].map((place) => median(all.map(({ cpu }) => cpu[place] ?? Number.NaN)).toFixed(1)),
    ...[0, 1].map((place) => `${(Math.max(...all.map(({ growth }) => growth[place] ?? 0)) / MiB).toFixed(0)} MiB`),
  ]);
  const title = `stream-${direction}: ${(plan.length / MiB).toFixed(0)} MiB in one stream (goals: 0.8x, at most 64 MiB more memory)`;
  const head = ['', 'MiB/s', 'of plain', 'server CPU ms/MiB', 'client CPU ms/MiB', 'server grew by', 'client grew by'];
  printTable(title, head, rows);
}

async function streamThrough(
  sealed: Pair,
  plain: Pair,
  direction: 'down' | 'up',
  plan: StreamPlan,
): Promise<Map<Pair, Streamed>> {
  const pairs = [plain, sealed];
  const run = async (pair: Pair) => {
    const ms = await pair.client.ask<number>(pair === plain ? `${direction}Plain` : direction, plan.length);
    return (plan.length / MiB / ms) * 1_000;
  };
  const before = new Map<Pair, readonly number[]>();
  for (const pair of pairs) {
    await run(pair);
    before.set(pair, await spent(pair));
  }
  const rates = new Map<Pair, number[]>(pairs.map((pair) => [pair, []]));
  for (let round = 0; round < plan.rounds; round++) {
    for (const [pair, measured] of rates) measured.push(await run(pair));
  }
  const whole = (plan.length / MiB) * plan.rounds * 1_000;
  const plainRates = rates.get(plain) ?? [];
  const streamed = new Map<Pair, Streamed>();
  for (const [pair, measured] of rates) {
    const after = await spent(pair);
    await Promise.all(pair.both.map((process) => process.ask('startPeak')));
    await run(pair);
    streamed.set(pair, {
      rates: measured,
      shares: measured.map((rate, round) => rate / (plainRates[round] ?? Number.NaN)),
      cpu: after.map((us, place) => (us - (before.get(pair)?.[place] ?? 0)) / whole),
      growth: await Promise.all(pair.both.map((process) => process.ask<number>('stopPeak'))),
    });
  }
  return streamed;
}

/** Microseconds of CPU of its server and its client. */
const spent = (pair: Pair) => Promise.all(pair.both.map((process) => process.cpu()));

export async function measureItems(keys: Keys, plan: StreamPlan): Promise<void> {
  await withSealed(keys, async (sealed) => {
    const run = async (streams: number) => {
      const ms = await sealed.client.ask<number>('items', plan.items / streams, streams);
      return (plan.items / ms) * 1_000;
    };
    await run(1);
    const rows: Cell[][] = [];
    for (const streams of [1, 8]) {
      const rates: number[] = [];
      for (let round = 0; round < plan.rounds; round++) rates.push(await run(streams));
      rows.push([streams === 1 ? 'one stream' : `${streams} streams`, Math.round(median(rates))]);
    }
    printTable(`stream-items: ${plan.items} small items (goal: 100000/s)`, ['', 'items/s'], rows);
    if (plan.profile) await printProfiles(sealed, () => run(1));
  });
}

export async function measureFirst(keys: Keys): Promise<void> {
  await withSealed(keys, async ({ client }) => {
    const rows: Cell[][] = [];
    for (const items of [1, 32, 1_000]) {
      await client.ask('first', LATENCIES, items);
      const { unary, first } = await client.ask<{ unary: number[]; first: number[] }>('first', LATENCIES, items);
      const [whole, item] = [median(unary), median(first)];
      rows.push([items, `${whole.toFixed(2)} ms`, `${item.toFixed(2)} ms`, `${(item / whole).toFixed(2)}x`]);
    }
    const title = 'stream-first: the first item against a unary result of the same items, p50 (goal: no later)';
    printTable(title, ['items', 'unary result', 'first item', 'of unary'], rows);
  });
}

/** Streams that are open and bring nothing, each with a connection of its own. */
export async function measureIdle(keys: Keys, plan: StreamPlan): Promise<void> {
  await withPairs(keys, async (sealed, plain) => {
    const rows: Cell[][] = [];
    for (const pair of [plain, sealed]) {
      const subscribe = (count: number) => pair.client.ask(pair === plain ? 'subscribePlain' : 'subscribe', count);
      await subscribe(Math.ceil(plan.subscriptions / 10));
      const memory = () => Promise.all(pair.both.map((process) => process.ask<Memory>('memory')));
      const before = await memory();
      await subscribe(plan.subscriptions);
      const after = await memory();
      const each = after.map(({ used }, place) => (used - (before[place]?.used ?? 0)) / plan.subscriptions);
      rows.push([pair.title, ...each.map((bytes) => `${(bytes / 1_024).toFixed(1)} KiB`)]);
    }
    const title = `stream-idle: memory of each of ${plan.subscriptions} idle subscriptions, in use after a collection`;
    printTable(title, ['', 'server', 'client'], rows);
  });
}

async function printProfiles(pair: Pair, work: () => Promise<unknown>): Promise<void> {
  for (const process of pair.both) await process.ask('startProfile');
  await work();
  for (const [place, process] of pair.both.entries()) {
    const groups = await process.ask<ProfileGroup[]>('stopProfile');
    printTable(
      `where the time of the ${place === 0 ? 'server' : 'client'} goes`,
      ['', 'share'],
      groups.map(({ name, share }) => [name, `${(share * 100).toFixed(0)} %`]),
    );
  }
}
