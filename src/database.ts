import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { createPgConfig } from '@electric-sql/pglite/node-postgres';
import { thrownText } from '@sealwire/core';
import { sealwireEntities, sealwireMigrations } from '@sealwire/typeorm';
import { DataSource, type DataSourceOptions, TypeORMError } from 'typeorm';
import { type Config, readConfig } from './config.js';
import { lockFolder } from './data-folder.js';
import { CreatePayments1760000000000 } from './migrations/1760000000000-create-payments.js';
import { Account } from './payments/account.entity.js';
import { Document, DocumentPart } from './payments/document.entity.js';
import { Transfer } from './payments/transfer.entity.js';
import { StartupError } from './startup-error.js';

/** any number that no other program takes for its advisory lock */
const MIGRATION_LOCK = 7_325_947_281;

export type DatabaseOptions = DataSourceOptions & {
  /** closes the embedded database and gives its folder up */
  readonly closeEmbedded?: () => Promise<void>;
};

/** PostgreSQL where DATABASE_URL names one, else PGlite inside this process; both are the same to TypeORM. */
export async function dataSourceOptions(
  config: Pick<Config, 'databaseUrl' | 'dataFolder'> = readConfig(),
): Promise<DatabaseOptions> {
  return {
    type: 'postgres',
    entities: [Account, Transfer, Document, DocumentPart, ...sealwireEntities],
    migrations: [CreatePayments1760000000000, ...sealwireMigrations],
    // for the wait for a place in the pool too
    connectTimeoutMS: 10_000,
    ...(config.databaseUrl ? { url: config.databaseUrl } : await embedded(config.dataFolder)),
  };
}

async function embedded(folder: string) {
  const unlock = lockFolder(folder);
  try {
    const pglite = await PGlite.create(join(folder, 'postgres'));
    return {
      // PGlite is one connection: a query on the pool inside an open transaction would wait for itself
      poolSize: 1,
      extra: { ...createPgConfig(pglite), max: 1, idleTimeoutMillis: 0 },
      closeEmbedded: async () => {
        await pglite.close();
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

/** Opens the database and brings its tables up to date. */
export async function openDatabase(config: Config): Promise<DataSource> {
  const options = await dataSourceOptions(config);
  const database = new Database(options);
  try {
    await connect(database, config);
    if (options.closeEmbedded) await database.runMigrations();
    else await migrateAlone(database);
    return database;
  } catch (error) {
    await database.destroy();
    throw error;
  }
}

async function connect(database: DataSource, { databaseUrl }: Config): Promise<void> {
  try {
    await database.initialize();
  } catch (error) {
    // one of TypeORM itself is a fault of the application
    if (!databaseUrl || error instanceof TypeORMError) throw error;
    throw new StartupError(`The database of DATABASE_URL cannot be used: ${thrownText(error)}`);
  }
}

/** Several instances may start at once, and TypeORM does not keep their migrations apart. */
async function migrateAlone(database: DataSource): Promise<void> {
  await database.transaction(async (manager) => {
    await manager.query('SELECT pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
    await database.runMigrations();
  });
}

/** `destroy()` of an ordinary DataSource leaves the embedded database open. */
class Database extends DataSource {
  constructor(private readonly databaseOptions: DatabaseOptions) {
    super(databaseOptions);
  }

  override async destroy(): Promise<void> {
    if (this.isInitialized) await super.destroy();
    await this.databaseOptions.closeEmbedded?.();
  }
}
