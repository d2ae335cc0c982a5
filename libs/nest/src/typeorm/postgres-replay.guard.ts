import { setTimeout as delay } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { type CallNumber, type RenewalAnswer, toHex } from '@sealwire/core';
import { knownOf } from '../memory.guard.js';
import { type Acceptance, type GuardedSession, ReplayGuard } from '../session-store.js';
import { withinTime } from '../time-limit.js';
import { type Database, type Query, toBytes } from './database.js';
import { GroupCommit } from './group-commit.js';
import { type Incarnation, MARK } from './incarnation.js';
import type { KeyEncryption } from './key-encryption.js';
import { LEASE, type Lease } from './lease.js';
import { replyPlace } from './places.js';
import { answerOf } from './reconcile.js';
import { LIVE } from './session-row.js';

/** A reply longer than this is not kept: its duplicates are told that it ran. */
const LARGEST_REPLY = 65_536;
const UNSURE = 10_000;
/** seconds without a renewal of its lease, due every second, after which an instance may be gone */
const SILENT = 2.5;
/** milliseconds that a result is tried to be written while the database is away */
const PATIENCE = 30_000;

interface Asked {
  readonly session: GuardedSession;
  readonly number: CallNumber;
  readonly digest: Uint8Array;
}

interface Finished extends Asked {
  readonly reply: Uint8Array | null;
}

/** A number that is asked for, or runs here. */
class Running {
  /** requests that wait for the verdict */
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

interface VerdictRow {
  readonly live: boolean;
  readonly same_database: boolean | null;
  readonly same_lane: boolean | null;
  readonly fresh: boolean | null;
  readonly same: boolean | null;
  readonly state: 'running' | 'done' | null;
  readonly reply: Buffer | null;
  readonly owner: string | null;
  /** seconds of its lease; null where it has none any more */
  readonly owner_lease: number | null;
}

/**
 * Why one statement is strict, wherever copies of a frame arrive at the same moment:
 * - the primary key: of concurrent inserts one makes the row, the others wait for its commit and then find it (DO UPDATE
 *   returns the row as it is, which DO NOTHING would not);
 * - the share lock: ending a session, opening a lane and raising a floor update the session's row. Either they wait for this
 *   statement, and then see its numbers, or this statement waits for them and looks at the row again;
 * - the mark: compared in this statement, in the database that takes the rows. A lane opened before a restore takes none.
 */
const ACCEPT = `
  WITH input AS (
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
      WITH ORDINALITY AS i(session_id, lane, counter, digest, incarnation, n)
  ), live AS MATERIALIZED (
    SELECT s.id, s.lane, s.floor, s.lane_incarnation, s.shared AND s.lane_incarnation = $8 AS shared_now,
      ${MARK} = $6 AS same_database
    FROM sealwire_session s WHERE s.id = ANY($1::bytea[]) AND ${LIVE} ORDER BY s.id FOR SHARE
  ), taken AS (
    INSERT INTO sealwire_accepted AS a (session_id, lane, counter, digest, owner)
    SELECT i.session_id, i.lane, i.counter, i.digest, $7 FROM input i JOIN live l ON l.id = i.session_id
    WHERE l.same_database AND l.shared_now AND l.lane = i.lane AND l.lane_incarnation = i.incarnation AND i.counter > l.floor
    ORDER BY 1, 2, 3
    ON CONFLICT (session_id, lane, counter) DO UPDATE SET repeats = LEAST(a.repeats + 1, 1000)
    RETURNING a.session_id, a.lane, a.counter, a.digest, a.state, a.reply, a.owner, a.repeats
  )
  SELECT l.id IS NOT NULL AS live, l.same_database, t.repeats = 0 AS fresh,
    l.shared_now AND l.lane = i.lane AND l.lane_incarnation = i.incarnation AS same_lane,
    COALESCE(t.digest, o.digest) = i.digest AS same, COALESCE(t.state, o.state) AS state,
    COALESCE(t.reply, o.reply) AS reply, COALESCE(t.owner, o.owner) AS owner,
    (SELECT extract(epoch FROM x.lease_until - now())::float8 FROM sealwire_instance x
     WHERE x.boot_id = COALESCE(t.owner, o.owner) AND x.lease_until > now()) AS owner_lease
  FROM input i
  LEFT JOIN live l ON l.id = i.session_id
  LEFT JOIN taken t ON t.session_id = i.session_id AND t.lane = i.lane AND t.counter = i.counter
  LEFT JOIN sealwire_accepted o
    ON t.session_id IS NULL AND o.session_id = i.session_id AND o.lane = i.lane AND o.counter = i.counter
  ORDER BY i.n`;

/** First calls come here only when they ran: their session's row is what makes them run once. */
const FINISH = `
  INSERT INTO sealwire_accepted AS a (session_id, lane, counter, digest, owner, state, reply)
  SELECT i.session_id, i.lane, i.counter, i.digest, $6, 'done', i.reply
  FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[]) AS i(session_id, lane, counter, digest, reply)
  WHERE EXISTS (SELECT FROM sealwire_session s WHERE s.id = i.session_id)
  ORDER BY 1, 2, 3
  ON CONFLICT (session_id, lane, counter) DO UPDATE SET state = 'done', reply = EXCLUDED.reply
    WHERE a.state = 'running' AND a.digest = EXCLUDED.digest`;

/** Every accepted number is a row, so any instance may serve any session. There is no window: numbers at or below the floor are refused. */
export class PostgresReplayGuard extends ReplayGuard {
  readonly exclusive = false;
  private readonly logger = new Logger('SealwireReplayGuard');
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
    session: GuardedSession,
    number: CallNumber,
    digest: Uint8Array,
    milliseconds: number,
  ): Promise<Acceptance> {
    const key = keyOf(session, number);
    const running = this.running.get(key) ?? this.ask(key, { session, number, digest });
    running.waiting++;
    const verdict = await withinTime(running.verdict, milliseconds).finally(() => running.waiting--);
    const same = running.digest === toHex(digest);
    if (verdict.kind !== 'accepted') return same ? verdict : this.accept(session, number, digest, milliseconds);
    if (!same) return { kind: 'conflict' };
    if (running.taken) return { kind: 'running', settled: running.settled };
    running.taken = true;
    return verdict;
  }

  finish(session: GuardedSession, number: CallNumber, digest: Uint8Array, reply: Uint8Array): void {
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

  async recall(session: GuardedSession, number: CallNumber, digest: Uint8Array): Promise<RenewalAnswer> {
    const [row] = await this.database.query<Parameters<typeof answerOf>[0]>(
      `SELECT lane::float8 AS lane, counter::float8 AS counter, digest, state, reply FROM sealwire_accepted
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
    const verdict = this.accepts.add(asked).catch((error): Acceptance => {
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

  private leaveUnsure(key: string): void {
    this.unsure.add(key);
    for (const oldest of this.unsure) if (this.unsure.size > UNSURE) this.unsure.delete(oldest);
  }

  private async commitAccepts(asked: Asked[]): Promise<Acceptance[]> {
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

  private verdict({ session, number }: Asked, row: VerdictRow, bootId: string): Acceptance {
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

  private openReply(session: GuardedSession, number: CallNumber, reply: Buffer | null): Uint8Array | undefined {
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

function keyOf(session: GuardedSession, number: CallNumber): string {
  return `${session.key}:${number.lane}:${number.counter}`;
}
