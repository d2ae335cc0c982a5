import { toHex } from '@sealwire/core';
import type { NewSession, SessionLimits } from '@sealwire/nest/ports';
import type { Query } from '../connection/database.js';
import { LIVE } from './session-row.js';

/** Groups whose new sessions are counted at a time. */
const COUNTED = 10_000;

/**
 * Ends the longest unused sessions of a module, or a SecureKey in it, that has too many. To count them is to read them all, so
 * each instance does that after every hundredth part of the limit that it adds; meanwhile there may be that many more.
 */
export class Evictions {
  /** new sessions since the last look */
  private readonly added = new Map<string, number>();

  constructor(private readonly query: Query) {}

  async created({ id, module, keyId }: NewSession, limits: SessionLimits): Promise<void> {
    await this.look(module, id, limits.module, 's.module = $3', [module]);
    if (!keyId) return;
    const ofKey = 's.key_id = $3 AND s.module = $4';
    await this.look(`${module} ${toHex(keyId)}`, id, limits.secureKey, ofKey, [keyId, module]);
  }

  private async look(group: string, id: Uint8Array, most: number, where: string, parameters: unknown[]): Promise<void> {
    const added = (this.added.get(group) ?? 0) + 1;
    if (added < most / 100) {
      if (this.added.size >= COUNTED && !this.added.has(group)) this.added.clear();
      this.added.set(group, added);
      return;
    }
    this.added.delete(group);
    await this.query(
      `WITH live AS MATERIALIZED (SELECT s.id, s.last_used_at FROM sealwire_session s WHERE ${where} AND ${LIVE}),
       over AS (
         SELECT id FROM live WHERE id <> $1 ORDER BY last_used_at, id
         LIMIT GREATEST(0, (SELECT count(*) FROM live) - $2::bigint)
       )
       UPDATE sealwire_session s SET ended_at = now(), ended_reason = 'evicted', data = NULL
       WHERE s.ended_at IS NULL AND s.id IN (SELECT o.id FROM sealwire_session o WHERE o.id IN (SELECT id FROM over)
         ORDER BY o.id FOR UPDATE SKIP LOCKED)`,
      [id, most, ...parameters],
    );
  }
}
