import type { KeySize, SessionSecrets } from '@sealwire/core';
import { concat } from '@sealwire/core';
import type { AttachedSession, SessionSelector } from '@sealwire/nest/ports';
import { toBytes } from '../connection/database.js';
import type { KeyEncryption, Place } from '../keys/key-encryption.js';

/** What a session's secrets are bound to: a row whose policy was altered does not open. */
export interface SessionIdentity {
  readonly id: Uint8Array;
  readonly module: string;
  readonly key_id: Uint8Array | null;
  readonly key_size: number;
  readonly peer: string | null;
}

export interface SessionRow extends SessionIdentity {
  readonly lane: number;
  readonly shared: boolean;
  readonly owner: string | null;
  readonly lane_incarnation: Uint8Array;
  readonly floor: number;
  readonly closed_lane: number | null;
  readonly closed_window: Uint8Array | null;
  readonly epoch: number;
  readonly traffic: Uint8Array | null;
  readonly exporter: Uint8Array | null;
  readonly proof: Uint8Array;
  readonly idle_seconds: number;
  /** milliseconds */
  readonly last_used: number;
  readonly expires: number;
}

/** bigint would come as text; lanes and counters are u32 and fit a float8 */
export const SESSION_COLUMNS = `s.id, s.module, s.key_id, s.key_size, s.peer, s.lane::float8 AS lane, s.shared, s.owner,
  s.lane_incarnation, s.floor::float8 AS floor, s.closed_lane::float8 AS closed_lane, s.closed_window,
  s.epoch, s.traffic, s.exporter, s.proof, s.idle_seconds,
  extract(epoch FROM s.last_used_at)::float8 * 1000 AS last_used, extract(epoch FROM s.expires_at)::float8 * 1000 AS expires`;

export const LIVE = `s.ended_at IS NULL AND s.expires_at > now()
  AND s.last_used_at + s.idle_seconds * interval '1 second' > now()`;

export class SessionWrap {
  constructor(private readonly keys: KeyEncryption) {}

  traffic(
    session: SessionIdentity,
    epoch: number,
    secrets: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>,
  ): Uint8Array {
    return this.keys.wrap(place(session, 'traffic', epoch), concat(secrets.clientToServer, secrets.serverToClient));
  }

  exporter(session: SessionIdentity, exporter: Uint8Array): Uint8Array {
    return this.keys.wrap(place(session, 'exporter'), exporter);
  }

  /** The renewal key is there once the session is active. */
  proof(session: SessionIdentity, firstKey: Uint8Array, renewal?: Uint8Array): Uint8Array {
    return this.keys.wrap(place(session, 'proof'), renewal ? concat(firstKey, renewal) : firstKey);
  }

  openProof(session: SessionIdentity, proof: Uint8Array): { firstKey: Uint8Array; renewal: Uint8Array | undefined } {
    const keys = this.keys.unwrap(place(session, 'proof'), proof);
    return { firstKey: keys.slice(0, 32), renewal: keys.length > 32 ? keys.slice(32) : undefined };
  }

  /** @throws where the row was altered, wrapped by an unknown KEK or is not active */
  open(row: SessionRow): Pick<AttachedSession, 'secrets' | 'firstKey'> {
    const traffic = this.keys.unwrap(place(row, 'traffic', row.epoch), row.traffic ?? new Uint8Array());
    const { firstKey, renewal } = this.openProof(row, row.proof);
    return {
      firstKey,
      secrets: {
        clientToServer: traffic.slice(0, 32),
        serverToClient: traffic.slice(32),
        renewal: renewal ?? new Uint8Array(),
        exporter: this.keys.unwrap(place(row, 'exporter'), row.exporter ?? new Uint8Array()),
      },
    };
  }

  /** The same secrets under the current KEK. */
  again(row: SessionRow): { traffic: Uint8Array | null; exporter: Uint8Array | null; proof: Uint8Array } {
    const move = (where: Place, wrapped: Uint8Array | null) =>
      wrapped && this.keys.wrap(where, this.keys.unwrap(where, wrapped));
    return {
      traffic: move(place(row, 'traffic', row.epoch), row.traffic),
      exporter: move(place(row, 'exporter'), row.exporter),
      proof: this.keys.wrap(place(row, 'proof'), this.keys.unwrap(place(row, 'proof'), row.proof)),
    };
  }
}

/** The lane that was closed; of an ended session that still has an owner, some of it may not be answered yet. */
export function closedOf({ closed_lane: lane, closed_window: window }: SessionRow): AttachedSession['closed'] {
  return lane === null || window === null ? undefined : { lane, window: toBytes(window) };
}

export function toAttached(row: SessionRow, opened: Pick<AttachedSession, 'secrets' | 'firstKey'>): AttachedSession {
  return {
    ...opened,
    id: toBytes(row.id),
    module: row.module,
    keyId: row.key_id ? toBytes(row.key_id) : undefined,
    keySize: row.key_size as KeySize,
    epoch: row.epoch,
    lane: row.lane,
    incarnation: toBytes(row.lane_incarnation),
    closed: closedOf(row),
    idleSeconds: row.idle_seconds,
    lastUsed: row.last_used,
    expires: row.expires,
    peer: row.peer ?? undefined,
  };
}

/** WHERE of a selector, with its one parameter as $1. */
export function selectorSql(selector: SessionSelector): { where: string; parameters: unknown[] } {
  if ('id' in selector) return { where: 's.id = $1', parameters: [selector.id] };
  if ('keyId' in selector) return { where: 's.key_id = $1', parameters: [selector.keyId] };
  if ('module' in selector) return { where: 's.module = $1', parameters: [selector.module] };
  return { where: '$1::text IS NULL', parameters: [null] };
}

function place(session: SessionIdentity, column: string, epoch?: number): Place {
  const { id, module, key_id, key_size, peer } = session;
  return ['sealwire_session', column, id, module, key_id ?? undefined, key_size, peer ?? undefined, epoch];
}
