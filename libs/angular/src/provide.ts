import { isPlatformServer } from '@angular/common';
import {
  APP_BOOTSTRAP_LISTENER,
  type EnvironmentProviders,
  inject,
  makeEnvironmentProviders,
  PLATFORM_ID,
  type Provider,
  provideEnvironmentInitializer,
} from '@angular/core';
import { type FetchTransportOptions, fetchTransport } from '@sealwire/client';
import { type SessionPersistenceOptions, sessionPersistence } from '@sealwire/client/persistence';
import {
  CONFIG,
  MODULES,
  type ModuleEntry,
  type OrFactory,
  PERSISTENCE,
  type RemoteModuleConfig,
  SERVER_CALLS,
  type SealwireConfig,
  type ServerCalls,
  TRANSPORT,
  type TransportFactory,
} from './config.js';
import { httpClientTransport } from './http-client.js';
import { pathOf, type RemoteModule, SEALWIRE } from './module.js';
import { misconfigured, optionsOf, SWITCH } from './options.js';
import { Sealwire } from './sealwire.js';
import { Start } from './transfer.js';

/** Kinds of what a `with...` function returns. */
export type SealwireFeatureKind = 'module' | 'transport' | 'persistence' | 'server' | 'inspector';

/** What a `with...` function of this package returns. */
export interface SealwireFeature<Kind extends SealwireFeatureKind = SealwireFeatureKind> {
  readonly ɵkind: Kind;
  /** of `withModule` */
  readonly ɵmodule?: RemoteModule<never>;
  readonly ɵproviders: (Provider | EnvironmentProviders)[];
}

/**
 * Provides the remotes of an application, or of a lazy route that has its own server or keys.
 *
 * @param config may be a function, which runs in an injection context
 * @throws SealwireError `bad_configuration` for two features of one kind, or of one module; where the first remote is injected also for
 * a mistake in `config`, or a PolicyError, with a sentence that says what to change
 * @example
 * import type { ApplicationConfig } from '@angular/core';
 * export const appConfig: ApplicationConfig = {
 *   providers: [provideSealwire({ url: '/remote', serverKey: 'swp1…' }, withModule(Payments))],
 * };
 */
export function provideSealwire(
  config: SealwireConfig | (() => SealwireConfig),
  ...features: readonly SealwireFeature[]
): EnvironmentProviders {
  const several = (kind: SealwireFeatureKind) => features.filter(({ ɵkind }) => ɵkind === kind).length > 1;
  if (several('transport')) throw misconfigured('provideSealwire() takes one of withHttpClient() and withFetch().');
  if (several('persistence')) throw misconfigured('provideSealwire() takes one withSessionPersistence().');
  const modules = features.flatMap(({ ɵmodule }) => ɵmodule ?? []);
  const twice = modules.find((module, i) => modules.indexOf(module) !== i);
  if (twice)
    throw misconfigured(`provideSealwire() takes one withModule() of each module: "${pathOf(twice)}" has two.`);
  return makeEnvironmentProviders([
    { provide: CONFIG, useValue: config },
    { provide: SEALWIRE, useClass: Sealwire },
    { provide: APP_BOOTSTRAP_LISTENER, multi: true, useFactory: startFollower },
    ...features.map(({ ɵproviders }) => ɵproviders),
  ]);
}

/**
 * What one module has of its own. Its remote belongs to the injector that this is provided in, and closes with it. Modules
 * without it have the common configuration. Of several `provideSealwire`, as `mergeApplicationConfig` puts them together, the last one
 * with this module counts.
 *
 * @param config may be a function, which runs in an injection context
 * @example
 * import { Injectable, inject, signal } from '@angular/core';
 * @Injectable({ providedIn: 'root' })
 * class Device {
 *   readonly secureKey = signal<string | undefined>(undefined);
 * }
 * withModule(Payments, () => {
 *   const device = inject(Device);
 *   return { secureKey: () => device.secureKey() };
 * });
 */
export function withModule<Api>(
  module: RemoteModule<Api>,
  config: OrFactory<RemoteModuleConfig> = {},
): SealwireFeature<'module'> {
  const entry: ModuleEntry = { module: module as unknown as RemoteModule<never>, config };
  return {
    ɵkind: 'module',
    ɵmodule: entry.module,
    ɵproviders: [
      { provide: MODULES, multi: true, useValue: entry },
      { provide: module, useFactory: () => inject(SEALWIRE).connect(module).remote },
    ],
  };
}

/**
 * The default: frames travel through HttpClient, so the application's interceptors (tokens, tracing), XSRF protection and
 * backend apply. Those see the URL, headers and sealed bytes, never a function name.
 *
 * @example
 * provideSealwire({ serverKey: 'swp1…' }, withHttpClient());
 */
export function withHttpClient(): SealwireFeature<'transport'> {
  return transport(httpClientTransport);
}

/**
 * Frames travel by `fetch`, around HttpClient and its interceptors.
 *
 * @param options those of `fetchTransport` of `@sealwire/client`
 * @throws SealwireError `bad_configuration` for an option that does not exist, or a value that it does not take
 * @example
 * const config = { url: 'https://api.example.com/remote', serverKey: 'swp1…' };
 * provideSealwire(config, withFetch({ credentials: 'include' }));
 */
export function withFetch(options: FetchTransportOptions = {}): SealwireFeature<'transport'> {
  const transportOfAll = fetchTransport(options);
  return transport(() => transportOfAll);
}

function transport(factory: TransportFactory): SealwireFeature<'transport'> {
  return { ɵkind: 'transport', ɵproviders: [{ provide: TRANSPORT, useValue: factory }] };
}

/**
 * Keeps sessions over reloads of the page, so that the first call after one needs no handshake: in IndexedDB, as keys that nobody
 * can export, one session for each tab (Web Locks). Off by default, for keys of the current epoch then rest on the disk of the
 * device. Where IndexedDB, Web Locks or WebCrypto are missing it does nothing. A SecureKey that changes or goes, and a remote that
 * is closed, deletes what is kept of its module.
 *
 * @param options those of `sessionPersistence` of `@sealwire/client/persistence`
 * @throws SealwireError `bad_configuration` for an option that does not exist, or a value that it does not take
 * @example
 * provideSealwire({ serverKey: 'swp1…' }, withSessionPersistence({ slots: 4 }));
 */
export function withSessionPersistence(options: SessionPersistenceOptions = {}): SealwireFeature<'persistence'> {
  return { ɵkind: 'persistence', ɵproviders: [{ provide: PERSISTENCE, useValue: sessionPersistence(options) }] };
}

/**
 * Lets remote functions run while a page is rendered on the server. Without it resources stay `idle` there, calls are
 * rejected with a `PolicyError`, and the browser loads. What the server renders travels as readable HTML through the
 * proxies that Sealwire hides bodies from: only for what is public. With `transfer` the values of resources travel in the page
 * too, so that the browser's resources are resolved from the start and make no call; errors, streams and files do not.
 *
 * @param options for the server alone: a browser does not read them
 * @throws SealwireError `bad_configuration` without `url`, for an option that does not exist, or a value that it does not take, and when
 * an application starts on the server with a `url` that is not absolute
 * @example
 * provideSealwire({ serverKey: 'swp1…' }, withServerCalls({ url: 'http://127.0.0.1:3000/remote', transfer: true }));
 */
export function withServerCalls(options: ServerCalls): SealwireFeature<'server'> {
  const own = optionsOf(options, { url: undefined, transfer: SWITCH }, 'withServerCalls()');
  const { url } = own;
  if (typeof url !== 'string') throw misconfigured('withServerCalls() needs the url of the remote functions.');
  // when the application starts, so that a build that prerenders ends there
  const check = provideEnvironmentInitializer(() => isPlatformServer(inject(PLATFORM_ID)) && checkAbsolute(url));
  return { ɵkind: 'server', ɵproviders: [{ provide: SERVER_CALLS, useValue: own }, check] };
}

function startFollower(): () => void {
  const start = inject(Start);
  return () => start.follow();
}

/** @throws SealwireError: a server has no page that an address could be relative to */
function checkAbsolute(url: string): void {
  if (URL.canParse(url)) return;
  const example = "withServerCalls({ url: 'http://127.0.0.1:3000/remote' })";
  throw misconfigured(
    `On the server there is no page that "${url}" is relative to. Give the whole address: ${example}.`,
  );
}
