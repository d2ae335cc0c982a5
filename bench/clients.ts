import { PARALLEL, type Plan, startContender } from './calls.js';
import { CONTENDERS, type ContenderName } from './contenders.js';
import type { Keys } from './keys.js';
import { BenchProcess } from './processes.js';
import { median, printTable } from './statistics.js';

interface Client {
  readonly title: string;
  readonly server: BenchProcess;
  readonly client: BenchProcess;
  readonly cpu: number[];
  readonly rates: number[];
}

/** What a call costs the process that makes it. The clients take turns. */
export async function compareClients(keys: Keys, { rounds, ms }: Plan): Promise<void> {
  const clients: Client[] = [];
  const add = async (title: string, kind: string, contender: ContenderName) => {
    const server = await startContender(CONTENDERS[contender], keys);
    const env = { BENCH_CLIENT: kind, BENCH_URL: server.url ?? '', BENCH_KEYS: JSON.stringify(keys.client) };
    clients.push({ title, server, client: await BenchProcess.start('client', env), cpu: [], rates: [] });
  };
  try {
    await add('tRPC, httpLink', 'trpc', 'trpc');
    await add('fetch, JSON', 'fetch', 'nest');
    await add('Sealwire, createRemote', 'sealwire', 'sealed');
    const count = Math.ceil(ms * 2);
    for (let round = 0; round <= rounds; round++) {
      for (const { client, cpu, rates } of clients) {
        const before = await client.cpu();
        const took = await client.ask<number>('call', 200, PARALLEL, count);
        const spent = (await client.cpu()) - before;
        // the first round warms up
        if (round === 0) continue;
        cpu.push(spent / count);
        rates.push((count * 1_000) / took);
      }
    }
    const [trpc] = clients;
    const rows = clients.map(({ title, cpu, rates }) => [
      title,
      Math.round(median(cpu)),
      `${median(cpu.map((figure, round) => figure / (trpc?.cpu[round] ?? Number.NaN))).toFixed(2)}x`,
      Math.round(median(rates)),
    ]);
    const title = `client-200: CPU of the client's process for a call, 200 bytes, ${PARALLEL} at a time (goal: at most 1.2x)`;
    printTable(title, ['', 'client CPU us/call', 'of tRPC', 'calls/s'], rows);
  } finally {
    for (const { client, server } of clients) await Promise.all([client.end(), server.end()]);
  }
}

/** The same calls over each transport that Node has: at full load, and one after the other. The transports take turns. */
export async function compareTransports(keys: Keys, { rounds, ms, latencies }: Plan): Promise<void> {
  const server = await startContender(CONTENDERS.sealed, keys);
  const transports = await Promise.all(
    ['Fetch', 'Http', 'Undici'].map(async (name) => {
      const env = {
        BENCH_CLIENT: `sealwire${name}`,
        BENCH_URL: server.url ?? '',
        BENCH_KEYS: JSON.stringify(keys.client),
      };
      const title = `${name.toLowerCase()}Transport`;
      return { title, client: await BenchProcess.start('client', env), rates: [] as number[], alone: [] as number[] };
    }),
  );
  try {
    const count = Math.ceil(ms * 2);
    for (let round = 0; round <= rounds; round++) {
      for (const { client, rates, alone } of transports) {
        const took = await client.ask<number>('call', 200, PARALLEL, count);
        const one = await client.ask<number>('call', 200, 1, latencies);
        // the first round warms up
        if (round === 0) continue;
        rates.push((count * 1_000) / took);
        alone.push(one / latencies);
      }
    }
    const [first] = transports;
    const rows = transports.map(({ title, rates, alone }) => [
      title,
      Math.round(median(rates)),
      `${median(rates.map((rate, round) => rate / (first?.rates[round] ?? Number.NaN))).toFixed(2)}x`,
      `${median(alone).toFixed(3)} ms`,
    ]);
    const title = `transport-200: calls of 200 bytes over each transport, ${PARALLEL} at a time and one at a time`;
    printTable(title, ['', 'calls/s', 'of fetch', 'one call'], rows);
  } finally {
    await Promise.all([server.end(), ...transports.map(({ client }) => client.end())]);
  }
}
