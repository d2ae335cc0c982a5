import { Inject, Injectable } from '@nestjs/common';
import { type CallNumber, FIRST_LANE, type Primitives, ReplayWindow, type Sending } from '@sealwire/core';
import type { ResolvedOptions } from '../options.js';
import {
  type Acceptance,
  type FirstAcceptance,
  type LedgerSession,
  type NumberAnswer,
  NumberLedger,
} from '../ports/index.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';
import { knownOf } from './known-of.js';
import { Holder, type Kept, ResultCache } from './result-cache.js';

/** A number that was taken: it runs, or its result is kept. */
class Taken implements Kept {
  frame!: Uint8Array;
  running = true;
  #settle: ((result: Uint8Array | undefined) => void) | undefined;
  #settled: Promise<Uint8Array | undefined> | undefined;

  constructor(
    readonly digest: Uint8Array,
    private readonly lane: Map<number, Taken>,
    private readonly place: number,
  ) {
    lane.set(place, this);
  }

  drop(): void {
    this.lane.delete(this.place);
  }

  finish(result: Uint8Array | undefined): void {
    this.running = false;
    if (result) this.frame = result;
    this.#settle?.(result);
  }

  /** Made when the first duplicate asks for it: most calls have none. */
  settled(): Promise<Uint8Array | undefined> {
    this.#settled ??= new Promise((resolve) => {
      this.#settle = resolve;
    });
    return this.#settled;
  }
}

/** What this process knows of one session's numbers. */
class Numbers {
  readonly holder = new Holder();
  readonly lanes = new Map<number, Map<number, Taken>>();
  lane = -1;
  window = new ReplayWindow();
  /** of performance.now(): nothing is accepted in `lane` since */
  closed: number | undefined;

  open(lane: number): ReplayWindow {
    if (lane !== this.lane) {
      this.lane = lane;
      this.window = new ReplayWindow();
      this.closed = undefined;
    }
    return this.window;
  }

  get(lane: number, place: number): Taken | undefined {
    return this.lanes.get(lane)?.get(place);
  }

  take(lane: number, place: number, digest: Uint8Array): void {
    new Taken(digest, this.lanes.get(lane) ?? this.add(lane), place);
  }

  private add(lane: number): Map<number, Taken> {
    for (const [older, { size }] of this.lanes) if (size === 0 && older !== FIRST_LANE) this.lanes.delete(older);
    const added = new Map<number, Taken>();
    this.lanes.set(lane, added);
    return added;
  }
}

/** Replay windows and a bounded cache of results in this process's memory. Sessions belong to the process. */
@Injectable()
export class MemoryLedger extends NumberLedger {
  readonly exclusive = true;
  private readonly sessions = new Map<string, Numbers>();
  private readonly results: ResultCache;
  private readonly primitives: Primitives;
  /** odd, and known to nobody: clients choose counters, and the runtime's hash of numbers has no secret */
  private readonly factor: number;
  private lastSweep = performance.now();

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(PRIMITIVES) primitives: Primitives,
  ) {
    super();
    this.primitives = primitives;
    this.results = new ResultCache(options.resultCache);
    this.factor = new DataView(primitives.random(4).buffer).getUint32(0) | 1;
  }

  accept(session: LedgerSession, number: CallNumber, digest: Uint8Array): Acceptance {
    if (number.lane !== session.lane) return { kind: 'lane_moved' };
    const numbers = this.numbersOf(session);
    if (session.lane < numbers.lane) return { kind: 'lane_moved' };
    const window = numbers.open(session.lane);
    if (numbers.closed !== undefined) return { kind: 'lane_moved' };
    const verdict = window.accept(number.counter);
    if (verdict === 'fresh') {
      numbers.take(number.lane, this.placeOf(number.counter), digest);
      return { kind: 'accepted' };
    }
    if (verdict !== 'seen') return { kind: 'too_old' };
    const taken = numbers.get(number.lane, this.placeOf(number.counter));
    if (taken && !this.same(taken, digest)) return { kind: 'conflict' };
    return acceptanceOf(taken);
  }

  begin(session: LedgerSession): void {
    const { count, digest } = session.firstCalls ?? { count: 0, digest: new Uint8Array(0) };
    const numbers = this.numbersOf(session);
    for (let counter = 0; counter < count; counter++) numbers.take(FIRST_LANE, this.placeOf(counter), digest);
  }

  first(session: LedgerSession, number: CallNumber): FirstAcceptance {
    const numbers = this.sessions.get(session.key);
    const taken = numbers?.get(number.lane, this.placeOf(number.counter));
    if (taken) return acceptanceOf(taken);
    const ran = this.knownHere(session, numbers, number) === 'ran' || knownOf(session, number) === 'ran';
    return ran ? { kind: 'done', result: undefined } : { kind: 'outcome_unknown' };
  }

  finish(session: LedgerSession, number: CallNumber, _digest: Uint8Array, result: Uint8Array | undefined): void {
    const numbers = this.sessions.get(session.key);
    const taken = numbers?.get(number.lane, this.placeOf(number.counter));
    if (!numbers || !taken) return;
    taken.finish(result);
    if (!result || !this.results.keep(numbers.holder, taken)) taken.drop();
  }

  async recall(session: LedgerSession, asked: readonly Sending[]): Promise<NumberAnswer[]> {
    const numbers = this.sessions.get(session.key);
    return asked.map(({ number, digest }): NumberAnswer => {
      const taken = numbers?.get(number.lane, this.placeOf(number.counter));
      // a number runs for one frame only
      if (taken && !this.same(taken, digest)) return { known: 'never_ran' };
      if (taken) return taken.running ? { known: 'running' } : { known: 'result', frame: taken.frame };
      return { known: this.knownHere(session, numbers, number) ?? knownOf(session, number) };
    });
  }

  /** Everything here is in memory and written nowhere. */
  async drain(): Promise<void> {}

  override close(session: LedgerSession): Uint8Array {
    this.sweep();
    const numbers = this.numbersOf(session);
    const window = numbers.open(session.lane);
    numbers.closed ??= performance.now();
    return window.toBytes();
  }

  override erase({ key }: Pick<LedgerSession, 'key'>): void {
    const numbers = this.sessions.get(key);
    if (!numbers) return;
    this.sessions.delete(key);
    this.results.empty(numbers.holder);
  }

  override forget(): void {
    for (const key of [...this.sessions.keys()]) this.erase({ key });
  }

  /** From the window of the lane that this process has or had last, and of the first calls that ran here. */
  private knownHere(
    { firstCalls }: LedgerSession,
    numbers: Numbers | undefined,
    { lane, counter }: CallNumber,
  ): 'ran' | 'never_ran' | undefined {
    if (lane === FIRST_LANE) {
      return numbers?.lanes.has(FIRST_LANE) && counter < (firstCalls?.count ?? 0) ? 'ran' : undefined;
    }
    if (lane !== numbers?.lane) return undefined;
    const verdict = numbers.window.check(counter);
    if (verdict === 'too_old') return undefined;
    return verdict === 'seen' ? 'ran' : 'never_ran';
  }

  private numbersOf(session: LedgerSession): Numbers {
    const known = this.sessions.get(session.key);
    if (known) return known;
    const numbers = new Numbers();
    this.sessions.set(session.key, numbers);
    return numbers;
  }

  /** Sessions that went elsewhere, once none of their results is kept. Each closing pays for it, at most every 10 seconds. */
  private sweep(): void {
    const now = performance.now();
    if (now - this.lastSweep < 10_000) return;
    this.lastSweep = now;
    const before = now - this.options.resultCache.seconds * 1_000;
    for (const [key, { closed }] of this.sessions) {
      if (closed !== undefined && closed < before) this.erase({ key });
    }
  }

  /** One to one. */
  private placeOf(counter: number): number {
    return Math.imul(counter, this.factor);
  }

  private same(taken: Taken, digest: Uint8Array): boolean {
    return this.primitives.equal(taken.digest, digest);
  }
}

function acceptanceOf(taken: Taken | undefined): Extract<Acceptance, { kind: 'running' | 'done' }> {
  return taken?.running ? { kind: 'running', settled: taken.settled() } : { kind: 'done', result: taken?.frame };
}
