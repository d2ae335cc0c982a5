import { FIRST_LANE, toHex } from '@sealwire/core';
import type { NewSession, SessionLimits } from '@sealwire/nest/ports';
import { DURABLE, type Query, toBytes } from '../connection/database.js';
import type { KeyEncryption } from '../keys/key-encryption.js';
import { type Incarnation, MARK } from './incarnation.js';
import type { Lease } from './lease.js';
import { unwrapData, wrapData } from './session-data.js';
import { LIVE, SESSION_COLUMNS, type SessionIdentity, type SessionRow, type SessionWrap } from './session-row.js';

const LAST_LANE = 2 ** 32 - 1;
/** closed lanes whose windows are kept */
const CLOSED_KEPT = 4;
/** Unix seconds, so that lanes go up even in a database that was put back to an earlier state. */
const NEXT_LANE = 'GREATEST(s.lane + 1, extract(epoch FROM now())::bigint)';

/** Which instance may accept numbers of a session: the owner of its lane, or in a shared lane every one through the table. */
export class Lanes {
  constructor(
    private readonly query: Query,
    private readonly lease: Lease,
    private readonly incarnation: Incarnation,
    /** called if the database is another one than before */
    private readonly refresh: () => Promise<void>,
  ) {}

  /** `busy` if another instance owns the lane; that one is asked to close it. */
  async take(id: Uint8Array, exclusive: boolean, bootId: string): Promise<SessionRow | 'busy' | undefined> {
    for (let attempt = 0; attempt < 3; attempt++) {
      const row = (exclusive ? undefined : await this.join(id)) ?? (await this.openLane(id, exclusive, bootId));
      if (row) return row;
      const obstacle = await this.obstacle(id);
      if (obstacle === undefined) return undefined;
      if (obstacle.moved) {
        await this.refresh();
        return 'busy';
      }
      const { owner } = obstacle;
      if (owner !== null && owner !== bootId && !(await this.lease.removeGone(this.query, owner))) {
        await this.query('UPDATE sealwire_session SET release_wanted = true WHERE id = $1 AND owner = $2', [id, owner]);
        return 'busy';
      }
    }
    return 'busy';
  }

  /** The owner stays while numbers of the window may still run. It closes the lane once more after that, and the entry is replaced. */
  async close(id: Uint8Array, lane: number, window: Uint8Array, answered: boolean, bootId: string): Promise<void> {
    const newest = (entry: string, column: string) =>
      `(ARRAY[${entry}] || CASE WHEN closed_lanes[1] = lane THEN ${column}[2:] ELSE ${column} END)[1:${CLOSED_KEPT}]`;
    await this.query(
      `UPDATE sealwire_session SET owner = CASE WHEN $4 THEN NULL ELSE owner END, release_wanted = false,
         closed_lanes = ${newest('lane', 'closed_lanes')},
         closed_windows = ${newest('$3::bytea', 'closed_windows')},
         closed_answered = ${newest('$4::boolean', 'closed_answered')}
       WHERE id = $1 AND lane = $2 AND owner = $5`,
      [id, lane, window, answered, bootId],
    );
  }

  /** The current lane, if every number of it is in the table and the database is still the one it was opened in. */
  private async join(id: Uint8Array): Promise<SessionRow | undefined> {
    const { value, mark } = this.incarnation;
    const [row] = await this.query<SessionRow>(
      `SELECT ${SESSION_COLUMNS} FROM sealwire_session s WHERE s.id = $1 AND ${LIVE} AND s.traffic IS NOT NULL
         AND s.shared AND s.lane_incarnation = $2 AND ${MARK} = $3`,
      [id, value, mark],
    );
    return row;
  }

  /**
   * Opens the next lane if no living instance owns the current one. `seen` is the row as this statement found it and `s` the
   * row as it is once its lock is ours: a row that another took in between has another owner, and nothing happens.
   */
  private async openLane(id: Uint8Array, exclusive: boolean, bootId: string): Promise<SessionRow | undefined> {
    const { value, mark } = this.incarnation;
    const [row] = await this.query<SessionRow>(
      `UPDATE sealwire_session s SET lane = ${NEXT_LANE}, shared = NOT $2, owner = CASE WHEN $2 THEN $3::text END,
         release_wanted = false, floor = -1, floored_at = NULL, lane_incarnation = $4,
         closed_lanes = CASE WHEN s.lane_incarnation = $4 THEN s.closed_lanes ELSE '{}' END
       FROM sealwire_session seen
       WHERE ${DURABLE} AND seen.id = $1 AND s.id = seen.id AND s.owner IS NOT DISTINCT FROM seen.owner
         AND (seen.owner IS NULL OR seen.owner = $3
           OR NOT EXISTS (SELECT FROM sealwire_instance i WHERE i.boot_id = seen.owner))
         AND ($2 OR NOT (s.shared AND s.lane_incarnation = $4))
         AND ${LIVE} AND s.traffic IS NOT NULL AND s.lane < ${LAST_LANE} AND ${MARK} = $5
       RETURNING ${SESSION_COLUMNS}`,
      [id, exclusive, bootId, value, mark],
    );
    return row;
  }

  /** The reason why no lane opened; undefined if there is no such session. */
  private async obstacle(id: Uint8Array): Promise<{ owner: string | null; moved: boolean } | undefined> {
    const [row] = await this.query<{ owner: string | null; moved: boolean }>(
      `SELECT s.owner, ${MARK} <> $2 AS moved FROM sealwire_session s
       WHERE s.id = $1 AND ${LIVE} AND s.traffic IS NOT NULL AND s.lane < ${LAST_LANE}`,
      [id, this.incarnation.mark],
    );
    return row;
  }
}

interface Means {
  readonly wrap: SessionWrap;
  readonly keys: KeyEncryption;
  readonly incarnation: Incarnation;
  readonly shared: boolean;
  readonly bootId: string;
}

/**
 * Writes the session and its first calls in one statement: a database that was put back meanwhile, or an id that was used
 * before, takes neither. It answers the lane; undefined if nothing happened.
 *
 * @param query of a transaction if the session has previous ones, for their data moves to it
 */
export async function createSession(
  query: Query,
  { wrap, keys, incarnation, shared, bootId }: Means,
  session: NewSession,
): Promise<number | undefined> {
  const row: SessionIdentity = {
    id: session.id,
    module: session.module,
    key_id: session.keyId ?? null,
    key_size: session.keySize,
    peer: session.peer ?? null,
  };
  const { firstCalls } = session;
  const [created] = await query<{ lane: number }>(
    `WITH made AS (
       INSERT INTO sealwire_session AS s
         (id, module, key_id, key_size, peer, lane, shared, owner, lane_incarnation, first_key, idle_seconds, expires_at,
          first_digest, first_count)
       SELECT $1, $2, $3::bytea, $4, $5::text, extract(epoch FROM now())::bigint, $6, $7::text, $8, $9, $10,
         now() + $11::integer * interval '1 second', $13::bytea, $14::smallint
       WHERE ${MARK} = $12 AND ${DURABLE} ON CONFLICT (id) DO NOTHING RETURNING s.id, s.lane
     ), calls AS (
       INSERT INTO sealwire_accepted (session_id, lane, counter, digest, owner)
       SELECT made.id, ${FIRST_LANE}, n, $13, $15 FROM made, generate_series(0, $14::integer - 1) AS n WHERE $6
     )
     SELECT lane::float8 AS lane FROM made`,
    [
      ...[row.id, row.module, row.key_id, row.key_size, row.peer, shared, shared ? null : bootId, incarnation.value],
      ...[wrap.proof('first_key', row, session.firstKey), session.idleSeconds, session.lifetimeSeconds],
      ...[incarnation.mark, firstCalls?.digest ?? null, firstCalls?.count ?? 0, bootId],
    ],
  );
  // only a session that was made takes data: else it would be in neither
  const data = created && session.previous.length > 0 ? await takeData(query, keys, session.previous) : undefined;
  if (data) {
    const wrapped = wrapData(keys, session.id, 0, data);
    await query('UPDATE sealwire_session SET data = $2 WHERE id = $1', [session.id, wrapped]);
  }
  return created?.lane;
}

/** Joins the data of several sessions; of a name that several have, the last one's value counts. Data that does not open is left behind. */
async function takeData(
  query: Query,
  keys: KeyEncryption,
  previous: readonly Uint8Array[],
): Promise<Record<string, unknown> | undefined> {
  const rows = await query<{ id: Uint8Array; data: Uint8Array; version: number }>(
    `WITH old AS (
       SELECT s.id, s.data, s.data_version, p.n FROM sealwire_session s
       JOIN unnest($1::bytea[]) WITH ORDINALITY AS p(id, n) ON p.id = s.id
       WHERE s.ended_reason = 'renewed' AND s.data IS NOT NULL ORDER BY s.id FOR UPDATE OF s
     ), emptied AS (
       UPDATE sealwire_session SET data = NULL WHERE id IN (SELECT id FROM old)
     )
     SELECT id, data, data_version AS version FROM old ORDER BY n`,
    [previous],
  );
  const values = rows.flatMap((row) => {
    try {
      return [unwrapData(keys, toBytes(row.id), row.version, row.data)];
    } catch {
      return [];
    }
  });
  // not assigned one by one: a value may have the name `__proto__`
  return values.length > 0 ? Object.fromEntries(values.flatMap((value) => Object.entries(value))) : undefined;
}

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
       WHERE s.ended_at IS NULL AND s.id = ANY(ARRAY(SELECT o.id FROM sealwire_session o
         WHERE o.id = ANY(ARRAY(SELECT id FROM over)) ORDER BY o.id FOR UPDATE SKIP LOCKED))`,
      [id, most, ...parameters],
    );
  }
}
