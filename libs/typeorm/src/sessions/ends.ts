import type { CloseReason } from '@sealwire/nest/ports';
import { type Database, DURABLE, type Query } from '../connection/database.js';
import { END, KEYS_KEPT } from './session-row.js';

/** Rows that one statement deletes or changes: what it may lock and how long it may take. */
export const BATCH = 1_000;

/**
 * Ends the living among the sessions `s` that `where` names, batch by batch. Answers how many. Their keys are kept a minute
 * longer; their application data only if a newer session of the client may take it over.
 */
export async function endSessions(
  query: Query,
  { where, parameters }: { readonly where: string; readonly parameters: readonly unknown[] },
  reason: CloseReason,
): Promise<number> {
  return repeat(() =>
    query(
      `UPDATE sealwire_session SET ended_at = now(), ended_reason = $${parameters.length + 1}, data = NULL
       WHERE ${DURABLE} AND id IN (SELECT s.id FROM sealwire_session s WHERE ${where} AND s.ended_at IS NULL
         ORDER BY s.id LIMIT ${BATCH} FOR UPDATE) RETURNING 1`,
      [...parameters, reason],
    ),
  );
}

/** Ends the sessions whose time is over. It erases the keys at once of those whose time was over long ago. */
export async function endOver(database: Database, slack: number): Promise<void> {
  await repeat(() =>
    database.query(
      `UPDATE sealwire_session s SET ended_at = now(), data = NULL,
         traffic = CASE WHEN ${END} > now() - ${KEYS_KEPT} * interval '1 second' THEN s.traffic END,
         ended_reason = CASE WHEN s.expires_at <= now() THEN 'expired' ELSE 'idle' END
       WHERE s.id IN (SELECT id FROM sealwire_session WHERE ended_at IS NULL AND (expires_at <= now()
           OR last_used_at + (idle_seconds + ${slack}) * interval '1 second' <= now())
         LIMIT ${BATCH} FOR UPDATE SKIP LOCKED)
       RETURNING 1`,
    ),
  );
}

/** Erases the keys of sessions that ended a while ago, and data that no newer session took over. */
export async function eraseKeys(query: Query): Promise<void> {
  await repeat(() =>
    query(
      `UPDATE sealwire_session SET traffic = NULL, data = NULL
       WHERE id IN (SELECT id FROM sealwire_session WHERE ended_at IS NOT NULL AND traffic IS NOT NULL
           AND ended_at < now() - ${KEYS_KEPT} * interval '1 second' ORDER BY ended_at LIMIT ${BATCH} FOR UPDATE SKIP LOCKED)
       RETURNING 1`,
    ),
  );
}

/** Runs a statement until it finds less than a batch. Answers rows. */
export async function repeat(batch: () => Promise<unknown[]>): Promise<number> {
  for (let total = 0; ; ) {
    const { length } = await batch();
    total += length;
    if (length < BATCH) return total;
  }
}
