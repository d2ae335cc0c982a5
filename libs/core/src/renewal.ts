import { type CallNumber, encodeCallNumber } from './call-number.js';
import { concat, readU32, u32, utf8 } from './bytes.js';
import { SealwireError } from './errors.js';
import { LIMITS, SIZE } from './limits.js';
import type { Primitives } from './primitives/primitives.js';

/** A client asks in step 3 what became of the unanswered numbers of an old session (PROTOCOL.md section 4.3). */
export interface Renewal {
  readonly sessionId: Uint8Array;
  readonly proof: Uint8Array;
  readonly numbers: readonly { readonly number: CallNumber; readonly digest: Uint8Array }[];
}

export type RenewalAnswer =
  | { readonly known: 'unknown' | 'never_ran' | 'ran' }
  /** `reply` is the encoded payload of the result */
  | { readonly known: 'result'; readonly reply: Uint8Array };

const KNOWN = ['unknown', 'never_ran', 'ran', 'result'] as const;

/** HMAC(renewal key, "prove" || h after step 2), 16 bytes: a session id alone is visible to every proxy and proves nothing. */
export function proveSession(primitives: Primitives, renewalKey: Uint8Array, h: Uint8Array): Uint8Array {
  return primitives.hmac(renewalKey, utf8('prove'), h).slice(0, SIZE.proof);
}

export function encodeRenewals(renewals: readonly Renewal[]): Uint8Array {
  const parts = [Uint8Array.of(renewals.length)];
  for (const { sessionId, proof, numbers } of renewals) {
    parts.push(sessionId, proof, u32(numbers.length).subarray(2));
    for (const { number, digest } of numbers) parts.push(encodeCallNumber(number), digest);
  }
  return concat(...parts);
}

/** @returns the renewals and how many bytes they took */
export function decodeRenewals(bytes: Uint8Array): { renewals: Renewal[]; length: number } {
  const reader = new Reader(bytes);
  const count = reader.u8();
  if (count > LIMITS.renewals) throw new SealwireError('bad_payload');
  let total = 0;
  const renewals = Array.from({ length: count }, () => {
    const sessionId = reader.take(SIZE.sessionId);
    const proof = reader.take(SIZE.proof);
    const length = reader.u16();
    total += length;
    if (total > LIMITS.renewalNumbers) throw new SealwireError('bad_payload');
    const numbers = Array.from({ length }, () => ({
      number: { lane: reader.u32(), counter: reader.u32() },
      digest: reader.take(SIZE.digest),
    }));
    return { sessionId, proof, numbers };
  });
  return { renewals, length: reader.offset };
}

/** One list a renewal, one answer a number, in the order asked. */
export function encodeRenewalAnswers(answers: readonly (readonly RenewalAnswer[])[]): Uint8Array {
  const parts = [Uint8Array.of(answers.length)];
  for (const list of answers) {
    parts.push(u32(list.length).subarray(2));
    for (const answer of list) {
      parts.push(Uint8Array.of(KNOWN.indexOf(answer.known)));
      if (answer.known === 'result') parts.push(u32(answer.reply.length), answer.reply);
    }
  }
  return concat(...parts);
}

export function decodeRenewalAnswers(bytes: Uint8Array): { answers: RenewalAnswer[][]; length: number } {
  const reader = new Reader(bytes);
  const answers = Array.from({ length: Math.min(reader.u8(), LIMITS.renewals) }, () =>
    Array.from({ length: Math.min(reader.u16(), LIMITS.renewalNumbers) }, (): RenewalAnswer => {
      const known = KNOWN[reader.u8()];
      if (known === undefined) throw new SealwireError('bad_payload');
      return known === 'result' ? { known, reply: reader.take(reader.u32()) } : { known };
    }),
  );
  return { answers, length: reader.offset };
}

class Reader {
  offset = 0;

  constructor(private readonly bytes: Uint8Array) {}

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.offset) throw new SealwireError('bad_payload');
    return this.bytes.slice(this.offset, (this.offset += length));
  }

  u8(): number {
    return this.take(1)[0] ?? 0;
  }

  u16(): number {
    return this.u8() * 256 + this.u8();
  }

  u32(): number {
    return readU32(this.take(4), 0);
  }
}
