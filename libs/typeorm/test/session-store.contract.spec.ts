import { afterAll, beforeAll } from 'vitest';
import { storeContract } from '../../nest/test/store-contract.js';
import { openPglite, openPostgres, startInstance, type TestDatabase } from './support.js';

for (const [name, open] of [
  ['PGlite', openPglite],
  ['PostgreSQL', openPostgres],
] as const) {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await open();
  });
  afterAll(() => database?.close());

  for (const ledger of ['memory', 'postgres'] as const) {
    storeContract(`TypeOrmSessionStore on ${name}, numbers in ${ledger},`, ledger === 'memory', async () => {
      const exclusiveDatabase = name === 'PGlite';
      const { sessions, directory, data } = await startInstance(database.dataSource, { ledger, exclusiveDatabase });
      return { store: sessions, directory, data, close: () => sessions.stop() };
    });
  }
}
