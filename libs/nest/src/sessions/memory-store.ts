import { Inject, Injectable } from '@nestjs/common';
import { ownOptions, type Primitives, type SessionSecrets, SIZE, toHex } from '@sealwire/core';
import {
  type CloseReason,
  type NewSession,
  ownSelector,
  type RenewedSession,
  type SessionData,
  type SessionDataRow,
  type SessionDirectory,
  type SessionLimits,
  type SessionSelector,
  SessionStore,
  type SessionStoreListener,
  type SessionSummary,
  type StoredSession,
} from '../ports/index.js';
import { PRIMITIVES } from '../tokens.js';
import { Row, UseOrder } from './memory-rows.js';

const ANSWERING_MS = 60_000;
const TOMBSTONE_MS = 600_000;
const PURGE_MS = 60_000;
const CLOSED_LANES = 4;

/** Sessions of a process that keeps none: they end with it. */
@Injectable()
export class MemoryStore extends SessionStore implements SessionDirectory, SessionData {
  /** live ones and tombstones */
  private readonly rows = new Map<string, Row>();
  private readonly modules = new Map<string, UseOrder>();
  private readonly secureKeys = new Map<string, UseOrder>();
  private readonly identity: Uint8Array;
  private readonly idKey: Uint8Array;
  private readonly since = performance.now();
  private listener: SessionStoreListener | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(@Inject(PRIMITIVES) primitives: Primitives) {
    super();
    this.identity = primitives.random(SIZE.incarnation);
    this.idKey = primitives.random(SIZE.key);
  }

  async start(listener: SessionStoreListener): Promise<void> {
    this.listener = listener;
    this.timer = setInterval(() => void this.purge(), PURGE_MS).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
  }

  async ping(): Promise<void> {}

  leaseHolds(): boolean {
    return true;
  }

  now(): number {
    // the machine's clock may be set back or forth, which must end no session early or late
    return Math.floor(performance.timeOrigin + performance.now());
  }

  incarnation(): Uint8Array {
    return this.identity;
  }

  age(): number {
    return Math.ceil(performance.now() - this.since) + 1;
  }

  sessionIdKey(): Uint8Array {
    return this.idKey;
  }

  async create(
    session: NewSession,
    limits: SessionLimits,
  ): Promise<{ lane: number; incarnation: Uint8Array } | undefined> {
    if (this.rows.has(toHex(session.id))) return undefined;
    const now = this.now();
    const ofModule = orderIn(this.modules, session.module);
    const ofKey = session.keyId && orderIn(this.secureKeys, toHex(session.keyId));
    const row = new Row(session, now, Math.floor(now / 1000), ofModule, ofKey);
    if (session.previous.length > 0) row.data = { data: this.moveData(session.previous), version: 0 };
    this.rows.set(row.key, row);
    this.evict(ofModule, limits.module);
    if (ofKey) this.evict(ofKey, limits.secureKey);
    return { lane: row.lane, incarnation: this.identity };
  }

  async activate(id: Uint8Array, secrets: SessionSecrets): Promise<boolean> {
    const row = this.living(id);
    row?.keep(secrets);
    return row !== undefined;
  }

  async find(id: Uint8Array): Promise<StoredSession | undefined> {
    const row = this.living(id) ?? this.rows.get(toHex(id));
    const answers = !row?.ended || this.now() < row.ended.at + ANSWERING_MS;
    return answers ? row?.toStored(this.identity) : undefined;
  }

  /** There is no other process, so a session is always free to take up. */
  async takeLane(id: Uint8Array, exclusive: boolean): Promise<StoredSession | undefined> {
    const row = this.living(id);
    if (!row?.secrets) return undefined;
    if (exclusive) row.lane = Math.max(row.lane + 1, Math.floor(this.now() / 1000));
    return row.toStored(this.identity);
  }

  async closeLane(id: Uint8Array, lane: number, window: Uint8Array, answered: boolean): Promise<void> {
    const row = this.rows.get(toHex(id));
    if (row?.lane !== lane) return;
    const others = row.closed.filter((closed) => closed.lane !== lane);
    row.closed = [{ lane, window, answered }, ...others].slice(0, CLOSED_LANES);
  }

  async advanceEpoch(
    id: Uint8Array,
    epoch: number,
    { clientToServer, serverToClient }: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>,
  ): Promise<boolean> {
    const row = this.living(id);
    if (!row?.secrets || row.epoch !== epoch - 1) return false;
    row.keep({ clientToServer, serverToClient, renewal: row.secrets.renewal });
    row.epoch = epoch;
    return true;
  }

  touch(id: Uint8Array, proved: boolean): void {
    const row = this.living(id);
    if (!row) return;
    row.use(this.now());
    if (proved) row.eraseFirst();
  }

  async renew(
    id: Uint8Array,
    scope: { readonly module: string; readonly keyId: Uint8Array | undefined },
    verify: (key: Uint8Array) => boolean,
  ): Promise<RenewedSession | undefined> {
    const row = this.living(id) ?? this.rows.get(toHex(id));
    if (row?.module !== scope.module || row.keyId !== (scope.keyId && toHex(scope.keyId))) return undefined;
    const { secrets, firstKey } = row;
    const whole = secrets !== undefined && verify(secrets.renewal);
    const key = whole ? secrets.renewal : firstKey;
    if (!key || !(whole || verify(key))) return undefined;
    this.close(row, 'renewed');
    const { lane, closed, firstCalls } = row;
    const session = { id, key: row.key, lane, incarnation: this.identity, closed, firstCalls };
    return { session, key: key.slice(), first: !whole };
  }

  async end(selector: SessionSelector, reason: CloseReason): Promise<number> {
    const rows = [...this.select(ownSelector(selector))];
    for (const row of rows) this.close(row, reason);
    return rows.length;
  }

  async list(filter: SessionSelector, page: { limit: number; after?: string }): Promise<SessionSummary[]> {
    const { after, limit } = ownOptions(page, ['after', 'limit']);
    const rows = [...this.select(ownSelector(filter))].filter(({ key }) => after === undefined || key > after);
    rows.sort((a, b) => (a.key < b.key ? -1 : 1));
    return rows.slice(0, limit).map(summaryOf);
  }

  async count(selector: SessionSelector): Promise<number> {
    const filter = ownSelector(selector);
    if ('keyId' in filter) return this.secureKeys.get(toHex(filter.keyId))?.size ?? 0;
    if ('module' in filter) return this.modules.get(filter.module)?.size ?? 0;
    let count = 0;
    for (const _ of this.select(filter)) count += 1;
    return count;
  }

  /** A session whose time is over ends first; its tombstone goes later. */
  async purge(): Promise<number> {
    const now = this.now();
    const before = this.rows.size;
    for (const row of this.rows.values()) {
      if (!row.ended) this.endIfOver(row);
      else if (row.ended.at + TOMBSTONE_MS < now) {
        this.rows.delete(row.key);
        row.erase();
      }
    }
    return before - this.rows.size;
  }

  async read(id: Uint8Array): Promise<SessionDataRow | undefined> {
    const row = this.living(id);
    return row && structuredClone(row.data);
  }

  async write(id: Uint8Array, data: Record<string, unknown>, version: number): Promise<boolean> {
    const row = this.living(id);
    if (row?.data.version !== version) return false;
    row.data = { data: structuredClone(data), version: version + 1 };
    return true;
  }

  private living(id: Uint8Array): Row | undefined {
    const row = this.rows.get(toHex(id));
    if (row) this.endIfOver(row);
    return row?.ended ? undefined : row;
  }

  private *select(selector: SessionSelector): Generator<Row> {
    if ('id' in selector) {
      const row = this.living(selector.id);
      if (row) yield row;
    } else if ('keyId' in selector) yield* this.secureKeys.get(toHex(selector.keyId)) ?? [];
    else if ('module' in selector) yield* this.modules.get(selector.module) ?? [];
    else for (const order of this.modules.values()) yield* order;
  }

  private evict(order: UseOrder, most: number): void {
    for (let oldest = order.oldest(); oldest && order.size > most; oldest = order.oldest()) {
      this.close(oldest, oldest.overAt(this.now()) ?? 'evicted');
    }
  }

  private moveData(previous: readonly Uint8Array[]): Record<string, unknown> {
    const moved = previous.map((id) => {
      const row = this.rows.get(toHex(id));
      if (row?.ended?.reason !== 'renewed') return {};
      const { data } = row.data;
      row.data = { data: {}, version: row.data.version };
      return data;
    });
    return Object.fromEntries(moved.flatMap((data) => Object.entries(data)));
  }

  private endIfOver(row: Row): void {
    const reason = row.overAt(this.now());
    if (reason) this.close(row, reason);
  }

  private close(row: Row, reason: CloseReason): void {
    if (row.ended) return;
    row.ended = { at: this.now(), reason };
    row.retire();
    if (row.keyId && this.secureKeys.get(row.keyId)?.size === 0) this.secureKeys.delete(row.keyId);
    setTimeout(() => row.silence(), ANSWERING_MS).unref();
    this.listener?.ended(row.id, reason, row.module);
  }
}

function orderIn(orders: Map<string, UseOrder>, name: string): UseOrder {
  const known = orders.get(name);
  if (known) return known;
  const order = new UseOrder(name);
  orders.set(name, order);
  return order;
}

function summaryOf(row: Row): SessionSummary {
  return {
    id: row.key,
    module: row.module,
    keyId: row.keyId,
    lane: row.lane,
    epoch: row.epoch,
    created: new Date(row.created),
    lastUsed: new Date(row.lastUsed),
    expires: new Date(row.expires),
    peer: row.peer,
  };
}
