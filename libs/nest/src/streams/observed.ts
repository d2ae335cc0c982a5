import { Logger } from '@nestjs/common';
import { at } from '@sealwire/core';
import { At } from '@sealwire/core/live';
import { EmptyError, isObservable, Observable, type Subscriber, type Unsubscribable } from 'rxjs';
import { RemoteFunctionError } from '../functions/outcome.js';

const logger = new Logger('Sealwire');
/** Items of one Observable that may wait for a slow consumer. */
const WAITING = 16_384;
const ASTRAY =
  'An interceptor gave several items for one, or one of them later, behind items with positions, so that nobody could go on with the ' +
  'stream: give one item for one and at once, as map() does, or give at() of each.';

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

/**
 * Takes positions off the items of an Observable in front of interceptors, and puts them on again behind: an item that comes out alone
 * while another goes in has the position of that, and what comes out when the last one was in has the last position. Without a position
 * an item would come twice after a cut, if one before it has one. So either all of them that interceptors delay or multiply have none,
 * or the stream fails.
 */
class Positions {
  #position: unknown;
  /** what has come out since an item went in, as long as it does */
  #out: unknown[] | undefined;
  /** an item went in of which nothing had come out when it was in */
  #dropped = false;
  /** no other item goes in */
  #ended = false;
  /** an item with a position has come out */
  #given = false;
  #lost = false;
  #consumer: Subscriber<unknown> | undefined;

  off(items: Observable<unknown>): Observable<unknown> {
    return new Observable((interceptors) => {
      const end = (pass: () => void): void => {
        this.#ended = true;
        this.#in(this.#position, pass);
      };
      return items.subscribe({
        next: (value) => {
          if (value instanceof At) this.#in(value.position, () => interceptors.next(value.item));
          else interceptors.next(value);
        },
        error: (error) => end(() => interceptors.error(error)),
        complete: () => end(() => interceptors.complete()),
      });
    });
  }

  on(items: Observable<unknown>): Observable<unknown> {
    return new Observable((consumer) => {
      this.#consumer = consumer;
      return items.subscribe({
        next: (value) => {
          if (this.#out) this.#out.push(value);
          else if (this.#dropped) this.#astray(value);
          // beside the items, such as a sign of life
          else consumer.next(value);
        },
        error: (error) => {
          this.#flush();
          consumer.error(error);
        },
        complete: () => {
          this.#flush();
          consumer.complete();
        },
      });
    });
  }

  #in(position: unknown, pass: () => void): void {
    this.#flush();
    this.#position = position;
    this.#out = [];
    pass();
    this.#flush();
  }

  #flush(): void {
    const out = this.#out;
    this.#out = undefined;
    if (out?.length === 0) this.#dropped = !this.#ended;
    for (const value of out ?? []) {
      const positioned = (out?.length === 1 || this.#ended) && !this.#lost && !(value instanceof At);
      if (positioned) this.#give(at(this.#position, value));
      else this.#astray(value);
    }
  }

  #give(value: unknown): void {
    this.#given = true;
    this.#consumer?.next(value);
  }

  #astray(value: unknown): void {
    if (value instanceof At) this.#give(value);
    else if (this.#given) this.#consumer?.error(new TypeError(ASTRAY));
    else {
      this.#lost = true;
      this.#consumer?.next(value);
    }
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
