import type { ServerResponse } from 'node:http';
import { RemoteFunctionError } from '../functions/outcome.js';
import { isGone } from '../quirks/http2.js';

type Gone = (reason: RemoteFunctionError) => void;

/** The requests that wait for the result of one message: that which brought it, and its retransmissions. */
export class Audience {
  #waiting = 0;
  #timer: NodeJS.Timeout | undefined;
  /** why nobody waits any more; an error of it is made if somebody asks, for its stack takes longer than all else at the end */
  #gone: string | undefined;
  readonly #watching = new Set<Gone>();
  readonly #responses = new WeakSet<ServerResponse>();

  /** @param patience milliseconds without any request after which nobody is expected any more */
  constructor(private readonly patience: number) {}

  /** A request waits until its response is sent, or its connection is gone; once, though each call of its batch asks for it. */
  join(response: ServerResponse): void {
    if (this.#responses.has(response)) return;
    this.#responses.add(response);
    clearTimeout(this.#timer);
    this.#waiting += 1;
    const leave = (): void => {
      this.#waiting -= 1;
      if (this.#waiting > 0) return;
      this.#timer = setTimeout(() => this.abandon(), this.patience).unref();
    };
    if (response.closed || isGone(response)) leave();
    else response.once('close', leave);
  }

  /** Calls back once when nobody waits any more; at once if nobody did before. Answers how to take that back. */
  watch(gone: Gone): () => void {
    if (this.#gone) gone(cancelled(this.#gone));
    else this.#watching.add(gone);
    return () => this.#watching.delete(gone);
  }

  abandon(): void {
    if (this.#gone) return;
    this.#gone = 'Nobody waits for the call any more.';
    const reason = cancelled(this.#gone);
    for (const gone of this.#watching) gone(reason);
    this.#watching.clear();
  }

  /** The message has its result. */
  end(): void {
    this.#watching.clear();
    clearTimeout(this.#timer);
    this.#gone ??= 'The call is over.';
  }
}

/** What a signal fires with if nobody waits for its call, or reads its streams. */
export function cancelled(sentence: string): RemoteFunctionError {
  return new RemoteFunctionError('cancelled', sentence);
}
