import { setTimeout as sleep } from 'node:timers/promises';
import { OutcomeUnknownError } from '@sealwire/client';
import pg from 'pg';
import { expect, it, onTestFinished } from 'vitest';
import type { ChaosProxy, Exchange } from '../support/chaos-proxy.js';
import { PeerClient, type SealedCall } from '../support/peer/client.js';
import type { ServerProcess } from '../support/server-process.js';
import { TraceLoad, TransferLoad } from './load.js';
import { World } from './world.js';

const LEDGERS = ['memory', 'postgres'] as const;
const WAYS = {
  'another database under the same name': replaceDatabase,
  'rows put back into the same database': putRowsBack,
};

it.each(LEDGERS.flatMap((ledger) => Object.entries(WAYS).map(([way, restore]) => ({ ledger, way, restore }))))(
  'runs nothing again after a restore from a dump: $way, ledger $ledger',
  { timeout: 120_000 },
  async ({ ledger, restore }) => {
    const world = await World.create();
    onTestFinished(() => world.end());
    const servers = [await world.server({ ledger }).start()];
    const proxy = await world.proxy({ upstreams: servers });
    const { url } = proxy;
    const open = () => PeerClient.open({ url, ...world.client('trace') });
    const transfers = await new TransferLoad({ world, urls: [url] }).openAccounts(url);
    const trace = new TraceLoad({ world, urls: [url] });
    const old = await open();
    const ranBefore = await record(old, 'before the dump');
    transfers.start(4, 2);
    trace.start(4, 2);
    // as many on every machine, for all of them are sent again; each client goes once
    const more = () => Promise.all([transfers.progress(60), trace.progress(300)]);
    await more();

    const bringBack = await restore(world);
    const ranAfter = await record(old, 'after the dump');
    const young = await open();
    const ranYoung = await record(young, 'in a session that the dump does not know');
    // sealed and held up by the network until the database is another one
    const heldUp = old.seal({ name: 'record', args: ['held up'] });
    await more();
    const acknowledged = new Set(transfers.acknowledged.keys());
    const before = proxy.recorded.length;
    await bringBack();
    const restored = performance.now();
    const kept = await references(world);
    const runsBefore = world.runs();

    // everything that was ever sent comes again, at once and from a fresh process too
    const sent = proxy.recorded.slice(0, before);
    await replayAll(proxy, sent, servers);
    await sleep(3_000);
    const another = await world.server({ ledger }).start();
    await servers[0]?.end();
    servers.splice(0, 1, another);
    await replayAll(proxy, sent, servers);
    await sleep(3_000);
    const fates = await Promise.all([ranBefore, ranAfter, heldUp].map((frame) => old.settle(frame)));
    const youngFate = await young.settle(ranYoung);
    await Promise.all([transfers.stop(), trace.stop()]);

    expect(trace.audit()).toEqual([]);
    expect([...runsBefore.keys()].filter((reference) => world.runs().get(reference)?.length !== 1)).toEqual([]);
    // what the restore took back stays away: its caller has an answer, and its frame is worth nothing
    const now = await references(world);
    expect([...now].filter(([, times]) => times > 1)).toEqual([]);
    expect([...acknowledged].filter((reference) => now.has(reference) && !kept.has(reference))).toEqual([]);
    expect(acknowledged.size).toBeGreaterThan([...acknowledged].filter((reference) => kept.has(reference)).length);
    // the old session lives on and knows nothing of what the dump lacks; the young one is gone with the rows
    const [beforeDump, ...sinceDump] = fates;
    for (const fate of sinceDump) {
      expect(fate).toMatchObject({ kind: 'sealed', reply: { status: 'lane_moved', known: 'unknown' } });
    }
    // what the dump holds may still be told, for its effects are there too
    if (ledger === 'memory') expect(beforeDump).toEqual(sinceDump[0]);
    else expect(beforeDump).toMatchObject({ kind: 'sealed', reply: { outcomes: [{ ok: true }] } });
    expect(youngFate).toEqual({ kind: 'outer', status: 409, code: 'session_unknown' });
    // nobody is stuck, and whoever got no result was told that it is unknown
    const failures = [...transfers.failures, ...trace.failures];
    expect(failures.filter(({ error }) => !(error instanceof OutcomeUnknownError))).toEqual([]);
    expect([...transfers.stuckSince(restored + 4_000), ...trace.stuckSince(restored + 4_000)]).toEqual([]);
  },
);

async function record(session: PeerClient, reference: string): Promise<SealedCall> {
  const sealed = session.seal({ name: 'record', args: [reference] });
  expect(await session.settle(sealed)).toMatchObject({ kind: 'sealed', reply: { outcomes: [{ ok: true }] } });
  return sealed;
}

async function references(world: World): Promise<Map<string, number>> {
  const { rows } = await world.pool.query<{ note: string; times: string }>(
    'SELECT note, count(*) AS times FROM transfer WHERE "from" IS NOT NULL GROUP BY note',
  );
  return new Map(rows.map(({ note, times }) => [note, Number(times)]));
}

async function replayAll(
  proxy: ChaosProxy,
  sent: readonly Exchange[],
  servers: readonly ServerProcess[],
): Promise<void> {
  const queue = [...sent];
  const worker = async () => {
    for (let exchange = queue.shift(); exchange; exchange = queue.shift()) {
      for (const server of servers) await proxy.replay(exchange, server);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

/** Dumps now; what it answers puts the dump in the place of the database, as CREATE DATABASE and a dump played back do. */
async function replaceDatabase(world: World): Promise<() => Promise<void>> {
  const live = new URL(world.databaseUrl).pathname.slice(1);
  const dump = `${live}_dump`;
  await alone(world, live, (admin) => admin(`CREATE DATABASE ${dump} TEMPLATE ${live}`));
  world.atEnd(() => asAdmin(world, (admin) => admin(`DROP DATABASE IF EXISTS ${dump} WITH (FORCE)`)));
  return () =>
    asAdmin(world, async (admin) => {
      await admin(`DROP DATABASE ${live} WITH (FORCE)`);
      await admin(`ALTER DATABASE ${dump} RENAME TO ${live}`);
    });
}

/** The same with TRUNCATE and INSERT in one transaction, which nobody's connection notices. */
async function putRowsBack(world: World): Promise<() => Promise<void>> {
  const { rows } = await world.pool.query<{ name: string }>(
    "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migrations'",
  );
  const names = rows.map(({ name }) => name);
  const inOneTransaction = async (statements: string[]): Promise<void> => {
    const client = await world.pool.connect();
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          return void (await client.query(
            ['BEGIN ISOLATION LEVEL REPEATABLE READ', ...statements, 'COMMIT'].join(';'),
          ));
        } catch (error) {
          await client.query('ROLLBACK');
          // transfers under way take the same locks in another order
          if (attempt === 10 || (error as { code?: string }).code !== '40P01') throw error;
        }
      }
    } finally {
      client.release();
    }
  };
  await inOneTransaction([
    'CREATE SCHEMA dump',
    ...names.map((name) => `CREATE TABLE dump.${name} AS TABLE public.${name}`),
  ]);
  // accounts before the transfers that refer to them
  const order = [...names].sort((a, b) => Number(a === 'transfer') - Number(b === 'transfer'));
  return async () => {
    await inOneTransaction([
      `TRUNCATE ${names.map((name) => `public.${name}`).join(', ')}`,
      ...order.map((name) => `INSERT INTO public.${name} SELECT * FROM dump.${name}`),
    ]);
  };
}

/** Keeps everybody else out of the database for as long as the work takes. */
async function alone(world: World, database: string, work: (admin: Statement) => Promise<void>): Promise<void> {
  await asAdmin(world, async (admin) => {
    await admin(`ALTER DATABASE ${database} ALLOW_CONNECTIONS false`);
    try {
      await admin(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '${database}'`);
      await work(admin);
    } finally {
      await admin(`ALTER DATABASE ${database} ALLOW_CONNECTIONS true`);
    }
  });
}

type Statement = (statement: string) => Promise<void>;

async function asAdmin(world: World, work: (admin: Statement) => Promise<void>): Promise<void> {
  const url = new URL(world.databaseUrl);
  url.pathname = '/postgres';
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    await work(async (statement) => void (await client.query(statement)));
  } finally {
    await client.end();
  }
}
