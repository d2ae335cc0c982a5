import { setTimeout as sleep } from 'node:timers/promises';
import { createRemote, OutcomeUnknownError, type Remote, type RemoteApi, RemoteError } from '@sealwire/client';
import type { PaymentsController } from '../../src/payments/payments.controller.js';
import type { TraceController } from './server.js';
import type { World } from './world.js';

export interface Failure {
  readonly reference: string;
  readonly error: unknown;
  /** milliseconds from the call to its failure */
  readonly after: number;
}

const ACCOUNTS = 6;
const DEPOSIT = 100_000n;
/** after so many calls a client goes and another comes, so that there are always handshakes under way */
const CALLS_PER_CLIENT = 60;

/** Clients that call without pause until they are told to stop, and what they saw. */
export abstract class Load<Result> {
  readonly acknowledged = new Map<string, Result>();
  readonly failures: Failure[] = [];
  /** milliseconds of the longest call, failed or not */
  slowest = 0;
  private stopped = false;
  private readonly lastSuccess: number[] = [];
  private readonly loops: Promise<void>[] = [];

  constructor(protected readonly options: { world: World; urls: readonly string[]; timeout?: number }) {}

  start(clients: number, parallel: number): this {
    for (let client = 0; client < clients; client++) {
      this.lastSuccess.push(0);
      this.loops.push(...Array.from({ length: parallel }, (_, loop) => this.loop(client, `${client}.${loop}`)));
    }
    return this;
  }

  /** Waits until so many more calls came through. */
  async progress(calls: number, milliseconds = 60_000): Promise<void> {
    const goal = this.acknowledged.size + calls;
    const end = performance.now() + milliseconds;
    while (this.acknowledged.size < goal) {
      if (performance.now() > end)
        throw new Error(`no ${calls} calls came through: ${JSON.stringify(this.failureKinds())}`);
      await sleep(20);
    }
  }

  /** Lets every call under way come to its end. */
  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.loops);
  }

  /** Clients that had no success since that moment of performance.now(). */
  stuckSince(moment: number): number[] {
    return this.lastSuccess.flatMap((last, client) => (last < moment ? [client] : []));
  }

  /** How often each kind of failure was seen, and how late at the latest: for a test's message. */
  failureKinds(): Record<string, string> {
    const kinds = new Map<string, number[]>();
    for (const { error, after } of this.failures) {
      const { name, code, cause } = error as RemoteError;
      const kind = [name, code, ...(cause === undefined ? [] : ['because of', cause])].join(' ');
      kinds.set(kind, [...(kinds.get(kind) ?? []), after]);
    }
    return Object.fromEntries(
      [...kinds].map(([kind, times]) => [kind, `${times.length} times, after ${Math.round(Math.max(...times))} ms`]),
    );
  }

  protected abstract open(url: string): { call(reference: string): Promise<Result>; close(): void };

  private async loop(client: number, name: string): Promise<void> {
    const url = this.options.urls[client % this.options.urls.length] ?? '';
    let remote = this.open(url);
    for (let number = 0; !this.stopped; number++) {
      const reference = `${name}.${number}`;
      const started = performance.now();
      try {
        this.acknowledged.set(reference, await remote.call(reference));
        this.lastSuccess[client] = performance.now();
      } catch (error) {
        this.failures.push({ reference, error, after: performance.now() - started });
      }
      this.slowest = Math.max(this.slowest, performance.now() - started);
      if (number % CALLS_PER_CLIENT === CALLS_PER_CLIENT - 1) {
        remote.close();
        remote = this.open(url);
      }
    }
    remote.close();
  }

  protected remote<Api extends object>(url: string, module: 'payments' | 'trace'): Remote<Api> {
    const { world, timeout } = this.options;
    const { serverKey, secureKey } = world.client(module);
    return createRemote<Api>({
      // also a client that has met no server yet goes on while proxies break and servers are killed
      waitForServer: true,
      url: `${url}/remote/${module}`,
      serverKey,
      secureKey,
      ...(timeout === undefined ? {} : { timeout }),
    });
  }
}

/** Money from account to account, each transfer with a reference of its own. */
export class TransferLoad extends Load<string> {
  private accounts: string[] = [];

  async openAccounts(url: string): Promise<this> {
    const bank = this.remote<RemoteApi<PaymentsController>>(url, 'payments');
    for (let index = 0; index < ACCOUNTS; index++) {
      this.accounts.push((await bank.open({ owner: `owner ${index}`, deposit: DEPOSIT })).account);
    }
    bank.$close();
    return this;
  }

  /** What is wrong with the books; empty if nothing is. */
  async audit(): Promise<string[]> {
    const { pool } = this.options.world;
    const { rows: transfers } = await pool.query<{ id: string; note: string }>(
      'SELECT id, note FROM transfer WHERE "from" IS NOT NULL',
    );
    const { rows: wrong } = await pool.query<{ id: string }>(`
      SELECT account.id FROM account
      WHERE balance <> (SELECT coalesce(sum(amount), 0) FROM transfer WHERE "to" = account.id)
                     - (SELECT coalesce(sum(amount), 0) FROM transfer WHERE "from" = account.id)`);
    const { rows: total } = await pool.query<{ sum: string }>('SELECT sum(balance) FROM account');
    const booked = new Map<string, string[]>();
    for (const { id, note } of transfers) booked.set(note, [...(booked.get(note) ?? []), id]);
    const failed = new Set(this.failures.map(({ reference }) => reference));
    return [
      ...(BigInt(`${total[0]?.sum}`) === DEPOSIT * BigInt(ACCOUNTS) ? [] : [`there is ${total[0]?.sum} in all`]),
      ...wrong.map(({ id }) => `account ${id} does not match its transfers`),
      ...[...booked].filter(([, ids]) => ids.length > 1).map(([reference]) => `${reference} is booked twice`),
      ...[...this.acknowledged]
        .filter(([reference, id]) => booked.get(reference)?.[0] !== id)
        .map(([reference]) => `${reference} is lost`),
      ...[...booked.keys()]
        .filter((reference) => !this.acknowledged.has(reference) && !failed.has(reference))
        .map((reference) => `${reference} is booked and was never asked for`),
    ];
  }

  /** Failed transfers that are in the books, though their callers were told to try again. */
  async bookedThoughRetryable(): Promise<string[]> {
    const references = this.failures
      .filter(({ error }) => !(error instanceof OutcomeUnknownError))
      .map(({ reference }) => reference);
    const { rows } = await this.options.world.pool.query<{ note: string }>(
      'SELECT note FROM transfer WHERE note = ANY ($1)',
      [references],
    );
    return rows.map(({ note }) => note);
  }

  protected open(url: string) {
    const bank = this.remote<RemoteApi<PaymentsController>>(url, 'payments');
    return {
      call: async (reference: string) => {
        const from = Math.floor(Math.random() * ACCOUNTS);
        const to = (from + 1 + Math.floor(Math.random() * (ACCOUNTS - 1))) % ACCOUNTS;
        const { transfer } = await bank.transfer({
          from: `${this.accounts[from]}`,
          to: `${this.accounts[to]}`,
          amount: 1n,
          note: reference,
        });
        return transfer;
      },
      close: () => bank.$close(),
    };
  }
}

/** Calls of a function that is neither idempotent nor in a transaction. */
export class TraceLoad extends Load<number> {
  /** What contradicts the trace; empty if nothing does. */
  audit(): string[] {
    const runs = this.options.world.runs();
    const times = (reference: string) => runs.get(reference)?.length ?? 0;
    return [
      ...[...runs]
        .filter(([, pids]) => pids.length > 1)
        .map(([reference, pids]) => `${reference} ran ${pids.length} times`),
      ...[...this.acknowledged.keys()]
        .filter((reference) => times(reference) !== 1)
        .map((reference) => `${reference} did not run`),
      ...this.failures
        .filter(({ reference, error }) => !(error instanceof OutcomeUnknownError) && times(reference) > 0)
        .map(({ reference, error }) => `${reference} ran, but was reported as ${error}`),
    ];
  }

  protected open(url: string) {
    const trace = this.remote<RemoteApi<TraceController>>(url, 'trace');
    return { call: (reference: string) => trace.record(reference), close: () => trace.$close() };
  }
}
