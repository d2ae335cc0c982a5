import { concat, readU16, readU32, u16, u32, utf8 } from '../bytes.js';
import type { ClientPrimitives, Secret } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { encodeCallNumber, type Sending } from '../message/numbers.js';
import { isPending, type Soon } from '../steps.js';
import { macUnder } from './key-schedule.js';

/** A client names an old session in step 3 and asks what became of its unanswered numbers (PROTOCOL.md section 4.3). */
export interface Renewal {
  readonly sessionId: Uint8Array;
  /** see {@link proveSession} */
  readonly proof: Uint8Array;
  readonly numbers: readonly Sending[];
}

/** The knowledge about one number. */
export type NumberAnswer =
  | { readonly known: 'unknown' | 'never_ran' | 'ran' | 'running' }
  /** `frame` is the result frame as it was sealed once */
  | { readonly known: 'result'; readonly frame: Uint8Array };

/** The server's findings about one renewal, with the proof that it knows the old session; zeros if it does not. */
interface RenewalAnswer {
  readonly proof: Uint8Array;
  readonly answers: readonly NumberAnswer[];
}

const KNOWN = ['unknown', 'never_ran', 'ran', 'result', 'running'] as const;

/**
 * HMAC(key, "prove" or "answer" || h), 16 bytes. A session id alone is visible to every proxy and proves nothing
 * (PROTOCOL.md section 4.3).
 *
 * @param key renewal key of the old session, or its K_first if its step 4 never arrived
 * @param h that of the new handshake: after step 2 for `prove`, before sealed_4 for `answer`
 * @example
 * const proof = proveSession(primitives, secrets.renewal, opened.provenOver);
 * const proven = opened.renewals.filter((renewal) => primitives.equal(renewal.proof, proof));
 */
export function proveSession(
  primitives: ClientPrimitives,
  key: Uint8Array,
  h: Uint8Array,
  role?: 'prove' | 'answer',
): Uint8Array;
export function proveSession(
  primitives: ClientPrimitives,
  key: Secret,
  h: Uint8Array,
  role?: 'prove' | 'answer',
): Soon<Uint8Array>;
export function proveSession(
  primitives: ClientPrimitives,
  key: Secret,
  h: Uint8Array,
  role: 'prove' | 'answer' = 'prove',
): Soon<Uint8Array> {
  const mac = macUnder(primitives, key, utf8(role), h);
  return isPending(mac) ? mac.then(proof) : proof(mac);
}

const proof = (mac: Uint8Array): Uint8Array => mac.slice(0, SIZE.proof);

/** @throws SealwireError `too_large` for more than {@link LIMITS}.renewals or .renewalNumbers */
export function encodeRenewals(renewals: readonly Renewal[]): Uint8Array {
  const count = renewals.reduce((sum, { numbers }) => sum + numbers.length, 0);
  if (renewals.length > LIMITS.renewals || count > LIMITS.renewalNumbers) throw new SealwireError('too_large');
  const parts: Uint8Array[] = [Uint8Array.of(renewals.length)];
  for (const { sessionId, proof, numbers } of renewals) {
    parts.push(sessionId, proof, u16(numbers.length));
    for (const { number, digest } of numbers) parts.push(encodeCallNumber(number), digest);
  }
  return concat(...parts);
}

/** @throws SealwireError `bad_payload` */
export function decodeRenewals(bytes: Uint8Array): Renewal[] {
  return read(bytes, (reader) =>
    reader.renewals(() => ({
      sessionId: reader.take(SIZE.sessionId),
      proof: reader.take(SIZE.proof),
      numbers: reader.numbers(() => ({
        number: { lane: reader.u32(), counter: reader.u32() },
        digest: reader.take(SIZE.digest),
      })),
    })),
  );
}

/** One list a renewal, one answer a number, in the order asked. */
export function encodeRenewalAnswers(lists: readonly RenewalAnswer[]): Uint8Array {
  const parts = lists.flatMap(({ proof, answers }) => [proof, encodeAnswers(answers)]);
  return concat(Uint8Array.of(lists.length), ...parts);
}

/** @throws SealwireError `bad_payload` */
export function decodeRenewalAnswers(bytes: Uint8Array): RenewalAnswer[] {
  return read(bytes, (reader) =>
    reader.renewals(() => ({ proof: reader.take(SIZE.proof), answers: reader.numbers(() => reader.answer()) })),
  );
}

/** `u16 m || m answers`: a list of renewal answers, and the first answers of step 4. */
export function encodeAnswers(answers: readonly NumberAnswer[]): Uint8Array {
  const parts = answers.flatMap((answer) => [
    Uint8Array.of(KNOWN.indexOf(answer.known)),
    ...(answer.known === 'result' ? [u32(answer.frame.length), answer.frame] : []),
  ]);
  return concat(u16(answers.length), ...parts);
}

/** @throws SealwireError `bad_payload` */
export function decodeAnswers(bytes: Uint8Array): NumberAnswer[] {
  return read(bytes, (reader) => reader.numbers(() => reader.answer()));
}

/**
 * First calls, PROTOCOL.md section 3.4: each payload is a message of its own.
 * @throws SealwireError `too_large` for more than {@link LIMITS}.callsInFlight
 */
export function encodeFirstCalls(payloads: readonly Uint8Array[]): Uint8Array {
  if (payloads.length > LIMITS.callsInFlight) throw new SealwireError('too_large');
  return concat(u16(payloads.length), ...payloads.flatMap((payload) => [u32(payload.length), payload]));
}

/** @throws SealwireError `bad_payload` */
export function decodeFirstCalls(bytes: Uint8Array): Uint8Array[] {
  return read(bytes, (reader) => reader.numbers(() => reader.take(reader.u32())));
}

/** Reads a whole block: bytes behind it are refused. */
function read<T>(bytes: Uint8Array, block: (reader: Reader) => T): T {
  const reader = new Reader(bytes);
  const value = block(reader);
  if (!reader.done) throw new SealwireError('bad_payload');
  return value;
}

class Reader {
  private offset = 0;
  private total = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get done(): boolean {
    return this.offset === this.bytes.length;
  }

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.offset) throw new SealwireError('bad_payload');
    const start = this.offset;
    this.offset += length;
    return this.bytes.slice(start, this.offset);
  }

  u32(): number {
    return readU32(this.take(4), 0);
  }

  renewals<T>(item: () => T): T[] {
    return this.list(this.take(1)[0] ?? 0, LIMITS.renewals, item);
  }

  /** All numbers of a block count together. */
  numbers<T>(item: () => T): T[] {
    const count = readU16(this.take(2), 0);
    this.total += count;
    return this.list(count, LIMITS.renewalNumbers - (this.total - count), item);
  }

  answer(): NumberAnswer {
    const known = KNOWN[this.take(1)[0] ?? 0];
    if (known === undefined) throw new SealwireError('bad_payload');
    return known === 'result' ? { known, frame: this.take(this.u32()) } : { known };
  }

  private list<T>(count: number, limit: number, item: () => T): T[] {
    if (count > limit) throw new SealwireError('bad_payload');
    return Array.from({ length: count }, item);
  }
}
