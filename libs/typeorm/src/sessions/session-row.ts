import type { KeySize, SessionSecrets } from '@sealwire/core';
import { concat, toHex } from '@sealwire/core';
import {
  type ClosedLane,
  type CloseReason,
  type LedgerSession,
  ownSelector,
  type SessionSelector,
  type StoredSession,
} from '@sealwire/nest/ports';
import { toBytes } from '../connection/database.js';
import type { KeyEncryption, Place } from '../keys/key-encryption.js';
import { type Incarnation, MARK } from './incarnation.js';

/** The fields to which a session's secrets are bound: a row whose policy was altered does not open. */
export interface SessionIdentity {
  readonly id: Uint8Array;
  readonly module: string;
  readonly key_id: Uint8Array | null;
  readonly key_size: number;
  readonly peer: string | null;
}

export interface SessionRow extends SessionIdentity {
  /** of the database that gave the row */
  readonly mark: string;
  readonly lane: number;
  readonly lane_incarnation: Uint8Array;
  readonly closed_lanes: number[];
  readonly closed_windows: Uint8Array[];
  readonly closed_answered: boolean[];
  readonly first_digest: Uint8Array | null;
  readonly first_count: number;
  readonly epoch: number;
  readonly traffic: Uint8Array | null;
  readonly first_key: Uint8Array | null;
  readonly renewal: Uint8Array | null;
  readonly idle_seconds: number;
  /** milliseconds */
  readonly last_used: number;
  readonly expires: number;
  readonly ended: CloseReason | null;
}

const IDLE_END = `s.last_used_at + s.idle_seconds * interval '1 second'`;

/** When the session ended, or will if it is not used again. */
export const END = `COALESCE(s.ended_at, LEAST(s.expires_at, ${IDLE_END}))`;

export const LIVE = `s.ended_at IS NULL AND s.expires_at > now() AND ${IDLE_END} > now()`;

/** Seconds after its end that a session's keys are kept, for what its client sent before it learned of the end. */
export const KEYS_KEPT = 60;

/** bigint would come as text; lanes and counters are u32 and fit a float8 */
export const SESSION_COLUMNS = `s.id, s.module, s.key_id, s.key_size, s.peer, ${MARK} AS mark, s.lane::float8 AS lane,
  s.lane_incarnation, s.closed_lanes::float8[] AS closed_lanes, s.closed_windows, s.closed_answered, s.first_digest,
  s.first_count, s.epoch, s.traffic, s.first_key, s.renewal, s.idle_seconds,
  extract(epoch FROM s.last_used_at)::float8 * 1000 AS last_used, extract(epoch FROM s.expires_at)::float8 * 1000 AS expires,
  CASE WHEN s.ended_at IS NOT NULL THEN s.ended_reason WHEN s.expires_at <= now() THEN 'expired'
    WHEN ${IDLE_END} <= now() THEN 'idle' END AS ended`;

/** The same times as {@link SESSION_COLUMNS}; what a row is identified by while it is rewrapped. */
export type WrappedSession = SessionIdentity &
  Pick<SessionRow, 'epoch' | 'traffic' | 'first_key' | 'renewal'> & {
    readonly data: Uint8Array | null;
    readonly data_version: number;
  };

export class SessionWrap {
  constructor(private readonly keys: KeyEncryption) {}

  traffic(
    session: SessionIdentity,
    epoch: number,
    secrets: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>,
  ): Uint8Array {
    return this.keys.wrap(trafficPlace(session, epoch), concat(secrets.clientToServer, secrets.serverToClient));
  }

  /** @param column which of the keys that prove the session */
  proof(column: 'first_key' | 'renewal', session: SessionIdentity, key: Uint8Array): Uint8Array {
    return this.keys.wrap(place(session, column), key);
  }

  openProof(column: 'first_key' | 'renewal', row: SessionRow): Uint8Array | undefined {
    const wrapped = row[column];
    return wrapped ? this.keys.unwrap(place(row, column), wrapped) : undefined;
  }

  /** @throws SealwireError if the row was altered, wrapped by an unknown KEK or is not active */
  open(row: SessionRow): SessionSecrets {
    const traffic = this.keys.unwrap(trafficPlace(row, row.epoch), row.traffic ?? new Uint8Array());
    const renewal = this.keys.unwrap(place(row, 'renewal'), row.renewal ?? new Uint8Array());
    return { clientToServer: traffic.slice(0, 32), serverToClient: traffic.slice(32), renewal };
  }

  /** The places of the row's secrets, in the order of their columns. */
  static places(row: WrappedSession): { readonly place: Place; readonly wrapped: Uint8Array | null }[] {
    return [
      { place: trafficPlace(row, row.epoch), wrapped: row.traffic },
      { place: place(row, 'first_key'), wrapped: row.first_key },
      { place: place(row, 'renewal'), wrapped: row.renewal },
    ];
  }
}

/** The part that a ledger looks at. If the database is in another state than the lane's, lanes that were closed there say nothing. */
export function toLedgerSession(row: SessionRow, incarnation: Incarnation): LedgerSession {
  return {
    id: toBytes(row.id),
    key: toHex(row.id),
    lane: row.lane,
    incarnation: toBytes(row.lane_incarnation),
    closed: incarnation.matches(row.mark, row.lane_incarnation) ? closedOf(row) : [],
    firstCalls: row.first_digest ? { digest: toBytes(row.first_digest), count: row.first_count } : undefined,
  };
}

export function toStored(row: SessionRow, secrets: SessionSecrets, incarnation: Incarnation): StoredSession {
  return {
    ...toLedgerSession(row, incarnation),
    module: row.module,
    keyId: row.key_id ? toBytes(row.key_id) : undefined,
    keySize: row.key_size as KeySize,
    epoch: row.epoch,
    secrets,
    idleSeconds: row.idle_seconds,
    lastUsed: row.last_used,
    expires: row.expires,
    peer: row.peer ?? undefined,
    ended: row.ended ?? undefined,
  };
}

function closedOf(row: SessionRow): ClosedLane[] {
  return row.closed_lanes.map((lane, i) => ({
    lane,
    window: toBytes(row.closed_windows[i] ?? new Uint8Array()),
    answered: row.closed_answered[i] ?? false,
  }));
}

/** The condition of a selector, with its one parameter as $1. */
export function selectorSql(chosen: SessionSelector): { where: string; parameters: unknown[] } {
  const selector = ownSelector(chosen);
  if ('id' in selector) return { where: 's.id = $1', parameters: [selector.id] };
  if ('keyId' in selector) return { where: 's.key_id = $1', parameters: [selector.keyId] };
  if ('module' in selector) return { where: 's.module = $1', parameters: [selector.module] };
  return { where: '$1::text IS NULL', parameters: [null] };
}

function trafficPlace(session: SessionIdentity, epoch: number): Place {
  return [...place(session, 'traffic'), epoch];
}

function place({ id, module, key_id, key_size, peer }: SessionIdentity, column: string): Place {
  return ['sealwire_session', column, id, module, key_id ?? undefined, key_size, peer ?? undefined];
}
