import { PGlite } from '@electric-sql/pglite';
import { createPgConfig } from '@electric-sql/pglite/node-postgres';
import { formatKeyText, type Sending, type SessionSecrets } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import type {
  CloseReason,
  LedgerSession,
  NewSession,
  NumberAnswer,
  SessionLimits,
  SessionStoreListener,
} from '@sealwire/nest/ports';
import { createTypeOrmStore, sealwireEntities, sealwireMigrations, type TypeOrmStoreOptions } from '@sealwire/typeorm';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { freshDatabase } from '../../../test/support/postgres.js';

export const primitives = nodePrimitives;
export const kek = formatKeyText('swe1', new Uint8Array(36).fill(7));
export const nextKek = formatKeyText('swe1', new Uint8Array(36).fill(8));

type PostgresOptions = Extract<DataSourceOptions, { type: 'postgres' }>;

export interface TestDatabase {
  readonly dataSource: DataSource;
  readonly url: string;
  close(): Promise<void>;
}

export async function openPglite(): Promise<TestDatabase> {
  const pglite = await PGlite.create();
  const dataSource = await migrated(pgliteOptions(pglite));
  return {
    dataSource,
    url: '',
    async close() {
      if (dataSource.isInitialized) await dataSource.destroy();
      await pglite.close();
    },
  };
}

export async function openPostgres(poolSize = 10): Promise<TestDatabase> {
  const { url, drop } = await freshDatabase();
  const dataSource = await migrated({ url, poolSize });
  return {
    dataSource,
    url,
    async close() {
      if (dataSource.isInitialized) await dataSource.destroy();
      await drop();
    },
  };
}

export async function connect(url: string, options: Partial<PostgresOptions> = {}): Promise<DataSource> {
  return new DataSource({ type: 'postgres', url, entities: sealwireEntities, poolSize: 5, ...options }).initialize();
}

async function migrated(connection: object): Promise<DataSource> {
  const dataSource = new DataSource({
    type: 'postgres',
    entities: sealwireEntities,
    migrations: sealwireMigrations,
    ...connection,
  });
  await dataSource.initialize();
  await dataSource.runMigrations();
  return dataSource;
}

function pgliteOptions(pglite: PGlite): object {
  return {
    poolSize: 1,
    connectTimeoutMS: 10_000,
    extra: { ...createPgConfig(pglite), max: 1, idleTimeoutMillis: 0 },
  };
}

export async function emptyTables(dataSource: DataSource): Promise<void> {
  const tables = ['session', 'instance', 'accepted', 'outcome', 'cookie_key', 'key'];
  for (const table of tables) await dataSource.query(`DELETE FROM sealwire_${table}`);
}

/** Remembers what the store told. */
export class Listener implements SessionStoreListener {
  readonly wanted: Uint8Array[] = [];
  readonly ends: { id: Uint8Array; reason: CloseReason }[] = [];
  changes = 0;
  onRelease: (id: Uint8Array) => Promise<void> = async () => undefined;

  async release(id: Uint8Array): Promise<void> {
    this.wanted.push(id);
    await this.onRelease(id);
  }

  ended(id: Uint8Array, reason: CloseReason): void {
    this.ends.push({ id, reason });
  }

  incarnationChanged(): void {
    this.changes += 1;
  }
}

export type Instance = Awaited<ReturnType<typeof startInstance>>;

/** One running server, as far as the store knows. */
export async function startInstance(dataSource: DataSource, options: Partial<TypeOrmStoreOptions> = {}) {
  const store = createTypeOrmStore(dataSource, { kek, allowFsyncOff: true, ...options });
  const listener = new Listener();
  await store.sessions.start(listener);
  return { ...store, listener };
}

export const limits: SessionLimits = { module: 100_000, secureKey: 10_000 };

export function newSession(overrides: Partial<NewSession> = {}): NewSession {
  return {
    id: primitives.random(16),
    module: 'payments',
    keyId: primitives.random(8),
    keySize: 32,
    firstKey: primitives.random(32),
    idleSeconds: 1_800,
    lifetimeSeconds: 43_200,
    peer: undefined,
    firstCalls: undefined,
    previous: [],
    ...overrides,
  };
}

export function secrets(): SessionSecrets {
  return {
    clientToServer: primitives.random(32),
    serverToClient: primitives.random(32),
    renewal: primitives.random(32),
  };
}

/** A session that went through its handshake. */
export async function openSession(
  { sessions }: Pick<Instance, 'sessions'>,
  overrides: Partial<NewSession> = {},
): Promise<NewSession & { secrets: SessionSecrets }> {
  const session = newSession(overrides);
  await sessions.create(session, limits);
  const keys = secrets();
  await sessions.activate(session.id, keys);
  return { ...session, secrets: keys };
}

/** The session with its lane taken, as a server without the ledger in memory does. */
export async function guarded({ sessions }: Pick<Instance, 'sessions'>, id: Uint8Array): Promise<LedgerSession> {
  const taken = await sessions.takeLane(id, false);
  if (taken === undefined || taken === 'busy') throw new Error(`not taken: ${taken}`);
  return taken;
}

export function asked(...numbers: [lane: number, counter: number, digest?: Uint8Array][]): Sending[] {
  return numbers.map(([lane, counter, digest = new Uint8Array(16)]) => ({ number: { lane, counter }, digest }));
}

/** What a client that proves the session with that key learns of its numbers. */
export async function renewed(
  { sessions, ledger }: Pick<Instance, 'sessions' | 'ledger'>,
  { id, module, keyId }: Pick<NewSession, 'id' | 'module' | 'keyId'>,
  key: Uint8Array,
  numbers: Sending[],
): Promise<NumberAnswer[] | undefined> {
  const session = await sessions.renew(id, { module, keyId }, proves(key));
  return session && ledger?.recall(session.session, numbers);
}

/** A client's proof that holds for this key and no other. */
export function proves(key: Uint8Array): (candidate: Uint8Array) => boolean {
  return (candidate) => primitives.equal(candidate, key);
}
