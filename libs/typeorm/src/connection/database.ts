import type { Logger } from '@nestjs/common';
import { SealwireError } from '@sealwire/core';
import type { DataSource } from 'typeorm';
import { type DriverClient, type DriverPool, hear, isLost, poolLike, poolOf } from '../quirks/index.js';
import { busy, isReadOnly, isTransient, isUnavailable, LATE, sqlState } from './errors.js';
import { Turns } from './turns.js';

/** One statement; answers its rows, also those of RETURNING. */
export type Query = <Row>(statement: string, parameters?: unknown[]) => Promise<Row[]>;

/** The store's connections. */
const CONNECTIONS = 4;
/** Connections among these that are left to the lease, the tick and the acceptance of numbers, which wait for nobody. */
const RESERVED = 2;
/** milliseconds for a statement, or a transaction, with the wait for its connection */
const DEADLINE = 5_000;
const ATTEMPTS = 3;

const OPTIONS = {
  max: CONNECTIONS,
  connectionTimeoutMillis: DEADLINE,
  // the server ends by itself what nobody waits for any more
  statement_timeout: DEADLINE,
  idle_in_transaction_session_timeout: 2 * DEADLINE,
  keepAlive: true,
  idleTimeoutMillis: 30_000,
  allowExitOnIdle: true,
};

/**
 * The store's own few connections to the database of a DataSource, so that the application's calls and the store never wait for
 * each other's. Each statement has an end: a database that does not answer in time, or at all, is a SealwireError `busy`, never
 * a hang. A statement cut off may still take effect; every caller here can live with that.
 *
 * If there is but one connection (PGlite), it is the application's.
 */
export class Database {
  private own: DriverPool | undefined;
  private readonly turns = new Turns(() => (this.shared() ? 1 : CONNECTIONS - RESERVED));

  constructor(
    private readonly dataSource: DataSource,
    /** PGlite: one connection, one process */
    private readonly exclusive: boolean,
  ) {}

  query: Query = (statement, parameters) => this.inTurn((query) => query(statement, parameters));

  /** One statement for the lease, the tick or the acceptance of numbers, each of which never has more than one at a time. */
  urgent: Query = (statement, parameters) => this.attempt((query) => query(statement, parameters));

  /** Read committed: each statement sees what was committed before it. Runs `work` again after a deadlock. */
  transaction<T>(work: (query: Query) => Promise<T>): Promise<T> {
    return this.inTurn(async (query, spoil) => {
      await query('BEGIN ISOLATION LEVEL READ COMMITTED');
      try {
        const result = await work(query);
        await query('COMMIT');
        return result;
      } catch (error) {
        await query('ROLLBACK').catch(spoil);
        throw error;
      }
    });
  }

  /** Closes the store's connections. Whoever asks later opens them again. */
  async close(): Promise<void> {
    const pool = this.own;
    this.own = undefined;
    await pool?.end();
  }

  private inTurn<T>(work: Work<T>): Promise<T> {
    return this.turns.run('', DEADLINE, () => this.attempt(work));
  }

  private async attempt<T>(work: Work<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await borrow(this.pool(), this.exclusive, work);
      } catch (error) {
        if (attempt === ATTEMPTS || !isTransient(error)) throw error;
      }
    }
  }

  private shared(): boolean {
    return this.exclusive || poolOf(this.dataSource)?.options.max === 1;
  }

  private pool(): DriverPool {
    if (this.own) return this.own;
    const pool = poolOf(this.dataSource);
    if (!pool) throw new Error('The DataSource is not initialized.');
    hear(pool);
    if (this.shared()) return pool;
    this.own = poolLike(pool, OPTIONS);
    hear(this.own);
    // of a connection that waits in the pool: the pool drops it
    this.own.on('error', () => undefined);
    return this.own;
  }
}

/** @param spoil says that the connection can serve nobody any more */
type Work<T> = (query: Query, spoil: () => void) => Promise<T>;

/** Lends a connection for that long. It closes one that is late or fails, but waits for PGlite's only one (`keep`). */
function borrow<T>(pool: DriverPool, keep: boolean, work: Work<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    let client: DriverClient | undefined;
    let spoilt: Error | undefined;
    let late = false;
    const giveBack = () => {
      client?.release(spoilt);
      client = undefined;
    };
    const timer = setTimeout(() => {
      late = true;
      reject(new SealwireError('busy', LATE));
      spoilt = new Error(LATE);
      if (!keep) giveBack();
    }, DEADLINE);
    const working = async () => {
      // whatever keeps a connection from being made, nothing was asked
      const connected = await pool.connect().catch((error) => {
        throw busy(error);
      });
      client = connected;
      if (late) throw new Error(LATE);
      const query = async <Row>(statement: string, parameters?: unknown[]) => {
        try {
          return (await connected.query(statement, parameters)).rows as Row[];
        } catch (error) {
          const unavailable = isUnavailable(error) || isLost(error) || isReadOnly(error);
          // the server may be about to close it, or be a standby that took the primary's address for a while
          if (unavailable || sqlState(error) === undefined) spoilt = error as Error;
          throw unavailable ? busy(error) : error;
        }
      };
      return work(query, () => {
        spoilt = new Error('A transaction was left open.');
      });
    };
    working()
      .finally(() => {
        clearTimeout(timer);
        if (keep) spoilt = undefined;
        giveBack();
      })
      .then(resolve, reject);
  });
}

export function toBytes(buffer: Uint8Array): Uint8Array {
  return Uint8Array.from(buffer);
}

/**
 * Makes the statement's own transaction, or the one that it is in, wait until it is on disk, whatever the database has by
 * default. A record that a number was taken, or never can be, must not be lost in a crash. As a condition it is always true.
 */
export const DURABLE = `(SELECT set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'),
  true)) IS NOT NULL`;

/** If statistics are old the planner may think that there are few rows, and read them all each time. */
export function byIndex<Row>(database: Database, statement: string, parameters: unknown[]): Promise<Row[]> {
  return database.transaction(async (query) => {
    await query(
      `SELECT set_config(name, 'off', true) FROM unnest(ARRAY['enable_seqscan', 'enable_bitmapscan']) AS t(name)`,
    );
    return query<Row>(statement, parameters);
  });
}

/** Whether the migrations were run. */
export async function hasTables(query: Query): Promise<boolean> {
  const [tables] = await query<{ there: boolean }>(`SELECT to_regclass('sealwire_session') IS NOT NULL AS there`);
  return tables?.there ?? false;
}

/**
 * A number must be on disk before its call runs, or a crash gives it away once more. The statements set `synchronous_commit` for
 * themselves; whether the server then writes at all is its own setting.
 *
 * @throws SealwireError `bad_configuration` if `fsync` is off and that was not allowed
 */
export async function checkServer(query: Query, allowFsyncOff: boolean, logger: Pick<Logger, 'warn'>): Promise<void> {
  if (allowFsyncOff) return;
  const [settings] = await query<{ fsync: string; full_page_writes: string }>(
    `SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes`,
  );
  if (settings?.fsync === 'off') {
    throw new SealwireError(
      'bad_configuration',
      'This PostgreSQL has fsync = off: a crash can make it forget what it acknowledged, and a call that was not idempotent' +
        ' could run twice. Turn fsync on; for tests, typeOrmStore({ allowFsyncOff: true }).',
    );
  }
  if (settings?.full_page_writes === 'off') {
    logger.warn(
      'This PostgreSQL has full_page_writes = off: safe only on a file system that never writes half a page (ZFS); elsewhere a' +
        ' crash can damage the tables.',
    );
  }
}
