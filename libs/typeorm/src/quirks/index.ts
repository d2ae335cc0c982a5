/*
 * All that is used of TypeORM and pg beneath their documented API; test/quirks.spec.ts holds each assumption against what is
 * installed. Nothing else in this package reaches below.
 */
import type { EventEmitter } from 'node:events';
import type { DataSource, QueryRunner } from 'typeorm';

/** A connection of pg, as its pool hands it out. */
export interface DriverClient extends EventEmitter {
  query(statement: string, parameters?: unknown[]): Promise<{ readonly rows: unknown[]; readonly command?: string }>;
  /** @param error closes the connection instead of handing it back, at once if a statement hangs on it */
  release(error?: Error): void;
  /** undocumented: false while a statement runs */
  readonly readyForQuery?: boolean;
  getTransactionStatus?(): string | null;
}

export interface DriverPool extends EventEmitter {
  readonly options: { readonly max: number; readonly password?: unknown };
  connect(): Promise<DriverClient>;
  end(): Promise<void>;
}

/** The pool of pg in TypeORM's driver; undefined before the DataSource is initialized and after it was destroyed. */
export function poolOf(dataSource: DataSource): DriverPool | undefined {
  return (dataSource.driver as unknown as { master?: DriverPool }).master;
}

/** Another pool to the same server in the same way, with some options of its own. */
export function poolLike(pool: DriverPool, options: object): DriverPool {
  const Pool = pool.constructor as new (options: object) => DriverPool;
  // the pool hides its password from loops over its options
  return new Pool({ ...pool.options, password: pool.options.password, ...options });
}

/** Whether a connection is as good as new: in no statement, in no transaction, and not about to be closed by the server after an error. */
export function isIdle(client: DriverClient): boolean {
  return client.readyForQuery !== false && !['T', 'E'].includes(client.getTransactionStatus?.() ?? '');
}

/** Codes of Node for a socket, or for the encryption on it, that failed. */
const SOCKET =
  /^(ECONN\w+|EPIPE|ETIMEDOUT|EHOST\w+|ENET\w+|ENOTFOUND|EAI_\w+|EADDRNOTAVAIL|ERR_(STREAM|SOCKET|SSL|TLS)_\w+)$/;
/** Words of pg for a connection that is lost, closed or not to be had, and for an answer that it waits for no longer. */
const LOST =
  /^(Connection terminated|Client (was closed|has encountered a connection error)|timeout ex|Query read timeout|Received unexpected|received invalid response)/;

/** Whether an error of the driver that has no SQLSTATE is the connection's, and not of what the statement was given. */
export function isLost(driverError: unknown): boolean {
  const { code, message } = (driverError ?? {}) as { code?: unknown; message?: unknown };
  return SOCKET.test(String(code)) || LOST.test(String(message));
}

/**
 * Notes whether the next COMMIT on the connection does what it says: for a failed transaction PostgreSQL answers ROLLBACK without an
 * error, which TypeORM takes for success, and what subscribers throw after it TypeORM passes on as if it had failed. Those behind it are
 * of subscribers' own transactions.
 */
export function watchCommit(client: DriverClient): { readonly done: boolean; leave(): void } {
  const { query } = client;
  const commit = {
    done: false,
    leave: () => {
      client.query = query;
    },
  };
  client.query = (...args) => {
    // what is no statement in words, a stream of rows say, answers no promise
    const answer = query.apply(client, args);
    if (args[0] !== 'COMMIT') return answer;
    commit.leave();
    return answer.then((result) => {
      commit.done = result.command === 'COMMIT';
      return result;
    });
  };
  return commit;
}

/** As if the connection had broken: TypeORM and the pool drop it at once, and what hangs on it fails. */
export function breakOff(client: DriverClient, why: string): void {
  client.emit('error', new Error(why));
}

/**
 * The pool hands a connection out without a listener, and whoever takes it adds one a moment later. A server that is being
 * stopped may end the connection just then, and an error that nobody hears ends the process. Its next statement meets it.
 */
export function hear(pool: DriverPool): void {
  if (!pool.listeners('acquire').includes(hearClient)) pool.on('acquire', hearClient);
}

function hearClient(client: EventEmitter): void {
  if (!client.listeners('error').includes(ignore)) client.on('error', ignore);
}

export function ignore(): void {}

/** Transactions in each other; TypeORM commits for good only the outermost. */
export function depthOf(runner: QueryRunner): unknown {
  return (runner as unknown as { transactionDepth: unknown }).transactionDepth;
}
