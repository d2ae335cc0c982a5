import { DURABLE } from '../connection/database.js';
import { MARK } from '../sessions/incarnation.js';
import { LIVE } from '../sessions/session-row.js';

export interface VerdictRow {
  readonly live: boolean;
  /** another transaction holds the session's row: nothing was taken, nothing is known */
  readonly passed_over: boolean;
  readonly same_database: boolean | null;
  readonly same_lane: boolean | null;
  readonly fresh: boolean | null;
  readonly same: boolean | null;
  readonly state: 'running' | 'done' | null;
  readonly result: Buffer | null;
  readonly owner: string | null;
  /** seconds of its lease; null if it has none any more */
  readonly owner_lease: number | null;
}

/**
 * Why one statement is strict, wherever copies of a frame arrive at the same moment:
 * - the primary key: of concurrent inserts one makes the row, the others wait for its commit and then find it (DO UPDATE
 *   returns the row as it is, which DO NOTHING would not);
 * - the share lock: ending a session, opening a lane and raising a floor update the session's row. Either they wait for this
 *   statement, and then see its numbers, or they hold the row, and this statement passes it over: it takes no number of that
 *   session, and a later one looks at the row again. To wait for a row here would hold up all sessions in the statement; last
 *   uses, written twice a second, hold theirs for moments. A row just let go is looked at as it is now;
 * - the disk: it is waited for, or a crash could give a number to its frame once more;
 * - the mark: compared in this statement, in the database that takes the rows. A lane opened before a restore takes none.
 */
export const ACCEPT = `
  WITH input AS (
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
      WITH ORDINALITY AS i(session_id, lane, counter, digest, incarnation, n)
  ), live AS MATERIALIZED (
    SELECT s.id, s.lane, s.floor, s.lane_incarnation, s.shared AND s.lane_incarnation = $8 AS shared_now,
      ${MARK} = $6 AS same_database
    FROM sealwire_session s WHERE ${DURABLE} AND s.id = ANY($1::bytea[]) AND ${LIVE} ORDER BY s.id FOR SHARE SKIP LOCKED
  ), taken AS (
    INSERT INTO sealwire_accepted AS a (session_id, lane, counter, digest, owner)
    SELECT i.session_id, i.lane, i.counter, i.digest, $7 FROM input i JOIN live l ON l.id = i.session_id
    WHERE l.same_database AND l.shared_now AND l.lane = i.lane AND l.lane_incarnation = i.incarnation AND i.counter > l.floor
    ORDER BY 1, 2, 3
    ON CONFLICT (session_id, lane, counter) DO UPDATE SET repeats = LEAST(a.repeats + 1, 1000)
    RETURNING a.session_id, a.lane, a.counter, a.digest, a.state, a.result, a.owner, a.repeats
  )
  SELECT l.id IS NOT NULL AS live,
    l.id IS NULL AND EXISTS (SELECT FROM sealwire_session s WHERE s.id = i.session_id AND ${LIVE}) AS passed_over,
    l.same_database, t.repeats = 0 AS fresh,
    l.shared_now AND l.lane = i.lane AND l.lane_incarnation = i.incarnation AS same_lane,
    COALESCE(t.digest, o.digest) = i.digest AS same, COALESCE(t.state, o.state) AS state,
    COALESCE(t.result, o.result) AS result, COALESCE(t.owner, o.owner) AS owner,
    (SELECT extract(epoch FROM x.lease_until - now())::float8 FROM sealwire_instance x
     WHERE x.boot_id = COALESCE(t.owner, o.owner) AND x.lease_until > now()) AS owner_lease
  FROM input i
  LEFT JOIN live l ON l.id = i.session_id
  LEFT JOIN taken t ON t.session_id = i.session_id AND t.lane = i.lane AND t.counter = i.counter
  LEFT JOIN sealwire_accepted o
    ON t.session_id IS NULL AND o.session_id = i.session_id AND o.lane = i.lane AND o.counter = i.counter
  ORDER BY i.n`;

export const FINISH = `
  INSERT INTO sealwire_accepted AS a (session_id, lane, counter, digest, owner, state, result)
  SELECT i.session_id, i.lane, i.counter, i.digest, $6, 'done', i.result
  FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[]) AS i(session_id, lane, counter, digest, result)
  WHERE EXISTS (SELECT FROM sealwire_session s WHERE s.id = i.session_id)
  ORDER BY 1, 2, 3
  ON CONFLICT (session_id, lane, counter) DO UPDATE SET state = 'done', result = EXCLUDED.result
    WHERE a.state = 'running' AND a.digest = EXCLUDED.digest`;

/**
 * Tells what became of numbers of one session, $1. A session that ended, or another lane, accepts no more: the statement that ended it
 * had to wait for those that accept, so this one sees every number that was taken. In another state of the database than the
 * lane's nothing is known.
 */
export const RECALL = `
  SELECT ${MARK} AS mark, s.lane_incarnation, a.digest, a.state, a.result,
    EXISTS (SELECT FROM sealwire_instance x WHERE x.boot_id = a.owner AND x.lease_until > now()) AS alive,
    s.shared AND s.ended_at IS NOT NULL AND i.lane = s.lane AND i.counter > s.floor AS complete,
    i.lane = s.lane AND i.counter <= s.floor AND a.digest IS NULL AS too_old
  FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS i(lane, counter, n)
  JOIN sealwire_session s ON s.id = $1
  LEFT JOIN sealwire_accepted a ON a.session_id = s.id AND a.lane = i.lane AND a.counter = i.counter
  ORDER BY i.n`;

export interface RecallRow {
  readonly mark: string;
  readonly lane_incarnation: Uint8Array;
  /** of the frame that the number went to; null if none is written down */
  readonly digest: Uint8Array | null;
  readonly state: 'running' | 'done' | null;
  readonly result: Uint8Array | null;
  /** whether the instance that took it still is */
  readonly alive: boolean;
  /** every number that was taken in the lane is written down, and no more can be */
  readonly complete: boolean;
  /** it lies below the floor of the current lane, and none is written down */
  readonly too_old: boolean;
}
