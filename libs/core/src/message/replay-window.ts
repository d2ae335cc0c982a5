import { concat, readU32, u32 } from '../bytes.js';
import { LIMITS } from '../limits.js';

/** What the window says of a counter; only `fresh` is accepted (PROTOCOL.md section 6.1). */
export type WindowVerdict = 'fresh' | 'seen' | 'too_old' | 'too_far';

/**
 * The accepted counters of one lane: a ring of {@link LIMITS.replayWindow} bits behind the highest one
 * (PROTOCOL.md section 6.1; the technique of RFC 6479). Ask only after the frame opened.
 *
 * @example
 * const window = new ReplayWindow();
 * window.accept(5); // fresh
 * window.accept(5); // seen
 * const again = ReplayWindow.fromBytes(window.toBytes());
 */
export class ReplayWindow {
  private readonly bits = new Uint32Array(LIMITS.replayWindow / 32);

  constructor(private highest = -1) {}

  check(counter: number): WindowVerdict {
    // 2^32 - 1 would not survive `highest + 1` being written as u32
    if (counter > LIMITS.counter) return 'too_far';
    if (counter > this.highest) return counter - this.highest > LIMITS.forwardJump ? 'too_far' : 'fresh';
    if (counter <= this.highest - LIMITS.replayWindow) return 'too_old';
    return this.has(counter) ? 'seen' : 'fresh';
  }

  /** Takes the counter if it is fresh; every other verdict changes nothing. */
  accept(counter: number): WindowVerdict {
    const verdict = this.check(counter);
    if (verdict !== 'fresh') return verdict;
    if (counter > this.highest) {
      if (counter - this.highest >= LIMITS.replayWindow) this.bits.fill(0);
      else for (let skipped = this.highest + 1; skipped < counter; skipped++) this.clear(skipped);
      this.highest = counter;
    }
    this.set(counter);
    return verdict;
  }

  /** u32 highest + 1, then the ring: how a cleanly closed lane is written out. */
  toBytes(): Uint8Array {
    return concat(u32(this.highest + 1), ...Array.from(this.bits, u32));
  }

  static fromBytes(bytes: Uint8Array): ReplayWindow {
    const window = new ReplayWindow(readU32(bytes, 0) - 1);
    for (let i = 0; i < window.bits.length; i++) window.bits[i] = readU32(bytes, 4 + 4 * i);
    return window;
  }

  private has(counter: number): boolean {
    return (((this.bits[(counter % LIMITS.replayWindow) >>> 5] ?? 0) >>> (counter % 32)) & 1) === 1;
  }

  private set(counter: number): void {
    const word = (counter % LIMITS.replayWindow) >>> 5;
    this.bits[word] = (this.bits[word] ?? 0) | (1 << (counter % 32));
  }

  private clear(counter: number): void {
    const word = (counter % LIMITS.replayWindow) >>> 5;
    this.bits[word] = (this.bits[word] ?? 0) & ~(1 << (counter % 32));
  }
}
