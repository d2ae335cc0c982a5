import { LIMITS } from '@sealwire/core';
import type { Database } from './database.js';

export interface Retention {
  readonly tombstoneSeconds: number;
  readonly outcomeSeconds: number;
}

const BATCH = 1_000;
/** Last uses are written once a second, later while the database was away: only long idle sessions are ended from outside. */
const IDLE_SLACK = 60;
/** Seconds between raising a floor and deleting the rows below it. */
const FLOOR_REST = 60;

/** Each kind in batches of their own transactions, so that purging a large table blocks nobody. Answers rows deleted. */
export async function purge(database: Database, { tombstoneSeconds, outcomeSeconds }: Retention): Promise<number> {
  await repeat(() =>
    database.query(
      `UPDATE sealwire_session SET ended_at = now(), traffic = NULL, exporter = NULL,
         ended_reason = CASE WHEN expires_at <= now() THEN 'expired' ELSE 'idle' END
       WHERE id IN (SELECT id FROM sealwire_session WHERE ended_at IS NULL AND (expires_at <= now()
           OR last_used_at + (idle_seconds + ${IDLE_SLACK}) * interval '1 second' <= now())
         LIMIT ${BATCH} FOR UPDATE SKIP LOCKED)
       RETURNING 1`,
    ),
  );
  let deleted = await repeat(() =>
    database.query(
      `WITH gone AS (
         DELETE FROM sealwire_session WHERE id IN (SELECT id FROM sealwire_session
           WHERE ended_at < now() - $1 * interval '1 second' LIMIT ${BATCH} FOR UPDATE SKIP LOCKED) RETURNING id
       ), numbers AS (DELETE FROM sealwire_accepted a USING gone WHERE a.session_id = gone.id)
       SELECT 1 FROM gone`,
      [tombstoneSeconds],
    ),
  );
  deleted += await purgeNumbers(database);
  deleted += await repeat(() =>
    database.query(
      `WITH gone AS (DELETE FROM sealwire_outcome WHERE ctid = ANY(ARRAY(SELECT ctid FROM sealwire_outcome
         WHERE at < now() - $1 * interval '1 second' LIMIT ${BATCH} FOR UPDATE SKIP LOCKED)) RETURNING 1)
       SELECT 1 FROM gone`,
      [outcomeSeconds],
    ),
  );
  await database.query(`DELETE FROM sealwire_instance WHERE lease_until < now() - interval '1 minute'`);
  await database.query(`DELETE FROM sealwire_key WHERE valid_until < now() - interval '1 day'`);
  return deleted;
}

/**
 * A row may go only where its number stays refused without it: first a committed floor, a while later the rows at or below
 * it. Rows of earlier lanes are refused by their lane.
 */
async function purgeNumbers(database: Database): Promise<number> {
  const deleted = await repeat(() =>
    database.query(
      `WITH gone AS (DELETE FROM sealwire_accepted WHERE ctid = ANY(ARRAY(
         SELECT a.ctid FROM sealwire_accepted a JOIN sealwire_session s ON s.id = a.session_id
         WHERE a.lane <> 0 AND (
           (a.lane = s.lane AND a.counter <= s.floor AND s.floored_at < now() - ${FLOOR_REST} * interval '1 second')
           OR (a.lane < s.lane AND a.at < now() - interval '1 day'))
         LIMIT ${BATCH} FOR UPDATE OF a SKIP LOCKED)) RETURNING 1)
       SELECT 1 FROM gone`,
    ),
  );
  let after: Buffer | undefined = Buffer.alloc(0);
  while (after) {
    const raised: { last: Buffer | null }[] = await database.query(
      `WITH part AS (
         SELECT id, lane FROM sealwire_session WHERE id > $1 AND shared AND ended_at IS NULL ORDER BY id LIMIT ${BATCH}
       ), tops AS (
         SELECT part.id, part.lane, (SELECT max(a.counter) FROM sealwire_accepted a
           WHERE a.session_id = part.id AND a.lane = part.lane) - ${LIMITS.replayWindow} AS floor FROM part
       ), raised AS (
         UPDATE sealwire_session s SET floor = tops.floor, floored_at = now() FROM tops
         WHERE s.id = tops.id AND s.lane = tops.lane AND tops.floor > s.floor
           AND (s.floored_at IS NULL OR s.floored_at < now() - ${FLOOR_REST} * interval '1 second')
       )
       SELECT (SELECT id FROM part ORDER BY id DESC LIMIT 1) AS last`,
      [after],
    );
    after = raised[0]?.last ?? undefined;
  }
  return deleted;
}

async function repeat(batch: () => Promise<unknown[]>): Promise<number> {
  let total = 0;
  for (;;) {
    const { length } = await batch();
    total += length;
    if (length < BATCH) return total;
  }
}
