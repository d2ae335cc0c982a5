import { RemoteError } from '@sealwire/angular';
import type { TestEvents } from './test-events.js';

/**
 * A stream that the test feeds, as the result of a call. The application is not stable until what the test says has reached its
 * consumer: `await fixture.whenStable()` shows it.
 */
export interface TestStream<Item> {
  /** @throws Error if the stream has ended, as the other four do */
  next(item: Item): void;
  end(): void;
  /** Loses the connection of a function that is `resumable`: it is called again by itself, and goes on with `next()` or `end()`. */
  resuming(): void;
  /** Loses the connection for good, as of a function that is not `resumable`: the RemoteError `stream_cut` says how many items had come. */
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
  /** since something arrived */
  #attempts = 0;
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

  /** @param settles keeps the application unstable until all that waits for something has run */
  constructor(
    private readonly functionName: string,
    private readonly events: TestEvents,
    private readonly settles: () => void,
  ) {}

  next(item: unknown): void {
    this.#check();
    this.#goOn();
    this.#given++;
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ done: false, value: item });
    else this.#items.push(item);
  }

  end(): void {
    this.#check();
    this.#goOn();
    this.#finish({});
  }

  resuming(): void {
    this.#check();
    const { functionName, consumer: stream } = this;
    const cause = new Error('The connection was lost.');
    this.events.emit('resuming', { functionName, stream, attempt: ++this.#attempts, cause });
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

  #goOn(): void {
    if (this.#attempts === 0) return;
    this.#attempts = 0;
    this.events.emit('streamResumed', { functionName: this.functionName, stream: this.consumer });
  }

  #check(): void {
    this.settles();
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
