import { Inject, Injectable } from '@nestjs/common';
import {
  type CallNumber,
  FIRST_LANE,
  LIMITS,
  type Primitives,
  ReplayWindow,
  type Sending,
  type WindowVerdict,
} from '@sealwire/core';
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
import { type Kept, ResultCache, SessionResults } from './result-cache.js';

/** A number that runs. */
class Running {
  #settle: ((result: Uint8Array | undefined) => void) | undefined;
  #settled: Promise<Uint8Array | undefined> | undefined;

  constructor(readonly digest: Uint8Array) {}

  finish(result: Uint8Array | undefined): void {
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

/** What this process knows of one session's numbers. Most sessions are at rest most of the time, and then it is little. */
class Numbers {
  readonly results = new SessionResults();
  /** by lane, then by place of the counter; no lane is empty */
  running: Map<number, Map<number, Running>> | undefined;
  lane = -1;
  /** of performance.now(): nothing is accepted in `lane` since */
  closed: number | undefined;
  /** first calls ran here */
  first = false;
  /** all counters below it were accepted, and none from it on, as long as there is no window */
  private next = 0;
  private window: ReplayWindow | undefined;

  open(lane: number): void {
    if (lane === this.lane) return;
    this.lane = lane;
    this.next = 0;
    this.window = undefined;
    this.closed = undefined;
  }

  /** Takes the counter in `lane` if it is fresh. */
  accept(counter: number): WindowVerdict {
    if (!this.window && counter === this.next && counter < LIMITS.counter) {
      this.next += 1;
      return 'fresh';
    }
    this.window ??= this.accepted();
    return this.window.accept(counter);
  }

  accepted(): ReplayWindow {
    return this.window ?? windowBelow(this.next);
  }

  get(lane: number, place: number): Running | Kept | undefined {
    return this.running?.get(lane)?.get(place) ?? this.results.get(lane, place);
  }

  begin(lane: number, place: number, digest: Uint8Array): void {
    this.running ??= new Map();
    const places = this.running.get(lane);
    const running = new Running(digest);
    if (places) places.set(place, running);
    else this.running.set(lane, new Map([[place, running]]));
  }

  end(lane: number, place: number): Running | undefined {
    const places = this.running?.get(lane);
    const running = places?.get(place);
    if (places?.delete(place) && places.size === 0) this.running?.delete(lane);
    if (this.running?.size === 0) this.running = undefined;
    return running;
  }
}

/** That of a lane of which all counters below `next` were accepted, and no other. */
function windowBelow(next: number): ReplayWindow {
  const bytes = new Uint8Array(4 + LIMITS.replayWindow / 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, next);
  if (next >= LIMITS.replayWindow) bytes.fill(0xff, 4);
  for (let counter = 0; counter < Math.min(next, LIMITS.replayWindow); counter++) {
    const word = 4 + 4 * (counter >>> 5);
    view.setUint32(word, view.getUint32(word) | (1 << (counter % 32)));
  }
  return ReplayWindow.fromBytes(bytes);
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
    numbers.open(session.lane);
    if (numbers.closed !== undefined) return { kind: 'lane_moved' };
    const verdict = numbers.accept(number.counter);
    if (verdict === 'fresh') {
      numbers.begin(number.lane, this.placeOf(number.counter), digest);
      return { kind: 'accepted' };
    }
    if (verdict !== 'seen') return { kind: 'too_old' };
    const taken = numbers.get(number.lane, this.placeOf(number.counter));
    if (taken && !this.same(taken, digest)) return { kind: 'conflict' };
    return acceptanceOf(taken);
  }

  isTooOld(session: LedgerSession, { lane, counter }: CallNumber): boolean {
    const numbers = this.sessions.get(session.key);
    return numbers?.lane === lane && !['fresh', 'seen'].includes(numbers.accepted().check(counter));
  }

  begin(session: LedgerSession): void {
    const { count, digest } = session.firstCalls ?? { count: 0, digest: new Uint8Array(0) };
    const numbers = this.numbersOf(session);
    numbers.first ||= count > 0;
    for (let counter = 0; counter < count; counter++) numbers.begin(FIRST_LANE, this.placeOf(counter), digest);
  }

  first(session: LedgerSession, number: CallNumber): FirstAcceptance {
    const numbers = this.sessions.get(session.key);
    const taken = numbers?.get(number.lane, this.placeOf(number.counter));
    if (taken) return acceptanceOf(taken);
    const ran = this.knownHere(session, numbers, number) === 'ran' || knownOf(session, number) === 'ran';
    return ran ? { kind: 'done', result: undefined } : { kind: 'outcome_unknown' };
  }

  finish(session: LedgerSession, number: CallNumber, digest: Uint8Array, result: Uint8Array | undefined): void {
    const numbers = this.sessions.get(session.key);
    const place = this.placeOf(number.counter);
    const running = numbers?.end(number.lane, place);
    if (!numbers || !running) return;
    running.finish(result);
    if (result) this.results.keep(numbers.results, number.lane, place, { digest, frame: result });
  }

  async recall(session: LedgerSession, asked: readonly Sending[]): Promise<NumberAnswer[]> {
    const numbers = this.sessions.get(session.key);
    return asked.map(({ number, digest }): NumberAnswer => {
      const taken = numbers?.get(number.lane, this.placeOf(number.counter));
      // a number runs for one frame only
      if (taken && !this.same(taken, digest)) return { known: 'never_ran' };
      if (taken) return taken instanceof Running ? { known: 'running' } : { known: 'result', frame: taken.frame };
      return { known: this.knownHere(session, numbers, number) ?? knownOf(session, number) };
    });
  }

  /** Everything here is in memory and written nowhere. */
  async drain(): Promise<void> {}

  override close(session: LedgerSession): Uint8Array {
    this.sweep();
    const numbers = this.numbersOf(session);
    numbers.open(session.lane);
    numbers.closed ??= performance.now();
    return numbers.accepted().toBytes();
  }

  override erase({ key }: Pick<LedgerSession, 'key'>): void {
    const numbers = this.sessions.get(key);
    if (!numbers) return;
    this.sessions.delete(key);
    this.results.empty(numbers.results);
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
      return numbers?.first && counter < (firstCalls?.count ?? 0) ? 'ran' : undefined;
    }
    if (lane !== numbers?.lane) return undefined;
    const verdict = numbers.accepted().check(counter);
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

  private same(taken: Running | Kept, digest: Uint8Array): boolean {
    return this.primitives.equal(taken.digest, digest);
  }
}

function acceptanceOf(taken: Running | Kept | undefined): Extract<Acceptance, { kind: 'running' | 'done' }> {
  return taken instanceof Running
    ? { kind: 'running', settled: taken.settled() }
    : { kind: 'done', result: taken?.frame };
}
