import { LIMITS, ownOptions } from '@sealwire/core';
import { type CloseReason, SessionDirectory, type SessionSelector, type SessionSummary } from '@sealwire/nest/ports';
import { byIndex, type Database } from '../connection/database.js';
import { COOKIE_KEY_READABLE } from '../keys/cookie-keys.js';
import { BATCH, endOver, endSessions, eraseKeys, repeat } from '../sessions/ends.js';
import { LIVE, selectorSql } from '../sessions/session-row.js';

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
    const { after = '', limit } = ownOptions(page, ['after', 'limit']);
    const rows = await this.database.query<SessionSummary>(
      `SELECT encode(s.id, 'hex') AS id, s.module, encode(s.key_id, 'hex') AS "keyId", s.lane::float8 AS lane, s.epoch,
         s.created_at AS created, s.last_used_at AS "lastUsed", s.expires_at AS expires, s.peer
       FROM sealwire_session s WHERE ${where} AND ${LIVE} AND s.id > decode($2, 'hex') ORDER BY s.id LIMIT $3`,
      [...parameters, after, limit],
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
    // locks no row, and fails on a standby
    await this.database.query('SELECT FROM sealwire_instance WHERE false FOR UPDATE');
  }
}

interface Retention {
  readonly tombstoneSeconds: number;
  readonly outcomeSeconds: number;
  /** undefined: stored results are left to the servers, which know how long they keep them */
  readonly resultSeconds: number | undefined;
}

type Purger = (database: Database, retention: Retention) => Promise<number>;

/** Sessions that one statement looks at for numbers to delete. */
const PART = 100;
/** Last uses are written twice a second, later while the database was away: only long idle sessions are ended from outside. */
const IDLE_SLACK = 60;
/**
 * Seconds between raising a floor and deleting the rows below it: longer than a statement that read the floor before may take, and
 * shorter than the time from one purge to the next, so that each deletes below the floors that the one before raised.
 */
const FLOOR_REST = 30;
/** How long the tombstone of an evicted session is kept: longer than its cookie could bring it back. */
const EVICTED_SECONDS = 600;
/** Above every lane and every counter. */
const BEYOND = 2 ** 32;

/**
 * Each kind in batches of their own transactions, so that purging a large table blocks nobody, and each on its own: if one
 * fails, the others are purged all the same and then its error is thrown. It answers rows deleted.
 */
async function purge(database: Database, retention: Retention): Promise<number> {
  let deleted = 0;
  const problems: unknown[] = [];
  for (const kind of [overSessions, tombstones, numbers, floors, results, outcomes, cookieKeys, instances, keys]) {
    try {
      deleted += await kind(database, retention);
    } catch (error) {
      problems.push(error);
    }
  }
  if (problems.length > 0) throw problems[0];
  return deleted;
}

const overSessions: Purger = async (database) => {
  await endOver(database, IDLE_SLACK);
  await eraseKeys(database.query);
  return 0;
};

/**
 * A session goes after its numbers, for nothing else leads to them. While they go, and the session can still be asked about, the
 * absence of a number must not say that it never ran: so first the floor, which makes every number one that is not known.
 */
const tombstones: Purger = async (database, { tombstoneSeconds }) =>
  (await tombstonesOf(database, 'ended_at IS NOT NULL', tombstoneSeconds)) +
  // an open module must not grow by the sessions that made room for others; their cookies are good no longer
  (await tombstonesOf(database, `ended_reason = 'evicted'`, EVICTED_SECONDS));

async function tombstonesOf(database: Database, which: string, seconds: number): Promise<number> {
  let total = 0;
  for (;;) {
    const over = await database.query<{ id: Buffer }>(
      `UPDATE sealwire_session SET floor = ${BEYOND} WHERE id IN (SELECT id FROM sealwire_session
         WHERE ${which} AND ended_at < now() - $1 * interval '1 second' ORDER BY ended_at LIMIT ${PART} FOR UPDATE SKIP LOCKED)
       RETURNING id`,
      [seconds],
    );
    const ids = over.map(({ id }) => id);
    const { left } = await deleteNumbers(database, {
      sessions: 'SELECT id FROM sealwire_session WHERE id = ANY($4::bytea[])',
      which: 'true',
      parameters: [ids],
    });
    // another instance is at the same ones
    if (left > 0) return total;
    const gone = await database.query('DELETE FROM sealwire_session WHERE id = ANY($1::bytea[]) RETURNING 1', [ids]);
    total += gone.length;
    if (ids.length < PART) return total;
  }
}

/**
 * A row may go only if its number stays refused without it: first a committed floor, a while later the rows at or below
 * it. Rows of earlier lanes are refused by their lane. Those of a session that ended go with its tombstone: to find them among the
 * tombstones would be to read all of those.
 */
const numbers: Purger = async (database) => {
  const { deleted } = await deleteNumbers(database, {
    // those with a floor, or with a lane before this one
    sessions: `SELECT id, lane, floor, floored_at FROM sealwire_session
      WHERE ended_at IS NULL AND shared AND (floor >= 0 OR lane > extract(epoch FROM created_at)::bigint)`,
    which: `a.lane > 0 AND (a.lane, a.counter) <= (part.lane, part.floor) AND CASE WHEN a.lane = part.lane
      THEN part.floored_at < now() - ${FLOOR_REST} * interval '1 second' ELSE a.at < now() - interval '1 day' END`,
    parameters: [],
  });
  return deleted;
};

/** A floor stays while there are rows at or below it: to raise it would be to put their deletion off. */
const floors: Purger = async (database) => {
  let after: Uint8Array | null = new Uint8Array();
  while (after) {
    const raised: { last: Buffer | null }[] = await byIndex(
      database,
      `WITH part AS (
         SELECT id, lane FROM sealwire_session WHERE id > $1 AND shared AND ended_at IS NULL ORDER BY id LIMIT ${BATCH}
       ), tops AS (
         SELECT part.id, part.lane, (SELECT max(a.counter) FROM sealwire_accepted a
           WHERE a.session_id = part.id AND a.lane = part.lane) - ${LIMITS.replayWindow} AS floor FROM part
       ), raised AS (
         UPDATE sealwire_session s SET floor = tops.floor, floored_at = now() FROM tops
         WHERE s.id = tops.id AND s.lane = tops.lane AND tops.floor > s.floor
           AND NOT EXISTS (SELECT FROM sealwire_accepted a
             WHERE a.session_id = s.id AND a.lane = s.lane AND a.counter <= s.floor)
       )
       SELECT (SELECT id FROM part ORDER BY id DESC LIMIT 1) AS last`,
      [after],
    );
    after = raised[0]?.last ?? null;
  }
  return 0;
};

/** The number stays, without its result: whoever sends it again learns that it ran. */
const results: Purger = async (database, { resultSeconds }) => {
  if (resultSeconds === undefined) return 0;
  await repeat(() =>
    database.query(
      `UPDATE sealwire_accepted SET result = NULL WHERE ctid = ANY(ARRAY(SELECT ctid FROM sealwire_accepted
         WHERE result IS NOT NULL AND at < now() - $1 * interval '1 second'
         ORDER BY at LIMIT ${BATCH} FOR UPDATE SKIP LOCKED)) RETURNING 1`,
      [resultSeconds],
    ),
  );
  return 0;
};

const outcomes: Purger = (database, { outcomeSeconds }) =>
  repeat(() =>
    database.query(
      `DELETE FROM sealwire_outcome WHERE ctid = ANY(ARRAY(SELECT ctid FROM sealwire_outcome
         WHERE at < now() - $1 * interval '1 second' ORDER BY at LIMIT ${BATCH} FOR UPDATE SKIP LOCKED)) RETURNING 1`,
      [outcomeSeconds],
    ),
  );

const cookieKeys: Purger = async (database) => {
  await database.query(
    `DELETE FROM sealwire_cookie_key WHERE created_at < now() - ${COOKIE_KEY_READABLE} * interval '1 second'`,
  );
  return 0;
};

const instances: Purger = async (database) => {
  await database.query(`DELETE FROM sealwire_instance WHERE lease_until < now() - interval '1 minute'`);
  return 0;
};

/** The newest SecureKey of a module stays for ever: it tells that the module is not open to clients without one. */
const keys: Purger = async (database) => {
  await database.query(
    `DELETE FROM sealwire_key k WHERE k.valid_until < now() - interval '1 day' AND (k.kind <> 'secure' OR EXISTS (SELECT
       FROM sealwire_key n WHERE n.kind = k.kind AND n.module = k.module AND (n.created_at, n.id) > (k.created_at, k.id)))`,
  );
  return 0;
};

interface Deleted {
  readonly deleted: number;
  readonly found: number;
  readonly looked: number;
  /** the key to go on from */
  readonly id: Buffer;
  readonly lane: number;
  readonly counter: number;
}

/**
 * Session by session, row by row in the order of the primary key: no statement looks at a row again that one before deleted, or
 * at the table's other rows, however many there are. Rows that another is at are passed over.
 */
async function deleteNumbers(
  database: Database,
  { sessions, which, parameters }: { sessions: string; which: string; parameters: readonly unknown[] },
): Promise<{ deleted: number; left: number }> {
  const statement = `WITH part AS MATERIALIZED (${sessions} AND id >= $1 ORDER BY id LIMIT ${PART}), found AS MATERIALIZED (
      SELECT n.* FROM part CROSS JOIN LATERAL (
        SELECT a.ctid AS place, a.session_id, a.lane, a.counter FROM sealwire_accepted a
        WHERE a.session_id = part.id AND ${which} AND (a.lane, a.counter) >
          (CASE WHEN part.id = $1 THEN $2::bigint ELSE -1 END, CASE WHEN part.id = $1 THEN $3::bigint ELSE -1 END)
        ORDER BY a.lane, a.counter LIMIT ${BATCH}) n LIMIT ${BATCH}
    ), gone AS (
      DELETE FROM sealwire_accepted WHERE ctid = ANY(ARRAY(SELECT ctid FROM sealwire_accepted
        WHERE ctid = ANY(ARRAY(SELECT place FROM found)) FOR UPDATE SKIP LOCKED)) RETURNING 1
    )
    SELECT (SELECT count(*) FROM gone)::float8 AS deleted, (SELECT count(*) FROM found)::float8 AS found,
      (SELECT count(*) FROM part)::float8 AS looked, l.id, l.lane::float8 AS lane, l.counter::float8 AS counter
    FROM (SELECT session_id AS id, lane, counter FROM found WHERE (SELECT count(*) FROM found) = ${BATCH}
      UNION ALL SELECT id, ${BEYOND}, ${BEYOND} FROM part WHERE (SELECT count(*) FROM found) < ${BATCH}) l
    ORDER BY l.id DESC, l.lane DESC, l.counter DESC LIMIT 1`;
  let deleted = 0;
  let left = 0;
  let cursor: readonly unknown[] = [new Uint8Array(), -1, -1];
  for (;;) {
    const [row] = await byIndex<Deleted>(database, statement, [...cursor, ...parameters]);
    if (!row) return { deleted, left };
    deleted += row.deleted;
    left += row.found - row.deleted;
    if (row.found < BATCH && row.looked < PART) return { deleted, left };
    cursor = [row.id, row.lane, row.counter];
  }
}
