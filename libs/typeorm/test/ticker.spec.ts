import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { emptyTables, type Instance, openPostgres, openSession, startInstance, type TestDatabase } from './support.js';

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
