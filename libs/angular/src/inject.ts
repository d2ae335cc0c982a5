import type { Injector, Signal } from '@angular/core';
import { type ConnectionState, type Remote, remoteFunctions } from '@sealwire/client';
import { EMPTY, Observable } from 'rxjs';
import { handleOf } from './handle.js';
import { isStream } from './holds-stream.js';
import type { RemoteModule } from './module.js';
import { injectorOf, optionsOf } from './options.js';

/** Options of {@link injectRemote} and its like. */
export interface InjectOptions {
  /** instead of the injection context */
  readonly injector?: Injector;
}

/**
 * The remote of a module: plain promises, as `inject(module)`.
 *
 * @throws Error outside an injection context, unless `injector` is given; SealwireError `bad_configuration` for another option
 * @example
 * class Checkout {
 *   readonly #payments = injectRemote(Payments);
 *   pay(): Promise<void> {
 *     return this.#payments.transfer('a', 'b', 500n);
 *   }
 * }
 */
export function injectRemote<Api>(module: RemoteModule<Api>, options: InjectOptions = {}): Remote<Api> {
  return remoteOf(module, options, 'injectRemote()', injectRemote);
}

/** The functions of a module as cold observables: of the result, or of the items of a result that streams. */
export type Remote$<Api> = {
  readonly [K in keyof Api]: Api[K] extends (...args: infer P) => Promise<infer R>
    ? (...args: P) => Observable<R extends ReadableStream ? R : R extends AsyncIterable<infer Item> ? Item : R>
    : never;
};

/**
 * The functions of a module as observables: each subscription is one call, and the end of the subscription gives it up. A result
 * that streams emits its items. While a page is rendered on the server they end without a value, unless `withServerCalls()` is there.
 *
 * @throws Error outside an injection context, unless `injector` is given; SealwireError `bad_configuration` for another option
 * @example
 * import { type Observable, switchMap, timer } from 'rxjs';
 * class AccountPage {
 *   readonly #payments$ = remote$(Payments);
 *   readonly balance$: Observable<bigint> = timer(0, 60_000).pipe(switchMap(() => this.#payments$.balance('a')));
 * }
 */
export function remote$<Api>(module: RemoteModule<Api>, options: InjectOptions = {}): Remote$<Api> {
  const remote = remoteOf(module, options, 'remote$()', remote$);
  const { isSilent } = handleOf(remote);
  return remoteFunctions<Remote$<Api>>({}, ({ name, args }) => {
    // as a resource stays idle: an error in a template would be told to the ErrorHandler on each rendering
    if (isSilent) return EMPTY;
    return new Observable((subscriber) => {
      const stop = new AbortController();
      const call = (remote.$call({ signal: stop.signal }) as Record<string, (...args: unknown[]) => Promise<unknown>>)[
        name
      ];
      const run = async (): Promise<void> => {
        const value = await call?.(...args);
        if (!isStream(value)) subscriber.next(value);
        else for await (const item of value) subscriber.next(item);
        subscriber.complete();
      };
      run().catch((error: unknown) => subscriber.error(error));
      return () => stop.abort();
    });
  });
}

/**
 * How a module stands with its server, for a banner such as "Waiting for the network".
 *
 * @throws Error outside an injection context, unless `injector` is given; SealwireError `bad_configuration` for another option
 * @example
 * class Banner {
 *   readonly connection = injectConnection(Payments);
 *   // in the template: @if (connection().state === 'waiting') { Waiting for the network … }
 * }
 */
export function injectConnection<Api>(module: RemoteModule<Api>, options: InjectOptions = {}): Signal<ConnectionState> {
  return handleOf(remoteOf(module, options, 'injectConnection()', injectConnection)).connection.asReadonly();
}

type Asking = (module: RemoteModule<never>) => unknown;

function remoteOf<Api>(module: RemoteModule<Api>, options: InjectOptions, what: string, asking: Asking): Remote<Api> {
  const { injector } = optionsOf(options, { injector: undefined }, what);
  return injectorOf(injector, asking).get(module);
}
