import { setTimeout as delay } from 'node:timers/promises';
import { fromHex, SealwireError, toHex } from '@sealwire/core';
import type { CloseReason, SessionStoreListener } from '@sealwire/nest/ports';
import type { Database, Query } from '../connection/database.js';
import { endSessions, eraseKeys } from './ends.js';
import { type Incarnation, MARK } from './incarnation.js';
import { clocks, LEASE, type Lease } from './lease.js';

/** Streams of a session that ended elsewhere end within a second, statement and all. */
const PERIOD = 500;
/** Seconds that ends are looked for behind the last tick: longer than a statement may take to commit. */
export const OVERLAP = 8;
const BATCH = 1_000;
/** How often last uses are tried to be written in a tick. */
const FLUSHES = 4;
/** One in so many looks for keys to erase. */
const ERASURES = 10;

interface OverKey {
  readonly module: string;
  readonly id: string;
}

interface Touch {
  readonly at: number;
  /** a frame of the session opened */
  readonly proved: boolean;
}

interface TickRow {
  readonly alive: boolean;
  readonly mark: string;
  readonly now: number;
  readonly wanted: string[];
  readonly ended: { readonly id: string; readonly reason: CloseReason; readonly module: string }[];
  /** SecureKeys whose time is over */
  readonly over: OverKey[];
}

/**
 * Twice a second: renews the lease, writes last uses, and learns what other instances did. Polling works through connection
 * poolers and on PGlite, where LISTEN does not.
 */
export class Ticker {
  private readonly touched = new Map<string, Touch>();
  private tidied = 0;
  /** ends told already, with the tick that told them */
  private readonly told = new Map<string, number>();
  private readonly releasing = new Set<string>();
  /** SecureKeys that are over, whose sessions are to be ended */
  private readonly over = new Map<string, OverKey>();
  /** what failed the last time: an outage is told once, not twice a second */
  private readonly failing = new Set<string>();
  private timer: NodeJS.Timeout | undefined;
  private ticking: Promise<void> | undefined;
  private tidying: Promise<void> | undefined;
  private stopped = false;
  /** the database's time of the last tick that was worked off, seconds */
  private seen: number | null = null;
  private readonly query: Query;
  /** for what may take long; ends between two statements when the process stops */
  private readonly patient: Query;
  private clock = { database: Date.now(), monotonic: performance.now() };

  constructor(
    database: Database,
    private readonly lease: Lease,
    private readonly incarnation: Incarnation,
    private readonly listener: SessionStoreListener,
    private readonly warn: (message: string, error: unknown) => void,
  ) {
    this.query = database.urgent;
    this.patient = async (statement, parameters) => {
      if (this.stopped) throw new SealwireError('busy');
      return database.query(statement, parameters);
    };
  }

  /** Sessions of keys that ran out while no server ran end before it serves. */
  async start(): Promise<void> {
    await this.tick();
    await this.tidying;
    this.timer = setInterval(() => {
      void this.attempt(this.tick(), 'The session store did not answer; trying again.');
    }, PERIOD).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.stopped = true;
    await this.ticking?.catch(() => undefined);
    await this.tidying;
    try {
      await this.flush();
      await this.query('DELETE FROM sealwire_instance WHERE boot_id = $1', [this.lease.bootId]);
    } finally {
      this.lease.lost();
    }
  }

  touch(id: Uint8Array, proved: boolean): void {
    const key = toHex(id);
    this.touched.set(key, { at: performance.now(), proved: proved || (this.touched.get(key)?.proved ?? false) });
  }

  now(): number {
    return this.clock.database + performance.now() - this.clock.monotonic;
  }

  /** A tick that sees what was committed before: one that is under way may not. */
  async refresh(): Promise<void> {
    await this.ticking?.catch(() => undefined);
    await this.tick();
  }

  /** One at a time; asked for while one runs, that one serves. */
  tick(): Promise<void> {
    this.ticking ??= this.work().finally(() => {
      this.ticking = undefined;
    });
    return this.ticking;
  }

  private async work(): Promise<void> {
    const sent = clocks();
    const [row] = await this.query<TickRow>(
      `WITH me AS (
         UPDATE sealwire_instance SET lease_until = now() + ${LEASE} * interval '1 second',
           ticked_at = GREATEST(ticked_at, to_timestamp($2::float8))
         WHERE boot_id = $1 RETURNING boot_id
       )
       SELECT EXISTS (SELECT FROM me) AS alive, ${MARK} AS mark, extract(epoch FROM now())::float8 AS now,
         ARRAY(SELECT encode(id, 'hex') FROM sealwire_session WHERE release_wanted AND owner = $1 LIMIT ${BATCH}) AS wanted,
         COALESCE((SELECT json_agg(json_build_object('id', encode(id, 'hex'), 'reason', ended_reason, 'module', module))
           FROM sealwire_session
           WHERE ended_at >= COALESCE(to_timestamp($2::float8), now()) - ${OVERLAP} * interval '1 second'), '[]') AS ended,
         COALESCE((SELECT json_agg(json_build_object('module', module, 'id', encode(id, 'hex'))) FROM sealwire_key
           WHERE kind = 'secure' AND valid_until <= now() AND valid_until >=
             COALESCE(to_timestamp($2::float8), '-infinity') - ${OVERLAP} * interval '1 second'), '[]') AS over`,
      [this.lease.bootId, this.seen],
    );
    if (!row) return;
    this.clock = { database: row.now * 1_000, monotonic: sent.monotonic };
    if (row.mark !== this.incarnation.mark || !row.alive) return this.startOver();
    this.lease.renewed(sent);
    this.tellEnds(row);
    this.askReleases(row.wanted);
    for (const key of row.over) this.over.set(`${key.module} ${key.id}`, key);
    this.seen = row.now;
    this.tidyUp();
    await this.flush();
  }

  /** The database was restored, or others took us for dead: nothing that this process holds is its own any more. */
  private async startOver(): Promise<void> {
    this.lease.lost();
    await this.incarnation.load(this.query);
    await this.lease.take(this.query);
    this.seen = null;
    this.told.clear();
    this.listener.incarnationChanged();
  }

  private tellEnds({ ended, now }: TickRow): void {
    for (const { id, reason, module } of ended) {
      // what ended before the first tick is no news
      if (!this.told.has(id) && this.seen !== null) this.listener.ended(fromHex(id), reason, module);
      this.told.set(id, now);
    }
    for (const [id, at] of this.told) if (at < now) this.told.delete(id);
  }

  private askReleases(wanted: string[]): void {
    for (const id of wanted) {
      if (this.releasing.has(id)) continue;
      this.releasing.add(id);
      this.listener
        .release(fromHex(id))
        .catch((error) => this.warn('A session could not be released.', error))
        .finally(() => this.releasing.delete(id));
    }
  }

  /** The lease, last uses and what other instances did wait for none of this, however much there is. */
  private tidyUp(): void {
    this.tidying ??= this.attempt(this.tidy(), 'What is over could not be ended; trying again.').finally(() => {
      this.tidying = undefined;
    });
  }

  private async tidy(): Promise<void> {
    await this.endOver();
    if (this.tidied++ % ERASURES === 0) await eraseKeys(this.patient);
  }

  /** With a SecureKey end its sessions, those too that a handshake made while it was being revoked. */
  private async endOver(): Promise<void> {
    const problems: unknown[] = [];
    for (const [name, key] of [...this.over]) {
      // a tick puts it back meanwhile if a handshake may still have used it
      this.over.delete(name);
      const sessions = { where: 's.key_id = $1 AND s.module = $2', parameters: [fromHex(key.id), key.module] };
      await endSessions(this.patient, sessions, 'secure_key_revoked').catch((error) => {
        this.over.set(name, key);
        problems.push(error);
      });
    }
    if (problems.length > 0) throw problems[0];
  }

  private async attempt(work: Promise<unknown>, sentence: string): Promise<void> {
    try {
      await work;
      this.failing.delete(sentence);
    } catch (error) {
      if (!this.failing.has(sentence) && !this.stopped) this.warn(sentence, error);
      this.failing.add(sentence);
    }
  }

  /**
   * Uses that were not written stay for the next tick, as do those that come meanwhile: under load this would never end. A touched
   * session that is no more was ended: its owner learns it here too.
   */
  private async flush(): Promise<void> {
    const touched = [...this.touched];
    for (let start = 0; start < touched.length; start += BATCH) {
      let batch = touched.slice(start, start + BATCH);
      for (let attempt = 0; batch.length > 0 && attempt < FLUSHES; attempt++) {
        if (attempt > 0) await delay(attempt * 10);
        const held = await this.write(batch);
        batch = batch.filter(([id]) => held.has(id));
      }
    }
  }

  /**
   * Answers those whose row another holds. To wait for one would hold up the calls of all others in the statement. Calls that are
   * being accepted hold theirs too, for a moment, hence the attempts.
   */
  private async write(batch: [id: string, touch: Touch][]): Promise<Set<string>> {
    const sent = performance.now();
    const rows = await this.query<{ id: string; live: boolean; reason: CloseReason | null; module: string | null }>(
      `WITH used AS (SELECT * FROM unnest($1::bytea[], $2::float8[], $3::boolean[]) AS u(id, age, proved)),
       live AS (
         SELECT s.id, used.age, used.proved FROM sealwire_session s JOIN used ON used.id = s.id
         WHERE s.ended_at IS NULL ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED
       ),
       written AS (
         UPDATE sealwire_session s SET last_used_at = GREATEST(s.last_used_at, now() - live.age * interval '1 second'),
           first_key = CASE WHEN live.proved THEN NULL ELSE s.first_key END
         FROM live WHERE s.id = live.id RETURNING s.id
       )
       SELECT encode(used.id, 'hex') AS id, s.id IS NOT NULL AND s.ended_at IS NULL AS live, s.ended_reason AS reason, s.module
       FROM used LEFT JOIN sealwire_session s ON s.id = used.id WHERE used.id NOT IN (SELECT id FROM written)`,
      [
        batch.map(([id]) => fromHex(id)),
        batch.map(([, { at }]) => (sent - at) / 1_000),
        batch.map(([, { proved }]) => proved),
      ],
    );
    const held = new Set(rows.filter(({ live }) => live).map(({ id }) => id));
    for (const [id, touch] of batch) if (!held.has(id) && this.touched.get(id) === touch) this.touched.delete(id);
    for (const { id, live, reason, module } of rows)
      if (!live) this.listener.ended(fromHex(id), reason ?? 'expired', module ?? undefined);
    return held;
  }
}
