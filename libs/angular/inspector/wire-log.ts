import { computed, type Signal, signal, untracked } from '@angular/core';
import { encodeReply, type OpenedPieces, type SealedPieces, type SentFrame, ɵFRAME_LAYOUT } from '@sealwire/client';
import type { Exchange, Handshake, RecordedCall, WireBody } from './exchange.js';
import { fits } from './sizes.js';

const HANDSHAKES = 20;
/** answers above it are not measured */
const MEASURED = 1024 * 1024;
/** bytes of a reply of few outcomes around them */
const ALONE = 2;

type Outcome = Extract<Parameters<typeof encodeReply>[0], { outcomes: unknown }>['outcomes'][number];

/** Whose messages are recorded. */
export interface Owner {
  readonly module: string;
  /** false, as of a signal, as soon as the application has another SecureKey: nothing of it may be shown any more */
  readonly isCurrent: () => boolean;
}

/** What is known of a frame before it leaves: the calls in it, and the bytes that each message of them has. */
export interface Freight {
  readonly calls: readonly number[];
  readonly payloads: readonly number[];
}

/** What is known of the pieces of a live body. */
interface Pieces {
  readonly exchange?: number;
  readonly pieces: number;
  readonly bytes: number;
}

interface Kept<T> extends Pick<Owner, 'isCurrent'> {
  readonly record: T;
}

/** The newest records of one kind, those of users of now, as a signal that is made only if somebody reads it. */
class Records<T extends { readonly id: number }> {
  readonly all: Signal<readonly T[]>;
  readonly #version = signal(0);
  readonly #byId = new Map<number, Kept<T>>();

  constructor(private readonly limit: () => number) {
    this.all = computed(() => {
      this.#version();
      return [...this.#byId.values()].filter(({ isCurrent }) => isCurrent()).map(({ record }) => record);
    });
  }

  get(id: number | undefined): T | undefined {
    return this.#kept(id)?.record;
  }

  add(record: T, { isCurrent }: Pick<Owner, 'isCurrent'>): void {
    this.tidy();
    this.#byId.set(record.id, { record, isCurrent });
    for (const id of this.#byId.keys()) {
      if (this.#byId.size <= this.limit()) break;
      this.#byId.delete(id);
    }
    this.#changed();
  }

  /** Nothing happens to a record that is gone already. */
  change(id: number | undefined, changes: Partial<T>): void {
    const kept = this.#kept(id);
    if (!kept) return;
    this.#byId.set(kept.record.id, { ...kept, record: { ...kept.record, ...changes } });
    this.#changed();
  }

  /** Deletes what is of users who are gone, which nobody sees any more. */
  tidy(): void {
    for (const [id, { isCurrent }] of this.#byId) if (!untracked(isCurrent)) this.#byId.delete(id);
  }

  clear(): void {
    this.#byId.clear();
    this.#changed();
  }

  #kept(id: number | undefined): Kept<T> | undefined {
    const kept = id === undefined ? undefined : this.#byId.get(id);
    return kept && untracked(kept.isCurrent) ? kept : undefined;
  }

  #changed(): void {
    untracked(() => this.#version.update((version) => version + 1));
  }
}

/** What was recorded, bounded, and which call travels in which bytes. */
export class WireLog {
  readonly exchanges: Records<Exchange>;
  readonly calls: Records<RecordedCall>;
  readonly handshakes = new Records<Handshake>(() => HANDSHAKES);
  limit = 200;
  readonly #freight = new Map<string, Freight>();
  readonly #attempts = new Map<string, number>();
  readonly #steps = new Map<string, number>();
  readonly #outcomes = new Map<number, number>();
  readonly #pieces = new Map<string, Pieces>();
  readonly #waiting = new Set<() => void>();
  #ids = 0;

  constructor() {
    this.exchanges = new Records(() => this.limit);
    this.calls = new Records(() => this.limit);
  }

  nextId(): number {
    return ++this.#ids;
  }

  clear(): void {
    this.exchanges.clear();
    this.calls.clear();
    this.handshakes.clear();
    for (const map of [this.#freight, this.#attempts, this.#steps, this.#outcomes, this.#pieces]) map.clear();
    this.changed();
  }

  tidy(): void {
    for (const records of [this.exchanges, this.calls, this.handshakes]) records.tidy();
    this.changed();
  }

  /** The application's calls `ids` leave in these bytes. */
  load({ frame, payload, calls }: SentFrame, ids: readonly number[]): void {
    const carried = calls.flatMap((place) => ids[place] ?? []);
    for (const id of carried) this.calls.change(id, { sent: true });
    const key = keyOf(frame);
    const before = this.#freight.get(key);
    const known = before?.calls ?? [];
    const added = carried.filter((id) => !known.includes(id));
    if (before && added.length === 0) return;
    remember(this.#freight, key, {
      calls: [...known, ...added],
      payloads: [...(before?.payloads ?? []), payload],
    });
  }

  /** @param head the first bytes of a body */
  freightOf(head: Uint8Array): Freight {
    return this.#freight.get(keyOf(head)) ?? { calls: [], payloads: [] };
  }

  /** @returns how often these bytes were sent, this time included */
  attempt(head: Uint8Array): number {
    const key = keyOf(head);
    const attempt = (this.#attempts.get(key) ?? 0) + 1;
    remember(this.#attempts, key, attempt);
    return attempt;
  }

  /** The handshake of a step, known by what it has in common with the step before: its ephemeral key, then its cookie. */
  handshakeOf(owner: Owner, common: Uint8Array, startedAt: number): number {
    const known = this.#steps.get(keyOf(common));
    if (known !== undefined && this.handshakes.get(known)) return known;
    const id = this.nextId();
    this.handshakes.add({ id, module: owner.module, startedAt, sessionId: undefined, reason: undefined }, owner);
    this.link(common, id);
    return id;
  }

  link(common: Uint8Array, handshake: number): void {
    remember(this.#steps, keyOf(common), handshake);
  }

  /** What became of a call tells how long its outcome was before it was padded. */
  settled(id: number, outcome: Outcome): void {
    const carrying = untracked(this.exchanges.all).filter(({ calls }) => calls.includes(id));
    if (carrying.every(({ answer }) => (answer?.body.size ?? 0) > MEASURED)) return;
    try {
      remember(this.#outcomes, id, encodeReply({ outcomes: [outcome] }).length - ALONE);
    } catch {
      return; // it holds streams
    }
    for (const { id: exchange, kind, calls, answer } of carrying) {
      if (kind !== 'call' || !answer) continue;
      const lengths = calls.map((call) => this.#outcomes.get(call));
      if (!lengths.every((length) => length !== undefined)) continue;
      const heads = calls.length < 23 ? ALONE : calls.length < 255 ? ALONE + 1 : ALONE + 2;
      const payload = lengths.reduce((sum, length) => sum + length, heads);
      const body = { ...answer.body, payload };
      if (fits(payload, body)) this.exchanges.change(exchange, { answer: { ...answer, body } });
    }
  }

  /** Pieces of a live answer opened, which only the client can tell. */
  opened({ head, payloads }: OpenedPieces): void {
    const now = and(this.#pieces.get(keyOf(head)), payloads);
    remember(this.#pieces, keyOf(head), now);
    const { answer } = this.exchanges.get(now.exchange) ?? {};
    if (!answer) return;
    const body = { ...answer.body, payload: payloadOf(now, answer.body) };
    this.exchanges.change(now.exchange, { answer: { ...answer, body } });
  }

  /** Pieces of an upload were sealed, which only the client can tell. */
  sealed({ head, first, payloads }: SealedPieces): void {
    const before = first === 0 ? undefined : this.#pieces.get(keyOf(head));
    remember(this.#pieces, keyOf(head), and(before, payloads));
  }

  /** @returns bytes of the pieces of an upload before they were padded, if all that were sealed have passed */
  sealedOf(body: WireBody): number | undefined {
    return payloadOf(this.#pieces.get(keyOf(body.head)) ?? NONE, body);
  }

  /** @returns bytes of the pieces of a live answer before they were padded, if all that came have opened */
  openedOf(exchange: number, body: WireBody): number | undefined {
    const key = keyOf(body.head.subarray(0, RESULT_HEADER));
    const now = { ...NONE, ...this.#pieces.get(key), exchange };
    if (body.head.length >= RESULT_HEADER) remember(this.#pieces, key, now);
    return payloadOf(now, body);
  }

  changed(): void {
    for (const look of [...this.#waiting]) look();
  }

  /** Resolves as soon as the function gives something. */
  until<T>(look: () => T | undefined): Promise<T> {
    return new Promise((resolve) => {
      const again = (): void => {
        const found = look();
        if (found === undefined) return;
        this.#waiting.delete(again);
        resolve(found);
      };
      this.#waiting.add(again);
      again();
    });
  }
}

const RESULT_HEADER = ɵFRAME_LAYOUT.header('result');

const NONE: Pieces = { pieces: 0, bytes: 0 };

function and(before: Pieces = NONE, payloads: readonly number[]): Pieces {
  const bytes = payloads.reduce((sum, one) => sum + one, before.bytes);
  return { ...before, pieces: before.pieces + payloads.length, bytes };
}

function payloadOf({ pieces, bytes }: Pieces, { pieceCount }: WireBody): number | undefined {
  return pieces > 0 && pieces === pieceCount ? bytes : undefined;
}

const REMEMBERED = 600;

function remember<K, T>(map: Map<K, T>, key: K, value: T): void {
  map.delete(key);
  map.set(key, value);
  for (const old of map.keys()) {
    if (map.size <= REMEMBERED) break;
    map.delete(old);
  }
}

/** The clear header of a call, or as much of a handshake step, is never the same for two frames. */
export const KEY_BYTES = 36;

export function keyOf(bytes: Uint8Array): string {
  return bytes.subarray(0, KEY_BYTES).join();
}
