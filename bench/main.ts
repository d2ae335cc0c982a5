// Compares sealed calls with what they replace. This process is the load; every server has a process of its own.
import { availableParallelism, cpus, loadavg, release, type as system, totalmem } from 'node:os';
import { readArguments, refuse } from '../scripts/arguments.mjs';
import { compareCalls, type Plan } from './calls.js';
import { compareClients, compareTransports } from './clients.js';
import { makeKeys } from './keys.js';
import { COMPARISONS, ROW_NAMES } from './rows.js';
import { measureDelay, measureHandshakes, measureMemory } from './sessions.js';
import { measureStore } from './store.mjs';
import { measureBytes, measureFirst, measureIdle, measureItems, type StreamPlan } from './streams.js';

const USAGE = `npm run bench -- [options]
  --row NAME      only that row; may be given several times
  --quick         short rounds, rough figures
  --profile       also where the time of each server goes
  --sessions N    sessions of the row 'memory' (20000, with --quick 1000)
  --list          the names of the rows`;

const {
  row: wanted,
  quick,
  profile,
  sessions,
  list,
} = readArguments(USAGE, {
  row: { type: 'string', multiple: true, default: [] },
  quick: { type: 'boolean', default: false },
  profile: { type: 'boolean', default: false },
  sessions: { type: 'string' },
  list: { type: 'boolean', default: false },
});
const unknown = wanted.find((row) => !ROW_NAMES.includes(row));
if (unknown !== undefined) refuse(`There is no row '${unknown}'`, USAGE);
if (sessions !== undefined && !/^[1-9]\d*$/.test(sessions))
  refuse(`--sessions is '${sessions}', but it must be a number from 1`, USAGE);
if (list) {
  console.log(ROW_NAMES.join('\n'));
  process.exit();
}
const has = (row: string) => wanted.length === 0 || wanted.includes(row);

printMachine();
const keys = makeKeys();
const plan: Plan = quick ? { rounds: 3, ms: 300, latencies: 200 } : { rounds: 7, ms: 1_000, latencies: 1_000 };
const comparisons = COMPARISONS.filter(({ row }) => has(row));
if (comparisons.length > 0) await compareCalls(comparisons, keys, plan, profile);
if (has('client-200')) await compareClients(keys, plan);
if (has('transport-200')) await compareTransports(keys, plan);
if (has('handshake')) await measureHandshakes(keys, quick ? 100 : 500);
if (has('delay')) await measureDelay(keys, quick ? 3 : 60);
if (has('memory')) await measureMemory(keys, Number(sessions ?? (quick ? 1_000 : 20_000)));
if (has('store')) await measureStore({ quick });
const streams: StreamPlan = quick
  ? { rounds: 3, pairs: 1, length: 20 * 2 ** 20, items: 20_000, subscriptions: 100, profile }
  : { rounds: 7, pairs: 5, length: 100 * 2 ** 20, items: 100_000, subscriptions: 1_000, profile };
if (has('stream-down')) await measureBytes(keys, 'down', streams);
if (has('stream-up')) await measureBytes(keys, 'up', streams);
if (has('stream-items')) await measureItems(keys, streams);
if (has('stream-first')) await measureFirst(keys);
if (has('stream-idle')) await measureIdle(keys, streams);

function printMachine(): void {
  const [cpu] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  console.log(
    `${cpu?.model.trim()}, ${availableParallelism()} cores, ${memory} GiB; ${system()} ${release()}; ` +
      `Node ${process.version}, OpenSSL ${process.versions.openssl}; load before the run ${loadavg()[0]?.toFixed(1)}`,
  );
}
