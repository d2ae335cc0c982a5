import { LIMITS } from '@sealwire/core';
import { createTypeOrmStore } from '@sealwire/typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  asked,
  emptyTables,
  type Instance,
  kek,
  openPostgres,
  openSession,
  primitives,
  renewed,
  startInstance,
  type TestDatabase,
} from './support.js';

/** The defaults of a server. */
const serverTimes = { sessionLifetime: 43_200, resultCache: { entries: 10_000, bytes: 32 * 1_048_576, seconds: 120 } };

const LANE = 1_800_000_000;

describe('purging', () => {
  let database: TestDatabase;
  let instance: Instance;
  const query = (statement: string, parameters?: unknown[]) => database.dataSource.query(statement, parameters);
  const count = async (table: string) => (await query(`SELECT count(*)::int AS count FROM sealwire_${table}`))[0].count;

  beforeAll(async () => {
    database = await openPostgres();
    await query('CREATE TABLE statement (rows integer)');
    await query(`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO statement SELECT count(*) FROM changed; RETURN NULL; END $$`);
    await query(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      RAISE EXCEPTION 'the disk is full'; END $$`);
    instance = await startInstance(database.dataSource, { ledger: 'postgres' });
  });
  afterAll(async () => {
    await instance?.sessions.stop();
    await database?.close();
  });
  beforeEach(async () => {
    await emptyTables(database.dataSource);
    await query('DELETE FROM statement');
  });

  /** A session that had so many calls. */
  async function used(calls: number) {
    const session = await openSession(instance);
    await query('UPDATE sealwire_session SET lane = $2 WHERE id = $1', [session.id, LANE]);
    await query(
      `INSERT INTO sealwire_accepted (session_id, lane, counter, digest, owner, state, result)
       SELECT $1, $2, n, '\\x00', 'x', 'done', '\\x01' FROM generate_series(0, $3 - 1) n`,
      [session.id, LANE, calls],
    );
    return session;
  }

  const endedLongAgo = () =>
    query(`UPDATE sealwire_session SET ended_at = now() - interval '2 days', ended_reason = 'idle'`);

  async function whileRefusing(table: string, work: () => Promise<void>): Promise<void> {
    await query(`CREATE TRIGGER refuse BEFORE DELETE ON sealwire_${table} EXECUTE FUNCTION refuse()`);
    await work().finally(() => query(`DROP TRIGGER refuse ON sealwire_${table}`));
  }

  it('deletes the numbers of ended sessions a thousand at a time', async () => {
    await query(`CREATE TRIGGER note AFTER DELETE ON sealwire_accepted REFERENCING OLD TABLE AS changed
      FOR EACH STATEMENT EXECUTE FUNCTION note()`);
    await Promise.all([used(1_500), used(2_100), used(0), used(1)]);
    await endedLongAgo();
    expect(await instance.directory.purge()).toBe(4);
    await query('DROP TRIGGER note ON sealwire_accepted');
    expect([await count('session'), await count('accepted')]).toEqual([0, 0]);
    const [{ rows, largest }] = await query('SELECT sum(rows)::int AS rows, max(rows) AS largest FROM statement');
    expect({ rows, largest }).toEqual({ rows: 3_601, largest: 1_000 });
  });

  it('deletes the numbers below floors however many there are', async () => {
    await Promise.all([used(1_500), used(2_100), used(10)]);
    await query(`UPDATE sealwire_session SET floor = 1499, floored_at = now() - interval '2 minutes'`);
    expect(await instance.directory.purge()).toBe(3_010);
    expect(await query('SELECT min(counter)::int AS min, count(*)::int AS count FROM sealwire_accepted')).toEqual([
      { min: 1_500, count: 600 },
    ]);
  });

  it('deletes at each time what is below the floors that the time before raised', async () => {
    const { id } = await used(5_000);
    expect(await instance.directory.purge()).toBe(0);
    await query(`UPDATE sealwire_session SET floored_at = floored_at - interval '59 seconds'`);
    await query(
      `INSERT INTO sealwire_accepted (session_id, lane, counter, digest, owner)
       SELECT $1, $2, n, '\\x00', 'x' FROM generate_series(5000, 5999) n`,
      [id, LANE],
    );
    expect(await instance.directory.purge()).toBe(5_000 - LIMITS.replayWindow);
    const [row] = await query('SELECT floor::int FROM sealwire_session');
    expect(row).toEqual({ floor: 5_999 - LIMITS.replayWindow });
  });

  it('raises no floor while there are numbers below it', async () => {
    await used(6_000);
    await query(`UPDATE sealwire_session SET floor = 99, floored_at = now() - interval '1 hour'`);
    const floor = async () => (await query('SELECT floor::int, floored_at::text FROM sealwire_session'))[0];
    const before = await floor();
    await whileRefusing('accepted', async () => {
      await expect(instance.directory.purge()).rejects.toThrow('the disk is full');
    });
    expect(await floor()).toEqual(before);
    expect(await instance.directory.purge()).toBe(100);
    expect(await floor()).toMatchObject({ floor: 5_999 - LIMITS.replayWindow });
  });

  it('never says of a number whose row it deleted that it never ran', async () => {
    const session = await used(5);
    await endedLongAgo();
    await whileRefusing('session', async () => {
      await expect(instance.directory.purge()).rejects.toThrow('the disk is full');
    });
    expect(await count('accepted')).toBe(0);
    const answers = await renewed(instance, session, session.secrets.renewal, asked([LANE, 3], [LANE, 9]));
    expect(answers).toEqual([{ known: 'unknown' }, { known: 'unknown' }]);
  });

  it('purges the other kinds where one fails', async () => {
    await used(5);
    await endedLongAgo();
    const call = {
      module: 'm',
      session: undefined,
      callId: primitives.random(16),
      claimed: undefined,
      name: 'f',
      digest: primitives.random(32),
    };
    await instance.exactlyOnce.run(call, async () => ({ outcome: Uint8Array.of(1), rollback: false }));
    await query(`UPDATE sealwire_outcome SET at = now() - interval '8 days'`);
    await whileRefusing('accepted', async () => {
      await expect(instance.directory.purge()).rejects.toThrow('the disk is full');
    });
    expect([await count('session'), await count('accepted'), await count('outcome')]).toEqual([1, 5, 0]);
  });

  it('never reads all numbers, whatever the planner was told of them', async () => {
    // one connection, so that its statistics are all there are
    const alone = await openPostgres(1);
    const wholeReads = async () => {
      await alone.dataSource.query('SELECT pg_stat_force_next_flush()');
      const [row] = await alone.dataSource.query(
        `SELECT seq_scan::int AS whole FROM pg_stat_user_tables WHERE relname = 'sealwire_accepted'`,
      );
      return row.whole;
    };
    const { directory } = createTypeOrmStore(alone.dataSource, { kek, ledger: 'postgres' }, serverTimes);
    await alone.dataSource.query(
      `INSERT INTO sealwire_session (id, module, key_size, lane, shared, lane_incarnation, idle_seconds, expires_at, ended_at)
       SELECT decode(md5(n::text), 'hex'), 'm', 32, 1, true, '', 1800, now() + interval '1 hour',
         CASE WHEN n > 2 THEN now() - interval '2 days' END FROM generate_series(1, 4) n`,
    );
    const insert = (calls: number) =>
      alone.dataSource.query(
        `INSERT INTO sealwire_accepted (session_id, lane, counter, digest, owner)
         SELECT s.id, 1, n, '', 'x' FROM sealwire_session s, generate_series(1, $1) n ON CONFLICT DO NOTHING`,
        [calls],
      );
    await insert(3);
    await alone.dataSource.query('ANALYZE');
    await insert(6_000);
    const before = await wholeReads();
    expect(await directory.purge()).toBe(2);
    expect(await wholeReads()).toBe(before);
    await alone.close();
  });

  it('forgets results after the time of the result cache, not that their calls ran', async () => {
    const { id } = await used(3);
    await query(`UPDATE sealwire_accepted SET at = now() - counter * interval '1 minute'`);
    const kept = async () =>
      (await query(`SELECT counter::int FROM sealwire_accepted WHERE result IS NOT NULL ORDER BY counter`)).map(
        (row: { counter: number }) => row.counter,
      );
    await instance.directory.purge();
    expect(await kept()).toEqual([0, 1, 2]);
    const times = { ...serverTimes, resultCache: { ...serverTimes.resultCache, seconds: 90 } };
    await createTypeOrmStore(database.dataSource, { kek }, times).directory.purge();
    expect(await kept()).toEqual([0, 1]);
    const [row] = await query('SELECT state FROM sealwire_accepted WHERE session_id = $1 AND counter = 2', [id]);
    expect(row).toEqual({ state: 'done' });
  });

  it('erases cookie keys that may be read no more', async () => {
    await instance.keys.currentCookieKey();
    await query(`UPDATE sealwire_cookie_key SET created_at = now() - interval '355 seconds'`);
    await instance.directory.purge();
    expect(await count('cookie_key')).toBe(1);
    await query(`UPDATE sealwire_cookie_key SET created_at = now() - interval '361 seconds'`);
    await instance.directory.purge();
    expect(await count('cookie_key')).toBe(0);
  });
});
