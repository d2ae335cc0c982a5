import { EmptyError, isObservable } from 'rxjs';
import { Observed } from './observed.js';

/**
 * What becomes of a function behind interceptors, whose `handle()` is one Observable as on a route of Nest. If the function
 * returned an Observable, interceptors see each of its items, and what comes out of them streams. Everything else that a function
 * returns, a generator or a stream of bytes too, is one value for them, and the last value that comes out is the result.
 */
export class Intercepted {
  #returned = false;
  #stream: (() => void) | undefined;

  /** Around the function: notes whether it returned an Observable. */
  noting(next: () => unknown): () => Promise<unknown> {
    return async () => {
      const value = await next();
      this.#returned = isObservable(value);
      // before its first item: a subscription may be silent for long
      if (this.#returned) this.#stream?.();
      return value;
    };
  }

  /** The value, or the {@link Observed} that streams what interceptors let through. */
  result(outcome: unknown): unknown {
    if (!isObservable(outcome)) return outcome;
    return new Promise((resolve, reject) => {
      const observed = new Observed(outcome, (end, { last }) => {
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
