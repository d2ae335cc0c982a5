import { inspect } from 'node:util';
import { getDataSourceToken } from '@nestjs/typeorm';
import { knownOptions, ownOptions, SealwireError } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import type { ResolvedOptions, SealwireStore } from '@sealwire/nest/ports';
import {
  ExactlyOnce,
  KeyStore,
  NumberLedger,
  RESOLVED_OPTIONS,
  SessionData,
  SessionDirectory,
  SessionStore,
} from '@sealwire/nest/ports';
import { DataSource } from 'typeorm';
import { Database, hasTables } from './connection/database.js';
import { KeyEncryption } from './keys/key-encryption.js';
import { TypeOrmKeyStore } from './keys/key-store.js';
import { type RewrapResult, rewrap } from './keys/rewrap.js';
import { SealwireKeys } from './keys/sealwire-keys.js';
import { PostgresLedger } from './numbers/postgres-ledger.js';
import { TypeOrmExactlyOnce } from './outcomes/index.js';
import { Incarnation } from './sessions/incarnation.js';
import { Lease } from './sessions/lease.js';
import { TypeOrmSessionData } from './sessions/session-data.js';
import { TypeOrmSessionStore } from './sessions/session-store.js';
import { TypeOrmSessionDirectory } from './upkeep/session-directory.js';

/** Options of {@link typeOrmStore}. */
export interface TypeOrmStoreOptions {
  /** SEALWIRE_KEK: one or more `swe1...`, the current one first; without it that of `SealwireModule.forRoot()` */
  readonly kek?: string | undefined;
  /**
   * `memory` (default): a session belongs to one instance at a time, for one process or sticky routing; a warm call needs no
   * statement. `postgres`: accepted numbers are kept in the database, for any load balancer.
   */
  readonly ledger?: 'memory' | 'postgres';
  /** how long an ended session is remembered: a day by default, 600 at least, for its cookie could bring it back */
  readonly tombstoneSeconds?: number;
  /**
   * how long outcomes of calls that run exactly once are kept, a week by default: longer than any client goes on trying, and an
   * hour longer at least than a session lives, in which a call that was held back is good to the end
   */
  readonly outcomeSeconds?: number;
  /** Another value says that the database was put back to an earlier state in a way it cannot tell itself (a disk snapshot). */
  readonly operatorEpoch?: string | number;
  /** No other process can open this database (PGlite): instances found in it are dead, and there is no lease to lose. */
  readonly exclusiveDatabase?: boolean;
  /**
   * Start although the server has `fsync = off` and may forget in a crash what it acknowledged: then a call can run twice. For
   * tests only.
   */
  readonly allowFsyncOff?: boolean;
}

const OPTIONS = [
  'kek',
  'ledger',
  'tombstoneSeconds',
  'outcomeSeconds',
  'operatorEpoch',
  'exclusiveDatabase',
  'allowFsyncOff',
] satisfies (keyof TypeOrmStoreOptions)[];

/** The store without Nest: an implementation of each port, and the administration. */
export interface TypeOrmStoreParts {
  readonly sessions: TypeOrmSessionStore;
  readonly directory: TypeOrmSessionDirectory;
  readonly data: TypeOrmSessionData;
  readonly keys: TypeOrmKeyStore;
  readonly admin: SealwireKeys;
  readonly exactlyOnce: TypeOrmExactlyOnce;
  /** undefined if numbers are guarded in memory */
  readonly ledger: PostgresLedger | undefined;
  /** Brings all secrets under the current key-encryption key; can be broken off and run again. */
  rewrap(batch?: number): Promise<RewrapResult>;
  /** Closes the store's own connections; `sessions.stop()` does so too. */
  close(): Promise<void>;
}

/** The options of the server that the store goes by. */
type ServerTimes = Pick<ResolvedOptions, 'sessionLifetime' | 'resultCache'> & { readonly kek?: string | undefined };

const SERVER_TIMES = ['sessionLifetime', 'resultCache', 'kek'] satisfies (keyof ServerTimes)[];

/** seconds that an outcome outlives the session of its call */
const OUTCOME_MARGIN = 3_600;

/** milliseconds that `connectTypeOrmStore()` waits for an answer */
const REACHED_MS = 5_000;

const PARTS = Symbol('sealwire typeorm store');

/**
 * Keeps sessions, keys and outcomes in the database of the application's TypeORM DataSource.
 *
 * @throws SealwireError `bad_configuration` with a sentence that says what to change; at start also if the tables are missing or
 *   PostgreSQL could forget what it acknowledged
 * @example
 * import { Module } from '@nestjs/common';
 * import { TypeOrmModule } from '@nestjs/typeorm';
 * import { SealwireModule } from '@sealwire/nest';
 *
 * @Module({
 *   imports: [
 *     TypeOrmModule.forRoot({
 *       type: 'postgres',
 *       url: process.env.DATABASE_URL,
 *       entities: [...sealwireEntities],
 *       migrations: [...sealwireMigrations],
 *     }),
 *     SealwireModule.forRoot({ store: typeOrmStore({ kek: process.env.SEALWIRE_KEK, ledger: 'postgres' }) }),
 *   ],
 * })
 * export class AppModule {}
 */
export function typeOrmStore(
  given: TypeOrmStoreOptions & { /** name of the DataSource */ readonly dataSource?: string } = {},
): SealwireStore {
  const options = knownOptions(given, [...OPTIONS, 'dataSource'], 'typeOrmStore');
  const part = <T>(token: abstract new (...args: never[]) => T, pick: (parts: TypeOrmStoreParts) => T) => ({
    provide: token,
    useFactory: pick,
    inject: [PARTS],
  });
  return {
    providers: [
      {
        provide: PARTS,
        useFactory: (dataSource: DataSource, server?: ResolvedOptions) =>
          createTypeOrmStore(dataSource, ownOptions(options, OPTIONS), server),
        inject: [getDataSourceToken(options.dataSource), { token: RESOLVED_OPTIONS, optional: true }],
      },
      part(SessionStore, ({ sessions }) => sessions),
      part(SessionDirectory, ({ directory }) => directory),
      part(SessionData, ({ data }) => data),
      part(KeyStore, ({ keys }) => keys),
      part(ExactlyOnce, ({ exactlyOnce }) => exactlyOnce),
      {
        provide: SealwireKeys,
        useFactory: ({ keys, rewrap }: TypeOrmStoreParts, options?: ResolvedOptions) =>
          new SealwireKeys(keys, rewrap, options !== undefined && options.serverKeys.length > 0),
        inject: [PARTS, { token: RESOLVED_OPTIONS, optional: true }],
      },
      // a provider that is there but answers undefined would hide the ledger in memory
      ...(options.ledger === 'postgres' ? [part(NumberLedger, ({ ledger }) => ledger as NumberLedger)] : []),
    ],
    exports: [SealwireKeys],
  };
}

/**
 * The same store without Nest.
 *
 * @param dataSource of type `postgres`; it need not be initialized yet
 * @param times what the server's options decide: `sessionLifetime` in seconds, `resultCache`, `kek`. Without them purging leaves
 *   stored results alone.
 * @throws SealwireError `bad_configuration` with a sentence that says what to change
 * @example
 * import { DataSource } from 'typeorm';
 *
 * const dataSource = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL });
 * const store = createTypeOrmStore(dataSource, { kek: process.env.SEALWIRE_KEK });
 * await dataSource.initialize();
 * console.log(await store.directory.count({ all: true }));
 * await store.close();
 */
export function createTypeOrmStore(
  dataSource: DataSource,
  given: TypeOrmStoreOptions,
  times?: ServerTimes,
): TypeOrmStoreParts {
  const options = knownOptions(given, OPTIONS, 'createTypeOrmStore');
  const server = times && ownOptions(times, SERVER_TIMES);
  const { ledger = 'memory', tombstoneSeconds = 86_400, outcomeSeconds = 604_800 } = options;
  if (ledger !== 'memory' && ledger !== 'postgres') {
    throw refused(`ledger is 'memory' or 'postgres', got ${inspect(ledger, { depth: 0 })}.`);
  }
  for (const name of ['exclusiveDatabase', 'allowFsyncOff'] as const) {
    const value: unknown = options[name];
    if (value === undefined || typeof value === 'boolean') continue;
    throw refused(`${name} is true or false, got ${inspect(value, { depth: 0 })}.`);
  }
  if (!Number.isFinite(tombstoneSeconds) || tombstoneSeconds < 600)
    throw refused(`tombstoneSeconds is 600 or more, got ${tombstoneSeconds}.`);
  const leastOutcome = (server?.sessionLifetime ?? 0) + OUTCOME_MARGIN;
  if (!Number.isFinite(outcomeSeconds) || outcomeSeconds < leastOutcome) {
    throw refused(
      `outcomeSeconds is ${leastOutcome} or more, got ${outcomeSeconds}: a call that was held back is good as long as its` +
        ' session (sessionLifetime), and without its outcome it would run again.',
    );
  }
  if (dataSource.options.type !== 'postgres') {
    throw refused(`The TypeORM store needs a DataSource of type 'postgres', got '${dataSource.options.type}'.`);
  }
  const exclusive = options.exclusiveDatabase ?? false;
  const keys = new KeyEncryption(nodePrimitives, options.kek ?? server?.kek);
  const database = new Database(dataSource, exclusive);
  const lease = new Lease(nodePrimitives, exclusive, keys.ids);
  const incarnation = new Incarnation(nodePrimitives, keys, String(options.operatorEpoch ?? ''));
  const shared = ledger === 'postgres';
  const retention = { tombstoneSeconds, outcomeSeconds, resultSeconds: server?.resultCache.seconds };
  const directory: TypeOrmSessionDirectory = new TypeOrmSessionDirectory(
    database,
    retention,
    (): Promise<void> => sessions.refresh(),
  );
  const sessions = new TypeOrmSessionStore({
    ...{ database, keys, lease, incarnation, shared, options: dataSource.options },
    // PGlite keeps its files in its own way
    allowFsyncOff: exclusive || (options.allowFsyncOff ?? false),
    purge: (): Promise<number> => directory.purge(),
  });
  const databaseChanged = () => {
    // the next tick tries again
    sessions.refresh().catch(() => undefined);
  };
  const keyStore = new TypeOrmKeyStore(database, keys, nodePrimitives);
  const rewrapAll = (batch?: number) => rewrap(database, keys, batch);
  return {
    ...{ sessions, directory },
    data: new TypeOrmSessionData(database, keys),
    keys: keyStore,
    admin: new SealwireKeys(keyStore, rewrapAll),
    exactlyOnce: new TypeOrmExactlyOnce(nodePrimitives, dataSource, exclusive, keys, incarnation),
    ledger: shared ? new PostgresLedger(database, lease, incarnation, databaseChanged) : undefined,
    rewrap: rewrapAll,
    close: () => database.close(),
  };
}

/**
 * Reaches the store of a running or stopped server from outside it, for administration. It takes part in nothing.
 *
 * @param url of the database, `postgres://...`
 * @throws SealwireError `bad_configuration` if an option is wrong or the database has no Sealwire tables; the driver's error if
 *   the database cannot be reached, or does not answer, within 5 seconds
 * @example
 * const store = await connectTypeOrmStore(process.env.DATABASE_URL ?? '', { kek: process.env.SEALWIRE_KEK });
 * for (const { kind, id } of await store.admin.list()) console.log(kind, id);
 * await store.close();
 */
export async function connectTypeOrmStore(url: string, options: TypeOrmStoreOptions): Promise<TypeOrmStoreParts> {
  const dataSource = new DataSource({
    ...{ type: 'postgres', url, poolSize: 2, connectTimeoutMS: REACHED_MS },
    // also for TypeORM's own first statements; a connection whose end the database does not confirm keeps no process alive
    extra: { query_timeout: REACHED_MS, allowExitOnIdle: true },
  });
  const store = createTypeOrmStore(dataSource, options);
  try {
    await dataSource.initialize();
    if (!(await hasTables((statement) => dataSource.query(statement)))) {
      throw refused(
        'This database has no Sealwire tables: run the migrations (sealwireMigrations), or look at DATABASE_URL.',
      );
    }
  } catch (error) {
    // TypeORM leaves the connection open on which its first statements fail
    await dataSource.driver.disconnect().catch(() => undefined);
    throw error;
  }
  const close = async () => {
    await store.close();
    await dataSource.destroy();
  };
  return { ...store, close };
}

function refused(sentence: string): SealwireError {
  return new SealwireError('bad_configuration', sentence);
}
