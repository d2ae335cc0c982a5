import { setTimeout as delay } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { type CallNumber, FIRST_LANE, LIMITS, type Sending, toHex } from '@sealwire/core';
import {
  type Acceptance,
  type FirstAcceptance,
  knownOf,
  type LedgerSession,
  type NumberAnswer,
  NumberLedger,
  withinTime,
} from '@sealwire/nest/ports';
import { type Database, toBytes } from '../connection/database.js';
import { reasonOf } from '../connection/errors.js';
import type { Incarnation } from '../sessions/incarnation.js';
import { LEASE, type Lease } from '../sessions/lease.js';
import { ACCEPT, FINISH, RECALL, type RecallRow, type VerdictRow } from './accepted-numbers.js';
import { GroupCommit } from './group-commit.js';

/** A result frame longer than this is not kept: its duplicates are told that it ran. */
const LARGEST_RESULT = 65_536;
const UNSURE = 10_000;
/** seconds without a renewal of its lease, due twice a second, after which an instance may be gone */
const SILENT = 2.5;
/** milliseconds that a result is tried to be written while the database is away */
const PATIENCE = 30_000;
/** milliseconds after which a number is asked again whose session's row another transaction holds */
const PAUSES = [10, 20, 40, 80, 160, 320];

interface Asked {
  readonly session: LedgerSession;
  readonly number: CallNumber;
  readonly digest: Uint8Array;
}

interface Finished extends Asked {
  readonly result: Uint8Array | null;
}

/** A number that is asked for, or runs here. */
class Running {
  /** requests that wait for the verdict to run the call */
  waiting = 0;
  /** whether a request has taken it on to run the call */
  taken = false;
  settle: (result: Uint8Array | undefined) => void = () => undefined;
  readonly settled = new Promise<Uint8Array | undefined>((resolve) => {
    this.settle = resolve;
  });

  constructor(
    readonly digest: string,
    readonly verdict: Promise<Acceptance>,
  ) {}
}

/**
 * A ledger in the database. Every accepted number is a row, so any instance may serve any session. There is no window: numbers at
 * or below the floor are refused.
 *
 * @example
 * import { DataSource } from 'typeorm';
 *
 * const dataSource = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL });
 * const { ledger } = createTypeOrmStore(dataSource, { kek: process.env.SEALWIRE_KEK, ledger: 'postgres' });
 * await ledger?.drain();
 */
export class PostgresLedger extends NumberLedger {
  readonly exclusive = false;
  private readonly logger = new Logger('SealwireLedger');
  private readonly running = new Map<string, Running>();
  /** Their row may have been written, but they did not run here: the database broke off, or whoever asked did not wait so long. */
  private readonly unsure = new Set<string>();
  private readonly writing = new Set<Promise<void>>();
  private readonly removing = new Set<string>();
  private readonly accepts = new GroupCommit((asked: Asked[]) => this.commitAccepts(asked));
  private readonly finishes = new GroupCommit((finished: Finished[]) => this.commitFinishes(finished));

  constructor(
    private readonly database: Database,
    private readonly lease: Lease,
    private readonly incarnation: Incarnation,
    /** called if the database is another one than before */
    private readonly databaseChanged: () => void,
  ) {
    super();
  }

  async accept(
    session: LedgerSession,
    number: CallNumber,
    digest: Uint8Array,
    milliseconds: number,
  ): Promise<Acceptance> {
    if (number.counter > LIMITS.counter) return { kind: 'too_old' };
    const key = keyOf(session, number);
    const running = this.running.get(key) ?? this.ask(key, { session, number, digest });
    const same = running.digest === toHex(digest);
    if (same) running.waiting++;
    const verdict = await withinTime(running.verdict, milliseconds).finally(() => same && running.waiting--);
    if (verdict.kind !== 'accepted') return same ? verdict : this.accept(session, number, digest, milliseconds);
    if (!same) return { kind: 'conflict' };
    if (running.taken) return { kind: 'running', settled: running.settled };
    running.taken = true;
    return verdict;
  }

  /** The rows are there already: they were written with the session. */
  begin(session: LedgerSession): void {
    const { digest, count } = session.firstCalls ?? { digest: new Uint8Array(), count: 0 };
    for (let counter = 0; counter < count; counter++) {
      const running = new Running(toHex(digest), Promise.resolve({ kind: 'accepted' }));
      running.taken = true;
      this.running.set(keyOf(session, { lane: FIRST_LANE, counter }), running);
    }
  }

  async first(session: LedgerSession, number: CallNumber): Promise<FirstAcceptance> {
    const running = this.running.get(keyOf(session, number));
    if (running) return { kind: 'running', settled: running.settled };
    const [row] = await this.look(session, [number]);
    if (row?.state === 'done') return { kind: 'done', result: row.result ? toBytes(row.result) : undefined };
    return row?.state === 'running' && row.alive ? { kind: 'running' } : { kind: 'outcome_unknown' };
  }

  finish(session: LedgerSession, number: CallNumber, digest: Uint8Array, result: Uint8Array | undefined): void {
    const key = keyOf(session, number);
    this.running.get(key)?.settle(result);
    const kept = result && result.length <= LARGEST_RESULT ? result : null;
    // until the row is written, duplicates that come here are answered from memory
    const written = this.write({ session, number, digest, result: kept }).finally(() => {
      this.running.delete(key);
      this.writing.delete(written);
    });
    this.writing.add(written);
  }

  async recall(session: LedgerSession, asked: readonly Sending[]): Promise<NumberAnswer[]> {
    const rows = await this.look(
      session,
      asked.map(({ number }) => number),
    );
    return asked.map(({ number, digest }, i): NumberAnswer => {
      const row = rows[i];
      if (!row || !this.incarnation.matches(row.mark, row.lane_incarnation)) return { known: 'unknown' };
      if (row.digest === null) return { known: row.complete ? 'never_ran' : knownOf(session, number) };
      // a number runs for one frame only: if it went to another, this one never will
      if (toHex(row.digest) !== toHex(digest)) return { known: 'never_ran' };
      if (row.state !== 'done') return { known: row.alive ? 'running' : 'unknown' };
      return row.result ? { known: 'result', frame: toBytes(row.result) } : { known: 'ran' };
    });
  }

  async isTooOld(session: LedgerSession, number: CallNumber): Promise<boolean> {
    if (number.counter > LIMITS.counter) return true;
    const [row] = await this.look(session, [number]);
    return row?.too_old ?? false;
  }

  /** The rows of these numbers in their order; none if there is no such session. */
  private look(session: LedgerSession, numbers: readonly CallNumber[]): Promise<RecallRow[]> {
    return this.database.query<RecallRow>(RECALL, [
      session.id,
      numbers.map(({ lane }) => lane),
      numbers.map(({ counter }) => counter),
    ]);
  }

  async drain(): Promise<void> {
    await Promise.all(this.writing);
  }

  private ask(key: string, asked: Asked): Running {
    const verdict = this.verdictOf(asked).catch((error): Acceptance => {
      this.logger.warn(`Numbers could not be accepted: ${reasonOf(error)}`);
      this.leaveUnsure(key);
      return { kind: 'busy' };
    });
    const running = new Running(toHex(asked.digest), verdict);
    this.running.set(key, running);
    void verdict.then(({ kind }) => {
      const left = kind === 'accepted' && running.waiting === 0;
      if (left) this.leaveUnsure(key);
      if (left || kind !== 'accepted') this.running.delete(key);
    });
    return running;
  }

  private async verdictOf(asked: Asked): Promise<Acceptance> {
    for (const pause of PAUSES) {
      const verdict = await this.accepts.add(asked);
      if (verdict) return verdict;
      await delay(pause);
    }
    return (await this.accepts.add(asked)) ?? { kind: 'busy' };
  }

  private leaveUnsure(key: string): void {
    this.unsure.add(key);
    for (const oldest of this.unsure) if (this.unsure.size > UNSURE) this.unsure.delete(oldest);
  }

  private async commitAccepts(asked: Asked[]): Promise<(Acceptance | undefined)[]> {
    const { bootId } = this.lease;
    const rows = await this.database.urgent<VerdictRow>(ACCEPT, [
      ...columns(asked),
      asked.map(({ session }) => session.incarnation),
      this.incarnation.mark,
      bootId,
      this.incarnation.value,
    ]);
    return rows.map((row, i) => this.verdict(asked[i] as Asked, row, bootId));
  }

  /** Undefined if another transaction holds the session's row: nothing was taken, nothing is known. */
  private verdict({ session, number }: Asked, row: VerdictRow, bootId: string): Acceptance | undefined {
    if (row.passed_over) return undefined;
    const unsure = this.unsure.delete(keyOf(session, number));
    if (row.same_database === false) {
      this.databaseChanged();
      return { kind: 'busy' };
    }
    if (!row.live) return { kind: 'session_ended' };
    if (!row.same_lane) return { kind: 'lane_moved' };
    if (row.fresh) return { kind: 'accepted' };
    if (row.state === null) return { kind: 'too_old' };
    if (!row.same) return { kind: 'conflict' };
    if (row.state === 'done') return { kind: 'done', result: row.result ? toBytes(row.result) : undefined };
    if (row.owner === bootId) {
      // our own row of a number that is not running here: either it never ran, or its result was never written
      return { kind: unsure ? 'accepted' : 'outcome_unknown' };
    }
    if (row.owner === null || row.owner_lease === null) return { kind: 'outcome_unknown' };
    if (row.owner_lease < LEASE - SILENT) this.removeGone(row.owner);
    return { kind: 'running' };
  }

  /** If the owner's process is gone from this machine, its numbers need not wait for the end of its lease. */
  private removeGone(owner: string): void {
    if (this.removing.has(owner)) return;
    this.removing.add(owner);
    this.lease
      .removeGone(this.database.query, owner)
      .catch((error) => this.logger.warn(`An instance that is silent could not be looked at: ${reasonOf(error)}`))
      .finally(() => this.removing.delete(owner));
  }

  private async write(finished: Finished): Promise<void> {
    const end = performance.now() + PATIENCE;
    for (;;) {
      try {
        return await this.finishes.add(finished);
      } catch (error) {
        if (performance.now() > end) {
          this.logger.error(
            `The result of a call of session ${finished.session.key} could not be written: ${reasonOf(error)}`,
          );
          return;
        }
        await delay(250);
      }
    }
  }

  private async commitFinishes(finished: Finished[]): Promise<undefined[]> {
    await this.database.query(FINISH, [...columns(finished), finished.map(({ result }) => result), this.lease.bootId]);
    return finished.map(() => undefined);
  }
}

function columns(asked: Asked[]): unknown[] {
  return [
    asked.map(({ session }) => session.id),
    asked.map(({ number }) => number.lane),
    asked.map(({ number }) => number.counter),
    asked.map(({ digest }) => digest),
  ];
}

function keyOf(session: LedgerSession, number: CallNumber): string {
  return `${session.key}:${number.lane}:${number.counter}`;
}
