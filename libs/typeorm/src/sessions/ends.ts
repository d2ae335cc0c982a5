import type { CloseReason } from '@sealwire/nest/ports';
import type { Query } from '../connection/database.js';

const BATCH = 1_000;

/** Ends the living among the sessions `s` that `where` names, batch by batch, and wipes their secrets. Answers how many. */
export async function endSessions(
  query: Query,
  { where, parameters }: { readonly where: string; readonly parameters: readonly unknown[] },
  reason: CloseReason,
): Promise<number> {
  for (let total = 0; ; ) {
    const { length } = await query(
      `UPDATE sealwire_session SET ended_at = now(), ended_reason = $${parameters.length + 1}, traffic = NULL, exporter = NULL
       WHERE id IN (SELECT s.id FROM sealwire_session s WHERE ${where} AND s.ended_at IS NULL
         ORDER BY s.id LIMIT ${BATCH} FOR UPDATE) RETURNING 1`,
      [...parameters, reason],
    );
    total += length;
    if (length < BATCH) return total;
  }
}
