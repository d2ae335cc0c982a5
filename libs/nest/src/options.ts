import type { ModuleMetadata, Provider } from '@nestjs/common';
import { LIMITS, parseSecureKey, type SecureKey, thrownText } from '@sealwire/core';
import {
  filled,
  headerNames,
  held,
  limited,
  locked,
  misconfigured,
  named,
  positive,
  rated,
  roomy,
  routed,
  shown,
  switches,
  timed,
  withoutUndefined,
} from './option-checks.js';

export { misconfigured } from './option-checks.js';

/**
 * The place of sessions and keys: providers for the tokens `SessionStore`, `SessionDirectory`, `SessionData` and `KeyStore`. A
 * store may also provide `NumberLedger` (otherwise numbers are guarded in this process's memory) and `ExactlyOnce`.
 */
export interface SealwireStore {
  readonly imports?: ModuleMetadata['imports'];
  readonly providers: readonly Provider[];
  /** what the application may inject of them */
  readonly exports?: ModuleMetadata['exports'];
}

/** A rate: so many a second, and so many at once after a pause. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** Options of `SealwireModule.forRoot()`: what holds for all modules of the server. */
export interface SealwireOptions {
  /** private server keys `sws1...`, newest first; without one the store makes and keeps a pair */
  readonly serverKey?: string | readonly string[] | undefined;
  /** whether `GET` of a module's address gives anybody the public keys, `{ "serverKey": ["swp1..."] }`; false by default */
  readonly servePublicKey?: boolean;
  /** first part of the route, `remote` by default */
  readonly path?: string;
  /** key-encryption keys `swe1...` for a store that keeps secrets, if its own options do not give them */
  readonly kek?: string | undefined;
  /** largest body in bytes, 1 MiB by default, 128 KiB at least */
  readonly maxBody?: number;
  /** bytes of all bodies together that have come in part, 64 MiB by default; above it requests are answered `busy` */
  readonly maxWaitingBytes?: number;
  /** milliseconds in which a body has to come, 30000 by default */
  readonly bodyTimeout?: number;
  /**
   * Handshakes of one address (of IPv6 the first 64 bits): 50 a second and 500 at once by default; false puts no limit. Behind a
   * proxy that the platform does not trust, all clients are one address.
   */
  readonly handshakeRate?: Rate | false;
  /** handshakes of all addresses together, for the processor's sake: 200 a second and 1000 at once by default, then `busy` */
  readonly handshakeRateTotal?: Rate | false;
  /** calls of one session up to which it runs another message, 256 by default; with so many that is answered `busy` under seal */
  readonly sessionCalls?: number;
  /** results kept for duplicates of their calls: 10,000 of together 32 MiB for 120 seconds by default */
  readonly resultCache?: { readonly entries?: number; readonly bytes?: number; readonly seconds?: number };
  /**
   * A session only serves the address that opened it. `ip` is the connection's; `forwarded` is what the platform makes of
   * X-Forwarded-For (Express `trust proxy`, Fastify `trustProxy`: name your proxies there). `none` by default.
   */
  readonly peerLock?: 'none' | 'ip' | 'forwarded';
  /** seconds without a call after which a session ends, 1800 by default */
  readonly autoSessionsLive?: number;
  /** seconds after which a session ends in any case, 43200 by default and at most */
  readonly sessionLifetime?: number;
  /** sessions held in memory, 10,000 by default; the longest unused one gives way */
  readonly hotSessions?: number;
  /** milliseconds that a request waits for the store before it is answered `busy`, 5000 by default */
  readonly storeTimeout?: number;
  /** bytes of all streams among the arguments of one call, 100 MiB by default; above it the call is refused with `too_large` */
  readonly maxUpload?: number;
  /** seconds of silence after which a live result sends a pulse, 15 by default, 3600 at most */
  readonly pulse?: number;
  /**
   * Milliseconds that a call runs on which nobody waits for before its `@RemoteSignal()` fires, 5000 by default. A client that was
   * told by another instance that its call runs asks again within a second, so less than 2000 ends calls that are waited for.
   */
  readonly abandonAfter?: number;
  /** names that metadata must not hold, beside those that are always refused: those that your proxy sets for you to trust */
  readonly refusedMetadata?: readonly string[];
}

/** Options of `SealwireModule.forFeature()`: one module, its path, keys and policy. */
export interface SealwireModuleOptions {
  /** name in `@RemoteFunctions()` and last part of the route, e.g. `payments` */
  readonly path: string;
  /** EncryptionKey: least bytes of every AES key, 32 by default; 0 is a module without encryption */
  readonly encryptionKey?: 0 | 16 | 32;
  /** ForceEncryption: refuse every plaintext. True by default, false if encryptionKey is 0 */
  readonly forceEncryption?: boolean;
  /** SecureKeys `swk1...` that clients of this module may hold; with an empty list clients without one are refused all the same */
  readonly secureKeys?: readonly string[];
  /**
   * Refuse clients without a SecureKey: by default if `secureKeys` is given, or as soon as the store has one of the module, and
   * also after its last one was revoked or is over.
   */
  readonly requireSecureKey?: boolean;
  /** refuse clients that pinned no server key; false by default */
  readonly requirePinnedKey?: boolean;
  /** live sessions of the module, 100,000 by default; above it the longest unused one ends as `evicted` */
  readonly maxSessions?: number;
  /** live sessions of one SecureKey, 10,000 by default; above it the longest unused one ends as `evicted` */
  readonly maxSessionsPerKey?: number;
  readonly autoSessionsLive?: number;
  readonly maxBody?: number;
  readonly maxUpload?: number;
}

/** The options of `SealwireModule.forRoot()` with their defaults. */
export type ResolvedOptions = Required<
  Omit<SealwireOptions, 'serverKey' | 'resultCache' | 'kek' | 'refusedMetadata'>
> & {
  readonly refusedMetadata: ReadonlySet<string>;
  readonly kek: string | undefined;
  readonly serverKeys: readonly string[];
  readonly resultCache: { readonly entries: number; readonly bytes: number; readonly seconds: number };
};

/** A module's policy with its defaults; keySize 0 takes no frames at all. */
export interface ModulePolicy {
  readonly path: string;
  readonly keySize: 0 | 16 | 32;
  readonly force: boolean;
  readonly secureKeys: readonly SecureKey[];
  /** undefined: as soon as the module has, or ever had, a SecureKey in the store */
  readonly requireSecureKey: boolean | undefined;
  readonly requirePinned: boolean;
  readonly maxSessions: number;
  readonly maxSessionsPerKey: number;
  readonly autoSessionsLive: number | undefined;
  readonly maxBody: number | undefined;
  readonly maxUpload: number | undefined;
}

/** @param stored whether the sessions outlive this process */
export function resolveOptions(given: SealwireOptions, stored = true): ResolvedOptions {
  const options = named(given, ROOT_OPTIONS, 'SealwireModule.forRoot()');
  if (!stored && 'serverKey' in options && options.serverKey === undefined) {
    throw misconfigured(
      'serverKey is undefined: is its environment variable set? Without a serverKey this process makes one that ends with it, and clients that pin it are refused after the next start. Leave serverKey out if that is meant.',
    );
  }
  if (!stored && options.kek !== undefined) {
    throw misconfigured(
      'kek is given, but the sessions are kept in memory, which needs none: give a store too, such as typeOrmStore().',
    );
  }
  const { serverKey = [], resultCache = {}, refusedMetadata = [], ...rest } = options;
  const serverKeys = [serverKey].flat();
  if (options.serverKey !== undefined && serverKeys.length === 0)
    throw misconfigured('serverKey has no key: leave it out, or give one.');
  for (const key of serverKeys) filled(key, 'serverKey');
  if (options.kek !== undefined) filled(options.kek, 'kek');
  const cache = named(resultCache, ['entries', 'bytes', 'seconds'], 'resultCache');
  switches(options, misconfigured, '', 'servePublicKey');
  const resolved: ResolvedOptions = {
    servePublicKey: false,
    path: 'remote',
    kek: undefined,
    maxBody: 1_048_576,
    maxWaitingBytes: 64 * 1_048_576,
    bodyTimeout: 30_000,
    handshakeRate: { perSecond: 50, burst: 500 },
    handshakeRateTotal: { perSecond: 200, burst: 1_000 },
    sessionCalls: 256,
    peerLock: 'none',
    autoSessionsLive: 1_800,
    sessionLifetime: LIMITS.sessionSeconds,
    hotSessions: 10_000,
    storeTimeout: 5_000,
    maxUpload: 100 * 1_048_576,
    pulse: 15,
    abandonAfter: 5_000,
    ...withoutUndefined(rest),
    refusedMetadata: headerNames(refusedMetadata, 'refusedMetadata'),
    resultCache: { entries: 10_000, bytes: 32 * 1_048_576, seconds: 120, ...withoutUndefined(cache) },
    serverKeys,
  };
  positive(
    resolved,
    'maxBody',
    'maxWaitingBytes',
    'bodyTimeout',
    'autoSessionsLive',
    'sessionLifetime',
    'hotSessions',
    'storeTimeout',
    'sessionCalls',
    'maxUpload',
    'pulse',
    'abandonAfter',
  );
  timed(resolved, 'bodyTimeout', 'storeTimeout', 'abandonAfter');
  if (resolved.pulse > 3_600) throw misconfigured(`pulse is at most 3600 seconds, got ${resolved.pulse}.`);
  routed(resolved.path);
  positive(resolved.resultCache, 'entries', 'bytes', 'seconds');
  rated(resolved.handshakeRate, 'handshakeRate');
  rated(resolved.handshakeRateTotal, 'handshakeRateTotal');
  roomy(resolved.maxBody);
  held(resolved.maxBody, resolved.maxWaitingBytes, 'maxBody');
  limited(resolved.sessionLifetime);
  locked(resolved.peerLock);
  return resolved;
}

export function resolveModule(given: SealwireModuleOptions): ModulePolicy {
  const options = named(given, FEATURE_OPTIONS, 'SealwireModule.forFeature()');
  const { path, encryptionKey = 32, forceEncryption = encryptionKey !== 0, secureKeys = [] } = options;
  if (typeof path !== 'string' || !/^[A-Za-z0-9_-]+$/.test(path)) {
    throw misconfigured(`The path of a module is made of letters, digits, "-" and "_", got ${shown(path)}.`);
  }
  const refuse = (sentence: string) => misconfigured(`Module '${path}': ${sentence}`);
  switches(options, refuse, '', 'forceEncryption', 'requireSecureKey', 'requirePinnedKey');
  const asksForKey = options.requireSecureKey || options.requirePinnedKey;
  if (encryptionKey !== 0 && encryptionKey !== 16 && encryptionKey !== 32) {
    throw refuse(`encryptionKey is 0, 16 or 32, got ${shown(encryptionKey)}.`);
  }
  if (encryptionKey === 0 && (forceEncryption || options.secureKeys || asksForKey)) {
    throw refuse('encryptionKey 0 means no encryption, so it cannot be forced or have keys, nor require them.');
  }
  if ('secureKeys' in options && options.secureKeys === undefined) {
    throw refuse(
      'secureKeys is undefined: is its environment variable set? Without a SecureKey anybody may call the module. Leave secureKeys out if that is meant, or if its keys are in the store.',
    );
  }
  const numbers = { autoSessionsLive: 1, maxBody: 1, maxUpload: 1, maxSessions: 1, maxSessionsPerKey: 1 };
  positive(
    { ...numbers, ...withoutUndefined(options) },
    'autoSessionsLive',
    'maxBody',
    'maxUpload',
    'maxSessions',
    'maxSessionsPerKey',
  );
  if (encryptionKey !== 0) roomy(options.maxBody ?? LIMITS.body);
  if (!Array.isArray(secureKeys))
    throw refuse('secureKeys is an array of SecureKeys, got a single value; write [key].');
  const parsed = secureKeys.map((text: string) => {
    filled(text, `secureKeys of the module '${path}'`);
    try {
      return parseSecureKey(text);
    } catch (error) {
      throw refuse(thrownText(error));
    }
  });
  return {
    path,
    keySize: encryptionKey,
    force: forceEncryption,
    secureKeys: parsed,
    // an empty list too: when the last key is taken out of it, the module must not be open to everybody
    requireSecureKey: options.requireSecureKey ?? (options.secureKeys ? true : undefined),
    requirePinned: options.requirePinnedKey ?? false,
    maxSessions: options.maxSessions ?? 100_000,
    maxSessionsPerKey: options.maxSessionsPerKey ?? 10_000,
    autoSessionsLive: options.autoSessionsLive,
    maxBody: options.maxBody,
    maxUpload: options.maxUpload,
  };
}

const ROOT_OPTIONS: Names<SealwireOptions> = {
  serverKey: true,
  servePublicKey: true,
  path: true,
  kek: true,
  maxBody: true,
  maxWaitingBytes: true,
  bodyTimeout: true,
  handshakeRate: true,
  handshakeRateTotal: true,
  sessionCalls: true,
  resultCache: true,
  peerLock: true,
  autoSessionsLive: true,
  sessionLifetime: true,
  hotSessions: true,
  storeTimeout: true,
  maxUpload: true,
  pulse: true,
  abandonAfter: true,
  refusedMetadata: true,
};

const FEATURE_OPTIONS: Names<SealwireModuleOptions> = {
  path: true,
  encryptionKey: true,
  forceEncryption: true,
  secureKeys: true,
  requireSecureKey: true,
  requirePinnedKey: true,
  maxSessions: true,
  maxSessionsPerKey: true,
  autoSessionsLive: true,
  maxBody: true,
  maxUpload: true,
};

/** A record, so that the compiler misses an option that is added to the interface only. */
type Names<T> = { readonly [K in keyof Required<T>]: true };
