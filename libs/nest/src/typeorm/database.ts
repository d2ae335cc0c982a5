import { SealwireError } from '@sealwire/core';
import type { DataSource, QueryRunner } from 'typeorm';

/** One statement; answers its rows, also those of RETURNING. */
export type Query = <Row>(statement: string, parameters?: unknown[]) => Promise<Row[]>;

const DEADLINE = 5_000;
const ATTEMPTS = 3;

/**
 * Statements with an end: a database that does not answer in time, or at all, is a SealwireError `busy`, never a hang.
 * A statement cut off may still take effect; every caller here can live with that.
 */
export class Database {
  constructor(readonly dataSource: DataSource) {}

  query<Row>(statement: string, parameters?: unknown[]): Promise<Row[]> {
    return this.attempt((query) => query<Row>(statement, parameters));
  }

  /** Read committed: each statement sees what was committed before it. Runs `work` again after a deadlock. */
  transaction<T>(work: (query: Query) => Promise<T>): Promise<T> {
    return this.attempt(async (query) => {
      await query('BEGIN');
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
    const runner = this.dataSource.createQueryRunner();
    return withDeadline(runner, DEADLINE, () => work(queryOf(runner)));
  }
}

/** Statements through a runner, with errors of the connection made `busy`. */
export function queryOf(runner: QueryRunner): Query {
  return async <Row>(statement: string, parameters?: unknown[]) => {
    try {
      return (await runner.query(statement, parameters, true)).records as Row[];
    } catch (error) {
      throw isUnavailable(error) ? new SealwireError('busy', undefined, { cause: error }) : error;
    }
  };
}

/** Connects, works, releases; after the deadline cuts the connection, so that nothing waits for a statement on it. */
export async function withDeadline<T>(runner: QueryRunner, milliseconds: number, work: () => Promise<T>): Promise<T> {
  const connecting: Promise<{ end(): Promise<void> }> = runner.connect();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new SealwireError('busy', 'The database did not answer in time.'));
      connecting.then((client) => client.end()).catch(() => undefined);
    }, milliseconds);
  });
  try {
    await Promise.race([
      late,
      connecting.catch((error) => {
        throw new SealwireError('busy', undefined, { cause: error });
      }),
    ]);
    return await Promise.race([late, work()]);
  } finally {
    clearTimeout(timer);
    // released before it is connected, a runner would keep the connection for ever
    connecting.then(() => runner.release()).catch(() => undefined);
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
