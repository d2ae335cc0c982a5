import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import type { DataSource } from 'typeorm';

/** milliseconds */
const CANCELLING = 2_000;

/** What is used of the driver's own connection, beneath TypeORM. */
export interface DriverClient extends EventEmitter {
  readonly processID?: number | null;
  readonly secretKey?: unknown;
  readonly readyForQuery?: boolean;
  query(statement: string): Promise<unknown>;
  getTransactionStatus?(): string | null;
}

interface Canceller {
  readonly host: string;
  readonly port: number;
  readonly ssl: unknown;
  readonly sslNegotiation?: string;
  readonly connection: EventEmitter & {
    readonly stream: Socket;
    connect(port: number | string, host?: string): void;
    requestSsl(): void;
    cancel(processID: number, secretKey: unknown): void;
  };
}

export interface DriverPool extends EventEmitter {
  readonly options: { readonly max: number };
  readonly Client: new (options: object) => Canceller;
}

/** undefined before the DataSource is initialized and after it was destroyed */
export function poolOf(dataSource: DataSource): DriverPool | undefined {
  return (dataSource.driver as unknown as { master?: DriverPool }).master;
}

/** Whether it is as good as new: in no statement, in no transaction, and not about to be closed by the server after an error. */
export function isIdle(client: DriverClient): boolean {
  return client.readyForQuery !== false && !['T', 'E'].includes(client.getTransactionStatus?.() ?? '');
}

/**
 * Asks the server to end the statement that hangs on a connection: a closed connection it notices only once the statement has
 * an answer, which one that waits for a lock may not have for hours. The protocol wants a connection of its own for it, and
 * gives no answer. (A statement with pg_cancel_backend would meet another's connection behind a pooler.)
 */
export function cancelStatement({ Client, options }: DriverPool, { processID, secretKey }: DriverClient): void {
  if (!processID) return;
  try {
    const { connection, host, port, ssl, sslNegotiation } = new Client(options);
    const send = () => connection.cancel(processID, secretKey);
    const timer = setTimeout(() => connection.stream.destroy(), CANCELLING).unref();
    connection.on('error', ignore).once('end', () => clearTimeout(timer));
    connection.on('connect', () => {
      if (!ssl) send();
      else if (sslNegotiation !== 'direct') connection.requestSsl();
    });
    connection.on('sslconnect', send);
    if (host.startsWith('/')) connection.connect(`${host}/.s.PGSQL.${port}`);
    else connection.connect(port, host);
    connection.stream.unref();
  } catch {
    // a driver without this (pg-native): the statement ends by itself
  }
}

/**
 * The pool hands a connection out without a listener, and TypeORM adds its own a moment later. A server that is being stopped
 * may end the connection just then, and an error that nobody hears ends the process. Whoever uses the connection meets it.
 */
export function hear(pool: DriverPool): void {
  if (!pool.listeners('acquire').includes(hearClient)) pool.on('acquire', hearClient);
}

function hearClient(client: EventEmitter): void {
  if (!client.listeners('error').includes(ignore)) client.on('error', ignore);
}

export function ignore(): void {}
