import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { TcpProxy } from '../../../test/support/tcp-proxy.js';
import { Database } from '../src/connection/index.js';
import { withRunner } from '../src/outcomes/index.js';
import {
  connect,
  guarded,
  limits,
  newSession,
  openPglite,
  openPostgres,
  openSession,
  proves,
  secrets,
  startInstance,
  type TestDatabase,
} from './support.js';

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

it('has the database end what nobody waits for any more', async () => {
  const { url, dataSource, close } = await openPostgres();
  onTestFinished(close);
  const others = await connect(url);
  onTestFinished(() => others.destroy());
  await others.query('CREATE TABLE thing (id integer)');
  const holder = others.createQueryRunner();
  await holder.startTransaction();
  await holder.query('LOCK TABLE thing');
  const database = new Database(dataSource, false);
  onTestFinished(() => database.close());
  const statement = 'SELECT id FROM thing';
  const waiting = async () => {
    const [{ count }] = await others.query(
      'SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND query = $1',
      [statement],
    );
    return count;
  };
  const cut = Array.from({ length: 8 }, () => database.query(statement));
  // the lease does not wait for them
  expect(await database.urgent('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  const ends = await Promise.allSettled(cut);
  expect(ends.map((one) => one.status === 'rejected' && one.reason.code)).toEqual(Array(8).fill('busy'));
  await expect.poll(waiting).toBe(0);
  await holder.rollbackTransaction();
  await holder.release();
  expect(await database.query(statement)).toEqual([]);
});

it('is busy in time where the network is gone, and well again with it', async () => {
  const { url, close } = await openPostgres();
  onTestFinished(close);
  let gone = false;
  const proxy = await TcpProxy.start(url, (chunk) => (gone ? Buffer.alloc(0) : chunk));
  onTestFinished(() => proxy.close());
  const dataSource = await connect(proxy.url);
  onTestFinished(() => dataSource.destroy());
  const database = new Database(dataSource, false);
  onTestFinished(() => database.close());
  expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  gone = true;
  const since = performance.now();
  await expect(database.query('SELECT 1 AS one')).rejects.toMatchObject({ code: 'busy' });
  expect(performance.now() - since).toBeLessThan(8_000);
  gone = false;
  expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

it("has at most four connections of its own, and none of the application's", async () => {
  const { dataSource, close } = await openPostgres(3);
  onTestFinished(close);
  // the application has all of its own
  const runners = Array.from({ length: 3 }, () => dataSource.createQueryRunner());
  for (const runner of runners) await runner.connect();
  const database = new Database(dataSource, false);
  onTestFinished(() => database.close());
  const pids = await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      (i % 2 ? database.urgent : database.query)<{ pid: number }>('SELECT pg_backend_pid() AS pid, pg_sleep(0.01)'),
    ),
  );
  expect(new Set(pids.map(([row]) => row!.pid)).size).toBeLessThanOrEqual(4);
  const [settings] = await database.query<{ time: string }>(`SELECT current_setting('statement_timeout') AS time`);
  expect(settings).toEqual({ time: '5s' });
  for (const runner of runners) await runner.release();
});

it('waits for the disk where a crash must not undo it, whatever the database has by default', async () => {
  const { url, dataSource, close } = await openPostgres();
  onTestFinished(close);
  const name = new URL(url).pathname.slice(1);
  await dataSource.query(`ALTER DATABASE ${name} SET synchronous_commit = off`);
  // looks at the setting when the transaction commits
  await dataSource.query('CREATE TABLE noted (what text, setting text)');
  await dataSource.query(`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO noted VALUES (TG_TABLE_NAME || ' ' || TG_OP, current_setting('synchronous_commit')); RETURN NULL; END $$`);
  for (const table of ['session', 'accepted', 'outcome', 'key']) {
    await dataSource.query(`CREATE CONSTRAINT TRIGGER note AFTER INSERT OR UPDATE ON sealwire_${table}
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()`);
  }
  const source = await connect(url);
  onTestFinished(() => source.destroy());
  const noted = async (work: () => Promise<unknown>) => {
    await dataSource.query('DELETE FROM noted');
    await work();
    const rows = await dataSource.query('SELECT DISTINCT what, setting FROM noted ORDER BY 1');
    return rows.map((row: { what: string; setting: string }) => `${row.what} ${row.setting}`);
  };
  const digest = new Uint8Array(16);
  const instance = await startInstance(source, { ledger: 'postgres' });
  const { sessions, ledger } = instance;
  const session = newSession({ firstCalls: { digest, count: 1 } });
  expect(await noted(() => sessions.create(session, limits))).toEqual([
    'sealwire_accepted INSERT on',
    'sealwire_session INSERT on',
  ]);
  await sessions.activate(session.id, secrets());
  const taken = await guarded(instance, session.id);
  const number = { lane: taken.lane, counter: 0 };
  expect(await noted(async () => ledger!.accept(taken, number, digest, 10_000))).toEqual([
    'sealwire_accepted INSERT on',
  ]);
  const call = {
    ...{ module: 'payments', session: undefined, claimed: undefined, name: 'pay' },
    ...{ callId: new Uint8Array(16), digest: new Uint8Array(32) },
  };
  const run = () => instance.exactlyOnce.run(call, async () => ({ outcome: digest, rollback: false }));
  expect(await noted(run)).toEqual(['sealwire_outcome INSERT on', 'sealwire_outcome UPDATE on']);
  expect(await noted(() => sessions.takeLane(session.id, true))).toEqual(['sealwire_session UPDATE on']);
  expect(await noted(() => sessions.renew(session.id, session, proves(session.firstKey)))).toEqual([
    'sealwire_session UPDATE on',
  ]);
  const other = await openSession(instance);
  expect(await noted(() => instance.directory.end({ id: other.id }, 'revoked'))).toEqual([
    'sealwire_session UPDATE on',
  ]);
  expect(await noted(() => instance.keys.addSecureKey('payments'))).toEqual(['sealwire_key INSERT on']);
  const finish = () => {
    ledger!.finish(taken, number, digest, digest);
    return ledger!.drain();
  };
  // what may be lost waits for nothing
  expect(await noted(finish)).toEqual(['sealwire_accepted UPDATE off']);
  await sessions.stop();
});

it('refuses a server that may forget what it acknowledged', async () => {
  const { dataSource, close } = await openPostgres();
  onTestFinished(close);
  await expect(startInstance(dataSource, { allowFsyncOff: false })).rejects.toThrow(/fsync = off.*allowFsyncOff/);
});

describe.each([
  ['PGlite', openPglite],
  ['PostgreSQL', () => openPostgres(1)],
] as const)('a connection in a transaction on %s', (name, open) => {
  let opened: TestDatabase;
  let database: Database;
  const pglite = name === 'PGlite';
  const things = () => database.query('SELECT id FROM thing');

  beforeAll(async () => {
    opened = await open();
    database = new Database(opened.dataSource, pglite);
    await database.query('CREATE TABLE thing (id integer)');
  });
  afterAll(() => opened?.close());
  beforeEach(async () => {
    await database.query('DELETE FROM thing');
  });

  it.each(['left', 'released', 'failed'])('does not get to others: %s', async (how) => {
    await withRunner(opened.dataSource, pglite, 5_000, async (runner) => {
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
      withRunner(opened.dataSource, pglite, 200, async (runner) => {
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
