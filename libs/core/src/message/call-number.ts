import { concat, u32, utf8 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SIZE } from '../limits.js';

/** X, 64 bits on the wire: names one message of calls in its session and is never used twice. */
export interface CallNumber {
  readonly lane: number;
  readonly counter: number;
}

/** The first calls inside step 3 have no frame of their own; they are number 0 of lane 0, a lane that no call frame may use. */
export const FIRST_CALLS: CallNumber = { lane: 0, counter: 0 };

export function encodeCallNumber(number: CallNumber): Uint8Array {
  return concat(u32(number.lane), u32(number.counter));
}

/** One sending of calls: its number and the digest of the frame that carried it. */
export interface Sending {
  readonly number: CallNumber;
  readonly digest: Uint8Array;
}

/** First 16 bytes of SHA-256 over the frame: tells a retransmission from another frame with the same number. */
export function frameDigest(primitives: Primitives, frame: Uint8Array): Uint8Array {
  return primitives.sha256(frame).slice(0, SIZE.digest);
}

/**
 * The identity of one call, the same over resends, lanes and renewals (PROTOCOL.md section 6.4):
 * HMAC(renewal or first-calls key, "sealwire call" || X || digest of the first frame || u32 index in the batch), 16 bytes.
 * Both sides derive it, so the first sending carries nothing for it; nobody else can name it, for the key never leaves the
 * two. The digest keeps apart what two copies of one client send under the same number.
 */
export function callIdentity(primitives: Primitives, key: Uint8Array, first: Sending, index: number): Uint8Array {
  const number = encodeCallNumber(first.number);
  return primitives.hmac(key, utf8('sealwire call'), number, first.digest, u32(index)).slice(0, SIZE.callId);
}
