import { RemoteError } from '@sealwire/angular';

/** A stream that the test feeds, as the result of a call. */
export interface TestStream<Item> {
  /** @throws Error if the stream has ended, as the other three do */
  next(item: Item): void;
  end(): void;
  /** Loses the connection for good: the RemoteError `stream_cut` says how many items had come. */
  cut(): void;
  /** Ends it with a RemoteError of that code. */
  error(code: string, message?: string, details?: unknown): void;
  /** the consumer broke off */
  readonly cancelled: boolean;
}

interface Waiting {
  resolve(result: IteratorResult<unknown, undefined>): void;
  reject(error: unknown): void;
}

const DONE = { done: true, value: undefined } as const;

/** The test's side; `consumer` is the other one. */
export class FedStream implements TestStream<unknown> {
  cancelled = false;
  readonly #items: unknown[] = [];
  #given = 0;
  readonly #waiting: Waiting[] = [];
  #end: { readonly error?: unknown } | undefined;

  readonly consumer: AsyncIterable<unknown> = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise((resolve, reject) => this.#ask({ resolve, reject })),
      return: () => {
        this.cancel(undefined);
        return Promise.resolve(DONE);
      },
    }),
  };

  next(item: unknown): void {
    this.#check();
    this.#given++;
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ done: false, value: item });
    else this.#items.push(item);
  }

  end(): void {
    this.#check();
    this.#finish({});
  }

  cut(): void {
    const items = this.#given;
    this.error('stream_cut', `The stream was cut after ${items} items.`, { items });
  }

  error(code: string, message = code, details?: unknown): void {
    this.#check();
    this.#finish({ error: new RemoteError(code, message, { details }) });
  }

  cancel(error: unknown): void {
    if (this.#end) return;
    this.cancelled = true;
    this.#items.length = 0;
    this.#finish({ error });
  }

  #check(): void {
    if (this.#end) throw new Error(`The stream ${this.cancelled ? 'was cancelled' : 'has ended already'}.`);
  }

  #ask(waiting: Waiting): void {
    if (this.#items.length > 0) waiting.resolve({ done: false, value: this.#items.shift() });
    else if (!this.#end) this.#waiting.push(waiting);
    else if (this.#end.error === undefined) waiting.resolve(DONE);
    else waiting.reject(this.#end.error);
  }

  #finish(end: { readonly error?: unknown }): void {
    this.#end = end;
    for (const waiting of this.#waiting.splice(0)) this.#ask(waiting);
  }
}
