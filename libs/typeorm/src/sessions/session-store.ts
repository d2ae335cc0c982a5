import { setTimeout as delay } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { type Renewal, type RenewalAnswer, SealwireError, type SessionSecrets, toHex } from '@sealwire/core';
import {
  type AttachedSession,
  type CloseReason,
  type NewSession,
  type SessionSelector,
  SessionStore,
  type SessionStoreListener,
  type SessionSummary,
} from '@sealwire/nest/ports';
import type { EntityManager } from 'typeorm';
import { type Database, type Query, queryOf } from '../connection/database.js';
import type { KeyEncryption } from '../keys/key-encryption.js';
import { purge, type Retention } from '../upkeep/purge.js';
import { endSessions } from './ends.js';
import { type Incarnation, MARK } from './incarnation.js';
import { Lanes } from './lanes.js';
import type { Lease } from './lease.js';
import { reconcile } from './reconcile.js';
import {
  LIVE,
  SESSION_COLUMNS,
  type SessionIdentity,
  type SessionRow,
  SessionWrap,
  selectorSql,
  toAttached,
} from './session-row.js';
import { Ticker } from './ticker.js';

/** milliseconds; instances may purge at the same time, each passes over what another has locked */
const PURGE_PERIOD = 60_000;

export interface SessionStoreParts {
  readonly database: Database;
  readonly keys: KeyEncryption;
  readonly lease: Lease;
  readonly incarnation: Incarnation;
  /** numbers of new lanes are kept in the database, for all instances */
  readonly shared: boolean;
  readonly retention: Retention;
}

export class TypeOrmSessionStore extends SessionStore {
  private readonly logger = new Logger('SealwireStore');
  private readonly wrap: SessionWrap;
  private readonly query: Query;
  private readonly lanes: Lanes;
  private ticker: Ticker | undefined;
  private purgeTimer: NodeJS.Timeout | undefined;
  private purging: Promise<number> | undefined;

  constructor(private readonly parts: SessionStoreParts) {
    super();
    this.wrap = new SessionWrap(parts.keys);
    this.query = (statement, parameters) => parts.database.query(statement, parameters);
    this.lanes = new Lanes(this.query, parts.lease, parts.incarnation, () => this.refresh());
  }

  async start(listener: SessionStoreListener): Promise<void> {
    const { database, lease, incarnation } = this.parts;
    const [tables] = await this.query<{ there: boolean }>(
      `SELECT to_regclass('sealwire_session') IS NOT NULL AS there`,
    );
    if (!tables?.there) {
      throw new SealwireError(
        'bad_configuration',
        'The Sealwire tables are missing: run the migrations (sealwireMigrations).',
      );
    }
    await incarnation.load(this.query);
    await lease.bury(this.query);
    await lease.take(this.query);
    this.ticker = new Ticker(database, lease, incarnation, listener, (message, error) =>
      this.logger.warn(`${message} ${error instanceof Error ? error.message : error}`),
    );
    await this.ticker.tick();
    this.ticker.start();
    this.purgeTimer = setInterval(() => {
      this.purge().catch((error) => this.logger.warn(`What is over could not be purged: ${error}`));
    }, PURGE_PERIOD).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.purgeTimer);
    await this.ticker?.stop();
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

  /** Catches up with the other instances now; for a ledger that found the database changed. */
  async refresh(): Promise<void> {
    await this.ticker?.tick();
  }

  /** Waits until every living instance has learned of what was written before; false where one has not in that time. */
  async settled(milliseconds: number): Promise<boolean> {
    const end = performance.now() + milliseconds;
    const [since] = await this.query<{ now: string }>('SELECT now()::text AS now');
    for (;;) {
      const behind = await this.query(
        'SELECT 1 FROM sealwire_instance WHERE lease_until > now() AND ticked_at < $1::timestamptz LIMIT 1',
        [since?.now],
      );
      if (behind.length === 0) return true;
      if (performance.now() > end) return false;
      await delay(100);
    }
  }

  async create(session: NewSession): Promise<{ lane: number; incarnation: Uint8Array } | undefined> {
    const { lease, incarnation, shared } = this.parts;
    const { bootId } = lease;
    const { value, mark } = incarnation;
    const row: SessionIdentity = {
      id: session.id,
      module: session.module,
      key_id: session.keyId ?? null,
      key_size: session.keySize,
      peer: session.peer ?? null,
    };
    const [created] = await this.query<{ lane: number }>(
      `INSERT INTO sealwire_session
         (id, module, key_id, key_size, peer, lane, shared, owner, lane_incarnation, proof, idle_seconds, expires_at)
       SELECT $1, $2, $3::bytea, $4, $5::text, extract(epoch FROM now())::bigint, $6, $7::text, $8, $9, $10,
         now() + $11::integer * interval '1 second'
       WHERE ${MARK} = $12 ON CONFLICT (id) DO NOTHING RETURNING lane::float8 AS lane`,
      [
        ...[row.id, row.module, row.key_id, row.key_size, row.peer, shared, shared ? null : bootId, value],
        ...[this.wrap.proof(row, session.firstKey), session.idleSeconds, session.lifetimeSeconds, mark],
      ],
    );
    this.sameLife(bootId);
    return created && { lane: created.lane, incarnation: value };
  }

  async activate(id: Uint8Array, secrets: SessionSecrets): Promise<boolean> {
    const row = await this.find(id);
    if (!row) return false;
    const { firstKey } = this.wrap.openProof(row, row.proof);
    const done = await this.query(
      `UPDATE sealwire_session SET traffic = $2, exporter = $3, proof = $4, last_used_at = now()
       WHERE id = $1 AND ended_at IS NULL AND traffic IS NULL RETURNING 1`,
      [
        id,
        this.wrap.traffic(row, 0, secrets),
        this.wrap.exporter(row, secrets.exporter),
        this.wrap.proof(row, firstKey, secrets.renewal),
      ],
    );
    return done.length > 0;
  }

  async attach(id: Uint8Array, exclusive: boolean): Promise<AttachedSession | 'busy' | undefined> {
    const { bootId } = this.parts.lease;
    const row = await this.lanes.attach(id, exclusive, bootId);
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
    const row = await this.find(id);
    if (row?.epoch !== epoch - 1) return false;
    const done = await this.query(
      `UPDATE sealwire_session SET epoch = $2, traffic = $3
       WHERE id = $1 AND epoch = $4 AND ended_at IS NULL AND traffic IS NOT NULL RETURNING 1`,
      [id, epoch, this.wrap.traffic(row, epoch, secrets), epoch - 1],
    );
    return done.length > 0;
  }

  touch(id: Uint8Array): void {
    this.ticker?.touch(id);
  }

  async reconcile(renewal: Renewal, verify: (key: Uint8Array) => boolean): Promise<RenewalAnswer[]> {
    const { database, keys, incarnation } = this.parts;
    const means = { wrap: this.wrap, keys, incarnation };
    try {
      return await database.transaction((query) => reconcile(query, means, renewal, verify));
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.logger.error(`Session ${toHex(renewal.sessionId)} cannot be read: ${error.message}`);
      return renewal.numbers.map(() => ({ known: 'unknown' }));
    }
  }

  async end(selector: SessionSelector, reason: CloseReason): Promise<number> {
    const total = await endSessions(this.query, selectorSql(selector), reason);
    // this process learns of it as every other does, only sooner
    if (total > 0) await this.refresh();
    return total;
  }

  async list(filter: SessionSelector, page: { limit: number; after?: string }): Promise<SessionSummary[]> {
    const { where, parameters } = selectorSql(filter);
    return this.query<SessionSummary>(
      `SELECT encode(s.id, 'hex') AS id, s.module, encode(s.key_id, 'hex') AS "keyId", s.lane::float8 AS lane, s.epoch,
         s.created_at AS created, s.last_used_at AS "lastUsed", s.expires_at AS expires, s.peer
       FROM sealwire_session s WHERE ${where} AND ${LIVE} AND s.id > decode($2, 'hex') ORDER BY s.id LIMIT $3`,
      [...parameters, page.after ?? '', page.limit],
    ).then((rows) => rows.map((row) => ({ ...row, keyId: row.keyId ?? undefined, peer: row.peer ?? undefined })));
  }

  async count(filter: SessionSelector): Promise<number> {
    const { where, parameters } = selectorSql(filter);
    const [row] = await this.query<{ count: number }>(
      `SELECT count(*)::float8 AS count FROM sealwire_session s WHERE ${where} AND ${LIVE}`,
      parameters,
    );
    return row?.count ?? 0;
  }

  /** One at a time: a large one may take longer than the period. */
  purge(): Promise<number> {
    this.purging ??= purge(this.parts.database, this.parts.retention).finally(() => {
      this.purging = undefined;
    });
    return this.purging;
  }

  async readData(
    id: Uint8Array,
    transaction?: unknown,
  ): Promise<{ data: Record<string, unknown>; version: number } | undefined> {
    const [row] = await this.queryIn(transaction)<{ data: Record<string, unknown>; version: number }>(
      'SELECT data, data_version AS version FROM sealwire_session WHERE id = $1 AND ended_at IS NULL',
      [id],
    );
    return row;
  }

  async writeData(
    id: Uint8Array,
    data: Record<string, unknown>,
    version: number,
    transaction?: unknown,
  ): Promise<boolean> {
    const done = await this.queryIn(transaction)(
      `UPDATE sealwire_session SET data = $2, data_version = data_version + 1
       WHERE id = $1 AND data_version = $3 AND ended_at IS NULL RETURNING 1`,
      [id, JSON.stringify(data), version],
    );
    return done.length > 0;
  }

  /** Another connection would have to wait for the transaction's, where all are taken or there is but one. */
  private queryIn(transaction: unknown): Query {
    const { queryRunner } = (transaction ?? {}) as Partial<EntityManager>;
    return queryRunner ? queryOf(queryRunner) : this.query;
  }

  private async find(id: Uint8Array): Promise<SessionRow | undefined> {
    const statement = `SELECT ${SESSION_COLUMNS} FROM sealwire_session s WHERE s.id = $1 AND s.ended_at IS NULL`;
    const [row] = await this.query<SessionRow>(statement, [id]);
    return row;
  }

  private opened(row: SessionRow): AttachedSession | undefined {
    try {
      return toAttached(row, this.wrap.open(row));
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.logger.error(`Session ${toHex(row.id)} cannot be read: ${error.message}`);
      return undefined;
    }
  }

  /** A lease lost while the statement ran took the lane with it. */
  private sameLife(bootId: string): void {
    if (this.parts.lease.bootId !== bootId) throw new SealwireError('busy');
  }
}

/** The row was altered, or its KEK is not ours: the session is as good as unknown. */
function isUnreadable(error: unknown): error is SealwireError {
  return error instanceof SealwireError && (error.code === 'open_failed' || error.code === 'bad_configuration');
}
