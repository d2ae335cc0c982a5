import { AsyncResource } from 'node:async_hooks';
import { Logger } from '@nestjs/common';
import { EmptyError, isObservable, type Unsubscribable } from 'rxjs';
import { RemoteFunctionError } from '../functions/outcome.js';
import { Positions } from './positions.js';

const logger = new Logger('Sealwire');
/** Items of one Observable that may wait for a slow consumer. */
const WAITING = 16_384;

/** `error` is there if it failed. */
interface End {
  readonly error?: unknown;
}

interface Subscribable {
  subscribe(observer: { next(value: unknown): void; error(error: unknown): void; complete(): void }): Unsubscribable;
}

/**
 * An Observable as the iterator that streams it: subscribed to at once, unsubscribed from when its consumer is gone. An Observable
 * cannot be slowed down, so items wait here; above 16,384 of them it is unsubscribed from and ends with `consumer_slow`. What it
 * emits while it is being subscribed to (`from([...])`) is not counted: that is in memory already.
 */
export class Observed implements AsyncIterableIterator<unknown> {
  readonly #waiting: unknown[] = [];
  #head = 0;
  /** the last of all items, undefined if there was none */
  last: { readonly value: unknown } | undefined;
  #over: End | undefined;
  #wake: (() => void) | undefined;
  #subscription: Unsubscribable | undefined;

  /** @param ended told once of its end, with what it failed with */
  constructor(source: Subscribable, ended?: (end: End, observed: Observed) => void) {
    let counting = false;
    const finish = (end: End = {}): void => {
      if (this.#over) return;
      this.#over = end;
      this.#wake?.();
      ended?.(end, this);
    };
    this.#subscription = source.subscribe({
      next: (value) => {
        if (this.#over) return;
        this.#waiting.push(value);
        this.last = { value };
        if (counting && this.#waiting.length - this.#head > WAITING) {
          finish({ error: new RemoteFunctionError('consumer_slow', 'The stream is read too slowly.') });
          this.#unsubscribe();
        }
        this.#wake?.();
      },
      error: (error) => finish({ error }),
      complete: () => finish(),
    });
    counting = true;
    if (this.#over) this.#unsubscribe();
  }

  /** What the application's own teardown throws is nobody's: the stream is over. */
  #unsubscribe(): void {
    try {
      this.#subscription?.unsubscribe();
    } catch (error) {
      logger.error(error);
    }
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<unknown, undefined>> {
    for (;;) {
      if (this.#head < this.#waiting.length) return { done: false, value: this.#take() };
      if (this.#over) {
        const { error } = this.#over;
        const failed = 'error' in this.#over;
        this.#over = {};
        if (failed) throw error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async return(): Promise<IteratorResult<unknown, undefined>> {
    this.#waiting.length = 0;
    this.#head = 0;
    this.#over = {};
    this.#wake?.();
    this.#unsubscribe();
    return { done: true, value: undefined };
  }

  #take(): unknown {
    const value = this.#waiting[this.#head];
    this.#waiting[this.#head++] = undefined;
    // taking the first of an array moves all others
    if (this.#head > 1_024 && this.#head > this.#waiting.length / 2) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    return value;
  }
}

interface Call {
  readonly resumable: boolean;
  admit(): void;
  returned(value: unknown, intercepted: true): unknown;
}

/**
 * What becomes of a function behind interceptors, whose `handle()` is one Observable as on a route of Nest. If the function
 * returned an Observable, interceptors see each of its items, {@link Positions} excepted, and what comes out of them streams.
 * Everything else that a function returns, a generator or a stream of bytes too, is one value for them, and the last value that
 * comes out is the result.
 */
export class Intercepted {
  #returned = false;
  #stream: (() => void) | undefined;
  readonly #positions = new Positions();

  constructor(private readonly call: Call) {}

  /** Around the function: notes whether it returned an Observable. */
  noting(next: () => unknown): () => Promise<unknown> {
    return async () => {
      // interceptors have had the response since the guards let the call pass
      this.call.admit();
      const value = this.call.returned(await next(), true);
      this.#returned = isObservable(value);
      // before its first item: a subscription may be silent for long
      if (this.#returned) this.#stream?.();
      return isObservable(value) ? this.#positions.off(value) : value;
    };
  }

  /** The value, or the {@link Observed} that streams what interceptors let through. */
  result(outcome: unknown): unknown {
    if (!isObservable(outcome)) return outcome;
    return new Promise((resolve, reject) => {
      const items = this.call.resumable ? this.#positions.on(outcome) : outcome;
      const observed = new Observed(items, (end, { last }) => {
        if (this.#returned) return;
        if ('error' in end) reject(end.error);
        else if (last) resolve(last.value);
        else reject(new EmptyError());
      });
      this.#stream = () => resolve(observed);
      if (this.#returned) resolve(observed);
    });
  }
}

/**
 * Has a generator, whose body begins after the function has returned, run in the async context of its call: with the stores that
 * guards and interceptors entered (`AsyncLocalStorage`), and with those of no other call.
 *
 * @param context that of the call (default: that of this moment)
 */
export function inContext(value: unknown, context?: AsyncResource): unknown {
  if (value instanceof Bound || !isGenerator(value)) return value;
  return new Bound(value, context ?? new AsyncResource('SealwireStream'));
}

export function isGenerator(value: unknown): value is AsyncGenerator {
  if (typeof value !== 'object' || value === null || !(Symbol.toStringTag in value)) return false;
  return value[Symbol.toStringTag] === 'AsyncGenerator';
}

/** Since Node 24 what enters a store changes the context of its own step only, and no AsyncResource. */
const STEPS_APART = Number.parseInt(process.versions.node, 10) >= 24;

/** A generator whose steps run in one async context: what one of them enters, the next one finds. */
class Bound implements AsyncIterableIterator<unknown> {
  readonly #generator: AsyncGenerator;
  #context: AsyncResource;

  constructor(generator: AsyncGenerator, context: AsyncResource) {
    this.#generator = generator;
    this.#context = context;
  }

  next(given?: unknown): Promise<IteratorResult<unknown>> {
    return this.#context.runInAsyncScope(this.#step, this, 'next', given);
  }

  return(given?: unknown): Promise<IteratorResult<unknown>> {
    return this.#context.runInAsyncScope(this.#step, this, 'return', given);
  }

  throw(given: unknown): Promise<IteratorResult<unknown>> {
    return this.#context.runInAsyncScope(this.#step, this, 'throw', given);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** for interceptors, which see it in place of the generator */
  get [Symbol.toStringTag](): string {
    return 'AsyncGenerator';
  }

  #step(step: 'next' | 'return' | 'throw', given: unknown): Promise<IteratorResult<unknown>> {
    const result = this.#generator[step](given);
    if (STEPS_APART) this.#context = new AsyncResource('SealwireStream');
    return result;
  }
}
