import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import pg from 'pg';
import { root } from '../scripts/build.mjs';
import { drive, openConnections } from './http-load.ts';
import { makeKeys } from './keys.ts';
import { openSession, sealedRequests } from './loads.ts';
import { payloadOf } from './payload.ts';
import { BenchProcess } from './processes.ts';
import { median, printTable } from './statistics.ts';

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
    const server = await BenchProcess.start('store-server', env);
    const connections = await openConnections(server.port, 64);
    return { server, ledger, connections, session: await openSession(server.url, keys) };
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
    await server.end('SIGTERM');
  }
  const head = ['ledger', 'calls/s', 'ratio', 'CPU us/call', 'statements per 1,000 calls'];
  printTable('Sealed calls of 200 bytes, sessions in PostgreSQL', head, rows);
}

async function callsThrough({ server, session, connections }, parallel, count) {
  const { requests } = sealedRequests(session, count, VALUE);
  const before = await server.ask('usage');
  const ms = await drive(connections.slice(0, parallel), requests);
  const after = await server.ask('usage');
  return {
    rate: (count * 1_000) / ms,
    cpu: (after.cpu - before.cpu) / count,
    statements: ((after.statements - before.statements) * 1_000) / count,
  };
}

async function measureSessions(url, plan) {
  const keys = makeKeys();
  const env = { ...keys.env, DATABASE_URL: url };
  let server = await BenchProcess.start('store-server', env);
  const session = await openSession(server.url, keys);
  const before = await server.ask('memory');
  let left = plan.hot;
  const open = async () => {
    while (left-- > 0) await (await openSession(server.url, keys)).call('echo', 1);
  };
  await Promise.all(Array.from({ length: 16 }, open));
  const bytes = ((await server.ask('memory')).used - before.used) / plan.hot;
  await server.end('SIGTERM');

  await multiplySessions(url, plan.stored);
  const started = performance.now();
  server = await BenchProcess.start('store-server', env);
  const listening = performance.now();
  await callAgain(server.url, session);
  const served = performance.now();
  await server.end('SIGTERM');
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

/** One call to a server that was started again: it says which lane it opened, then serves the call there. */
async function callAgain(url, session) {
  for (;;) {
    const answer = await session.deliver(session.seal({ name: 'echo', args: [VALUE] }), url);
    if (answer.kind !== 'sealed') throw new Error(`the server answered ${JSON.stringify(answer)}`);
    if ('outcomes' in answer.reply) return;
    if (answer.reply.status !== 'lane_moved') throw new Error(`the server answered ${answer.reply.status}`);
    session.moveTo(answer.reply.lane);
  }
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
