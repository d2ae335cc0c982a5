import { erase, fromHex, type SessionSecrets, toHex } from '@sealwire/core';
import type { ClosedLane, CloseReason, NewSession, SessionDataRow, StoredSession } from '../ports/index.js';
import { copyOf, pooled, secretAt } from './pooled.js';

const NONE: readonly ClosedLane[] = [];
const NO_DATA: SessionDataRow = { data: {}, version: 0 };

/** A session of the memory store. */
export class Row {
  readonly key: string;
  readonly module: string;
  readonly keySize: NewSession['keySize'];
  readonly peer: string | undefined;
  readonly firstCalls: NewSession['firstCalls'];
  readonly idleMs: number;
  readonly expires: number;
  private keys: Uint8Array | undefined;
  firstKey: Uint8Array | undefined;
  /** its traffic secrets are erased, so nothing may be opened with them, whatever the clock says */
  private silent = false;
  epoch = 0;
  closed: readonly ClosedLane[] = NONE;
  lastUsed: number;
  ended: { readonly at: number; readonly reason: CloseReason } | undefined;
  data: SessionDataRow = NO_DATA;
  /** while it lives: in the order of its module */
  private readonly ofModule: Use;
  /** and of its SecureKey if it has one */
  private readonly ofKey: Use | undefined;

  constructor(
    session: NewSession,
    readonly created: number,
    public lane: number,
    module: UseOrder,
    key: UseOrder | undefined,
  ) {
    this.key = toHex(session.id);
    this.module = session.module;
    this.keySize = session.keySize;
    this.peer = session.peer;
    this.firstCalls = session.firstCalls;
    this.idleMs = session.idleSeconds * 1000;
    this.expires = created + session.lifetimeSeconds * 1000;
    this.firstKey = pooled(session.firstKey);
    this.lastUsed = created;
    this.ofModule = new Use(this, module);
    this.ofKey = key && new Use(this, key);
    module.add(this.ofModule);
    if (this.ofKey) key?.add(this.ofKey);
  }

  get id(): Uint8Array {
    return fromHex(this.key);
  }

  /** The row's own, not copies. */
  get secrets(): SessionSecrets | undefined {
    const { keys } = this;
    if (!keys) return undefined;
    return { clientToServer: secretAt(keys, 0), serverToClient: secretAt(keys, 1), renewal: secretAt(keys, 2) };
  }

  /** Keeps copies, and erases those of before. */
  keep({ clientToServer, serverToClient, renewal }: SessionSecrets): void {
    const before = this.keys;
    this.keys = pooled(clientToServer, serverToClient, renewal);
    if (before) erase(before);
  }

  /** hexadecimal */
  get keyId(): string | undefined {
    return this.ofKey?.order.name;
  }

  use(now: number): void {
    this.lastUsed = now;
    this.ofModule.renew();
    this.ofKey?.renew();
  }

  /** It takes part in no order any more. */
  retire(): void {
    this.ofModule.remove();
    this.ofKey?.remove();
  }

  /** Why its time is over; undefined while it is not. */
  overAt(now: number): CloseReason | undefined {
    if (now >= this.expires) return 'expired';
    return now >= this.lastUsed + this.idleMs ? 'idle' : undefined;
  }

  toStored(incarnation: Uint8Array): StoredSession | undefined {
    const { secrets: own } = this;
    if (!own || this.silent) return undefined;
    const { id, key, module, keySize, peer, firstCalls, lane, closed, epoch, lastUsed, expires } = this;
    const keyId = this.keyId === undefined ? undefined : fromHex(this.keyId);
    const identity = { id, key, module, keyId, keySize, idleSeconds: this.idleMs / 1000, peer, firstCalls };
    const secrets = copyOf(own);
    return { ...identity, lane, closed, epoch, lastUsed, expires, incarnation, secrets, ended: this.ended?.reason };
  }

  /** Its frames are answered no more; its renewal key still proves it. */
  silence(): void {
    this.silent = true;
    this.eraseTraffic();
  }

  eraseTraffic(): void {
    if (this.keys) erase(secretAt(this.keys, 0), secretAt(this.keys, 1));
  }

  eraseFirst(): void {
    if (this.firstKey) erase(this.firstKey);
    this.firstKey = undefined;
  }

  erase(): void {
    this.eraseFirst();
    if (this.keys) erase(this.keys);
  }
}

/** A row's place in an order of use. */
class Use {
  before: Use | undefined;
  after: Use | undefined;

  constructor(
    readonly row: Row,
    readonly order: UseOrder,
  ) {}

  remove(): void {
    this.order.remove(this);
  }

  renew(): void {
    this.order.remove(this);
    this.order.add(this);
  }
}

/** Live rows, the longest unused one first; every step takes the same time however many they are. */
export class UseOrder {
  size = 0;
  private first: Use | undefined;
  private last: Use | undefined;

  /** @param name of the module, or the id of the SecureKey in hexadecimal */
  constructor(readonly name: string) {}

  oldest(): Row | undefined {
    return this.first?.row;
  }

  add(use: Use): void {
    this.size += 1;
    use.before = this.last;
    use.after = undefined;
    if (this.last) this.last.after = use;
    else this.first = use;
    this.last = use;
  }

  remove(use: Use): void {
    this.size -= 1;
    if (use.before) use.before.after = use.after;
    else this.first = use.after;
    if (use.after) use.after.before = use.before;
    else this.last = use.before;
  }

  *[Symbol.iterator](): Generator<Row> {
    for (let use = this.first; use; ) {
      const { row, after } = use;
      yield row;
      use = after;
    }
  }
}
