import { toHex } from '@sealwire/core/calls';
import { NativeSecret } from '@sealwire/core/webcrypto';
import type { Settings } from '../options.js';
import { RUNTIME } from '../transport/network.js';
import { BLOCK, change, forget, nameOf, openRecords, type Records, reservedBy, restored, storable } from './records.js';
import type { Session } from './session.js';
import type { Epoch, Keeper, SessionState } from './state.js';

/** The idle time of a session on disk is behind by no more. */
const HEARD_MS = 10_000;
const DAY_MS = 86_400_000;

/** What a slot holds: a session, or only the name of the page that has the slot. */
interface Kept {
  readonly version: 1;
  /** the page that wrote it */
  readonly owner: string;
  /** milliseconds since 1970, after which it is deleted */
  readonly until: number;
  readonly binding?: string;
  /** with keys of WebCrypto, and times of the wall clock; `counter` is the end of the numbers that are set aside */
  readonly state?: unknown;
}

interface Slot {
  readonly key: [name: string, index: number];
  release(): void;
}

interface LockManager {
  request(name: string, options: object, held: (lock: unknown) => unknown): Promise<unknown>;
}

type Surroundings = typeof RUNTIME & { readonly navigator?: { readonly locks?: LockManager } };
const locks = (): LockManager | undefined => (RUNTIME as Surroundings).navigator?.locks;

/** @returns undefined without IndexedDB, Web Locks or WebCrypto, or if the database cannot be opened */
export async function find(settings: Settings, slots: number): Promise<Keeper | undefined> {
  const { crypto } = globalThis as { crypto?: { subtle?: unknown } };
  if (!locks() || !crypto?.subtle) return undefined;
  const records = await openRecords();
  if (!records) return undefined;
  const keeper = new SlotKeeper(settings, slots, records);
  await keeper.restore();
  return keeper;
}

/** One slot at a time, which no other page has: a Web Lock says so as long as the page lives. */
class SlotKeeper implements Keeper {
  readonly #name: string;
  readonly #binding: string;
  readonly #owner: string;
  left: SessionState | undefined;
  #slot: Slot | undefined;
  /** whose locks this page has: several while it looks for a session */
  readonly #held = new Set<Slot>();
  #session: Session | undefined;
  /** one operation after the other */
  #last: Promise<unknown> = Promise.resolve();
  #dirty = false;
  #saved: { at: number; epoch?: Epoch; lane?: number } = { at: 0 };
  #closed = false;
  /** a page that rests in memory may be kept there without its locks */
  readonly #onPage = (event: { persisted?: boolean }): void => {
    if (event.persisted) this.#lose();
  };

  constructor(
    settings: Settings,
    private readonly slots: number,
    private readonly records: Records,
  ) {
    const { primitives, pins, secureKey, keySize, onSession } = settings;
    this.#name = nameOf(settings);
    this.#owner = toHex(primitives.random(16));
    const parts = [this.#name, keySize, pins.map(toHex), secureKey && toHex(secureKey.keyId), !!onSession];
    const text = new TextEncoder().encode(JSON.stringify(parts));
    this.#binding = toHex(primitives.sha256(text, secureKey?.secret ?? new Uint8Array(0)));
    this.#listen('addEventListener');
  }

  restore(): Promise<unknown> {
    return this.#next(() => this.#acquire(true));
  }

  hold({ clientToServer, serverToClient, renewal }: Parameters<Keeper['hold']>[0]) {
    return {
      clientToServer: NativeSecret.of(clientToServer),
      serverToClient: NativeSecret.of(serverToClient),
      renewal: NativeSecret.of(renewal),
    };
  }

  keep(session: Session): void {
    this.#letGo();
    // it began before the storage answered
    if (!(session.key instanceof NativeSecret)) return;
    this.#session = session;
    if (this.#slot) this.#attach(session);
    this.#changed();
  }

  #changed(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    void this.#next(() => this.#save());
  }

  readonly #heard = (): void => {
    const { state, limit } = this.#session as Session;
    const { epoch, lane, at } = this.#saved;
    const due = state.counter > limit - BLOCK / 2 || Date.now() - at > HEARD_MS;
    if (due || state.epoch !== epoch || state.terms.lane !== lane) this.#changed();
  };

  drop(): void {
    this.#letGo();
    void this.#next(async () => {
      if (this.#slot && !this.#session) await this.#write(this.#slot, this.#claim());
    });
  }

  close(): void {
    this.#closed = true;
    this.#letGo();
    this.#listen('removeEventListener');
    const forgotten = () => forget(this.records, this.#name);
    // at once, for the page may be left now, and after whatever is being written
    forgotten().catch(() => {});
    void this.#next(forgotten).then(() => {
      this.#lose();
      this.records.close();
    });
  }

  #letGo(): void {
    if (this.#session) this.#session.keeping = undefined;
    this.#session = undefined;
    this.left = undefined;
  }

  #listen(method: 'addEventListener' | 'removeEventListener'): void {
    for (const name of ['pagehide', 'pageshow']) RUNTIME[method]?.(name, this.#onPage as () => void);
  }

  /** Whatever fails leaves a session that is not kept, or numbers that run out before it would. */
  #next<T>(operation: () => Promise<T>): Promise<T | undefined> {
    const done = this.#last.then(operation).catch(() => undefined);
    this.#last = done;
    return done;
  }

  /** From now on it takes the numbers only that are set aside. */
  #attach(session: Session): void {
    session.keeping = this.#heard;
    session.limit = reservedBy(session.state);
  }

  /** Another page may have the slot now, and the session. */
  #lose(): void {
    const [held, session] = [[...this.#held], this.#session];
    this.#held.clear();
    this.#slot = undefined;
    this.left = undefined;
    if (session?.keeping) session.limit = 0;
    if (session) session.keeping = undefined;
    for (const slot of held) slot.release();
  }

  async #save(): Promise<void> {
    this.#dirty = false;
    const session = this.#session;
    if (!session || this.#closed) return;
    if (!this.#slot) await this.#acquire(false);
    const slot = this.#slot;
    if (!slot || this.#session !== session) return;
    if (!session.keeping) this.#attach(session);
    const { state } = session;
    this.#saved = { at: Date.now(), epoch: state.epoch, lane: state.terms.lane };
    const reserved = reservedBy(state);
    const { began, lastOpened, terms } = state;
    const until = Math.min(began.wall + terms.lifetime * 1000, lastOpened.wall + terms.idle * 1000);
    const stored = await storable({ ...state, counter: reserved });
    if (this.#session !== session || this.#slot !== slot) return;
    const kept = { version: 1, owner: this.#owner, until, binding: this.#binding, state: stored } as const;
    if ((await this.#write(slot, kept)) && this.#slot === slot && session.keeping)
      session.limit = Math.max(session.limit, reserved);
  }

  /** Writes only over what this page wrote: what another one wrote or deleted in between may have been used. */
  async #write(slot: Slot, kept: Kept): Promise<boolean> {
    let mine = true;
    await change(this.records, slot.key, (found) => {
      mine = (found as Kept | undefined)?.owner === this.#owner;
      return mine ? kept : found;
    });
    if (!mine && this.#slot === slot) this.#lose();
    return mine;
  }

  #claim(): Kept {
    return { version: 1, owner: this.#owner, until: Date.now() + DAY_MS };
  }

  /** Takes the first free slot with a session that fits, or else the first free one. @param goOn whether to look for a session */
  async #acquire(goOn: boolean): Promise<void> {
    await change(this.records, undefined, (found) => (isOver(found) ? undefined : found));
    let chosen: Slot | undefined;
    let state: SessionState | undefined;
    try {
      for (let index = 0; index < this.slots && !this.#closed; index++) {
        const slot = await this.#lock([this.#name, index]);
        if (!slot) continue;
        if (goOn) state = await this.#take(slot);
        chosen = state ? slot : (chosen ?? slot);
        if (state || !goOn) break;
      }
      if (chosen && !state) await change(this.records, chosen.key, () => this.#claim());
      // its lock may be lost by now
      if (!chosen || this.#closed || !this.#held.has(chosen)) return;
      this.#slot = chosen;
      this.left = state;
    } finally {
      for (const slot of [...this.#held]) if (slot !== this.#slot && this.#held.delete(slot)) slot.release();
    }
  }

  /** Sets numbers aside for this page. What does not fit is deleted. */
  async #take(slot: Slot): Promise<SessionState | undefined> {
    let state: SessionState | undefined;
    await change(this.records, slot.key, (found) => {
      const kept = found as Kept | undefined;
      state = kept?.version === 1 && kept.binding === this.#binding ? restored(kept.state) : undefined;
      if (!kept || !state) return undefined;
      return { ...kept, owner: this.#owner, state: { ...(kept.state as object), counter: reservedBy(state) } };
    });
    return state;
  }

  /** @returns undefined if another page has it */
  #lock(key: Slot['key']): Promise<Slot | undefined> {
    return new Promise((resolve) => {
      let slot: Slot | undefined;
      const over = (): void => {
        resolve(undefined);
        // released, or stolen
        if (slot && this.#held.delete(slot) && this.#slot === slot) this.#lose();
      };
      const held = (lock: unknown): unknown => {
        if (!lock) return undefined;
        return new Promise<void>((release) => {
          slot = { key, release };
          this.#held.add(slot);
          resolve(slot);
        });
      };
      locks()
        ?.request(`sealwire ${key.join(' ')}`, { ifAvailable: true }, held)
        .then(over, over);
    });
  }
}

function isOver(found: unknown): boolean {
  return !(Number((found as Partial<Kept> | undefined)?.until) > Date.now());
}
