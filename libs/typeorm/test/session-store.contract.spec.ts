import { afterAll, beforeAll } from 'vitest';
import { MemorySessionStore } from '../../nest/src/sessions/memory-store.js';
import { storeContract } from '../../nest/test/store-contract.js';
import { Listener, openPglite, openPostgres, primitives, startInstance, type TestDatabase } from './support.js';

storeContract('MemorySessionStore', true, async () => {
  const store = new MemorySessionStore(primitives);
  await store.start(new Listener());
  return { store, close: () => store.stop() };
});

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
    storeContract(`TypeOrmSessionStore on ${name}, guard in ${ledger},`, ledger === 'memory', async () => {
      const exclusiveDatabase = name === 'PGlite';
      const { sessions } = await startInstance(database.dataSource, { ledger, exclusiveDatabase });
      return { store: sessions, close: () => sessions.stop() };
    });
  }
}
