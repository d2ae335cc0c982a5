import { InjectionToken, inject } from '@angular/core';
import type { Remote, RemoteApi } from '@sealwire/client';
import type { Handle } from './handle.js';
import { misconfigured } from './options.js';

/**
 * A module of the server as an injection token: `inject(Payments)` is its remote, one for each environment injector that
 * provides it with `withModule`, and the root's everywhere else.
 */
export type RemoteModule<Api> = InjectionToken<Remote<Api>>;

/** Connects modules by the configuration of one environment injector. */
export const SEALWIRE = new InjectionToken<{ connect<Api>(module: RemoteModule<Api>): Handle<Api> }>('Sealwire', {
  providedIn: 'root',
  factory: () => {
    throw new Error('Nothing provides Sealwire: add provideSealwire(...) to the providers of the application.');
  },
});

/** The functions behind a token: `ApiOf<typeof Payments>`. */
export type ApiOf<M> = M extends RemoteModule<infer Api> ? Api : never;

const paths = new WeakMap<object, string>();

/**
 * Names a module of the server. The controller is a type only, so nothing of the server is bundled.
 *
 * @param path of the module, as the server configured it
 * @throws SealwireError `bad_configuration` for a path that is no text or empty
 * @example
 * import type { PaymentsController } from './payments.controller.js';
 * export const Payments = remoteModule<PaymentsController>('payments');
 */
export function remoteModule<Controller>(path: string): RemoteModule<RemoteApi<Controller>> {
  if (typeof path !== 'string' || path === '')
    throw misconfigured('remoteModule() takes the path of a module, not nothing.');
  const token: RemoteModule<RemoteApi<Controller>> = new InjectionToken(`remote module "${path}"`, {
    providedIn: 'root',
    factory: () => inject(SEALWIRE).connect(token).remote,
  });
  paths.set(token, path);
  return token;
}

/** @throws Error for a token that `remoteModule` did not make */
export function pathOf(module: RemoteModule<never>): string {
  const path = paths.get(module);
  if (path === undefined) throw new Error(`${String(module)} is no module: make it with remoteModule().`);
  return path;
}
