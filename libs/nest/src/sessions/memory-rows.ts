import { erase, type SessionSecrets, toHex } from '@sealwire/core';
import type { ClosedLane, CloseReason, NewSession, SessionDataRow, StoredSession } from '../ports/index.js';

/** A session of the memory store. */
export class Row {
  readonly key: string;
  readonly keyId: string | undefined;
  secrets: SessionSecrets | undefined;
  firstKey: Uint8Array | undefined;
  /** its traffic secrets are erased, so nothing may be opened with them, whatever the clock says */
  private silent = false;
  epoch = 0;
  closed: readonly ClosedLane[] = [];
  lastUsed: number;
  ended: { readonly at: number; readonly reason: CloseReason } | undefined;
  data: SessionDataRow = { data: {}, version: 0 };
  /** while it lives: in the order of its module, and of its SecureKey where it has one */
  readonly uses: readonly Use[];

  constructor(
    readonly session: NewSession,
    readonly created: number,
    public lane: number,
    orders: readonly UseOrder[],
  ) {
    this.key = toHex(session.id);
    this.keyId = session.keyId && toHex(session.keyId);
    this.firstKey = session.firstKey.slice();
    this.lastUsed = created;
    this.uses = orders.map((order) => new Use(this, order));
    for (const use of this.uses) use.order.add(use);
  }

  use(now: number): void {
    this.lastUsed = now;
    for (const use of this.uses) {
      use.order.remove(use);
      use.order.add(use);
    }
  }

  get expires(): number {
    return this.created + this.session.lifetimeSeconds * 1000;
  }

  /** Why its time is over; undefined while it is not. */
  overAt(now: number): CloseReason | undefined {
    if (now >= this.expires) return 'expired';
    return now >= this.lastUsed + this.session.idleSeconds * 1000 ? 'idle' : undefined;
  }

  toStored(incarnation: Uint8Array): StoredSession | undefined {
    if (!this.secrets || this.silent) return undefined;
    const { id, module, keyId, keySize, idleSeconds, peer, firstCalls } = this.session;
    const { key, lane, closed, epoch, lastUsed, expires } = this;
    const identity = { id, key, module, keyId, keySize, idleSeconds, peer, firstCalls };
    const secrets = copyOf(this.secrets);
    return { ...identity, lane, closed, epoch, lastUsed, expires, incarnation, secrets, ended: this.ended?.reason };
  }

  /** Its frames are answered no more; its renewal key still proves it. */
  silence(): void {
    this.silent = true;
    this.eraseTraffic();
  }

  eraseTraffic(): void {
    if (this.secrets) erase(this.secrets.clientToServer, this.secrets.serverToClient);
  }

  eraseFirst(): void {
    if (this.firstKey) erase(this.firstKey);
    this.firstKey = undefined;
  }

  erase(): void {
    this.eraseTraffic();
    this.eraseFirst();
    if (this.secrets) erase(this.secrets.renewal);
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
}

/** Live rows, the longest unused one first; every step takes the same time however many they are. */
export class UseOrder {
  size = 0;
  private first: Use | undefined;
  private last: Use | undefined;

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

/** Whoever is given secrets may erase its own. */
export function copyOf(secrets: SessionSecrets): SessionSecrets {
  return {
    clientToServer: secrets.clientToServer.slice(),
    serverToClient: secrets.serverToClient.slice(),
    renewal: secrets.renewal.slice(),
  };
}
