import { type Call, LIMITS, type Outcome } from '@sealwire/core';
import { notReached, OutcomeUnknownError, RemoteError } from '../errors.js';
import type { Settings } from '../options.js';
import type { SentFrame, Session } from '../sessions/session.js';
import type { SessionManager } from '../sessions/session-manager.js';
import { type Answer, post } from '../transport/transport.js';
import { backoff, LONGEST } from './interrupt.js';
import { judge, Message, type Verdict } from './message.js';

export interface CallOptions {
  /** gives the call up; it is then rejected with the signal's reason, whether it ran or not */
  readonly signal?: AbortSignal;
  /** milliseconds, instead of the remote's `timeout` */
  readonly timeout?: number;
}

export type Settled<T = unknown> =
  | { readonly status: 'fulfilled'; readonly value: T }
  | { readonly status: 'rejected'; readonly reason: RemoteError };

/** Brings calls to the server at most once, and answers each with its own outcome. */
export class Caller {
  constructor(
    private readonly settings: Settings,
    private readonly manager: SessionManager,
  ) {}

  async invoke(calls: readonly Call[], options: CallOptions): Promise<Settled[]> {
    const { signal } = options;
    signal?.throwIfAborted();
    const timeout = Math.min(options.timeout ?? this.settings.timeout, LONGEST);
    const messages = inBatches(calls).map((batch) => new Message(this.settings.primitives, batch, timeout));
    let cancelled = false;
    const abort = () => {
      cancelled = true;
      for (const message of messages) message.stop(signal?.reason);
    };
    const timer = setTimeout(() => {
      for (const message of messages) message.stop(notReached(message.lastError ?? this.manager.lastError));
    }, timeout);
    signal?.addEventListener('abort', abort);
    try {
      const settled = await Promise.all(messages.map((message) => this.#deliver(message)));
      if (cancelled) throw signal?.reason;
      return settled.flat();
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Never rejects. */
  async #deliver(message: Message): Promise<Settled[]> {
    const settled = new Array<Settled>(message.calls.length);
    try {
      await this.manager.enter(message);
      for (let attempt = 0; ; attempt++) {
        const outcomes = await this.#bring(message);
        const again: number[] = [];
        outcomes.forEach((outcome, i) => {
          // nothing of the call is known to be committed, and its identity keeps it from running twice
          if (!outcome.ok && outcome.code === 'unavailable') again.push(i);
          else settled[message.places[i] ?? 0] = this.#settle(message, i, outcome);
        });
        if (again.length === 0) return settled;
        message.resend(again);
        message.listen();
        await message.race(backoff(attempt));
      }
    } catch (error) {
      for (const place of message.places)
        settled[place] ??= { status: 'rejected', reason: failure(message, place, error) };
      return settled;
    } finally {
      this.manager.leave(message);
      message.end();
    }
  }

  /** Sends the message under as many numbers as it takes. */
  async #bring(message: Message): Promise<readonly Outcome[]> {
    for (;;) {
      message.listen();
      const { sent } = message;
      const verdict = sent ? await this.#transmit(message, sent as SentFrame) : await this.#place(message);
      switch (verdict.known) {
        case 'result':
          return verdict.outcomes;
        case 'ran':
          // its result may still be had where the function runs exactly once
          message.ran = true;
          message.resend();
          break;
        case 'never_ran':
          message.forget();
          break;
        case 'unknown':
          message.resend();
          break;
        case 'running':
        case 'again':
          break;
      }
    }
  }

  #place(message: Message): Promise<Verdict> {
    const session = this.manager.usable();
    if (!session) return this.manager.join(message);
    message.attach(session.seal(message.payload, message.places.length));
    return AGAIN;
  }

  /** The same bytes again and again, until an answer opens or the session manager knows better. */
  async #transmit(message: Message, sent: SentFrame): Promise<Verdict> {
    for (let attempt = 0; ; attempt++) {
      const { answer, told } = await this.#request(message, sent);
      if (told && !answer) return told;
      let wait = backoff(attempt);
      if (answer?.frame) {
        const verdict = this.#open(message, sent, answer.frame);
        if (verdict === 'ended') return told && told.known !== 'running' ? told : this.manager.join(message);
        if (verdict) return verdict;
      } else if (answer) {
        message.lastError = answer.error;
        if (answer.code === 'session_unknown' || answer.code === 'handshake_used') {
          // a handshake that has just told of this number need not be followed by another
          if (!told || told.known === 'running') this.manager.hint(sent.session);
          if (sent.afterIdle) return { known: 'never_ran' };
        }
        // no retransmission will make it shorter
        if (answer.code === 'too_large') throw answer.error;
        wait = backoff(attempt, answer.wait);
      }
      if (told && told.known !== 'running') return told;
      const later = await message.race(wait);
      if (later) return later;
    }
  }

  /**
   * What comes back, and what a renewal told meanwhile: that a call runs, or that its outcome is not known, does not end a
   * request that may still bring the result.
   */
  async #request(message: Message, sent: SentFrame): Promise<{ answer?: Answer | undefined; told?: Verdict }> {
    const request = message.travel(post(this.settings, sent.frame, message.signal));
    let told: Verdict | undefined;
    for (;;) {
      const answer = await message.race(message.timeout / 3, request);
      if (!answer || !('known' in answer)) return told ? { answer, told } : { answer };
      if (answer.known !== 'running' && answer.known !== 'ran' && answer.known !== 'unknown') return { told: answer };
      told = answer;
      message.listen();
    }
  }

  /** @returns undefined where the same bytes have to be sent again */
  #open(message: Message, sent: SentFrame, frame: Uint8Array): Verdict | 'ended' | undefined {
    const session: Session = sent.session;
    try {
      const reply = session.open(sent, frame);
      this.manager.opened(session);
      const status = 'status' in reply ? reply.status : undefined;
      if ('status' in reply && reply.status === 'lane_moved') this.manager.moved(session, reply);
      if (status === 'number_conflict' || status === 'session_ended') this.manager.end(session, status);
      if (status === 'session_ended') return sent.afterIdle ? { known: 'never_ran' } : 'ended';
      return judge(reply, sent.total, sent.offset, message.places.length);
    } catch (error) {
      message.lastError = error;
      return undefined;
    }
  }

  #settle(message: Message, index: number, outcome: Outcome): Settled {
    if (outcome.ok) return { status: 'fulfilled', value: outcome.value };
    const { code, details } = outcome;
    const name = message.calls[message.places[index] ?? 0]?.name ?? '';
    if (code === 'outcome_unknown') {
      return { status: 'rejected', reason: message.ran ? resultGone() : new OutcomeUnknownError(name, message.trace) };
    }
    return {
      status: 'rejected',
      reason: new RemoteError(code, outcome.message, { details, retryable: RETRYABLE.has(code) }),
    };
  }
}

const AGAIN: Promise<Verdict> = Promise.resolve({ known: 'again' });
const RETRYABLE: ReadonlySet<string> = new Set(['busy', 'rate_limited', 'unavailable']);

function resultGone(): RemoteError {
  return new RemoteError('result_gone', 'The call ran, but its result is not kept any more.');
}

function inBatches(calls: readonly Call[]): (readonly Call[])[] {
  if (calls.length <= LIMITS.batch) return calls.length > 0 ? [calls] : [];
  return [calls.slice(0, LIMITS.batch), ...inBatches(calls.slice(LIMITS.batch))];
}

/** What may have run is never reported as something that did not. */
function failure(message: Message, place: number, error: unknown): RemoteError {
  if (error instanceof RemoteError && error.code === 'closed') return error;
  if (message.mayHaveRun) return new OutcomeUnknownError(message.calls[place]?.name ?? '', message.trace, error);
  if (error instanceof RemoteError) return error;
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unreachable';
  return new RemoteError(code, error instanceof Error ? error.message : String(error), { cause: error });
}
