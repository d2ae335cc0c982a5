import { NativeSecret, toHex } from '@sealwire/core';
import type { Settings } from '../options.js';
import { RUNTIME } from '../transport/network.js';
import { BLOCK, change, forget, nameOf, openRecords, type Records, reservedBy, restored, storable } from './records.js';
import type { Session } from './session.js';
import type { Epoch, Found, Keeper, SessionState } from './state.js';

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
export async function find(settings: Settings, slots: number): Promise<Found | undefined> {
  const { crypto } = globalThis as { crypto?: { subtle?: unknown } };
  if (!locks() || !crypto?.subtle) return undefined;
  const records = await openRecords();
  if (!records) return undefined;
  const keeper = new SlotKeeper(settings, slots, records);
  return { keeper, left: await keeper.restore() };
}

/** One slot at a time, which no other page has: a Web Lock says so as long as the page lives. */
class SlotKeeper implements Keeper {
  readonly #name: string;
  readonly #binding: string;
  readonly #owner: string;
  #slot: Slot | undefined;
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

  restore(): Promise<SessionState | undefined> {
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
    if (this.#session) this.#session.keeping = undefined;
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
    if (this.#session) this.#session.keeping = undefined;
    this.#session = undefined;
    void this.#next(async () => {
      if (this.#slot && !this.#session) await this.#write(this.#slot, this.#claim());
    });
  }

  close(): void {
    this.#closed = true;
    this.#session = undefined;
    this.#listen('removeEventListener');
    void this.#next(() => forget(this.records, this.#name)).then(() => {
      this.#slot?.release();
      this.#slot = undefined;
      this.records.close();
    });
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

  /** Another page may have the slot now, and its numbers. */
  #lose(): void {
    const [slot, session] = [this.#slot, this.#session];
    this.#slot = undefined;
    if (session?.keeping) session.limit = 0;
    if (session) session.keeping = undefined;
    slot?.release();
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
    if (!(await this.#write(slot, kept))) this.#lose();
    else if (this.#slot === slot && session.keeping) session.limit = Math.max(session.limit, reserved);
  }

  /** @returns whether the slot was still this page's */
  async #write(slot: Slot, kept: Kept): Promise<boolean> {
    let mine = true;
    await change(this.records, slot.key, (found) => {
      const owner = (found as Kept | undefined)?.owner;
      mine = owner === undefined || owner === this.#owner;
      return mine ? kept : found;
    });
    return mine;
  }

  #claim(): Kept {
    return { version: 1, owner: this.#owner, until: Date.now() + DAY_MS };
  }

  /** Takes the first free slot with a session that fits, or else the first free one. @param goOn whether to look for a session */
  async #acquire(goOn: boolean): Promise<SessionState | undefined> {
    await change(this.records, undefined, (found) => (isOver(found) ? undefined : found));
    const held: Slot[] = [];
    let chosen: Slot | undefined;
    let state: SessionState | undefined;
    try {
      for (let index = 0; index < this.slots && !this.#closed; index++) {
        const slot = await this.#lock([this.#name, index]);
        if (!slot) continue;
        held.push(slot);
        if (goOn) state = await this.#take(slot);
        chosen = state ? slot : held[0];
        if (state || !goOn) break;
      }
      if (chosen && !state) await change(this.records, chosen.key, () => this.#claim());
      this.#slot = chosen;
    } finally {
      for (const slot of held) if (slot !== this.#slot) slot.release();
    }
    return state;
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
        if (slot && this.#slot === slot) this.#lose();
      };
      const held = (lock: unknown): unknown => {
        if (!lock) return undefined;
        return new Promise<void>((release) => {
          slot = { key, release };
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
