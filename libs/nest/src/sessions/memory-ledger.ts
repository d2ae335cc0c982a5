import { Inject, Injectable } from '@nestjs/common';
import { type CallNumber, type Primitives, type RenewalAnswer, ReplayWindow } from '@sealwire/core';
import type { ResolvedOptions } from '../options.js';
import { type Acceptance, type LedgerSession, NumberLedger } from '../ports/ports.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';

interface Running {
  readonly digest: Uint8Array;
  settle?: (reply: Uint8Array) => void;
  settled?: Promise<Uint8Array>;
}

interface Done {
  readonly digest: Uint8Array;
  readonly reply: Uint8Array;
  /** of performance.now() */
  readonly until: number;
}

class Generation {
  readonly done = new Map<string, Done>();
  readonly since = performance.now();
  bytes = 0;
}

/** Replay windows and a bounded cache of results in this process's memory. Sessions belong to the process. */
@Injectable()
export class MemoryLedger extends NumberLedger {
  readonly exclusive = true;
  /** by session; the window is of that lane */
  private readonly lanes = new Map<string, { readonly lane: number; readonly window: ReplayWindow }>();
  private readonly running = new Map<string, Running>();
  /** Results in two generations; the older one goes as a whole. A Map that loses its oldest entries one by one gets slow. */
  private recent = new Generation();
  private older = new Generation();

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(PRIMITIVES) private readonly primitives: Primitives,
  ) {
    super();
  }

  accept(session: LedgerSession, number: CallNumber, digest: Uint8Array): Acceptance {
    if (number.lane !== session.lane) return { kind: 'lane_moved' };
    const verdict = this.windowOf(session).accept(number.counter);
    const name = nameOf(session, number);
    if (verdict === 'fresh') {
      this.running.set(name, { digest });
      return { kind: 'accepted' };
    }
    if (verdict !== 'seen') return { kind: 'too_old' };
    const running = this.running.get(name);
    if (running)
      return this.same(running, digest) ? { kind: 'running', settled: settled(running) } : { kind: 'conflict' };
    const done = this.fresh(name);
    return done && !this.same(done, digest) ? { kind: 'conflict' } : { kind: 'done', reply: done?.reply };
  }

  finish(session: LedgerSession, number: CallNumber, digest: Uint8Array, reply: Uint8Array): void {
    const name = nameOf(session, number);
    this.running.get(name)?.settle?.(reply);
    this.running.delete(name);
    const { entries, bytes, seconds } = this.options.resultCache;
    if (reply.length > bytes / 2) return;
    const { recent } = this;
    const now = performance.now();
    const full = recent.done.size >= entries / 2 || recent.bytes + reply.length > bytes / 2;
    if (full || now - recent.since > seconds * 1000) {
      this.older = recent;
      this.recent = new Generation();
    }
    this.recent.done.set(name, { digest, reply, until: now + seconds * 1000 });
    this.recent.bytes += reply.length;
  }

  /** From the results that are kept, then from the lane that was closed before this one. */
  async recall(session: LedgerSession, number: CallNumber, digest: Uint8Array): Promise<RenewalAnswer> {
    const name = nameOf(session, number);
    const running = this.running.get(name);
    const done = running ? undefined : this.fresh(name);
    const taken = running ?? done;
    // a number runs for one frame only
    if (taken && !this.same(taken, digest)) return { known: 'never_ran' };
    if (running) return { known: 'running' };
    if (done) return { known: 'result', reply: done.reply };
    return { known: knownOf(session.closed, number) };
  }

  /** Everything here is in memory and written nowhere. */
  async drain(): Promise<void> {}

  override close(session: LedgerSession): Uint8Array {
    const lane = this.lanes.get(session.key);
    this.lanes.delete(session.key);
    return (lane?.lane === session.lane ? lane.window : new ReplayWindow()).toBytes();
  }

  private windowOf(session: LedgerSession): ReplayWindow {
    const known = this.lanes.get(session.key);
    if (known?.lane === session.lane) return known.window;
    const window = new ReplayWindow();
    this.lanes.set(session.key, { lane: session.lane, window });
    return window;
  }

  override forget(): void {
    this.recent = new Generation();
    this.older = new Generation();
  }

  private fresh(name: string): Done | undefined {
    const done = this.recent.done.get(name) ?? this.older.done.get(name);
    return done && done.until > performance.now() ? done : undefined;
  }

  private same(entry: { readonly digest: Uint8Array }, digest: Uint8Array): boolean {
    return this.primitives.equal(entry.digest, digest);
  }
}

/** What a closed window says of a number of its lane; `ran` holds only where everything in it is answered. */
export function knownOf(closed: LedgerSession['closed'], number: CallNumber): 'never_ran' | 'ran' | 'unknown' {
  if (number.lane !== closed?.lane) return 'unknown';
  const verdict = ReplayWindow.fromBytes(closed.window).check(number.counter);
  if (verdict === 'too_old') return 'unknown';
  return verdict === 'seen' ? 'ran' : 'never_ran';
}

function nameOf(session: LedgerSession, number: CallNumber): string {
  return `${session.key}.${number.lane}.${number.counter}`;
}

/** Made when the first duplicate asks for it: most calls have none. */
function settled(running: Running): Promise<Uint8Array> {
  running.settled ??= new Promise((resolve) => {
    running.settle = resolve;
  });
  return running.settled;
}
