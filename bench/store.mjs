import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import pg from 'pg';
import { root } from '../scripts/build.mjs';
import { drive, openConnections } from './http-load.mjs';
import { payloadOf } from './payload.mjs';
import { SealedClient } from './sealed-client.mjs';
import { makeKeys, startServers } from './servers.mjs';
import { median, printTable } from './statistics.mjs';

const VALUE = payloadOf(200);

/** What sessions in PostgreSQL cost. The server's database is real; acknowledged commits survive a crash of it. */
export async function measureStore({ quick }) {
  const plan = quick
    ? { rounds: 2, calls: 1_000, hot: 1_000, stored: 10_000 }
    : { rounds: 5, calls: 5_000, hot: 10_000, stored: 100_000 };
  const postgres = await startPostgres();
  try {
    await compareGuards(await postgres.database('guard_memory'), await postgres.database('guard_postgres'), plan);
    await measureSessions(await postgres.database('sessions'), plan);
  } finally {
    await postgres.stop();
  }
}

async function compareGuards(memoryUrl, postgresUrl, plan) {
  const keys = makeKeys();
  const start = async (ledger, url) => {
    const env = { ...keys.env, DATABASE_URL: url, BENCH_GUARD: ledger };
    const server = await startServers('store-server.ts', env);
    const connections = await openConnections(server.ports.stored, 64);
    return { server, ledger, connections, client: await SealedClient.open(connections[0], 'bench', keys.client) };
  };
  const guards = [await start('memory', memoryUrl), await start('postgres', postgresUrl)];
  const rows = [];
  for (const parallel of [16, 64]) {
    const results = guards.map(() => []);
    for (let round = 0; round <= plan.rounds; round++) {
      for (const [i, ledger] of guards.entries()) {
        const measured = await callsThrough(ledger, parallel, plan.calls);
        // the first round warms up
        if (round > 0) results[i].push(measured);
      }
    }
    for (const [i, { ledger }] of guards.entries()) {
      const ratio = median(results[i].map(({ rate }, round) => rate / results[0][round].rate));
      rows.push([
        `${ledger}, ${parallel} connections`,
        Math.round(median(results[i].map(({ rate }) => rate))),
        `${ratio.toFixed(2)}x`,
        median(results[i].map(({ cpu }) => cpu)).toFixed(0),
        median(results[i].map(({ statements }) => statements)).toFixed(1),
      ]);
    }
  }
  for (const { server, connections } of guards) {
    for (const connection of connections) connection.close();
    await server.stop();
  }
  const head = ['ledger', 'calls/s', 'ratio', 'CPU us/call', 'statements per 1,000 calls'];
  printTable('Sealed calls of 200 bytes, sessions in PostgreSQL', head, rows);
}

async function callsThrough({ server, client, connections }, parallel, count) {
  const { requests } = client.prepare(count, 'echo', VALUE);
  const before = await server.usage();
  const ms = await drive(connections.slice(0, parallel), requests);
  const after = await server.usage();
  return {
    rate: (count * 1_000) / ms,
    cpu: (after.cpu - before.cpu) / count,
    statements: ((after.statements - before.statements) * 1_000) / count,
  };
}

async function measureSessions(url, plan) {
  const keys = makeKeys();
  const env = { ...keys.env, DATABASE_URL: url };
  let server = await startServers('store-server.ts', env);
  let connections = await openConnections(server.ports.stored, 16);
  const client = await SealedClient.open(connections[0], 'bench', keys.client);
  const before = await server.usage();
  let left = plan.hot;
  await Promise.all(
    connections.map(async (connection) => {
      while (left-- > 0)
        await (await SealedClient.open(connection, 'bench', keys.client)).resume(connection, 'echo', 1);
    }),
  );
  const bytes = ((await server.usage()).memory - before.memory) / plan.hot;
  for (const connection of connections) connection.close();
  await server.stop();

  await multiplySessions(url, plan.stored);
  const started = performance.now();
  server = await startServers('store-server.ts', env);
  const listening = performance.now();
  connections = await openConnections(server.ports.stored, 1);
  await client.resume(connections[0], 'echo', VALUE);
  const served = performance.now();
  connections[0].close();
  await server.stop();
  printTable(
    'Sessions',
    ['', ''],
    [
      [`memory of a hot session (${plan.hot} live)`, `${(bytes / 1024).toFixed(1)} KiB`],
      [`restart with ${plan.stored} stored sessions: process to listening`, `${Math.round(listening - started)} ms`],
      ['  listening to first call served in an old session', `${Math.round(served - listening)} ms`],
    ],
  );
}

/** Copies under other ids: no client holds their keys, but the server does not know that. */
async function multiplySessions(url, count) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query(
    `SELECT string_agg(quote_ident(column_name), ', ') AS columns FROM information_schema.columns
      WHERE table_name = 'sealwire_session' AND column_name <> 'id'`,
  );
  const { columns } = rows[0];
  await client.query(
    `INSERT INTO sealwire_session (id, ${columns})
      SELECT decode(md5(n::text), 'hex'), ${columns}
        FROM (SELECT * FROM sealwire_session LIMIT 1) one, generate_series(1, $1::int) n`,
    [count],
  );
  await client.end();
}

async function startPostgres() {
  const script = join(root, 'test/support/postgres-process.ts');
  const child = spawn(process.execPath, ['--import', '@oxc-node/core/register', script, '--durable'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  const admin = line.trim();
  return {
    async database(name) {
      const client = new pg.Client({ connectionString: admin });
      await client.connect();
      await client.query(`CREATE DATABASE ${name}`);
      await client.end();
      return Object.assign(new URL(admin), { pathname: `/${name}` }).href;
    },
    async stop() {
      const closed = once(child, 'close');
      child.stdin.end();
      await closed;
    },
  };
}
