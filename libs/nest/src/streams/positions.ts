import { at } from '@sealwire/core';
import { At } from '@sealwire/core/live';
import { Observable, type Subscriber } from 'rxjs';

const ASTRAY =
  'An interceptor gave several items for one, or one of them later, behind items with positions, so that nobody could go on with the ' +
  'stream: give one item for one and at once, as map() does, or give at() of each.';

/**
 * Takes positions off the items of an Observable in front of interceptors, and puts them on again behind: an item that comes out alone
 * while another goes in has the position of that. Without a position an item would come twice after a cut, if one before it has one.
 * So either all of them that interceptors delay or multiply have none, or the stream fails.
 */
export class Positions {
  #position: unknown;
  /** what has come out since an item went in, as long as it does */
  #out: unknown[] | undefined;
  /** an item went in of which nothing had come out when it was in */
  #dropped = false;
  /** an item with a position has come out */
  #given = false;
  #lost = false;
  #consumer: Subscriber<unknown> | undefined;

  off(items: Observable<unknown>): Observable<unknown> {
    return new Observable((interceptors) =>
      items.subscribe({
        next: (value) => (value instanceof At ? this.#in(value, interceptors) : interceptors.next(value)),
        error: (error) => interceptors.error(error),
        complete: () => interceptors.complete(),
      }),
    );
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

  #in({ position, item }: At, interceptors: Subscriber<unknown>): void {
    this.#flush();
    this.#position = position;
    this.#out = [];
    interceptors.next(item);
    this.#flush();
  }

  #flush(): void {
    const out = this.#out;
    this.#out = undefined;
    if (out?.length === 0) this.#dropped = true;
    else if (out?.length === 1 && !this.#lost && !(out[0] instanceof At)) this.#give(at(this.#position, out[0]));
    else for (const value of out ?? []) this.#astray(value);
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
