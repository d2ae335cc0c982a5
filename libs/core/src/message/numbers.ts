import { concat, readU32, u32, utf8 } from '../bytes.js';
import type { ClientPrimitives, MacKey } from '../crypto/primitives.js';
import { macUnder } from '../handshake/key-schedule.js';
import { LIMITS, SIZE } from '../limits.js';
import { isPending, type Soon } from '../steps.js';

/** X, 64 bits on the wire: names one message of calls in its session and is never used twice. */
export interface CallNumber {
  readonly lane: number;
  readonly counter: number;
}

/** Lane of the first calls inside step 3; their counters are their places there. A call frame in it only asks for a result. */
export const FIRST_LANE = 0;

/**
 * X as 8 bytes: u32 lane || u32 counter.
 * @example
 * encodeCallNumber({ lane: 1, counter: 7 }); // Uint8Array [0, 0, 0, 1, 0, 0, 0, 7]
 */
export function encodeCallNumber(number: CallNumber): Uint8Array {
  return concat(u32(number.lane), u32(number.counter));
}

/** One sending of calls: its number and the digest of the frame that carried it. */
export interface Sending {
  readonly number: CallNumber;
  readonly digest: Uint8Array;
}

/**
 * The first 16 bytes of SHA-256 over the frame. It tells a retransmission from another frame with the same number.
 * @example
 * const sent = { number: { lane: 1, counter: 7 }, digest: frameDigest(primitives, frame) };
 */
export function frameDigest(primitives: ClientPrimitives, frame: Uint8Array): Uint8Array {
  return primitives.sha256(frame).slice(0, SIZE.digest);
}

/**
 * The identity of one call, the same over resends, lanes and renewals (PROTOCOL.md section 6.4):
 * HMAC(renewal key or K_first, "sealwire call" || X || digest of the first frame || u32 index in the message), 16 bytes.
 * Both sides derive it, so the first sending carries nothing for it; nobody else can name it, for the key never leaves the
 * two. The digest keeps apart what two copies of one client send under the same number.
 * @param first the sending that first held the call, at place `index` (from 0)
 * @example
 * const sent = { number: { lane: 1, counter: 7 }, digest: frameDigest(primitives, frame) };
 * const callId = callIdentity(primitives, secrets.renewal, sent, 0);
 */
export function callIdentity(primitives: ClientPrimitives, key: Uint8Array, first: Sending, index: number): Uint8Array;
export function callIdentity(
  primitives: ClientPrimitives,
  key: MacKey,
  first: Sending,
  index: number,
): Soon<Uint8Array>;
export function callIdentity(
  primitives: ClientPrimitives,
  key: MacKey,
  { number, digest }: Sending,
  index: number,
): Soon<Uint8Array> {
  const mac = macUnder(primitives, key, utf8('sealwire call'), encodeCallNumber(number), digest, u32(index));
  return isPending(mac) ? mac.then(identity) : identity(mac);
}

const identity = (mac: Uint8Array): Uint8Array => mac.slice(0, SIZE.callId);

/** The window's verdict on a counter; only `fresh` is accepted (PROTOCOL.md section 6.1). */
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
