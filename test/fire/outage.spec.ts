import { setTimeout as sleep } from 'node:timers/promises';
import { OutcomeUnknownError, RemoteError } from '@sealwire/client';
import { expect, it, onTestFinished } from 'vitest';
import { privatePostgres } from '../support/private-postgres.js';
import { TraceLoad, TransferLoad } from './load.js';
import { World } from './world.js';

const LONG = process.env.SEALWIRE_FIRE === 'long';
const TIMEOUT = 8_000;
/** what a loaded machine may add to a timer */
const SLACK = 1_500;

it.each(['memory', 'postgres'] as const)(
  'survives a database that goes and comes, replay guard %s',
  {
    timeout: LONG ? 600_000 : 120_000,
  },
  async (guard) => {
    const postgres = await privatePostgres();
    onTestFinished(() => postgres.end());
    const world = await World.create(postgres.url);
    onTestFinished(() => world.end());
    const server = await world.server({ guard }).start();
    const urls = [`${server.url}`];
    const transfers = await new TransferLoad({ world, urls, timeout: TIMEOUT }).openAccounts(`${server.url}`);
    const trace = new TraceLoad({ world, urls, timeout: TIMEOUT });
    transfers.start(4, 2);
    trace.start(4, 2);

    // outages that a call outlasts: nobody notices
    for (let round = 0; round < (LONG ? 20 : 2); round++) {
      await sleep(1_000);
      await (round % 2 === 0 ? postgres.crash() : postgres.stop());
      await sleep(1_500);
      await postgres.start();
    }
    await sleep(2_000);
    expect(transfers.failureKinds()).toEqual({});
    expect(Object.keys(trace.failureKinds()).filter((kind) => kind !== 'OutcomeUnknownError outcome_unknown')).toEqual(
      [],
    );

    // one that no call outlasts
    await postgres.crash();
    await sleep(TIMEOUT + 4_000);
    await postgres.start();
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
