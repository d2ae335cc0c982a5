import { SessionEntity, sealwireEntities, sealwireMigrations } from '@sealwire/typeorm';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { freshDatabase } from '../../../test/support/postgres.js';
import { openSession, startInstance } from './support.js';

let database: Awaited<ReturnType<typeof freshDatabase>>;

beforeAll(async () => {
  database = await freshDatabase();
  const admin = await new DataSource({ type: 'postgres', url: database.url }).initialize();
  await admin.query('CREATE SCHEMA app');
  await admin.destroy();
});
afterAll(() => database?.drop());

async function open(options: Partial<DataSourceOptions> & { schema?: string; url?: string }): Promise<DataSource> {
  const own = { type: 'postgres', url: database.url, entities: sealwireEntities, migrations: sealwireMigrations };
  const dataSource = await new DataSource({ ...own, ...options } as DataSourceOptions).initialize();
  onTestFinished(() => dataSource.destroy());
  return dataSource;
}

it.each([
  [
    { schema: 'app' },
    /first schema of the search path, which is 'public', and the DataSource has schema 'app': .*search_path=app/,
  ],
  [{ entityPrefix: 'x_' }, /no entityPrefix, got 'x_': give the store a DataSource of its own/],
])('refuses %o, at the migration and at the start', async (options, sentence) => {
  const dataSource = await open(options);
  await expect(dataSource.runMigrations()).rejects.toThrow(sentence);
  await expect(startInstance(dataSource)).rejects.toThrow(sentence);
  expect(await dataSource.query(`SELECT 1 FROM pg_tables WHERE tablename LIKE 'sealwire%'`)).toEqual([]);
});

it('lives in the schema of the search path, with its entities', async () => {
  const dataSource = await open({ schema: 'app', extra: { options: '-c search_path=app' } });
  await dataSource.runMigrations();
  const tables = await dataSource.query(`SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'sealwire%'`);
  expect(tables).toEqual([{ schemaname: 'app' }]);
  const instance = await startInstance(dataSource);
  await openSession(instance);
  expect(await dataSource.getRepository(SessionEntity).count()).toBe(1);
  await instance.sessions.stop();
  // as the command does, which knows the URL alone
  const command = await open({ url: `${database.url}?options=-c%20search_path%3Dapp` });
  expect(await command.getRepository(SessionEntity).count()).toBe(1);
});
