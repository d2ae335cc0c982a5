import { setTimeout as delay } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { type CallNumber, LIMITS, type RenewalAnswer, toHex } from '@sealwire/core';
import { type Acceptance, knownOf, type LedgerSession, NumberLedger, withinTime } from '@sealwire/nest/ports';
import { type Database, type Query, toBytes } from '../connection/database.js';
import type { KeyEncryption } from '../keys/key-encryption.js';
import { replyPlace } from '../keys/places.js';
import type { Incarnation } from '../sessions/incarnation.js';
import { LEASE, type Lease } from '../sessions/lease.js';
import { ACCEPTED_COLUMNS, answerOf } from '../sessions/reconcile.js';
import { ACCEPT, FINISH, type VerdictRow } from './accepted-numbers.js';
import { GroupCommit } from './group-commit.js';

/** A reply longer than this is not kept: its duplicates are told that it ran. */
const LARGEST_REPLY = 65_536;
const UNSURE = 10_000;
/** seconds without a renewal of its lease, due every second, after which an instance may be gone */
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
  readonly reply: Uint8Array | null;
}

/** A number that is asked for, or runs here. */
class Running {
  /** requests that wait for the verdict to run the call */
  waiting = 0;
  /** whether a request has taken it on to run the call */
  taken = false;
  settle: (reply: Uint8Array) => void = () => undefined;
  readonly settled = new Promise<Uint8Array>((resolve) => {
    this.settle = resolve;
  });

  constructor(
    readonly digest: string,
    readonly verdict: Promise<Acceptance>,
  ) {}
}

/** Every accepted number is a row, so any instance may serve any session. There is no window: numbers at or below the floor are refused. */
export class PostgresLedger extends NumberLedger {
  readonly exclusive = false;
  private readonly logger = new Logger('SealwireLedger');
  private readonly running = new Map<string, Running>();
  /** Their row may have been written, but they did not run here: the database broke off, or whoever asked did not wait so long. */
  private readonly unsure = new Set<string>();
  private readonly writing = new Set<Promise<void>>();
  private readonly burying = new Set<string>();
  private readonly accepts = new GroupCommit((asked: Asked[]) => this.commitAccepts(asked));
  private readonly finishes = new GroupCommit((finished: Finished[]) => this.commitFinishes(finished));

  constructor(
    private readonly database: Database,
    private readonly keys: KeyEncryption,
    private readonly lease: Lease,
    private readonly incarnation: Incarnation,
    /** called where the database is another one than before */
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

  finish(session: LedgerSession, number: CallNumber, digest: Uint8Array, reply: Uint8Array): void {
    const key = keyOf(session, number);
    this.running.get(key)?.settle(reply);
    const kept =
      reply.length <= LARGEST_REPLY ? this.keys.wrap(replyPlace(session.id, number.lane, number.counter), reply) : null;
    // until the row is written, duplicates that come here are answered from memory
    const written = this.write({ session, number, digest, reply: kept }).finally(() => {
      this.running.delete(key);
      this.writing.delete(written);
    });
    this.writing.add(written);
  }

  async recall(session: LedgerSession, number: CallNumber, digest: Uint8Array): Promise<RenewalAnswer> {
    const [row] = await this.database.query<Parameters<typeof answerOf>[0]>(
      `SELECT ${ACCEPTED_COLUMNS} FROM sealwire_accepted a
       WHERE session_id = $1 AND lane = $2 AND counter = $3`,
      [session.id, number.lane, number.counter],
    );
    if (!row) return { known: knownOf(session.closed, number) };
    return answerOf(row, digest, replyPlace(session.id, number.lane, number.counter), this.keys);
  }

  async drain(): Promise<void> {
    await Promise.all(this.writing);
  }

  private ask(key: string, asked: Asked): Running {
    const verdict = this.verdictOf(asked).catch((error): Acceptance => {
      this.logger.warn(`Numbers could not be accepted: ${error instanceof Error ? error.message : error}`);
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
    const rows = await this.database.query<VerdictRow>(ACCEPT, [
      ...columns(asked),
      asked.map(({ session }) => session.incarnation),
      this.incarnation.mark,
      bootId,
      this.incarnation.value,
    ]);
    return rows.map((row, i) => this.verdict(asked[i] as Asked, row, bootId));
  }

  /** undefined where another transaction holds the session's row: nothing was taken, nothing is known. */
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
    if (row.state === 'done') return { kind: 'done', reply: this.openReply(session, number, row.reply) };
    if (row.owner === bootId) {
      // our own row of a number that is not running here: either it never ran, or its result was never written
      return { kind: unsure ? 'accepted' : 'outcome_unknown' };
    }
    if (row.owner === null || row.owner_lease === null) return { kind: 'outcome_unknown' };
    if (row.owner_lease < LEASE - SILENT) this.bury(row.owner);
    return { kind: 'running' };
  }

  /** Where the owner's process is gone from this machine, its numbers need not wait for the end of its lease. */
  private bury(owner: string): void {
    if (this.burying.has(owner)) return;
    this.burying.add(owner);
    const query: Query = (statement, parameters) => this.database.query(statement, parameters);
    this.lease
      .bury(query, owner)
      .catch((error) => this.logger.warn(`An instance that is silent could not be looked at: ${error}`))
      .finally(() => this.burying.delete(owner));
  }

  private openReply(session: LedgerSession, number: CallNumber, reply: Buffer | null): Uint8Array | undefined {
    if (!reply) return undefined;
    try {
      return this.keys.unwrap(replyPlace(session.id, number.lane, number.counter), toBytes(reply));
    } catch (error) {
      this.logger.error(`A result of session ${session.key} cannot be read: ${error}`);
      return undefined;
    }
  }

  private async write(finished: Finished): Promise<void> {
    const end = performance.now() + PATIENCE;
    for (;;) {
      try {
        return await this.finishes.add(finished);
      } catch (error) {
        if (performance.now() > end) {
          this.logger.error(`The result of a call of session ${finished.session.key} could not be written: ${error}`);
          return;
        }
        await delay(250);
      }
    }
  }

  private async commitFinishes(finished: Finished[]): Promise<undefined[]> {
    await this.database.query(FINISH, [...columns(finished), finished.map(({ reply }) => reply), this.lease.bootId]);
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
