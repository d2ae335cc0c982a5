import { setTimeout as sleep } from 'node:timers/promises';
import { OutcomeUnknownError, RemoteError } from '@sealwire/client';
import { expect, it, onTestFinished } from 'vitest';
import { freshDatabase } from '../support/postgres.js';
import { privatePostgres } from '../support/private-postgres.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { TraceLoad, TransferLoad } from './load.js';
import { World } from './world.js';

const LONG = process.env.SEALWIRE_FIRE === 'long';
const TIMEOUT = 8_000;
/** calls of each load that come through before the next outage */
const PROGRESS = 40;
/** what a loaded machine may add to a timer */
const SLACK = 1_500;

interface Outages {
  readonly url: string;
  begin(round: number): unknown;
  end(): unknown;
}

/** Its connections break, and no others are made. */
async function gone(): Promise<Outages> {
  const postgres = await privatePostgres();
  onTestFinished(() => postgres.end());
  return {
    url: postgres.url,
    begin: (round) => (round % 2 === 0 ? postgres.crash() : postgres.stop()),
    end: () => postgres.start(),
  };
}

/** Its connections stay and say nothing, and so do new ones. */
async function silent(): Promise<Outages> {
  const database = await freshDatabase();
  onTestFinished(() => database.drop());
  const proxy = await TcpProxy.start(database.url);
  onTestFinished(() => proxy.close());
  return { url: proxy.url, begin: () => proxy.freeze(), end: () => proxy.thaw() };
}

it.each([
  { ledger: 'memory', away: 'gone', outages: gone },
  { ledger: 'postgres', away: 'gone', outages: gone },
  { ledger: 'memory', away: 'silent', outages: silent },
  { ledger: 'postgres', away: 'silent', outages: silent },
] as const)(
  'survives a database that is $away for a while, ledger $ledger',
  { timeout: LONG ? 600_000 : 120_000 },
  async ({ ledger, outages }) => {
    const database = await outages();
    const world = await World.create(database.url);
    onTestFinished(() => world.end());
    const server = await world.server({ ledger }).start();
    const urls = [`${server.url}`];
    const transfers = await new TransferLoad({ world, urls, timeout: TIMEOUT }).openAccounts(`${server.url}`);
    const trace = new TraceLoad({ world, urls, timeout: TIMEOUT });
    transfers.start(4, 2);
    trace.start(4, 2);
    const progress = () => Promise.all([transfers.progress(PROGRESS), trace.progress(PROGRESS)]);

    // outages that a call outlasts: nobody notices
    for (let round = 0; round < (LONG ? 20 : 2); round++) {
      await progress();
      await database.begin(round);
      await sleep(1_500);
      await database.end();
    }
    await progress();
    expect(transfers.failureKinds()).toEqual({});
    expect(Object.keys(trace.failureKinds()).filter((kind) => kind !== 'OutcomeUnknownError outcome_unknown')).toEqual(
      [],
    );

    // one that no call outlasts
    await database.begin(0);
    await sleep(TIMEOUT + 4_000);
    await database.end();
    const back = performance.now();
    const stuck = () => [...transfers.stuckSince(back), ...trace.stuckSince(back)];
    await expect.poll(stuck, { timeout: 30_000 }).toEqual([]);
    await Promise.all([transfers.stop(), trace.stop()]);

    const failures = [...transfers.failures, ...trace.failures];
    expect(failures.filter(({ error }) => !isClear(error))).toEqual([]);
    expect(Math.max(transfers.slowest, trace.slowest)).toBeLessThan(TIMEOUT + SLACK);
    expect(transfers.failures.length).toBeGreaterThan(0);
    expect(await transfers.audit()).toEqual([]);
    expect(await transfers.bookedThoughRetryable()).toEqual([]);
    expect(trace.audit()).toEqual([]);
  },
);

/** Either it may be tried again, or the caller is told that nobody knows. */
function isClear(error: unknown): boolean {
  return error instanceof OutcomeUnknownError || (error instanceof RemoteError && error.retryable);
}
