import { SealwireError } from '@sealwire/core';
import type { DataSource, QueryRunner } from 'typeorm';
import { cancelStatement, type DriverClient, hear, ignore, isIdle, poolOf } from './driver-client.js';

/** One statement; answers its rows, also those of RETURNING. */
export type Query = <Row>(statement: string, parameters?: unknown[]) => Promise<Row[]>;

const DEADLINE = 5_000;
const ATTEMPTS = 3;
const LATE = 'The database did not answer in time.';

/**
 * Statements with an end: a database that does not answer in time, or at all, is a SealwireError `busy`, never a hang.
 * A statement cut off may still take effect; every caller here can live with that.
 */
export class Database {
  constructor(
    private readonly dataSource: DataSource,
    /** PGlite: one connection, one process */
    private readonly exclusive: boolean,
  ) {}

  query<Row>(statement: string, parameters?: unknown[]): Promise<Row[]> {
    return this.attempt((query) => query<Row>(statement, parameters));
  }

  /** Read committed: each statement sees what was committed before it. Runs `work` again after a deadlock. */
  transaction<T>(work: (query: Query) => Promise<T>): Promise<T> {
    return this.attempt(async (query) => {
      await query('BEGIN ISOLATION LEVEL READ COMMITTED');
      try {
        const result = await work(query);
        await query('COMMIT');
        return result;
      } catch (error) {
        await query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    });
  }

  /** How many connections there may be at once. */
  get connections(): number {
    return poolOf(this.dataSource)?.options.max ?? 1;
  }

  /**
   * A connection of its own for that long at most, then `busy`. What it is still in by then ends: a statement, a transaction.
   * The same where it is handed back in one, by whomever: the next to get it would unknowingly be part of that.
   */
  withRunner<T>(milliseconds: number, work: (runner: QueryRunner) => Promise<T>): Promise<T> {
    const pool = poolOf(this.dataSource);
    if (pool) hear(pool);
    const runner = this.dataSource.createQueryRunner();
    const handBack = runner.release.bind(runner);
    let client: DriverClient | undefined;
    let late = false;
    const drop = (why: string): Promise<void> | undefined => {
      if (!client || runner.isReleased) return;
      if (this.exclusive) {
        // PGlite's only connection: the statements of whoever gets it next queue behind this one
        client.query('ROLLBACK').catch(ignore);
        return handBack();
      }
      // as if the connection had broken: the pool drops it at once, and what hangs on it fails. To end it politely would wait
      // for an answer from the very database that gives none, and keep the pool's place as long.
      client.emit('error', new Error(why));
    };
    runner.release = async () =>
      client && !isIdle(client) ? drop('A connection was handed back in the middle of something.') : handBack();
    const connecting = runner.connect().then((connected) => {
      client = connected;
    });
    const working = (async () => {
      // whatever keeps a connection from being made (a database that is just being restored, too), nothing ran
      await connecting.catch((error) => {
        throw new SealwireError('busy', undefined, { cause: error });
      });
      if (late) throw new SealwireError('busy');
      return work(runner);
    })();
    // released before it is connected, a runner would keep the connection for ever
    const release = () => connecting.then(() => runner.release()).catch(ignore);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        late = true;
        reject(new SealwireError('busy', LATE));
        if (pool && client && !runner.isReleased) cancelStatement(pool, client);
        drop(LATE);
      }, milliseconds);
      working.then(resolve, reject).finally(() => {
        clearTimeout(timer);
        return release();
      });
    });
  }

  private async attempt<T>(work: (query: Query) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.connected(work);
      } catch (error) {
        if (attempt === ATTEMPTS || !isTransient(error)) throw error;
      }
    }
  }

  private connected<T>(work: (query: Query) => Promise<T>): Promise<T> {
    return this.withRunner(DEADLINE, (runner) => work(queryOf(runner)));
  }
}

/** Statements through a runner, with errors of the connection made `busy`. */
export function queryOf(runner: QueryRunner): Query {
  return <Row>(statement: string, parameters?: unknown[]) =>
    reach(async () => (await runner.query(statement, parameters, true)).records as Row[]);
}

/** Makes an error of the connection `busy`. */
export async function reach<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw isUnavailable(error) ? new SealwireError('busy', undefined, { cause: error }) : error;
  }
}

/** The five characters that PostgreSQL gives an error; undefined where it did not come from there. */
export function sqlState(error: unknown): string | undefined {
  const { driverError, code } = (error ?? {}) as { driverError?: { code?: unknown }; code?: unknown };
  const state = driverError?.code ?? code;
  // a digit: EPIPE is an error of Node
  return typeof state === 'string' && /^(?=.*\d)[0-9A-Z]{5}$/.test(state) ? state : undefined;
}

/** A deadlock or a failed serialization: the same transaction may well succeed when it is run again. */
export function isTransient(error: unknown): boolean {
  return ['40001', '40P01'].includes(sqlState(error) ?? '');
}

/** Connection lost or refused, server stopping or out of something, a lock or a statement timed out. */
export function isUnavailable(error: unknown): boolean {
  const state = sqlState(error);
  return state === undefined || /^(08|53|57P|25P03|55P03|57014)/.test(state);
}

export function toBytes(buffer: Uint8Array): Uint8Array {
  return Uint8Array.from(buffer);
}
