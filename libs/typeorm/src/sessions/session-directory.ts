import { type CloseReason, SessionDirectory, type SessionSelector, type SessionSummary } from '@sealwire/nest/ports';
import type { Database } from '../connection/database.js';
import { purge, type Retention } from '../upkeep/purge.js';
import { endSessions } from './ends.js';
import { LIVE, selectorSql } from './session-row.js';

/**
 * All sessions of the database, for operators and for whoever ends one.
 *
 * @example
 * const { directory } = await connectTypeOrmStore(process.env.DATABASE_URL ?? '', { kek: process.env.SEALWIRE_KEK });
 * console.log(await directory.count({ module: 'payments' }));
 */
export class TypeOrmSessionDirectory extends SessionDirectory {
  private purging: Promise<number> | undefined;

  constructor(
    private readonly database: Database,
    private readonly retention: Retention,
    /** has this process learn of an end as every other does, only sooner */
    private readonly refresh: () => Promise<void>,
  ) {
    super();
  }

  async list(
    filter: SessionSelector,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<SessionSummary[]> {
    const { where, parameters } = selectorSql(filter);
    const rows = await this.database.query<SessionSummary>(
      `SELECT encode(s.id, 'hex') AS id, s.module, encode(s.key_id, 'hex') AS "keyId", s.lane::float8 AS lane, s.epoch,
         s.created_at AS created, s.last_used_at AS "lastUsed", s.expires_at AS expires, s.peer
       FROM sealwire_session s WHERE ${where} AND ${LIVE} AND s.id > decode($2, 'hex') ORDER BY s.id LIMIT $3`,
      [...parameters, page.after ?? '', page.limit],
    );
    return rows.map((row) => ({ ...row, keyId: row.keyId ?? undefined, peer: row.peer ?? undefined }));
  }

  async count(filter: SessionSelector): Promise<number> {
    const { where, parameters } = selectorSql(filter);
    const [row] = await this.database.query<{ count: number }>(
      `SELECT count(*)::float8 AS count FROM sealwire_session s WHERE ${where} AND ${LIVE}`,
      parameters,
    );
    return row?.count ?? 0;
  }

  async end(selector: SessionSelector, reason: CloseReason): Promise<number> {
    const total = await endSessions(this.database.query, selectorSql(selector), reason);
    if (total > 0) await this.refresh();
    return total;
  }

  /** One at a time: a large one may take longer than the period. */
  purge(): Promise<number> {
    this.purging ??= purge(this.database, this.retention).finally(() => {
      this.purging = undefined;
    });
    return this.purging;
  }

  async ping(): Promise<void> {
    await this.database.query('SELECT 1');
  }
}
