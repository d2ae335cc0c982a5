import { setTimeout as sleep } from 'node:timers/promises';
import { OutcomeUnknownError } from '@sealwire/client';
import { expect, it, onTestFinished } from 'vitest';
import type { Faults } from '../support/chaos-proxy.js';
import type { ServerProcess } from '../support/server-process.js';
import { TraceLoad, TransferLoad } from './load.js';
import { World } from './world.js';

const LONG = process.env.SEALWIRE_FIRE === 'long';
/** for each ledger */
const KILLS = LONG ? 200 : 12;
/** transfers that must come through between two kills */
const PROGRESS = 10;
const SEED = Number(process.env.SEALWIRE_FIRE_SEED ?? 20_260_101);
const CLIENTS = 6;
const PARALLEL = 3;
const TIMEOUT = 30_000;
const FAULTS: Faults = {
  dropRequest: 0.03,
  dropResponse: 0.03,
  duplicate: 0.05,
  replayRequest: 0.05,
  replayResponse: 0.02,
  delay: 0.1,
  maximumDelay: 150,
};

it.each([
  ['memory', 2],
  ['postgres', 3],
] as const)(
  'keeps every transfer under kill -9 and a hostile network, ledger %s',
  {
    timeout: LONG ? 3_600_000 : 480_000,
  },
  async (ledger, instances) => {
    const world = await World.create();
    onTestFinished(() => world.end());
    const servers = await Promise.all(Array.from({ length: instances }, () => world.server({ ledger }).start()));
    // sessions in memory want sticky routing: each proxy has its own server, and another one while that is down
    const proxies = await Promise.all(
      servers.map((server, index) =>
        world.proxy({
          upstreams: [server, ...servers.filter((other) => other !== server)],
          route: ledger === 'memory' ? 'first' : 'round-robin',
          faults: FAULTS,
          seed: SEED + index,
        }),
      ),
    );
    const urls = proxies.map(({ url }) => url);
    const transfers = await new TransferLoad({ world, urls, timeout: TIMEOUT }).openAccounts(`${urls[0]}`);
    const trace = new TraceLoad({ world, urls, timeout: TIMEOUT });
    transfers.start(CLIENTS, PARALLEL);
    trace.start(2, 1);

    await killAgainAndAgain(servers, transfers);
    const killed = performance.now();
    await sleep(3_000);
    await Promise.all([transfers.stop(), trace.stop()]);

    const seen = `seed ${SEED}, ${transfers.acknowledged.size} transfers, faults ${JSON.stringify(proxies.map(({ count }) => count))}`;
    expect(transfers.failureKinds(), seen).toEqual({});
    expect(await transfers.audit(), seen).toEqual([]);
    expect(transfers.stuckSince(killed), seen).toEqual([]);
    expect(transfers.slowest, seen).toBeLessThan(TIMEOUT);
    // a function without a transaction may have run when its server died: then nobody knows, and the caller is told so
    expect(
      trace.failures.filter(({ error }) => !(error instanceof OutcomeUnknownError)),
      seen,
    ).toEqual([]);
    expect(trace.audit(), seen).toEqual([]);
    expect(transfers.acknowledged.size, seen).toBeGreaterThan(KILLS);
    for (const { count } of proxies) for (const times of Object.values(count)) expect(times, seen).toBeGreaterThan(0);
  },
);

/** In turn, each as soon as the clients got on; every fourth time two at once. */
async function killAgainAndAgain(servers: readonly ServerProcess[], load: TransferLoad): Promise<void> {
  const turn = [...servers];
  for (let kills = 0; kills < KILLS; ) {
    await load.progress(PROGRESS);
    const victims = turn.splice(0, kills % 4 === 3 ? 2 : 1);
    await Promise.all(victims.map((server) => server.end('SIGKILL')));
    await Promise.all(victims.map((server) => server.start()));
    turn.push(...victims);
    kills += victims.length;
  }
}
