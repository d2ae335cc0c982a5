import { sealwireMigrations } from '@sealwire/typeorm';
import { expect, it, onTestFinished } from 'vitest';
import { privatePostgres } from '../../../test/support/private-postgres.js';
import { connect, guarded, openSession, startInstance } from './support.js';

it('runs no frame twice after a crash of a database that acknowledges before it writes', async () => {
  const postgres = await privatePostgres();
  onTestFinished(() => postgres.end());
  const source = await connect(postgres.url);
  onTestFinished(() => source.destroy());
  // what nobody waits for stays in memory for seconds, and a crash takes it
  await source.query(`ALTER SYSTEM SET wal_writer_delay = '10s'`);
  await source.query('ALTER SYSTEM SET synchronous_commit = off');
  await source.query('SELECT pg_reload_conf()');
  for (const Tables of sealwireMigrations) await new Tables().up(source.createQueryRunner());
  await source.query('CREATE TABLE witness (what text)');
  await source.query('CHECKPOINT');
  const instance = await startInstance(source, { ledger: 'postgres' });
  const { id } = await openSession(instance);
  const session = await guarded(instance, id);
  const number = { lane: session.lane, counter: 0 };
  const digest = new Uint8Array(16);
  expect(await instance.ledger!.accept(session, number, digest, 10_000)).toEqual({ kind: 'accepted' });
  const call = {
    ...{ module: 'payments', session: undefined, claimed: undefined, name: 'pay' },
    ...{ callId: new Uint8Array(16), digest: new Uint8Array(32) },
  };
  const run = (what: string) =>
    instance.exactlyOnce.run(call, async (manager) => {
      await (manager as typeof source.manager).query('INSERT INTO witness VALUES ($1)', [what]);
      return { outcome: digest, rollback: false };
    });
  await run('first');
  await source.query(`INSERT INTO witness VALUES ('acknowledged only')`);
  await postgres.crash();
  await postgres.start();
  await expect.poll(() => source.query('SELECT what FROM witness').catch(String)).toEqual([{ what: 'first' }]);
  await run('again');
  expect(await source.query('SELECT what FROM witness')).toEqual([{ what: 'first' }]);
  const again = await instance.ledger!.accept(session, number, digest, 10_000);
  expect(again.kind).not.toBe('accepted');
  await instance.sessions.stop();
});
