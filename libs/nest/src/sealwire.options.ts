import type { ModuleMetadata, Provider } from '@nestjs/common';
import { LIMITS, parseSecureKey, type SecureKey, SealwireError } from '@sealwire/core';

/**
 * Where sessions and keys are kept: providers for the tokens `SessionStore` and `KeyStore`, and where the store has them
 * `ReplayGuard` (otherwise numbers are guarded in this process's memory) and `ExactlyOnce`.
 */
export interface SealwireStore {
  readonly imports?: ModuleMetadata['imports'];
  readonly providers: readonly Provider[];
}

/** `SealwireModule.forRoot()`: what holds for all modules of the server. */
export interface SealwireOptions {
  /** private server keys `sws1...`, newest first; without one the store makes and keeps a pair */
  readonly serverKey?: string | readonly string[];
  /** largest body in bytes, 1 MiB by default */
  readonly maxBody?: number;
  /** handshakes from one address: 60 in 10 seconds by default; false puts no limit */
  readonly handshakeRate?: { readonly points: number; readonly duration: number } | false;
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
}

/** `SealwireModule.forFeature()`: one module, its path, keys and policy. */
export interface SealwireModuleOptions {
  /** name in `@RemoteFunctions()` and path below the route, e.g. `payments` */
  readonly path: string;
  /** EncryptionKey: least bytes of every AES key, 32 by default; 0 is a module without encryption */
  readonly encryptionKey?: 0 | 16 | 32;
  /** ForceEncryption: refuse every plaintext. True by default, false where encryptionKey is 0 */
  readonly forceEncryption?: boolean;
  /** SecureKeys `swk1...` that clients of this module may hold */
  readonly secureKeys?: readonly string[];
  /** refuse clients without a SecureKey; true by default where secureKeys are given */
  readonly requireSecureKey?: boolean;
  /** refuse clients that pinned no server key; false by default */
  readonly requirePinnedKey?: boolean;
  readonly autoSessionsLive?: number;
  readonly maxBody?: number;
}
