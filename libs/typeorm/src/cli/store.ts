import type { TypeOrmStoreOptions } from '../index.js';
import type { Invocation } from './command.js';

type Connect = typeof import('../index.js').connectTypeOrmStore;
export type Store = Awaited<ReturnType<Connect>>;

/** Connects to the servers' database for the time of `work`. TypeORM is loaded only here: other commands do without it. */
export async function withStore<T>(
  { env }: Invocation,
  work: (store: Store) => Promise<T>,
  times: Pick<TypeOrmStoreOptions, 'tombstoneSeconds' | 'outcomeSeconds'> = {},
): Promise<T> {
  const url = env.DATABASE_URL;
  if (!url || !/^postgres(ql)?:\/\//.test(url)) {
    throw new Error(
      'DATABASE_URL is missing or names no PostgreSQL server. An embedded database (PGlite) belongs to its one running' +
        ' server and is administered there, through SealwireSessions.',
    );
  }
  const { connectTypeOrmStore } = await import('../index.js');
  const store = await connectTypeOrmStore(url, { kek: env.SEALWIRE_KEK, ...times });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
