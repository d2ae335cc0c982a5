import { CONTENDERS, CONTROL, type Contender, type ContenderName } from './contenders.js';
import { type Connection, drive, openConnections } from './http-load.js';
import type { Keys } from './keys.js';
import type { Load } from './loads.js';
import { payloadOf } from './payload.js';
import { BenchProcess } from './processes.js';
import type { Comparison } from './rows.js';
import { median, printTable, quantile } from './statistics.js';

export const PARALLEL = 16;

export interface Plan {
  readonly rounds: number;
  /** milliseconds of load in a round */
  readonly ms: number;
  /** calls at one connection, over all rounds */
  readonly latencies: number;
}

/** One measured stretch of load. */
interface Stretch {
  /** calls a second */
  readonly rate: number;
  /** microseconds of the server's CPU for one call */
  readonly cpu: number;
  readonly up: number;
  readonly down: number;
  /** milliseconds */
  readonly latencies: readonly number[];
}

/** A contender at one size, with what was measured of it. */
export class Runner {
  readonly stretches: Stretch[] = [];
  readonly latencies: number[] = [];
  private count = 64;

  private constructor(
    readonly contender: Contender,
    readonly process: BenchProcess,
    private readonly connections: readonly Connection[],
    private readonly load: (count: number) => Load | Promise<Load>,
  ) {}

  static async open(contender: Contender, process: BenchProcess, keys: Keys, size: number): Promise<Runner> {
    const connections = await openConnections(process.port, PARALLEL);
    const load = await contender.load({ url: process.url ?? '', keys }, payloadOf(size));
    return new Runner(contender, process, connections, load);
  }

  get calls(): number {
    return this.contender.calls ?? 1;
  }

  /** The first stretches also compile; then it is known how many requests fill `ms`. */
  async warmUp(ms: number): Promise<void> {
    for (const share of [0.25, 0.5, 1]) {
      const { rate } = await this.stretch(this.connections, this.count);
      this.count = Math.max(PARALLEL, Math.ceil(((rate / this.calls) * ms * share) / 1_000));
    }
  }

  async round(latencies: number): Promise<void> {
    this.stretches.push(await this.stretch(this.connections, this.count));
    this.latencies.push(...(await this.stretch(this.connections.slice(0, 1), latencies)).latencies);
  }

  /** @param around what else the process does during the load, and only then */
  async stretch(
    connections: readonly Connection[] = this.connections,
    count = this.count,
    around?: { before(): Promise<unknown>; after(): Promise<unknown> },
  ): Promise<Stretch> {
    const { requests, check } = await this.load(count);
    const latencies: number[] = [];
    let last = { index: 0, answer: Buffer.alloc(0) as Buffer };
    await around?.before();
    const before = await this.process.cpu();
    let then = performance.now();
    const ms = await drive(connections, requests, (index, answer) => {
      const now = performance.now();
      latencies.push(now - then);
      then = now;
      last = { index, answer };
    });
    const cpu = (await this.process.cpu()) - before;
    await around?.after();
    if (!(await check(last.index, last.answer))) throw new Error('an answer does not hold what was sent');
    const calls = count * this.calls;
    return {
      rate: (calls * 1_000) / ms,
      cpu: cpu / calls,
      up: bodyLength(requests[0]) / this.calls,
      down: last.answer.length / this.calls,
      latencies,
    };
  }

  close(): void {
    for (const connection of this.connections) connection.close();
  }
}

/** @param flags more of them for Node */
export function startContender(
  { server }: Contender,
  keys: Keys,
  flags: readonly string[] = [],
): Promise<BenchProcess> {
  return BenchProcess.start('server', { ...keys.env, BENCH_SERVER: server }, flags);
}

/** All contenders of a size take turns in every round, so that whatever else the machine does meets all of them. */
export async function compareCalls(
  comparisons: readonly Comparison[],
  keys: Keys,
  plan: Plan,
  profile: boolean,
): Promise<void> {
  const names = [...new Set(comparisons.flatMap(({ contender, control }) => [contender, control, CONTROL]))];
  const processes = new Map<ContenderName, BenchProcess>();
  try {
    for (const name of names) processes.set(name, await startContender(CONTENDERS[name], keys));
    for (const size of [...new Set(comparisons.map((comparison) => comparison.size))].sort((a, b) => a - b)) {
      const ofSize = comparisons.filter((comparison) => comparison.size === size);
      const runners = new Map<ContenderName, Runner>();
      for (const [name, process] of processes) {
        if (name !== CONTROL && !ofSize.some(({ contender, control }) => name === contender || name === control))
          continue;
        runners.set(name, await Runner.open(CONTENDERS[name], process, keys, size));
      }
      for (const [name, runner] of runners) {
        try {
          await runner.warmUp(plan.ms);
        } catch (error) {
          if (name === CONTROL) throw error;
          console.log(`\n${runner.contender.title} at ${size} bytes is left out: ${error}`);
          runner.close();
          runners.delete(name);
        }
      }
      for (let round = 0; round < plan.rounds; round++) {
        for (const runner of runners.values()) await runner.round(Math.ceil(plan.latencies / plan.rounds));
      }
      report(size, runners);
      reportRows(ofSize, runners);
      if (profile) for (const runner of runners.values()) await printProfile(runner);
      for (const runner of runners.values()) runner.close();
    }
  } finally {
    await Promise.all([...processes.values()].map((process) => process.end()));
  }
}

function report(size: number, runners: ReadonlyMap<ContenderName, Runner>): void {
  const control = runners.get(CONTROL);
  const rows = [...runners.values()].map((runner) => [
    runner.contender.title,
    median(runner.stretches.map(({ cpu }) => cpu)).toFixed(0),
    `${ratio(control, runner, 'cpu').toFixed(2)}x`,
    Math.round(median(runner.stretches.map(({ rate }) => rate))),
    `${ratio(runner, control, 'rate').toFixed(2)}x`,
    `${quantile(runner.latencies, 0.5).toFixed(2)} ms`,
    `${quantile(runner.latencies, 0.99).toFixed(2)} ms`,
    Math.round(runner.stretches[0]?.up ?? 0),
    Math.round(runner.stretches[0]?.down ?? 0),
  ]);
  const head = ['', 'server CPU us/call', 'by CPU', 'calls/s', 'by calls/s', 'p50', 'p99', 'bytes up', 'down'];
  const title = `${size} bytes each way: ${PARALLEL} connections, p50 and p99 at 1; against ${CONTENDERS[CONTROL].title}`;
  printTable(title, head, rows);
}

function reportRows(comparisons: readonly Comparison[], runners: ReadonlyMap<ContenderName, Runner>): void {
  const rows = comparisons
    .filter(({ measure, contender, control }) => measure !== 'table' && runners.has(contender) && runners.has(control))
    .map(({ row, contender, control, measure, goal = '' }) => {
      const [one, other] = [runners.get(contender), runners.get(control)];
      const value =
        measure === 'rate'
          ? ratio(one, other, 'rate')
          : quantile(one?.latencies ?? [], 0.5) / quantile(other?.latencies ?? [], 0.5);
      const byCpu = measure === 'rate' ? `${ratio(other, one, 'cpu').toFixed(2)}x` : '';
      return [
        row,
        `${CONTENDERS[contender].title} against ${CONTENDERS[control].title}`,
        measure === 'rate' ? 'calls/s' : 'p50',
        `${value.toFixed(2)}x`,
        goal && `${measure === 'p50' ? 'at most ' : ''}${goal}`,
        byCpu,
      ];
    });
  if (rows.length > 0) printTable('Rows', ['row', '', '', 'ratio', 'goal', 'by CPU'], rows, 3);
}

/** Round by round, since both met the same machine in it. */
function ratio(one: Runner | undefined, other: Runner | undefined, figure: 'cpu' | 'rate'): number {
  return median(
    (one?.stretches ?? []).map((stretch, round) => stretch[figure] / (other?.stretches[round]?.[figure] ?? Number.NaN)),
  );
}

async function printProfile(runner: Runner): Promise<void> {
  const { process } = runner;
  let groups: { name: string; share: number }[] = [];
  await runner.stretch(undefined, undefined, {
    before: () => process.ask('startProfile'),
    after: async () => {
      groups = await process.ask('stopProfile');
    },
  });
  const rows = groups.map(({ name, share }) => [name, `${(share * 100).toFixed(0)} %`]);
  printTable(`${runner.contender.title}: where the server's time goes`, ['', ''], rows);
}

function bodyLength(request: Buffer | undefined): number {
  return request ? request.length - request.indexOf('\r\n\r\n') - 4 : 0;
}
