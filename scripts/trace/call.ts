import { fileURLToPath } from 'node:url';
import { startContender } from '../../bench/calls.js';
import { CONTENDERS } from '../../bench/contenders.js';
import { makeKeys } from '../../bench/keys.js';
import { BenchProcess } from '../../bench/processes.js';
import type { Step } from '../../bench/questions.js';

export interface Route {
  readonly side: Side;
  /** of the side's own package, in the order in which the call first comes to them */
  readonly files: readonly string[];
  /** different functions in them */
  readonly functions: number;
  readonly awaits: number;
  /** files of @sealwire/core */
  readonly core: readonly string[];
  readonly steps: readonly Step[];
}

export type Side = 'client' | 'server';

const HOOKS = ['--import', fileURLToPath(new URL('./hooks.mjs', import.meta.url))];
const SIZE = 200;
const WARM = 20;
/** Timers that strike during one call do not strike during all. */
const CALLS = 5;

/** The route of one warm call through the built packages, with the memory store, on Express. */
export async function traceCall(): Promise<{ client: Route; server: Route }> {
  const keys = makeKeys();
  const server = await startContender(CONTENDERS.sealed, keys, HOOKS);
  const env = { BENCH_CLIENT: 'sealwire', BENCH_URL: server.url ?? '', BENCH_KEYS: JSON.stringify(keys.client) };
  const client = await BenchProcess.start('client', env, HOOKS);
  try {
    await client.ask('call', SIZE, 1, WARM);
    const calls: Record<Side, Step[]>[] = [];
    for (let i = 0; i < CALLS; i++) {
      await Promise.all([client.ask('startTrace'), server.ask('startTrace')]);
      await client.ask('call', SIZE, 1, 1);
      calls.push({ client: await client.ask('stopTrace'), server: await server.ask('stopTrace') });
    }
    return { client: routeOf('client', calls), server: routeOf('server', calls) };
  } finally {
    await Promise.all([client.end(), server.end()]);
  }
}

function routeOf(side: Side, calls: readonly Record<Side, Step[]>[]): Route {
  const [first = [], ...others] = calls.map((call) => call[side]);
  const names = others.map((steps) => new Set(steps.map(nameOf)));
  const common = first.filter((step) => names.every((set) => set.has(nameOf(step))));
  const steps = common.filter(({ file }) => file !== 'await');
  const own = steps.filter(({ file }) => !file.startsWith('core/'));
  return {
    side,
    files: filesOf(own),
    functions: new Set(own.map(nameOf)).size,
    awaits: common.length - steps.length,
    core: filesOf(steps.filter((step) => !own.includes(step))),
    steps,
  };
}

function filesOf(steps: readonly Step[]): string[] {
  return [...new Set(steps.map(({ file }) => file))];
}

function nameOf({ file, name }: Step): string {
  return `${file} ${name}`;
}
