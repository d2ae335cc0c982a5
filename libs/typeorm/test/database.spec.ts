import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { TcpProxy } from '../../../test/support/tcp-proxy.js';
import { Database } from '../src/connection/database.js';
import { connect, openPglite, openPostgres, type TestDatabase } from './support.js';

/** 'Z', length 5, idle: the server's word that a connection is ready */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);
const FIELDS = 'SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0';
const FATAL = Buffer.concat([Buffer.from('E'), Buffer.alloc(4), Buffer.from(FIELDS)]);
FATAL.writeInt32BE(FATAL.length - 1, 1);

it('outlives a connection that ends in the moment it is handed out', async () => {
  const { url, close } = await openPostgres();
  onTestFinished(close);
  let stopping = false;
  // the server ends a new connection in the very packet that says it is ready
  const proxy = await TcpProxy.start(url, (chunk) =>
    stopping && chunk.subarray(-READY.length).equals(READY) ? Buffer.concat([chunk, FATAL]) : chunk,
  );
  onTestFinished(() => proxy.close());
  const dataSource = await connect(proxy.url);
  onTestFinished(() => dataSource.destroy());
  const database = new Database(dataSource, false);
  // holds the one connection that there is
  const runner = dataSource.createQueryRunner();
  await runner.connect();
  stopping = true;
  await expect(database.query('SELECT 1 AS one')).rejects.toMatchObject({ code: 'busy' });
  stopping = false;
  await runner.release();
  expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

it('lets each statement of a transaction see what was committed before it, whatever the database has by default', async () => {
  const { url, close } = await openPostgres();
  onTestFinished(close);
  const dataSource = await connect(url);
  onTestFinished(() => dataSource.destroy());
  await dataSource.query(
    `ALTER DATABASE ${new URL(url).pathname.slice(1)} SET default_transaction_isolation = 'serializable'`,
  );
  const fresh = await connect(url);
  onTestFinished(() => fresh.destroy());
  await dataSource.query('CREATE TABLE thing (id integer)');
  const seen = await new Database(fresh, false).transaction(async (query) => {
    await query('SELECT FROM thing');
    await dataSource.query('INSERT INTO thing VALUES (1)');
    return query('SELECT id FROM thing');
  });
  expect(seen).toEqual([{ id: 1 }]);
});

it('hands on no connection that the server is about to close', async () => {
  const { dataSource, close } = await openPostgres(1);
  onTestFinished(close);
  const database = new Database(dataSource, false);
  for (let round = 0; round < 20; round++) {
    const ended = database.query('SELECT pg_terminate_backend(pg_backend_pid())');
    await expect(ended).rejects.toMatchObject({ code: 'busy' });
    expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  }
});

it('has the database end what was cut off', async () => {
  const { url, dataSource, close } = await openPostgres();
  onTestFinished(close);
  const others = await connect(url);
  onTestFinished(() => others.destroy());
  await others.query('CREATE TABLE thing (id integer)');
  const holder = others.createQueryRunner();
  await holder.startTransaction();
  await holder.query('LOCK TABLE thing');
  const database = new Database(dataSource, false);
  const statement = 'SELECT id FROM thing';
  const cut = () => database.withRunner(300, (runner) => runner.query(statement));
  const waiting = async () => {
    const [{ count }] = await others.query(
      'SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND query = $1',
      [statement],
    );
    return count;
  };
  for (let round = 0; round < 5; round++) {
    const rounds = await Promise.allSettled(Array.from({ length: 8 }, cut));
    expect(rounds.map((one) => one.status === 'rejected' && one.reason.code)).toEqual(Array(8).fill('busy'));
  }
  await expect.poll(waiting).toBe(0);
  await holder.rollbackTransaction();
  await holder.release();
  expect(await cut()).toEqual([]);
});

describe.each([
  ['PGlite', openPglite],
  ['PostgreSQL', () => openPostgres(1)],
] as const)('a connection in a transaction on %s', (name, open) => {
  let opened: TestDatabase;
  let database: Database;
  const things = () => database.query('SELECT id FROM thing');

  beforeAll(async () => {
    opened = await open();
    database = new Database(opened.dataSource, name === 'PGlite');
    await database.query('CREATE TABLE thing (id integer)');
  });
  afterAll(() => opened?.close());
  beforeEach(async () => {
    await database.query('DELETE FROM thing');
  });

  it.each(['left', 'released', 'failed'])('does not get to others: %s', async (how) => {
    await database.withRunner(5_000, async (runner) => {
      await runner.query('BEGIN');
      await runner.query('INSERT INTO thing VALUES (1)');
      if (how === 'failed') await runner.query('SELECT 1 / 0').catch(() => undefined);
      if (how === 'released') await runner.release();
    });
    expect(await things()).toEqual([]);
    await database.query('INSERT INTO thing VALUES (2)');
    expect(await things()).toEqual([{ id: 2 }]);
  });

  it('ends in time, whatever the work waits for', async () => {
    let late: unknown;
    await expect(
      database.withRunner(200, async (runner) => {
        await runner.query('BEGIN');
        await runner.query('INSERT INTO thing VALUES (1)');
        late = () => runner.query('INSERT INTO thing VALUES (3)');
        await new Promise(() => undefined);
      }),
    ).rejects.toMatchObject({ code: 'busy' });
    expect(await things()).toEqual([]);
    await expect((late as () => Promise<unknown>)()).rejects.toThrow();
    await database.query('INSERT INTO thing VALUES (2)');
    expect(await things()).toEqual([{ id: 2 }]);
  });
});
