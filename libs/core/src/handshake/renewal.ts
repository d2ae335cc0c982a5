import { concat, readU16, readU32, u16, u32, utf8 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { encodeCallNumber, type Sending } from '../message/call-number.js';

/** A client asks in step 3 what became of the unanswered numbers of an old session (PROTOCOL.md section 4.3). */
export interface Renewal {
  readonly sessionId: Uint8Array;
  readonly proof: Uint8Array;
  readonly numbers: readonly Sending[];
}

export type RenewalAnswer =
  | { readonly known: 'unknown' | 'never_ran' | 'ran' | 'running' }
  /** `reply` is the encoded payload of the result */
  | { readonly known: 'result'; readonly reply: Uint8Array };

const KNOWN = ['unknown', 'never_ran', 'ran', 'result', 'running'] as const;

/** HMAC(renewal key, "prove" || h after step 2), 16 bytes: a session id alone is visible to every proxy and proves nothing. */
export function proveSession(primitives: Primitives, renewalKey: Uint8Array, h: Uint8Array): Uint8Array {
  return primitives.hmac(renewalKey, utf8('prove'), h).slice(0, SIZE.proof);
}

export function encodeRenewals(renewals: readonly Renewal[]): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(renewals.length)];
  for (const { sessionId, proof, numbers } of renewals) {
    parts.push(sessionId, proof, u16(numbers.length));
    for (const { number, digest } of numbers) parts.push(encodeCallNumber(number), digest);
  }
  return concat(...parts);
}

/** @returns the renewals and how many bytes they took */
export function decodeRenewals(bytes: Uint8Array): { renewals: Renewal[]; length: number } {
  const reader = new Reader(bytes);
  const renewals = Array.from({ length: reader.renewals() }, () => {
    const sessionId = reader.take(SIZE.sessionId);
    const proof = reader.take(SIZE.proof);
    const numbers = Array.from({ length: reader.numbers() }, () => ({
      number: { lane: reader.u32(), counter: reader.u32() },
      digest: reader.take(SIZE.digest),
    }));
    return { sessionId, proof, numbers };
  });
  return { renewals, length: reader.offset };
}

/** One list a renewal, one answer a number, in the order asked. */
export function encodeRenewalAnswers(answers: readonly (readonly RenewalAnswer[])[]): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(answers.length)];
  for (const list of answers) {
    parts.push(u16(list.length));
    for (const answer of list) {
      parts.push(Uint8Array.of(KNOWN.indexOf(answer.known)));
      if (answer.known === 'result') parts.push(u32(answer.reply.length), answer.reply);
    }
  }
  return concat(...parts);
}

export function decodeRenewalAnswers(bytes: Uint8Array): { answers: RenewalAnswer[][]; length: number } {
  const reader = new Reader(bytes);
  const answers = Array.from({ length: reader.renewals() }, () =>
    Array.from({ length: reader.numbers() }, (): RenewalAnswer => {
      const known = KNOWN[reader.u8()];
      if (known === undefined) throw new SealwireError('bad_payload');
      return known === 'result' ? { known, reply: reader.take(reader.u32()) } : { known };
    }),
  );
  return { answers, length: reader.offset };
}

class Reader {
  offset = 0;
  private total = 0;

  constructor(private readonly bytes: Uint8Array) {}

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.offset) throw new SealwireError('bad_payload');
    const start = this.offset;
    this.offset += length;
    return this.bytes.slice(start, this.offset);
  }

  u8(): number {
    return this.take(1)[0] ?? 0;
  }

  /** how many renewals follow */
  renewals(): number {
    const count = this.u8();
    if (count > LIMITS.renewals) throw new SealwireError('bad_payload');
    return count;
  }

  /** how many numbers follow; all of a block count together */
  numbers(): number {
    const count = readU16(this.take(2), 0);
    this.total += count;
    if (this.total > LIMITS.renewalNumbers) throw new SealwireError('bad_payload');
    return count;
  }

  u32(): number {
    return readU32(this.take(4), 0);
  }
}
