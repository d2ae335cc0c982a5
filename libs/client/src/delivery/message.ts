import {
  type Call,
  type CallNumber,
  callIdentity,
  decodeCalls,
  encodeCalls,
  frameDigest,
  LIMITS,
  type MessageStatus,
  type Outcome,
  type Primitives,
  type Reply,
} from '@sealwire/core';
import { Interrupt } from './interrupt.js';

/** What became of a message, or of one number that it was sent under. */
export type Verdict =
  | { readonly known: 'result'; readonly outcomes: readonly Outcome[] }
  /** `again`: nothing is known to stand in the way, look at the state anew */
  | { readonly known: 'never_ran' | 'ran' | 'unknown' | 'running' | 'again' };

/** A number that a message was sent under and that is not answered yet. */
export interface Sent {
  /** `key` proves the session and derives the identity of its calls */
  readonly session: { readonly id: Uint8Array; readonly key: Uint8Array };
  readonly number: CallNumber;
  /** the whole frame: a retransmission is the same bytes */
  readonly frame: Uint8Array;
  /** of the server at that time */
  readonly incarnation: Uint8Array;
  /** where this message's calls begin among those of the frame */
  readonly offset: number;
  /** calls of the frame */
  readonly total: number;
  release(): void;
}

/** Calls that travel together under one number, and what is known of them. */
export class Message {
  sent: Sent | undefined;
  /** the last number, for the error */
  trace: { readonly sessionId: Uint8Array; readonly number: CallNumber } | undefined;
  mayHaveRun = false;
  /** the server said so, without the result */
  ran = false;
  lastError: unknown;
  /** Encoded at the time of the call, so that arguments changed later do not travel. */
  payload: Uint8Array;
  /** places of its calls in what the caller asked for */
  places: readonly number[];
  #resent = false;
  #stopped: { readonly reason: unknown } | undefined;
  #mail = new Interrupt<Verdict>();
  #travelling = 0;
  readonly #transport = new AbortController();

  constructor(
    private readonly primitives: Primitives,
    readonly calls: readonly Call[],
    /** milliseconds that the caller gives it */
    readonly timeout: number,
  ) {
    this.payload = encodeCalls(calls);
    this.places = calls.map((_, i) => i);
  }

  get signal(): AbortSignal {
    return this.#transport.signal;
  }

  get stopped(): boolean {
    return this.#stopped !== undefined;
  }

  attach(sent: Sent): void {
    this.sent = sent;
    this.trace = { sessionId: sent.session.id, number: sent.number };
    this.mayHaveRun = true;
  }

  /** Every waiting ends with this error, now and later. */
  stop(reason: unknown): void {
    this.#stopped ??= { reason };
    this.#mail.reject(reason);
    this.#transport.abort(reason);
  }

  tell(verdict: Verdict): void {
    this.#mail.resolve(verdict);
  }

  /** What is told from here on concerns the state from here on. */
  listen(): void {
    this.#mail = new Interrupt();
    if (this.#stopped) this.#mail.reject(this.#stopped.reason);
  }

  mail(): Promise<Verdict> {
    return this.#mail.promise;
  }

  /** The first of the work, what the session manager tells, and undefined after `ms`. */
  race<W = never>(ms: number, work?: Promise<W>): Promise<W | Verdict | undefined> {
    return this.#mail.race(ms, work);
  }

  /** Nothing ran under the number: the next one is a first sending again. */
  forget(): void {
    this.mayHaveRun = this.#resent;
    this.#detach();
  }

  /** Keeps the calls of those indices, to be sent under another number with the identity they had first. */
  resend(keep: readonly number[] = this.places.map((_, i) => i)): void {
    const { sent } = this;
    if (!sent) return;
    const calls = decodeCalls(this.payload);
    const first = { number: sent.number, digest: frameDigest(this.primitives, sent.frame) };
    const identity = (i: number) => ({
      callId: callIdentity(this.primitives, sent.session.key, first, sent.offset + i),
      incarnation: sent.incarnation,
    });
    this.payload = encodeCalls(keep.flatMap((i) => calls.slice(i, i + 1).map((c) => ({ resend: identity(i), ...c }))));
    this.places = keep.flatMap((i) => this.places.slice(i, i + 1));
    this.#resent = true;
    this.#detach();
  }

  #detach(): void {
    this.sent?.release();
    this.sent = undefined;
  }

  /** Counts a request as travelling until it is answered; `work` must not reject. */
  travel<W>(work: Promise<W>): Promise<W> {
    this.#travelling++;
    void work.then(() => this.#travelling--);
    return work;
  }

  /** Ends what still travels. */
  end(): void {
    this.#detach();
    // an abort costs an error object with its stack, too much for every call that went well
    if (this.#travelling > 0) this.#transport.abort();
  }
}

/** The part of a reply that belongs to the calls from `offset` on; undefined where the reply is final for none of them. */
export function judge(reply: Reply, total: number, offset: number, count: number): Verdict | undefined {
  if ('status' in reply) return judgeStatus(reply);
  if (reply.outcomes.length !== total) return { known: 'unknown' };
  return { known: 'result', outcomes: reply.outcomes.slice(offset, offset + count) };
}

function judgeStatus(reply: MessageStatus): Verdict | undefined {
  switch (reply.status) {
    case 'lane_moved':
      return { known: reply.known };
    case 'number_conflict':
      // another frame took the number (this client was cloned), so this one never ran
      return { known: 'never_ran' };
    case 'result_gone':
      return { known: 'ran' };
    case 'number_too_old':
    case 'outcome_unknown':
      // sent again under its identity, the server decides call by call
      return { known: 'unknown' };
    default:
      return undefined;
  }
}

/** Whether a payload still may ride in step 3 after padding, which adds at most an eighth. */
export function fitsFirstCalls(bytes: number): boolean {
  return bytes + bytes / 8 + 64 <= LIMITS.firstCallsSent;
}
