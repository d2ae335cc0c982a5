import { ReplayWindow } from '@sealwire/core';
import pg from 'pg';
import type { DataSource } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  asked,
  connect,
  emptyTables,
  guarded,
  type Instance,
  kek,
  limits,
  newSession,
  nextKek,
  openPglite,
  openPostgres,
  openSession,
  primitives,
  proves,
  renewed,
  startInstance,
  type TestDatabase,
} from './support.js';

const closed = new ReplayWindow().toBytes();

describe('sessions of several instances', () => {
  let database: TestDatabase;
  let second: DataSource;
  let instances: Instance[];
  const query = (statement: string, parameters?: unknown[]) => database.dataSource.query(statement, parameters);

  beforeAll(async () => {
    database = await openPostgres();
    second = await connect(database.url);
  });
  afterAll(async () => {
    await second?.destroy();
    await database?.close();
  });
  beforeEach(async () => {
    await emptyTables(database.dataSource);
    instances = [await startInstance(database.dataSource), await startInstance(second)];
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    for (const { sessions } of instances) await sessions.stop();
  });
  const one = () => instances[0]!;
  const two = () => instances[1]!;

  it('belong to one at a time, who is asked to let go', async () => {
    const { id } = await openSession(one());
    const owned = await one().sessions.takeLane(id, true);
    if (!owned || owned === 'busy') throw new Error('not attached');
    expect(await two().sessions.takeLane(id, true)).toBe('busy');
    one().listener.onRelease = () => one().sessions.closeLane(id, owned.lane, closed, true);
    await one().sessions.refresh();
    expect(one().listener.wanted).toEqual([id]);
    await vi.waitFor(async () => {
      expect(await two().sessions.takeLane(id, true)).toMatchObject({
        closed: [{ lane: owned.lane, window: closed, answered: true }],
      });
    });
    await one().sessions.refresh();
    expect(one().listener.wanted).toHaveLength(1);
    // the former owner has no say any more
    await one().sessions.closeLane(id, owned.lane, closed, true);
    expect(await one().sessions.takeLane(id, true)).toBe('busy');
  });

  it('are taken over when the lease has ended, and the former owner starts over', async () => {
    const { id } = await openSession(one());
    await one().sessions.takeLane(id, true);
    await query(`UPDATE sealwire_instance SET lease_until = now() - interval '1 second'
      WHERE boot_id = (SELECT owner FROM sealwire_session)`);
    const [{ lane }] = await query('SELECT lane::float8 AS lane FROM sealwire_session');
    expect(await two().sessions.takeLane(id, true)).toMatchObject({ lane: lane + 1, closed: [] });
    await one().sessions.refresh();
    expect(one().listener.changes).toBe(1);
    expect(one().sessions.leaseHolds()).toBe(true);
    expect(await one().sessions.takeLane(id, true)).toBe('busy');
  });

  it('stay with an owner whose lease was renewed late but in time', async () => {
    const { id } = await openSession(one());
    await one().sessions.takeLane(id, true);
    await query(`UPDATE sealwire_instance SET lease_until = now() - interval '1 second'
      WHERE boot_id = (SELECT owner FROM sealwire_session)`);
    await one().sessions.refresh();
    expect(await two().sessions.takeLane(id, true)).toBe('busy');
    expect(one().listener.changes).toBe(0);
  });

  it('open one lane when both reach for a session at once', async () => {
    const { id } = await openSession(one());
    await query('UPDATE sealwire_session SET owner = NULL WHERE id = $1', [id]);
    // both statements have seen the session without an owner before either can have it
    const gate = second.createQueryRunner();
    await gate.startTransaction();
    await gate.query('SELECT 1 FROM sealwire_session FOR UPDATE');
    const attaching = instances.map(({ sessions }) => sessions.takeLane(id, true));
    await vi.waitFor(async () => {
      const [{ waiting }] = await query(`SELECT count(*)::int AS waiting FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE 'UPDATE sealwire_session%'`);
      expect(waiting).toBe(2);
    });
    await gate.rollbackTransaction();
    await gate.release();
    const got = await Promise.all(attaching);
    expect(got.filter((session) => session === 'busy')).toHaveLength(1);
  });

  it('are free at once where the process that owned them is gone from this machine', async () => {
    const { id } = await openSession(one());
    const [{ host }] = await query('SELECT host FROM sealwire_instance LIMIT 1');
    await query(
      `INSERT INTO sealwire_instance VALUES ('gone', now() + interval '1 hour', now(), $1, $2, '1'),
         ('elsewhere', now() + interval '1 hour', now(), 'another machine', $2, '1')`,
      [host, process.pid],
    );
    await query(`UPDATE sealwire_session SET owner = 'elsewhere'`);
    expect(await one().sessions.takeLane(id, true)).toBe('busy');
    await query(`UPDATE sealwire_session SET owner = 'gone'`);
    expect(await one().sessions.takeLane(id, true)).toMatchObject({ id });
  });

  it('tell an end elsewhere, its own ends at once, and the end of one that was just used', async () => {
    const { id } = await openSession(one());
    const used = await openSession(one());
    await two().directory.end({ id }, 'revoked');
    expect(two().listener.ends).toEqual([{ id, reason: 'revoked' }]);
    await query(
      `UPDATE sealwire_session SET ended_at = now() - interval '1 minute', ended_reason = 'idle' WHERE id = $1`,
      [used.id],
    );
    one().sessions.touch(used.id, false);
    await one().sessions.refresh();
    await one().sessions.refresh();
    expect(one().listener.ends).toHaveLength(2);
    expect(one().listener.ends).toEqual(
      expect.arrayContaining([
        { id, reason: 'revoked' },
        { id: used.id, reason: 'idle' },
      ]),
    );
  });

  it('write last uses in batches, by the clock of the database', async () => {
    const { id } = await openSession(one());
    await query(`UPDATE sealwire_session SET last_used_at = now() - interval '10 minutes'`);
    one().sessions.touch(id, false);
    const [before] = await query('SELECT now() - last_used_at > interval $$9 minutes$$ AS old FROM sealwire_session');
    expect(before.old).toBe(true);
    await one().sessions.refresh();
    const [after] = await query('SELECT now() - last_used_at < interval $$10 seconds$$ AS fresh FROM sealwire_session');
    expect(after.fresh).toBe(true);
    expect(Math.abs(one().sessions.now() - Date.now())).toBeLessThan(2_000);
  });

  it('accept no more 12 seconds after the last renewal, by either clock', () => {
    const { sessions } = one();
    expect(sessions.leaseHolds()).toBe(true);
    const real = performance.now();
    vi.spyOn(performance, 'now').mockReturnValue(real + 12_001);
    expect(sessions.leaseHolds()).toBe(false);
    vi.restoreAllMocks();
    const wall = Date.now();
    vi.spyOn(Date, 'now').mockReturnValue(wall + 12_001);
    expect(sessions.leaseHolds()).toBe(false);
  });

  it('leave tombstones that go after their time, with what belongs to them', async () => {
    const { id } = await openSession(one());
    await query(
      `INSERT INTO sealwire_accepted (session_id, lane, counter, digest, owner) VALUES ($1, 1, 1, '\\x00', 'x')`,
      [id],
    );
    await query(`UPDATE sealwire_session SET expires_at = now() - interval '1 second'`);
    expect(await one().directory.purge()).toBe(0);
    const [row] = await query('SELECT ended_reason, traffic IS NULL AS erased FROM sealwire_session');
    expect(row).toEqual({ ended_reason: 'expired', erased: false });
    await query(`UPDATE sealwire_session SET ended_at = now() - interval '61 seconds'`);
    await one().directory.purge();
    expect(await query('SELECT traffic, data FROM sealwire_session')).toEqual([{ traffic: null, data: null }]);
    await query(`UPDATE sealwire_session SET ended_at = now() - interval '2 days'`);
    expect(await one().directory.purge()).toBe(1);
    expect(await query('SELECT 1 FROM sealwire_accepted')).toEqual([]);
  });

  it('move from memory to the shared guard only through another lane', async () => {
    const session = await openSession(one());
    const { id, secrets } = session;
    const owned = await one().sessions.takeLane(id, true);
    if (!owned || owned === 'busy') throw new Error('not attached');
    expect(await two().sessions.takeLane(id, false)).toBe('busy');
    await one().sessions.closeLane(id, owned.lane, closed, true);
    const shared = await two().sessions.takeLane(id, false);
    expect(shared).toMatchObject({ lane: owned.lane + 1, closed: [{ lane: owned.lane }] });
    expect(await one().sessions.takeLane(id, false)).toMatchObject({ lane: owned.lane + 1 });
    const numbers = asked([owned.lane, 1], [owned.lane + 1, 1]);
    const other = await startInstance(second, { ledger: 'postgres' });
    const answers = await renewed(other, session, secrets.renewal, numbers);
    await other.sessions.stop();
    expect(answers).toEqual([{ known: 'never_ran' }, { known: 'never_ran' }]);
  });

  it('open no lane beyond 32 bits', async () => {
    const { id } = await openSession(one());
    await query('UPDATE sealwire_session SET lane = 4294967294');
    expect(await one().sessions.takeLane(id, true)).toMatchObject({ lane: 4_294_967_295 });
    expect(await one().sessions.takeLane(id, true)).toBeUndefined();
  });
});

const exactCall = () => ({
  ...{ module: 'payments', session: undefined, claimed: undefined, name: 'pay' },
  ...{ callId: primitives.random(16), digest: primitives.random(32) },
});

describe('rows at rest', () => {
  let database: TestDatabase;
  let instance: Instance;
  const query = (statement: string, parameters?: unknown[]) => database.dataSource.query(statement, parameters);

  beforeAll(async () => {
    database = await openPglite();
  });
  afterAll(() => database?.close());
  beforeEach(async () => {
    await emptyTables(database.dataSource);
    instance = await startInstance(database.dataSource, { exclusiveDatabase: true });
  });
  afterEach(() => instance.sessions.stop());

  it.each([
    'traffic = other.traffic',
    'renewal = other.renewal',
    'traffic = other.traffic, renewal = other.renewal',
    'traffic = other.traffic, renewal = other.renewal, first_key = other.first_key',
    `module = 'public'`,
    'key_id = NULL',
    'key_size = 16',
    `peer = '10.0.0.1'`,
    'epoch = 1',
    'traffic = set_byte(sealwire_session.traffic, 30, get_byte(sealwire_session.traffic, 30) # 1)',
  ])('are refused after SET %s', async (change) => {
    const session = await openSession(instance);
    const { id, secrets } = session;
    const other = await openSession(instance);
    expect(await instance.sessions.takeLane(id, true)).toMatchObject({ id });
    await query(
      `UPDATE sealwire_session SET ${change} FROM sealwire_session other WHERE sealwire_session.id = $1 AND other.id = $2`,
      [id, other.id],
    );
    expect(await instance.sessions.takeLane(id, true)).toBeUndefined();
    expect(await instance.sessions.takeLane(other.id, true)).toMatchObject({ id: other.id });
    expect(await instance.sessions.find(id)).toBeUndefined();
    if (/renewal|module|key_id/.test(change)) {
      expect(await instance.sessions.renew(id, session, proves(secrets.renewal))).toBeUndefined();
      expect(await instance.sessions.renew(id, session, proves(other.secrets.renewal))).toBeUndefined();
    }
  });

  it('do not give data of another session, or an earlier version of it', async () => {
    const [one, two] = [await openSession(instance), await openSession(instance)];
    for (const { id } of [one, two]) {
      await instance.data.write(id, { n: 1 }, 0);
      await instance.data.write(id, { n: 2 }, 1);
    }
    const first = await query('SELECT data FROM sealwire_session WHERE id = $1', [one.id]);
    await instance.data.write(one.id, { n: 3 }, 2);
    await query('UPDATE sealwire_session SET data = $2 WHERE id = $1', [one.id, first[0].data]);
    await expect(instance.data.read(one.id)).rejects.toMatchObject({ code: 'open_failed' });
    await query('UPDATE sealwire_session SET data = $2 WHERE id = $1', [two.id, first[0].data]);
    await expect(instance.data.read(two.id)).rejects.toMatchObject({ code: 'open_failed' });
  });

  it('hold no secret, and a minute after the end not even wrapped ones but the proof', async () => {
    const session = await openSession(instance);
    const [pair] = await instance.keys.serverKeys();
    const secureKey = { keyId: primitives.random(8), secret: primitives.random(32) };
    await instance.keys.addSecureKey('payments', secureKey);
    const cookie = await instance.keys.currentCookieKey();
    const outcome = primitives.random(32);
    const call = exactCall();
    await instance.exactlyOnce.run(call, async () => ({ outcome, rollback: false }));
    await instance.data.write(session.id, { secret: 'the basket' }, 0);
    const dump = async () => {
      const tables = ['session', 'instance', 'accepted', 'outcome', 'cookie_key', 'key'];
      const rows = [];
      for (const table of tables) rows.push(...(await query(`SELECT t::text AS line FROM sealwire_${table} t`)));
      return rows.map(({ line }) => line).join('\n');
    };
    const text = await dump();
    expect(text).toContain(Buffer.from(session.id).toString('hex'));
    expect(text).toContain(Buffer.from(secureKey.keyId).toString('hex'));
    const hidden = [
      ...[call.callId, call.digest, new TextEncoder().encode('the basket')],
      ...Object.values(session.secrets),
      ...[session.firstKey, pair!.privateKey, secureKey.secret, cookie.random, outcome],
      new Uint8Array(32).fill(7),
    ];
    for (const secret of hidden) expect(text).not.toContain(Buffer.from(secret.subarray(0, 8)).toString('hex'));
    await instance.directory.end({ all: true }, 'revoked');
    const kept = () => query('SELECT traffic IS NOT NULL AS traffic, data IS NOT NULL AS data FROM sealwire_session');
    expect(await kept()).toEqual([{ traffic: true, data: false }]);
    await query(`UPDATE sealwire_session SET ended_at = now() - interval '59 seconds'`);
    for (let tick = 0; tick < 5; tick++) await instance.sessions.refresh();
    expect(await instance.sessions.find(session.id)).toMatchObject({ ended: 'revoked' });
    await query(`UPDATE sealwire_session SET ended_at = now() - interval '61 seconds'`);
    expect(await instance.sessions.find(session.id)).toBeUndefined();
    const keptLater = () => instance.sessions.refresh().then(kept);
    await expect.poll(keptLater, { timeout: 10_000 }).toEqual([{ traffic: false, data: false }]);
  });

  it('move to the next key-encryption key, a batch at a time, and again where that broke off', async () => {
    const sessions = [await openSession(instance), await openSession(instance), await openSession(instance)];
    await instance.directory.end({ id: sessions[2]!.id }, 'revoked');
    const [pair] = await instance.keys.serverKeys();
    const secureKey = { keyId: primitives.random(8), secret: primitives.random(32) };
    await instance.keys.addSecureKey('payments', secureKey);
    await instance.keys.addSecureKey('public', secureKey);
    const call = exactCall();
    await instance.exactlyOnce.run(call, async () => ({ outcome: Uint8Array.of(1), rollback: false }));
    await instance.data.write(sessions[1]!.id, { basket: [1] }, 0);
    const idKey = instance.sessions.sessionIdKey();
    const incarnation = instance.sessions.incarnation();
    await instance.sessions.stop();

    const [row] = await query('SELECT renewal FROM sealwire_session WHERE id = $1', [sessions[0]!.id]);
    await query('UPDATE sealwire_session SET renewal = $2 WHERE id = $1', [sessions[0]!.id, Buffer.alloc(60)]);
    const rotating = await startInstance(database.dataSource, { kek: `${nextKek} ${kek}`, exclusiveDatabase: true });
    expect(rotating.sessions.incarnation()).toEqual(incarnation);
    expect(await rotating.rewrap(1)).toEqual({ rewrapped: 8, unreadable: 1 });
    await query('UPDATE sealwire_session SET renewal = $2 WHERE id = $1', [sessions[0]!.id, row.renewal]);
    expect(await rotating.rewrap(1)).toEqual({ rewrapped: 1, unreadable: 0 });
    expect(await rotating.rewrap()).toEqual({ rewrapped: 0, unreadable: 0 });
    await rotating.sessions.stop();

    instance = await startInstance(database.dataSource, { kek: nextKek, exclusiveDatabase: true });
    expect(instance.sessions.incarnation()).toEqual(incarnation);
    for (const { id, secrets } of sessions.slice(0, 2)) {
      expect(await instance.sessions.takeLane(id, true)).toMatchObject({ secrets });
    }
    const ended = sessions[2]!;
    const { renewal } = ended.secrets;
    expect(await instance.sessions.renew(ended.id, ended, proves(renewal))).toMatchObject({ key: renewal });
    expect(await instance.data.read(sessions[1]!.id)).toMatchObject({ data: { basket: [1] } });
    expect(instance.sessions.sessionIdKey()).toEqual(idKey);
    expect((await instance.keys.serverKeys())[0]).toEqual(pair);
    expect(await instance.keys.secureKey('public', secureKey.keyId)).toEqual(secureKey.secret);
    const repeated = instance.exactlyOnce.run(call, async () => ({ outcome: Uint8Array.of(2), rollback: false }));
    expect(await repeated).toEqual(Uint8Array.of(1));
  });

  it('are those that the entities describe', async () => {
    const { upQueries } = await database.dataSource.driver.createSchemaBuilder().log();
    expect(upQueries.map(({ query: statement }) => statement)).toEqual([]);
    await database.dataSource.undoLastMigration();
    expect(await query(`SELECT relname FROM pg_class WHERE relname LIKE 'sealwire%'`)).toEqual([]);
    await database.dataSource.runMigrations();
  });

  it('are asked for where the migrations did not run', async () => {
    await instance.sessions.stop();
    await database.dataSource.undoLastMigration();
    await expect(startInstance(database.dataSource, { exclusiveDatabase: true })).rejects.toThrow(/run the migrations/);
    await database.dataSource.runMigrations();
    instance = await startInstance(database.dataSource);
  });
});

describe('a database that was put back', () => {
  it('is another incarnation: lanes move on, nothing is known, nothing old is accepted', async () => {
    const database = await openPostgres();
    const admin = new URL(database.url);
    const name = admin.pathname.slice(1);
    admin.pathname = '/postgres';
    const client = new pg.Client({ connectionString: admin.href });
    await client.connect();
    const source = await connect(database.url);
    // a server that is cut off says so on connections that wait in the pool
    const instance = await startInstance(source, { ledger: 'postgres' });
    try {
      const session = await openSession(instance);
      const { id, secrets } = session;
      const before = await guarded(instance, id);
      const digest = new Uint8Array(16);
      const restore = async (from: string, to: string) => {
        await client.query(`DROP DATABASE IF EXISTS ${to} WITH (FORCE)`);
        await client.query(
          `SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = '${from}' AND pid <> pg_backend_pid()`,
        );
        await client.query(`CREATE DATABASE ${to} TEMPLATE ${from}`);
      };
      const old = instance.sessions.incarnation();
      await database.dataSource.destroy();
      await vi.waitFor(() => restore(name, `${name}_dump`), { timeout: 10_000 });
      await instance.ledger!.accept(before, { lane: before.lane, counter: 1 }, digest, 10_000);
      instance.ledger!.finish(before, { lane: before.lane, counter: 1 }, digest, new Uint8Array(8));
      await instance.ledger!.drain();
      await restore(`${name}_dump`, name);

      // the first statement in the restored database finds out by itself, before any tick
      const stale = await instance.ledger!.accept(before, { lane: before.lane, counter: 2 }, digest, 10_000);
      expect(stale.kind).toBe('busy');
      await vi.waitFor(async () => {
        await instance.sessions.refresh();
        expect(instance.listener.changes).toBe(1);
      });
      expect(instance.sessions.incarnation()).not.toEqual(old);
      for (const counter of [1, 2]) {
        const replayed = await instance.ledger!.accept(before, { lane: before.lane, counter }, digest, 10_000);
        expect(replayed.kind).toBe('lane_moved');
      }
      const after = await guarded(instance, id);
      expect(after.lane).toBeGreaterThan(before.lane);
      expect(after.incarnation).toEqual(instance.sessions.incarnation());
      expect(await instance.ledger!.recall(after, asked([before.lane, 1, digest]))).toEqual([{ known: 'unknown' }]);
      const answers = await renewed(instance, session, secrets.renewal, asked([before.lane, 1, digest]));
      expect(answers).toEqual([{ known: 'unknown' }]);
      await instance.sessions.stop();
    } finally {
      await source.destroy();
      await client.query(`DROP DATABASE IF EXISTS ${name}_dump WITH (FORCE)`);
      await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      await client.end();
    }
  });

  it('leaves the data of a session that could not be renewed in it', async () => {
    // no tick tells of it before the session is renewed
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const database = await openPostgres();
    const instance = await startInstance(database.dataSource, { ledger: 'postgres' });
    const old = await openSession(instance);
    const { keyId } = old;
    await instance.data.write(old.id, { basket: [1, 2] }, 0);
    await instance.sessions.renew(old.id, old, proves(old.secrets.renewal));
    await database.dataSource.query('VACUUM FULL sealwire_session');
    const next = newSession({ keyId, previous: [old.id] });
    expect(await instance.sessions.create(next, limits)).toBeUndefined();
    await instance.sessions.refresh();
    expect(await instance.sessions.create(next, limits)).toBeDefined();
    expect(await instance.data.read(next.id)).toMatchObject({ data: { basket: [1, 2] } });
    await instance.sessions.stop();
    await database.close();
  });

  it('is another incarnation where the operator says so', async () => {
    const database = await openPglite();
    const first = await startInstance(database.dataSource, { exclusiveDatabase: true });
    const second = await startInstance(database.dataSource, { exclusiveDatabase: true, operatorEpoch: 2 });
    const third = await startInstance(database.dataSource, { exclusiveDatabase: true, operatorEpoch: 2 });
    expect(second.sessions.incarnation()).not.toEqual(first.sessions.incarnation());
    expect(third.sessions.incarnation()).toEqual(second.sessions.incarnation());
    for (const { sessions } of [first, second, third]) await sessions.stop();
    await database.close();
  });
});
