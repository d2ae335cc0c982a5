import pg from 'pg';
import { expect, it, onTestFinished } from 'vitest';
import { privatePostgres } from '../support/private-postgres.js';

it('keeps what it acknowledged over a crash and refuses while it is down', async () => {
  const postgres = await privatePostgres();
  onTestFinished(() => postgres.end());
  await run(postgres.url, 'CREATE TABLE mark (id int)');
  await postgres.stop();
  await expect(run(postgres.url, 'SELECT 1')).rejects.toThrow('ECONNREFUSED');
  await postgres.start();
  await run(postgres.url, 'INSERT INTO mark VALUES (1)');
  await postgres.crash();
  await expect(run(postgres.url, 'SELECT 1')).rejects.toThrow('ECONNREFUSED');
  await postgres.start();
  expect(await run(postgres.url, 'SELECT id FROM mark')).toEqual([{ id: 1 }]);
});

async function run(url: string, statement: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(statement)).rows;
  } finally {
    await client.end();
  }
}
