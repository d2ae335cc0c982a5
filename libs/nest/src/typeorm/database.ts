import type { EventEmitter } from 'node:events';
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

  /** A connection of its own for that long at most. */
  withRunner<T>(milliseconds: number, work: (runner: QueryRunner) => Promise<T>): Promise<T> {
    const { master } = this.dataSource.driver as unknown as { master?: EventEmitter };
    if (master) hear(master);
    const runner = this.dataSource.createQueryRunner();
    return withDeadline(runner, { milliseconds, cut: !this.exclusive }, () => work(runner));
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

/**
 * Connects, works, releases. After the deadline the answer is `busy`, and `cut` ends the connection with whatever statement
 * hangs on it. PGlite has but one connection, whose open transaction would outlive the cut: there the work ends by itself.
 */
function withDeadline<T>(
  runner: QueryRunner,
  { milliseconds, cut }: { milliseconds: number; cut: boolean },
  work: () => Promise<T>,
): Promise<T> {
  let late = false;
  let client: EventEmitter | undefined;
  const connecting = runner.connect().then((connected) => {
    client = connected;
  });
  const working = (async () => {
    // whatever keeps a connection from being made (a database that is just being restored, too), nothing ran
    await connecting.catch((error) => {
      throw new SealwireError('busy', undefined, { cause: error });
    });
    if (late) throw new SealwireError('busy');
    return work();
  })();
  // released before it is connected, a runner would keep the connection for ever
  const release = () => connecting.then(() => runner.release()).catch(() => undefined);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      late = true;
      reject(new SealwireError('busy', 'The database did not answer in time.'));
      // as if the connection had broken: the pool drops it at once, and what hangs on it fails. To end it politely would wait
      // for an answer from the very database that gives none, and keep the pool's place as long.
      if (cut && !runner.isReleased) client?.emit('error', new Error('The database did not answer in time.'));
    }, milliseconds);
    working.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      return release();
    });
  });
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

/**
 * The pool hands a connection out without a listener, and TypeORM adds its own a moment later. A server that is being stopped
 * may end the connection just then, and an error that nobody hears ends the process. Whoever uses the connection meets it.
 */
function hear(pool: EventEmitter): void {
  if (!pool.listeners('acquire').includes(hearClient)) pool.on('acquire', hearClient);
}

function hearClient(client: EventEmitter): void {
  if (!client.listeners('error').includes(ignore)) client.on('error', ignore);
}

function ignore(): void {}

export function toBytes(buffer: Uint8Array): Uint8Array {
  return Uint8Array.from(buffer);
}
