import { InjectionToken, type Injector, runInInjectionContext } from '@angular/core';
import type { Remote, RemoteOptions, SessionPersistence, Transport } from '@sealwire/client';
import type { RemoteModule } from './module.js';
import { optionsOf } from './options.js';

/** What all modules have in common; the rest is explained at `createRemote` of `@sealwire/client`. */
export interface SealwireConfig
  extends Pick<
    RemoteOptions,
    | 'serverKey'
    | 'keySize'
    | 'timeout'
    | 'connectTimeout'
    | 'waitForServer'
    | 'headers'
    | 'metadata'
    | 'refresh'
    | 'primitives'
    | 'dangerouslyAllowAnyServer'
  > {
  /** where the remote functions are, relative to the page or absolute (default `/remote`); the module's path follows */
  readonly url?: string;
}

/** What one module has of its own; it replaces the same option of {@link SealwireConfig}. */
export interface RemoteModuleConfig extends SealwireConfig {
  /**
   * The SecureKey of this user or device, `swk1...`. Never a constant of the bundle: everybody who loads the page would
   * hold it. A function is asked again when a signal that it read changes (log-in, log-out): the session is then closed,
   * calls under way are rejected with code `closed`, and resources, actions and streams show nothing more of the former user.
   * While it returns undefined nothing is sent: resources are idle and calls are rejected with a `PolicyError`. While it throws
   * they end with code `bad_configuration`, and the `ErrorHandler` is told.
   */
  readonly secureKey?: string | (() => string | undefined);
  /** runs in each new session before all calls that wait: a log-in, for example */
  readonly onSession?: RemoteOptions['onSession'];
}

const CONFIG_OPTIONS = {
  url: undefined,
  serverKey: undefined,
  secureKey: undefined,
  keySize: undefined,
  timeout: undefined,
  connectTimeout: undefined,
  waitForServer: undefined,
  headers: undefined,
  metadata: undefined,
  refresh: undefined,
  onSession: undefined,
  primitives: undefined,
  dangerouslyAllowAnyServer: undefined,
};

export type OrFactory<T> = T | (() => T);

export interface ModuleEntry {
  readonly module: RemoteModule<never>;
  readonly config: OrFactory<RemoteModuleConfig>;
}

export const CONFIG = new InjectionToken<OrFactory<SealwireConfig>>('Sealwire configuration');
export const MODULES = new InjectionToken<readonly ModuleEntry[]>('Sealwire modules');

/** Makes what carries the frames of one module. */
export type TransportFactory = (injector: Injector, modulePath: string) => Transport;
export const TRANSPORT = new InjectionToken<TransportFactory>('Sealwire transport');

/** Calls while a page is rendered on the server. */
export interface ServerCalls {
  /** of the remote functions, as the server reaches them: `http://127.0.0.1:3000/remote` */
  readonly url: string;
  /** hands values over to the browser, which then makes no call for them (default false) */
  readonly transfer?: boolean;
}
export const SERVER_CALLS = new InjectionToken<ServerCalls | undefined>('Sealwire calls on the server', {
  providedIn: 'root',
  factory: () => undefined,
});

/** Keeps the sessions of all modules over reloads. */
export const PERSISTENCE = new InjectionToken<SessionPersistence | undefined>('Sealwire persistence', {
  providedIn: 'root',
  factory: () => undefined,
});

/** What the tests replace: the network and the cryptography. */
export interface Backend {
  /** @param isCurrent whether its SecureKey is still the one of now; it changes as a signal does */
  open(module: RemoteModule<never>, options: () => RemoteOptions, isCurrent: () => boolean): Remote<unknown>;
  /** Runs the function when the reads of this turn are together. */
  endOfTurn(run: () => void): void;
}
export const BACKEND = new InjectionToken<Backend>('Sealwire backend');

/**
 * A configuration may be a function; it runs in an injection context.
 * @param what the function that was given it
 * @throws SealwireError `bad_configuration` for an option that does not exist
 */
export function resolve(value: OrFactory<RemoteModuleConfig>, injector: Injector, what: string): RemoteModuleConfig {
  const given = typeof value === 'function' ? runInInjectionContext(injector, value) : value;
  return optionsOf(given, CONFIG_OPTIONS, what);
}
