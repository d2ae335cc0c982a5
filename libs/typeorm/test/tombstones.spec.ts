import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type Instance, newSession, openPostgres, startInstance, type TestDatabase } from './support.js';

const TOMBSTONES = 20_000;
/** more than two batches */
const LIVING = 2_100;
/** One look at each tombstone is more, and so are several looks at each living session from the first on. */
const FEW_ROWS = 5 * LIVING;
const keyId = new Uint8Array(8).fill(7);

let database: TestDatabase;
let store: Instance;
const query = (statement: string, parameters?: unknown[]) => database.dataSource.query(statement, parameters);

beforeAll(async () => {
  // one connection, so that its statistics are all there are
  database = await openPostgres(1);
  store = await startInstance(database.dataSource, { ledger: 'postgres' });
  // no tick reads rows in between
  await store.sessions.stop();
  await query(
    `INSERT INTO sealwire_session
       (id, module, key_id, key_size, lane, shared, lane_incarnation, idle_seconds, expires_at, ended_at, ended_reason, floor)
     SELECT decode(md5(n::text), 'hex'), 'payments', $1, 32, 1, true, '', 1800, now() + interval '1 hour',
       now() - n * interval '1 second', 'idle', 9 FROM generate_series(1, $2::integer) n`,
    [keyId, TOMBSTONES],
  );
  await query('ANALYZE');
});
afterAll(() => database?.close());
beforeEach(async () => {
  await query('DELETE FROM sealwire_session WHERE ended_at IS NULL');
  await query(
    `INSERT INTO sealwire_session (id, module, key_id, key_size, lane, shared, lane_incarnation, idle_seconds, expires_at)
     SELECT decode(md5(random()::text), 'hex'), 'payments', $1, 32, 1, true, '', 1800, now() + interval '1 hour'
     FROM generate_series(1, $2::integer)`,
    [keyId, LIVING],
  );
});

/** Rows of sessions that the database looked at meanwhile. */
async function rowsRead(work: () => Promise<unknown>): Promise<number> {
  const read = async () => {
    await query('SELECT pg_stat_force_next_flush()');
    const [row] = await query(
      `SELECT (seq_tup_read + idx_tup_fetch)::int AS rows FROM pg_stat_user_tables WHERE relname = 'sealwire_session'`,
    );
    return row.rows;
  };
  const before = await read();
  await work();
  return (await read()) - before;
}

const selectors = [{ keyId }, { module: 'payments' }, { all: true as const }];

it.each(selectors)('ends the living, and passes over the tombstones, by %o', async (selector) => {
  const read = await rowsRead(async () => {
    expect(await store.directory.end(selector, 'revoked')).toBe(LIVING);
  });
  expect(read).toBeLessThan(FEW_ROWS);
  await query(`DELETE FROM sealwire_session WHERE ended_reason = 'revoked'`);
});

it.each(selectors)('lists and counts the living, and passes over the tombstones, by %o', async (selector) => {
  const read = await rowsRead(async () => {
    expect(await store.directory.count(selector)).toBe(LIVING);
    expect(await store.directory.list(selector, { limit: 10 })).toHaveLength(10);
  });
  expect(read).toBeLessThan(FEW_ROWS);
});

it('purges, and passes over tombstones whose time is not over', async () => {
  const over = `UPDATE sealwire_session SET expires_at = now() WHERE ended_at IS NULL AND id < '\\x80'`;
  await query(over);
  expect(await rowsRead(() => store.directory.purge())).toBeLessThan(FEW_ROWS);
  const [left] = await query('SELECT 1 FROM sealwire_session WHERE ended_at IS NULL AND expires_at <= now()');
  expect(left).toBeUndefined();
});

it('makes room for a session, and passes over the tombstones', async () => {
  const read = await rowsRead(async () => {
    expect(await store.sessions.create(newSession({ keyId }), { module: 90, secureKey: 80 })).toBeDefined();
  });
  expect(await store.directory.count({ keyId })).toBe(80);
  expect(read).toBeLessThan(FEW_ROWS);
});
