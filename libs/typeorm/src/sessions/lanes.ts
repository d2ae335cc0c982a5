import { DURABLE, type Query } from '../connection/database.js';
import { type Incarnation, MARK } from './incarnation.js';
import type { Lease } from './lease.js';
import { LIVE, SESSION_COLUMNS, type SessionRow } from './session-row.js';

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
    /** called where the database is another one than before */
    private readonly refresh: () => Promise<void>,
  ) {}

  /** `busy` where another instance owns the lane; it is asked to close it. */
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
      if (owner !== null && owner !== bootId && !(await this.lease.bury(this.query, owner))) {
        await this.query('UPDATE sealwire_session SET release_wanted = true WHERE id = $1 AND owner = $2', [id, owner]);
        return 'busy';
      }
    }
    return 'busy';
  }

  /** The owner stays where numbers of the window may still run; it closes the lane once more then, and the entry is replaced. */
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

  /** The current lane, where every number of it is in the table and the database is still the one it was opened in. */
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

  /** Why no lane opened; undefined where the session is none. */
  private async obstacle(id: Uint8Array): Promise<{ owner: string | null; moved: boolean } | undefined> {
    const [row] = await this.query<{ owner: string | null; moved: boolean }>(
      `SELECT s.owner, ${MARK} <> $2 AS moved FROM sealwire_session s
       WHERE s.id = $1 AND ${LIVE} AND s.traffic IS NOT NULL AND s.lane < ${LAST_LANE}`,
      [id, this.incarnation.mark],
    );
    return row;
  }
}
