import { Inject, Injectable } from '@nestjs/common';
import {
  erase,
  type KeyPair,
  LIMITS,
  type Primitives,
  type Renewal,
  type RenewalAnswer,
  type SessionSecrets,
  SIZE,
  toHex,
} from '@sealwire/core';
import {
  type AttachedSession,
  type CloseReason,
  KeyStore,
  type NewSession,
  type SessionSelector,
  SessionStore,
  type SessionStoreListener,
  type SessionSummary,
} from '../ports/ports.js';
import { PRIMITIVES } from '../tokens.js';
import { knownOf } from './memory-ledger.js';

const TOMBSTONE_MS = 600_000;
const PURGE_MS = 60_000;
const COOKIE_KEY_MS = 300_000;

interface Row extends NewSession {
  readonly created: number;
  secrets: SessionSecrets | undefined;
  epoch: number;
  lane: number;
  closed: AttachedSession['closed'];
  lastUsed: number;
  ended: number | undefined;
  data: { data: Record<string, unknown>; version: number };
}

/** Sessions of a process that keeps none: they end with it. */
@Injectable()
export class MemorySessionStore extends SessionStore {
  private readonly rows = new Map<string, Row>();
  private readonly identity: Uint8Array;
  private listener: SessionStoreListener | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(@Inject(PRIMITIVES) primitives: Primitives) {
    super();
    this.identity = primitives.random(SIZE.incarnation);
  }

  async start(listener: SessionStoreListener): Promise<void> {
    this.listener = listener;
    this.timer = setInterval(() => void this.purge(), PURGE_MS).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
  }

  leaseHolds(): boolean {
    return true;
  }

  now(): number {
    return Date.now();
  }

  incarnation(): Uint8Array {
    return this.identity;
  }

  async create(session: NewSession): Promise<{ lane: number; incarnation: Uint8Array } | undefined> {
    const key = toHex(session.id);
    if (this.rows.has(key)) return undefined;
    const now = this.now();
    const lane = Math.floor(now / 1000);
    const fresh = { secrets: undefined, epoch: 0, closed: undefined, ended: undefined, data: { data: {}, version: 0 } };
    this.rows.set(key, { ...session, ...fresh, lane, created: now, lastUsed: now });
    return { lane, incarnation: this.identity };
  }

  async activate(id: Uint8Array, secrets: SessionSecrets): Promise<boolean> {
    const row = this.living(id);
    if (row) row.secrets = copyOf(secrets);
    return row !== undefined;
  }

  /** There is no other process, so a session is always free to take up. */
  async attach(id: Uint8Array, exclusive: boolean): Promise<AttachedSession | undefined> {
    const row = this.living(id);
    if (!row?.secrets) return undefined;
    if (exclusive) row.lane = Math.max(row.lane + 1, Math.floor(this.now() / 1000));
    const { module, keyId, keySize, epoch, firstKey, lane, closed, idleSeconds, lastUsed, peer } = row;
    const secrets = copyOf(row.secrets);
    const expires = row.created + row.lifetimeSeconds * 1000;
    const session = {
      id: row.id,
      module,
      keyId,
      keySize,
      epoch,
      secrets,
      firstKey,
      lane,
      closed,
      idleSeconds,
      lastUsed,
    };
    return { ...session, incarnation: this.identity, expires, peer };
  }

  async closeLane(id: Uint8Array, lane: number, window: Uint8Array): Promise<void> {
    const row = this.rows.get(toHex(id));
    if (row?.lane === lane) row.closed = { lane, window };
  }

  async advanceEpoch(
    id: Uint8Array,
    epoch: number,
    secrets: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>,
  ): Promise<boolean> {
    const row = this.living(id);
    if (!row?.secrets || row.epoch !== epoch - 1) return false;
    erase(row.secrets.clientToServer, row.secrets.serverToClient);
    row.secrets = copyOf({ ...row.secrets, ...secrets });
    row.epoch = epoch;
    return true;
  }

  touch(id: Uint8Array): void {
    const row = this.rows.get(toHex(id));
    if (row) row.lastUsed = this.now();
  }

  async reconcile(renewal: Renewal, verify: (key: Uint8Array) => boolean): Promise<RenewalAnswer[]> {
    const row = this.rows.get(toHex(renewal.sessionId));
    const proved = row?.secrets !== undefined && verify(row.secrets.renewal);
    if (!row || !(proved || verify(row.firstKey))) return renewal.numbers.map(() => ({ known: 'unknown' }));
    this.close(row, 'renewed');
    return renewal.numbers.map(({ number }) => {
      if (number.lane === 0) return { known: 'ran' };
      return { known: proved ? knownOf(row.closed, number) : 'unknown' };
    });
  }

  async end(selector: SessionSelector, reason: CloseReason): Promise<number> {
    const rows = this.select(selector);
    for (const row of rows) this.close(row, reason);
    return rows.length;
  }

  async list(filter: SessionSelector, page: { limit: number; after?: string }): Promise<SessionSummary[]> {
    const rows = this.select(filter).map(summaryOf);
    rows.sort((a, b) => (a.id < b.id ? -1 : 1));
    return rows.filter(({ id }) => page.after === undefined || id > page.after).slice(0, page.limit);
  }

  async count(filter: SessionSelector): Promise<number> {
    return this.select(filter).length;
  }

  /** A session whose time is over ends first; its tombstone goes later. */
  async purge(): Promise<number> {
    const now = this.now();
    const before = this.rows.size;
    for (const [key, row] of this.rows) {
      if (row.ended !== undefined) {
        if (row.ended + TOMBSTONE_MS < now) this.rows.delete(key);
      } else if (row.created + row.lifetimeSeconds * 1000 < now) {
        this.close(row, 'expired');
      } else if (row.lastUsed + row.idleSeconds * 1000 < now) {
        this.close(row, 'idle');
      }
    }
    return before - this.rows.size;
  }

  async readData(id: Uint8Array): Promise<{ data: Record<string, unknown>; version: number } | undefined> {
    const row = this.living(id);
    return row && structuredClone(row.data);
  }

  async writeData(id: Uint8Array, data: Record<string, unknown>, version: number): Promise<boolean> {
    const row = this.living(id);
    if (row?.data.version !== version) return false;
    row.data = { data: structuredClone(data), version: version + 1 };
    return true;
  }

  private living(id: Uint8Array): Row | undefined {
    const row = this.rows.get(toHex(id));
    if (!row || row.ended !== undefined) return undefined;
    const now = this.now();
    return now < Math.min(row.created + row.lifetimeSeconds * 1000, row.lastUsed + row.idleSeconds * 1000)
      ? row
      : undefined;
  }

  private select(selector: SessionSelector): Row[] {
    const matches = matcher(selector);
    return [...this.rows.values()].filter((row) => row.ended === undefined && matches(row));
  }

  private close(row: Row, reason: CloseReason): void {
    if (row.ended !== undefined) return;
    row.ended = this.now();
    this.listener?.ended(row.id, reason, row.module);
  }
}

/** Key pair and cookie keys of a process that keeps none. */
@Injectable()
export class MemoryKeyStore extends KeyStore {
  private readonly pair: KeyPair;
  /** newest last */
  private readonly cookieKeys: { readonly id: Uint8Array; readonly random: Uint8Array; readonly made: number }[] = [];

  constructor(@Inject(PRIMITIVES) private readonly primitives: Primitives) {
    super();
    this.pair = primitives.x25519KeyPair(primitives.random(SIZE.key));
  }

  async serverKeys(): Promise<readonly KeyPair[]> {
    return [this.pair];
  }

  async secureKey(): Promise<undefined> {}

  async currentCookieKey(): Promise<{ id: Uint8Array; random: Uint8Array }> {
    const newest = this.cookieKeys.at(-1);
    if (newest && performance.now() - newest.made < COOKIE_KEY_MS) return newest;
    const key = { id: this.primitives.random(4), random: this.primitives.random(32), made: performance.now() };
    this.cookieKeys.push(key);
    setTimeout(() => this.forget(key), COOKIE_KEY_MS + LIMITS.cookieSeconds * 1000).unref();
    return key;
  }

  async cookieKey(id: Uint8Array): Promise<{ id: Uint8Array; random: Uint8Array } | undefined> {
    return this.cookieKeys.find((key) => toHex(key.id) === toHex(id));
  }

  private forget(key: MemoryKeyStore['cookieKeys'][number]): void {
    erase(key.random);
    this.cookieKeys.splice(this.cookieKeys.indexOf(key), 1);
  }
}

/** Whoever is given secrets may erase its own. */
function copyOf(secrets: SessionSecrets): SessionSecrets {
  return {
    clientToServer: secrets.clientToServer.slice(),
    serverToClient: secrets.serverToClient.slice(),
    renewal: secrets.renewal.slice(),
    exporter: secrets.exporter.slice(),
  };
}

function matcher(selector: SessionSelector): (row: Row) => boolean {
  if ('id' in selector) return (row) => toHex(row.id) === toHex(selector.id);
  if ('keyId' in selector) return (row) => row.keyId !== undefined && toHex(row.keyId) === toHex(selector.keyId);
  if ('module' in selector) return (row) => row.module === selector.module;
  return () => true;
}

function summaryOf(row: Row): SessionSummary {
  return {
    id: toHex(row.id),
    module: row.module,
    keyId: row.keyId && toHex(row.keyId),
    lane: row.lane,
    epoch: row.epoch,
    created: new Date(row.created),
    lastUsed: new Date(row.lastUsed),
    expires: new Date(row.created + row.lifetimeSeconds * 1000),
    peer: row.peer,
  };
}
