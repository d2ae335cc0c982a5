import { setTimeout as delay } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { SealwireError, type SessionSecrets, toHex } from '@sealwire/core';
import {
  type NewSession,
  type RenewedSession,
  type SessionLimits,
  SessionStore,
  type SessionStoreListener,
  type StoredSession,
} from '@sealwire/nest/ports';
import type { DataSourceOptions } from 'typeorm';
import { checkServer, type Database, DURABLE, hasTables, type Query } from '../connection/database.js';
import { reasonOf } from '../connection/errors.js';
import { checkNames } from '../connection/schema.js';
import type { KeyEncryption } from '../keys/key-encryption.js';
import { GroupCommit } from '../numbers/group-commit.js';
import type { Incarnation } from './incarnation.js';
import { createSession, Evictions, Lanes } from './lanes.js';
import type { Lease } from './lease.js';
import {
  END,
  KEYS_KEPT,
  LIVE,
  SESSION_COLUMNS,
  type SessionRow,
  SessionWrap,
  toLedgerSession,
  toStored,
} from './session-row.js';
import { OVERLAP, Ticker } from './ticker.js';

/** milliseconds; instances may purge at the same time, each passes over what another has locked */
const PURGE_PERIOD = 60_000;

interface SessionStoreParts {
  readonly database: Database;
  /** of the DataSource */
  readonly options: DataSourceOptions;
  readonly keys: KeyEncryption;
  readonly lease: Lease;
  readonly incarnation: Incarnation;
  /** numbers of new lanes are kept in the database, for all instances */
  readonly shared: boolean;
  /** a server may lose what it acknowledged: tests, and PGlite, which keeps its files in its own way */
  readonly allowFsyncOff: boolean;
  readonly purge: () => Promise<number>;
}

/**
 * The life of sessions as rows of a table. Each verb is one statement or one transaction.
 *
 * @example
 * import { DataSource } from 'typeorm';
 *
 * const dataSource = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL });
 * const { sessions } = createTypeOrmStore(dataSource, { kek: process.env.SEALWIRE_KEK });
 * const stored = await sessions.find(sessionId);
 */
export class TypeOrmSessionStore extends SessionStore {
  private readonly logger = new Logger('SealwireStore');
  private readonly wrap: SessionWrap;
  private readonly query: Query;
  private readonly lanes: Lanes;
  private readonly evictions: Evictions;
  /** anybody can name a session: all that are asked for at a time are one statement */
  private readonly finds: GroupCommit<Uint8Array, SessionRow | undefined>;
  private ticker: Ticker | undefined;
  private purgeTimer: NodeJS.Timeout | undefined;

  constructor(private readonly parts: SessionStoreParts) {
    super();
    this.wrap = new SessionWrap(parts.keys);
    this.query = parts.database.query;
    this.lanes = new Lanes(this.query, parts.lease, parts.incarnation, () => this.refresh());
    this.evictions = new Evictions(this.query);
    this.finds = new GroupCommit((ids) => this.lookUp(ids));
  }

  async start(listener: SessionStoreListener): Promise<void> {
    const { database, lease, incarnation } = this.parts;
    await checkNames(this.parts.options, this.query);
    if (!(await hasTables(this.query))) {
      throw new SealwireError(
        'bad_configuration',
        'The Sealwire tables are missing: run the migrations (sealwireMigrations).',
      );
    }
    await checkServer(this.query, this.parts.allowFsyncOff, this.logger);
    await incarnation.load(this.query);
    await lease.removeGone(this.query);
    await lease.take(this.query);
    this.ticker = new Ticker(database, lease, incarnation, listener, (message, error) =>
      this.logger.warn(`${message} ${reasonOf(error)}`),
    );
    await this.ticker.start();
    this.purgeTimer = setInterval(() => {
      this.parts.purge().catch((error) => this.logger.warn(`What is over could not be purged: ${reasonOf(error)}`));
    }, PURGE_PERIOD).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.purgeTimer);
    await this.ticker?.stop().catch((error) => {
      // its lease ends without it
      this.logger.warn(
        `The database did not answer while the store stopped: last uses may be lost. ${reasonOf(error)}`,
      );
    });
    await this.parts.database.close();
  }

  leaseHolds(): boolean {
    return this.parts.lease.holds();
  }

  now(): number {
    return this.ticker?.now() ?? Date.now();
  }

  incarnation(): Uint8Array {
    return this.parts.incarnation.value;
  }

  /** Sessions outlive the process. */
  age(): number {
    return 0;
  }

  sessionIdKey(): Uint8Array {
    return this.parts.incarnation.derive('sealwire session id');
  }

  async create(
    session: NewSession,
    limits: SessionLimits,
  ): Promise<{ readonly lane: number; readonly incarnation: Uint8Array } | undefined> {
    const { shared, keys, incarnation, database, lease } = this.parts;
    const { bootId } = lease;
    const { value } = incarnation;
    const means = { wrap: this.wrap, keys, incarnation, shared, bootId };
    const lane = await (session.previous.length > 0
      ? database.transaction((query) => createSession(query, means, session))
      : createSession(this.query, means, session));
    this.sameLife(bootId);
    if (lane === undefined) return undefined;
    await this.evictions.created(session, limits).catch((error) => {
      this.logger.warn(`Sessions over the limit could not be ended: ${reasonOf(error)}`);
    });
    return { lane, incarnation: value };
  }

  async activate(id: Uint8Array, secrets: SessionSecrets): Promise<boolean> {
    const row = await this.live(id);
    if (!row) return false;
    const done = await this.query(
      `UPDATE sealwire_session SET traffic = $2, renewal = $3, last_used_at = now()
       WHERE id = $1 AND ended_at IS NULL AND traffic IS NULL RETURNING 1`,
      [id, this.wrap.traffic(row, 0, secrets), this.wrap.proof('renewal', row, secrets.renewal)],
    );
    return done.length > 0;
  }

  async find(id: Uint8Array): Promise<StoredSession | undefined> {
    const row = await this.finds.add(id);
    return row && this.opened(row);
  }

  async takeLane(id: Uint8Array, exclusive: boolean): Promise<StoredSession | 'busy' | undefined> {
    const { bootId } = this.parts.lease;
    const row = await this.lanes.take(id, exclusive, bootId);
    if (row === undefined || row === 'busy') return row;
    this.sameLife(bootId);
    return this.opened(row);
  }

  closeLane(id: Uint8Array, lane: number, window: Uint8Array, answered: boolean): Promise<void> {
    return this.lanes.close(id, lane, window, answered, this.parts.lease.bootId);
  }

  async advanceEpoch(
    id: Uint8Array,
    epoch: number,
    secrets: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>,
  ): Promise<boolean> {
    const row = await this.live(id);
    if (row?.epoch !== epoch - 1) return false;
    const done = await this.query(
      `UPDATE sealwire_session SET epoch = $2, traffic = $3
       WHERE id = $1 AND epoch = $4 AND ended_at IS NULL AND traffic IS NOT NULL RETURNING 1`,
      [id, epoch, this.wrap.traffic(row, epoch, secrets), epoch - 1],
    );
    return done.length > 0;
  }

  touch(id: Uint8Array, proved: boolean): void {
    this.ticker?.touch(id, proved);
  }

  /**
   * The statement that ends the session waits for those that accept its numbers, which hold a share lock on its row. So whoever
   * asks the ledger after it sees every number that was taken, and no more can be.
   */
  async renew(
    id: Uint8Array,
    { module, keyId }: { readonly module: string; readonly keyId: Uint8Array | undefined },
    verify: (key: Uint8Array) => boolean,
  ): Promise<RenewedSession | undefined> {
    const [row] = await this.query<SessionRow>(`SELECT ${SESSION_COLUMNS} FROM sealwire_session s WHERE s.id = $1`, [
      id,
    ]);
    if (!row || row.module !== module || toHex(row.key_id ?? new Uint8Array()) !== toHex(keyId ?? new Uint8Array())) {
      return undefined;
    }
    const proof = this.readable(row, () => this.proved(row, verify));
    if (!proof) return undefined;
    const [ended] = await this.query<SessionRow>(
      `UPDATE sealwire_session s SET ended_at = COALESCE(s.ended_at, now()), ended_reason = COALESCE(s.ended_reason, 'renewed')
       WHERE ${DURABLE} AND s.id = $1 RETURNING ${SESSION_COLUMNS}`,
      [id],
    );
    return ended && { ...proof, session: toLedgerSession(ended, this.parts.incarnation) };
  }

  private proved(
    row: SessionRow,
    verify: (key: Uint8Array) => boolean,
  ): Pick<RenewedSession, 'key' | 'first'> | undefined {
    for (const column of ['renewal', 'first_key'] as const) {
      const key = this.wrap.openProof(column, row);
      if (key && verify(key)) return { key, first: column === 'first_key' };
    }
    return undefined;
  }

  /** Catches up with the other instances now; for a ledger that found the database changed. */
  async refresh(): Promise<void> {
    await this.ticker?.refresh();
  }

  /**
   * Waits until every living instance has learned of what was written before, and no session lives that a handshake opened while its
   * SecureKey was being revoked; false if it does not come to that in time.
   */
  async settled(milliseconds: number): Promise<boolean> {
    const end = performance.now() + milliseconds;
    const [since] = await this.query<{ now: string }>('SELECT now()::text AS now');
    for (;;) {
      const behind = await this.query(
        `SELECT 1 FROM sealwire_instance WHERE lease_until > now() AND ticked_at < $1::timestamptz
         UNION ALL SELECT 1 FROM sealwire_session s JOIN sealwire_key k ON k.module = s.module AND k.id = s.key_id
         WHERE s.ended_at IS NULL AND k.kind = 'secure'
           AND k.valid_until BETWEEN $1::timestamptz - ${OVERLAP} * interval '1 second' AND $1::timestamptz LIMIT 1`,
        [since?.now],
      );
      if (behind.length === 0) return true;
      if (performance.now() > end) return false;
      await delay(100);
    }
  }

  /** In the order of the ids. */
  private async lookUp(ids: Uint8Array[]): Promise<(SessionRow | undefined)[]> {
    const rows = await this.query<SessionRow>(
      `SELECT ${SESSION_COLUMNS} FROM sealwire_session s
       WHERE s.id = ANY($1::bytea[]) AND s.traffic IS NOT NULL AND ${END} > now() - ${KEYS_KEPT} * interval '1 second'`,
      [ids],
    );
    const found = new Map(rows.map((row) => [toHex(row.id), row]));
    return ids.map((id) => found.get(toHex(id)));
  }

  private async live(id: Uint8Array): Promise<SessionRow | undefined> {
    const statement = `SELECT ${SESSION_COLUMNS} FROM sealwire_session s WHERE s.id = $1 AND ${LIVE}`;
    const [row] = await this.query<SessionRow>(statement, [id]);
    return row;
  }

  private opened(row: SessionRow): StoredSession | undefined {
    return this.readable(row, () => toStored(row, this.wrap.open(row), this.parts.incarnation));
  }

  /** If the row was altered, or its KEK is not ours, the session is as good as unknown. */
  private readable<T>(row: SessionRow, open: () => T): T | undefined {
    try {
      return open();
    } catch (error) {
      if (!(error instanceof SealwireError) || !['open_failed', 'bad_configuration'].includes(error.code)) throw error;
      this.logger.error(`Session ${toHex(row.id)} cannot be read: ${error.message}`);
      return undefined;
    }
  }

  /** A lease lost while the statement ran took the lane with it. */
  private sameLife(bootId: string): void {
    if (this.parts.lease.bootId !== bootId) throw new SealwireError('busy');
  }
}
