import { FIRST_CALLS, type Renewal, type RenewalAnswer, toHex } from '@sealwire/core';
import { knownOf } from '@sealwire/nest/ports';
import type { Query } from '../connection/database.js';
import { toBytes } from '../connection/database.js';
import type { KeyEncryption, Place } from '../keys/key-encryption.js';
import { replyPlace } from '../keys/places.js';
import type { Incarnation } from './incarnation.js';
import { closedOf, SESSION_COLUMNS, type SessionRow, type SessionWrap } from './session-row.js';

interface AcceptedRow {
  readonly lane: number;
  readonly counter: number;
  readonly digest: Uint8Array;
  readonly state: 'running' | 'done';
  readonly reply: Uint8Array | null;
  /** whether the instance that took it still is */
  readonly alive: boolean;
}

/** What `answerOf` looks at, of `sealwire_accepted a`. */
export const ACCEPTED_COLUMNS = `a.lane::float8 AS lane, a.counter::float8 AS counter, a.digest, a.state, a.reply,
  EXISTS (SELECT FROM sealwire_instance x WHERE x.boot_id = a.owner AND x.lease_until > now()) AS alive`;

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
    `SELECT ${ACCEPTED_COLUMNS} FROM sealwire_accepted a
     WHERE session_id = $1 AND (lane, counter) IN (SELECT * FROM unnest($2::bigint[], $3::bigint[]))`,
    [renewal.sessionId, renewal.numbers.map((n) => n.number.lane), renewal.numbers.map((n) => n.number.counter)],
  );
  const rows = new Map(accepted.map((one) => [`${one.lane}:${one.counter}`, one]));
  const closed = closedOf(row);
  // its owner wrote the window down before everything in it was answered, and would have given the lane up since
  const open = row.owner !== null && row.closed_lane === row.lane;

  return renewal.numbers.map(({ number, digest }): RenewalAnswer => {
    const first = number.lane === FIRST_CALLS.lane && number.counter === FIRST_CALLS.counter;
    if (!whole && !first) return { known: 'unknown' };
    const recorded = rows.get(`${number.lane}:${number.counter}`);
    if (recorded) return answerOf(recorded, digest, replyPlace(renewal.sessionId, number.lane, number.counter), keys);
    if (first) return { known: 'ran' };
    const complete = row.shared && number.lane === row.lane && number.counter > row.floor;
    const known = complete ? 'never_ran' : knownOf(closed, number);
    return { known: known === 'ran' && open && number.lane === row.lane ? 'unknown' : known };
  });
}

/** Of a number whose row is there. A number runs for one frame only: where it went to another, this one never will. */
export function answerOf(row: AcceptedRow, digest: Uint8Array, place: Place, keys: KeyEncryption): RenewalAnswer {
  if (toHex(row.digest) !== toHex(digest)) return { known: 'never_ran' };
  if (row.state !== 'done') return { known: row.alive ? 'running' : 'unknown' };
  return row.reply ? { known: 'result', reply: keys.unwrap(place, toBytes(row.reply)) } : { known: 'ran' };
}
