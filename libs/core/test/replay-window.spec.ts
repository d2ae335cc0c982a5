import { LIMITS, ReplayWindow } from '@sealwire/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

/** The rule in its plainest words: a set of everything accepted. */
class NaiveWindow {
  private readonly accepted = new Set<number>();
  private highest = -1;

  check(counter: number): string {
    if (counter > LIMITS.counter || counter - this.highest > LIMITS.forwardJump) return 'too_far';
    if (counter <= this.highest - LIMITS.replayWindow) return 'too_old';
    return this.accepted.has(counter) ? 'seen' : 'fresh';
  }

  accept(counter: number): string {
    const verdict = this.check(counter);
    if (verdict !== 'fresh') return verdict;
    this.accepted.add(counter);
    this.highest = Math.max(this.highest, counter);
    return verdict;
  }
}

const W = LIMITS.replayWindow;
/** Steps from the last counter, small and around every edge that the ring has. */
const step = fc.oneof(
  fc.integer({ min: -70, max: 70 }),
  fc.integer({ min: -W - 2, max: -W + 2 }),
  fc.integer({ min: W - 2, max: W + 2 }),
  fc.integer({ min: 2 * W - 2, max: 2 * W + 2 }),
  fc.integer({ min: LIMITS.forwardJump - 2, max: LIMITS.forwardJump + 2 }),
  fc.integer({ min: -W, max: W }),
);

describe('the replay window', () => {
  it('says what a set of everything accepted would say, also when written out in between', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fc.boolean()), { minLength: 1, maxLength: 300 }), (steps) => {
        let window = new ReplayWindow();
        const naive = new NaiveWindow();
        let counter = 0;
        for (const [by, written] of steps) {
          counter = Math.max(0, counter + by);
          const before = window.toBytes();
          const expected = naive.accept(counter);
          expect(window.check(counter)).toBe(expected);
          expect(window.accept(counter)).toBe(expected);
          if (expected !== 'fresh') expect(Buffer.compare(window.toBytes(), before)).toBe(0);
          for (const near of [-W - 1, -W, 1 - W, -1, 1].map((distance) => counter + distance)) {
            if (near >= 0) expect(window.check(near)).toBe(naive.check(near));
          }
          if (written) window = ReplayWindow.fromBytes(window.toBytes());
        }
      }),
      { numRuns: 300 },
    );
  });

  it('accepts every number of a shuffled run once', () => {
    const counters = Array.from({ length: W }, (_, i) => i);
    fc.assert(
      fc.property(fc.shuffledSubarray(counters, { minLength: W, maxLength: W }), (order) => {
        const window = new ReplayWindow();
        expect(order.map((counter) => window.accept(counter)).filter((verdict) => verdict !== 'fresh')).toEqual([]);
        expect(order.map((counter) => window.accept(counter)).filter((verdict) => verdict !== 'seen')).toEqual([]);
      }),
      { numRuns: 5 },
    );
  });

  it('ends one before the counter that cannot be written out', () => {
    const window = new ReplayWindow(LIMITS.counter - 1);
    expect(window.accept(LIMITS.counter + 1)).toBe('too_far');
    expect(window.accept(LIMITS.counter)).toBe('fresh');
    expect(ReplayWindow.fromBytes(window.toBytes()).accept(LIMITS.counter)).toBe('seen');
    expect(ReplayWindow.fromBytes(window.toBytes()).accept(0)).toBe('too_old');
  });
});
