import type { CloseReason } from '@sealwire/nest/ports';
import { type Database, DURABLE, type Query } from '../connection/database.js';
import { END, KEYS_KEPT } from './session-row.js';

/** Rows that one statement deletes or changes: what it may lock and how long it may take. */
export const BATCH = 1_000;

interface Chosen {
  /** a condition on sessions `s` */
  readonly where: string;
  readonly parameters: readonly unknown[];
}

/**
 * Ends the living among the chosen sessions, batch by batch. Answers how many. Their keys are kept a minute longer; their
 * application data only if a newer session of the client may take it over.
 */
export function endSessions(query: Query, { where, parameters }: Chosen, reason: CloseReason): Promise<number> {
  const chosen = { where, parameters: [...parameters, reason] };
  return end(query, chosen, `ended_reason = $${parameters.length + 1}`, 'FOR UPDATE');
}

/** Ends the sessions whose time is over. It erases the keys at once of those whose time was over long ago. */
export async function endOver(database: Database, slack: number): Promise<void> {
  const where = `(s.expires_at <= now() OR s.last_used_at + (s.idle_seconds + ${slack}) * interval '1 second' <= now())`;
  const set = `traffic = CASE WHEN ${END} > now() - ${KEYS_KEPT} * interval '1 second' THEN s.traffic END,
    ended_reason = CASE WHEN s.expires_at <= now() THEN 'expired' ELSE 'idle' END`;
  await end(database.query, { where, parameters: [] }, set, 'FOR UPDATE SKIP LOCKED');
}

/**
 * Each batch goes on from the id at which the one before stopped: it reads nothing twice, and passes no tombstone, which a partial
 * index leaves out. A row that another ended or used meanwhile is looked at again under its lock.
 */
async function end(query: Query, { where, parameters }: Chosen, set: string, lock: string): Promise<number> {
  const statement = `WITH part AS MATERIALIZED (
      SELECT s.id FROM sealwire_session s WHERE s.ended_at IS NULL AND ${where} AND s.id > $${parameters.length + 1}::bytea
      ORDER BY s.id LIMIT ${BATCH}
    ), ended AS (
      UPDATE sealwire_session s SET ended_at = now(), data = NULL, ${set}
      WHERE ${DURABLE} AND s.id = ANY(ARRAY(SELECT s.id FROM sealwire_session s
        WHERE s.id = ANY(ARRAY(SELECT id FROM part)) AND s.ended_at IS NULL AND ${where} ORDER BY s.id ${lock}))
      RETURNING 1
    )
    SELECT (SELECT count(*) FROM ended)::float8 AS ended, (SELECT count(*) FROM part)::float8 AS looked,
      (SELECT id FROM part ORDER BY id DESC LIMIT 1) AS last`;
  let after = new Uint8Array();
  for (let total = 0; ; ) {
    const [row] = await query<{ ended: number; looked: number; last: Uint8Array<ArrayBuffer> }>(statement, [
      ...parameters,
      after,
    ]);
    total += row?.ended ?? 0;
    if (!row || row.looked < BATCH) return total;
    after = row.last;
  }
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
