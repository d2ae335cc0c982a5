import { setImmediate as turn } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { TcpProxy } from '../../../test/support/tcp-proxy.js';
import {
  connect,
  emptyTables,
  type Instance,
  openPostgres,
  openSession,
  startInstance,
  type TestDatabase,
} from './support.js';

let database: TestDatabase;
let instance: Instance;

beforeAll(async () => {
  database = await openPostgres();
});
afterAll(() => database?.close());
beforeEach(async () => {
  await emptyTables(database.dataSource);
  instance = await startInstance(database.dataSource);
});
afterEach(() => instance.sessions.stop());

it('ticks on however fast sessions are touched', async () => {
  const { id } = await openSession(instance);
  let ticked = false;
  instance.sessions.touch(id, false);
  const ticking = instance.sessions.refresh().finally(() => {
    ticked = true;
  });
  while (!ticked) {
    instance.sessions.touch(id, false);
    await turn();
  }
  await ticking;
}, 5_000);

it('writes last uses, and keeps its lease, while somebody holds the row of one session', async () => {
  const [held, free] = [await openSession(instance), await openSession(instance)];
  await database.dataSource.query(`UPDATE sealwire_session SET last_used_at = now() - interval '10 minutes'`);
  const written = async () => {
    const rows: { id: Buffer }[] = await database.dataSource.query(
      `SELECT id FROM sealwire_session WHERE last_used_at > now() - interval '10 seconds'`,
    );
    return rows.map(({ id }) => id.toString('hex')).sort();
  };
  const names = [held, free].map(({ id }) => Buffer.from(id).toString('hex'));
  const holder = database.dataSource.createQueryRunner();
  await holder.startTransaction();
  await holder.query('SELECT 1 FROM sealwire_session WHERE id = $1 FOR UPDATE', [held.id]);
  for (const { id } of [held, free]) instance.sessions.touch(id, false);
  await instance.sessions.refresh();
  await instance.sessions.refresh();
  expect(await written()).toEqual([names[1]]);
  await holder.rollbackTransaction();
  await holder.release();
  await instance.sessions.refresh();
  await instance.sessions.refresh();
  expect(await written()).toEqual([...names].sort());
  expect(instance.listener.ends).toEqual([]);
});

it('goes on, and writes last uses, while sessions of a revoked SecureKey cannot be ended', async () => {
  const [revoked, used] = [await openSession(instance), await openSession(instance)];
  const query = (statement: string, parameters?: unknown[]) => database.dataSource.query(statement, parameters);
  await query(`UPDATE sealwire_session SET last_used_at = now() - interval '10 minutes'`);
  const holder = database.dataSource.createQueryRunner();
  await holder.startTransaction();
  await holder.query('SELECT 1 FROM sealwire_session WHERE id = $1 FOR UPDATE', [revoked.id]);
  await query(
    `INSERT INTO sealwire_key (kind, module, id, wrapped, valid_until) VALUES ('secure', $1, $2, '', now())`,
    [revoked.module, revoked.keyId],
  );
  await instance.sessions.refresh();
  instance.sessions.touch(used.id, false);
  await instance.sessions.refresh();
  const [row] = await query(
    `SELECT last_used_at > now() - interval '1 minute' AS written,
       (SELECT ticked_at > (SELECT valid_until FROM sealwire_key WHERE kind = 'secure') FROM sealwire_instance) AS ticked
     FROM sealwire_session WHERE id = $1`,
    [used.id],
  );
  expect(row).toEqual({ written: true, ticked: true });
  expect(await instance.sessions.settled(2_000)).toBe(false);
  await holder.rollbackTransaction();
  await holder.release();
  expect(await instance.sessions.settled(10_000)).toBe(true);
  await expect
    .poll(() => instance.listener.ends, { timeout: 10_000 })
    .toEqual([{ id: revoked.id, reason: 'secure_key_revoked' }]);
});

it('has ended the sessions of keys that ran out meanwhile when it has started', async () => {
  const { id, module, keyId } = await openSession(instance);
  await instance.sessions.stop();
  const query = (statement: string, parameters?: unknown[]) => database.dataSource.query(statement, parameters);
  await query(
    `INSERT INTO sealwire_key (kind, module, id, wrapped, valid_until) VALUES ('secure', $1, $2, '', now())`,
    [module, keyId],
  );
  const holder = database.dataSource.createQueryRunner();
  await holder.startTransaction();
  await holder.query('SELECT 1 FROM sealwire_session WHERE id = $1 FOR UPDATE', [id]);
  const waiting = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`;
  const started = startInstance(database.dataSource).then(async (one) => {
    onTestFinished(() => one.sessions.stop());
    return query('SELECT ended_reason AS reason FROM sealwire_session');
  });
  await expect.poll(async () => (await query(waiting)).length).toBe(1);
  await holder.rollbackTransaction();
  await holder.release();
  expect(await started).toEqual([{ reason: 'secure_key_revoked' }]);
});

it('tells an end of its own, though a tick that does not see it is under way', async () => {
  const { id } = await openSession(instance);
  const holder = database.dataSource.createQueryRunner();
  await holder.startTransaction();
  await holder.query('SELECT 1 FROM sealwire_instance FOR UPDATE');
  const ticking = instance.sessions.refresh();
  const rows = async (statement: string) => (await database.dataSource.query(statement)).length;
  const waiting = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`;
  await expect.poll(() => rows(waiting)).toBe(1);
  const ending = instance.directory.end({ id }, 'revoked');
  await expect.poll(() => rows('SELECT 1 FROM sealwire_session WHERE ended_at IS NOT NULL')).toBe(1);
  await holder.rollbackTransaction();
  await holder.release();
  await Promise.all([ticking, ending]);
  expect(instance.listener.ends).toEqual([{ id, reason: 'revoked' }]);
});

it('tells once that the database does not answer, until it does', async () => {
  const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => {
    vi.useRealTimers();
    warn.mockRestore();
  });
  // the other one ticks by itself
  await instance.sessions.stop();
  const one = await startInstance(database.dataSource);
  const away = async (periods: number) => {
    await database.dataSource.query('ALTER TABLE sealwire_instance RENAME TO away');
    // while one tick waits for its answer, and one after the other
    for (let period = 0; period < periods; period++) vi.advanceTimersByTime(500);
    await expect(one.sessions.refresh()).rejects.toThrow();
    vi.advanceTimersByTime(500);
    await expect(one.sessions.refresh()).rejects.toThrow();
    await database.dataSource.query('ALTER TABLE away RENAME TO sealwire_instance');
    vi.advanceTimersByTime(500);
    await one.sessions.refresh();
  };
  await away(5);
  expect(warn.mock.calls).toEqual([[expect.stringContaining('The session store did not answer')]]);
  await away(1);
  expect(warn).toHaveBeenCalledTimes(2);
  await one.sessions.stop();
});

it('stops, says that the database is away, and closes its connections', async () => {
  const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
  onTestFinished(() => warn.mockRestore());
  const proxy = await TcpProxy.start(database.url);
  const dataSource = await connect(proxy.url);
  onTestFinished(() => dataSource.destroy());
  const one = await startInstance(dataSource);
  one.sessions.touch((await openSession(one)).id, false);
  await proxy.close();
  await one.sessions.stop();
  expect(warn.mock.calls.flat()).toContainEqual(
    expect.stringMatching(/The database did not answer while the store stopped.*(terminated|ECONN)/),
  );
  expect(one.sessions.leaseHolds()).toBe(false);
});
