import type { ServerResponse } from 'node:http';
import { RemoteFunctionError } from '../functions/outcome.js';

type Gone = (reason: RemoteFunctionError) => void;

/** The requests that wait for the result of one message: that which brought it, and its retransmissions. */
export class Audience {
  #waiting = 0;
  #timer: NodeJS.Timeout | undefined;
  #gone: RemoteFunctionError | undefined;
  readonly #watching = new Set<Gone>();

  /** @param patience milliseconds without any request after which nobody is expected any more */
  constructor(private readonly patience: number) {}

  /** A request waits until its response is sent, or its connection is gone. */
  join(response: ServerResponse): void {
    clearTimeout(this.#timer);
    this.#waiting += 1;
    const leave = (): void => {
      this.#waiting -= 1;
      if (this.#waiting > 0) return;
      this.#timer = setTimeout(() => this.abandon(), this.patience).unref();
    };
    if (response.closed || response.destroyed) leave();
    else response.once('close', leave);
  }

  /** Calls back once when nobody waits any more; at once if nobody did before. Answers how to take that back. */
  watch(gone: Gone): () => void {
    if (this.#gone) gone(this.#gone);
    else this.#watching.add(gone);
    return () => this.#watching.delete(gone);
  }

  abandon(): void {
    if (this.#gone) return;
    this.#gone = new RemoteFunctionError('cancelled', 'Nobody waits for the call any more.');
    for (const gone of this.#watching) gone(this.#gone);
    this.#watching.clear();
  }

  /** The message has its result. */
  end(): void {
    this.#watching.clear();
    clearTimeout(this.#timer);
    this.#gone ??= new RemoteFunctionError('cancelled', 'The call is over.');
  }
}
