import pg from 'pg';
import { expect, it } from 'vitest';
import { freshDatabase } from './support/postgres.js';

it('gives every caller an empty database of its own and drops it with connections open', async () => {
  const [one, two] = await Promise.all([freshDatabase(), freshDatabase()]);
  expect(one.url).not.toBe(two.url);

  const client = new pg.Client({ connectionString: one.url });
  client.on('error', () => undefined);
  await client.connect();
  await client.query('CREATE TABLE mark (id int)');
  const tables = await client.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'");
  expect(tables.rows).toEqual([{ tablename: 'mark' }]);

  await Promise.all([one.drop(), two.drop()]);
  await expect(new pg.Client({ connectionString: one.url }).connect()).rejects.toThrow(/does not exist/);
});
