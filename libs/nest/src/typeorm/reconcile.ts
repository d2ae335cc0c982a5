import { FIRST_CALLS, type Renewal, type RenewalAnswer, toHex } from '@sealwire/core';
import { knownOf } from '../memory.guard.js';
import type { Query } from './database.js';
import { toBytes } from './database.js';
import type { Incarnation } from './incarnation.js';
import type { KeyEncryption, Place } from './key-encryption.js';
import { replyPlace } from './places.js';
import { closedOf, SESSION_COLUMNS, type SessionRow, type SessionWrap } from './session-row.js';

interface AcceptedRow {
  readonly lane: number;
  readonly counter: number;
  readonly digest: Uint8Array;
  readonly state: 'running' | 'done';
  readonly reply: Uint8Array | null;
}

/**
 * Ends the old session, then tells what became of its numbers. The order makes `never_ran` true: statements that accept hold a
 * share lock on the session's row, so once the end is written (this transaction's lock on the row) no number can be accepted
 * any more, and the second statement sees every number that was.
 */
export async function reconcile(
  query: Query,
  { wrap, keys, incarnation }: { wrap: SessionWrap; keys: KeyEncryption; incarnation: Incarnation },
  renewal: Renewal,
  verify: (key: Uint8Array) => boolean,
): Promise<RenewalAnswer[]> {
  const unknown = renewal.numbers.map((): RenewalAnswer => ({ known: 'unknown' }));
  const [row] = await query<SessionRow>(
    `SELECT ${SESSION_COLUMNS} FROM sealwire_session s WHERE s.id = $1 FOR UPDATE`,
    [renewal.sessionId],
  );
  if (!row) return unknown;
  const { firstKey, renewal: renewalKey } = wrap.openProof(row, row.proof);
  const whole = renewalKey !== undefined && verify(renewalKey);
  if (!whole && !verify(firstKey)) return unknown;

  await query(
    `UPDATE sealwire_session SET ended_at = now(), ended_reason = 'renewed', traffic = NULL, exporter = NULL
     WHERE id = $1 AND ended_at IS NULL`,
    [renewal.sessionId],
  );
  if (!(await incarnation.isCurrent(query, row.lane_incarnation))) return unknown;
  const accepted = await query<AcceptedRow>(
    `SELECT lane::float8 AS lane, counter::float8 AS counter, digest, state, reply FROM sealwire_accepted
     WHERE session_id = $1 AND (lane, counter) IN (SELECT * FROM unnest($2::bigint[], $3::bigint[]))`,
    [renewal.sessionId, renewal.numbers.map((n) => n.number.lane), renewal.numbers.map((n) => n.number.counter)],
  );
  const rows = new Map(accepted.map((one) => [`${one.lane}:${one.counter}`, one]));
  const closed = closedOf(row);

  return renewal.numbers.map(({ number, digest }): RenewalAnswer => {
    const first = number.lane === FIRST_CALLS.lane && number.counter === FIRST_CALLS.counter;
    if (!whole && !first) return { known: 'unknown' };
    const recorded = rows.get(`${number.lane}:${number.counter}`);
    if (recorded) return answerOf(recorded, digest, replyPlace(renewal.sessionId, number.lane, number.counter), keys);
    if (first) return { known: 'ran' };
    const complete = row.shared && number.lane === row.lane && number.counter > row.floor;
    return { known: complete ? 'never_ran' : knownOf(closed, number) };
  });
}

/** Of a number whose row is there. Another digest: the number went to another frame, which says nothing sure of this one. */
export function answerOf(row: AcceptedRow, digest: Uint8Array, place: Place, keys: KeyEncryption): RenewalAnswer {
  if (row.state !== 'done' || toHex(row.digest) !== toHex(digest)) return { known: 'unknown' };
  return row.reply ? { known: 'result', reply: keys.unwrap(place, toBytes(row.reply)) } : { known: 'ran' };
}
