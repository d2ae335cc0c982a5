import type { KeyPair } from '@sealwire/core';

/** TK, PROTOCOL.md appendix E.2. */
export interface CookieRandom {
  /** 4 bytes */
  readonly id: Uint8Array;
  /** 32 bytes */
  readonly random: Uint8Array;
}

/** A server key of the store. */
export interface StoredServerKey extends KeyPair {
  /** when it was made: milliseconds by the clock of `SessionStore.now()` */
  readonly created: number;
}

/**
 * Keys that a server keeps for itself and shares between its instances. The store itself caches cookie keys.
 *
 * @example
 * import { KeyStore } from '@sealwire/nest/ports';
 *
 * // A store for a server whose keys all stand in its options gives none of its own.
 * export abstract class NoSecureKeys extends KeyStore {
 *   override async secureKey(): Promise<Uint8Array | undefined> {
 *     return undefined;
 *   }
 *
 *   override async hasSecureKeys(): Promise<boolean> {
 *     return false;
 *   }
 *
 *   override async revokeSecureKey(): Promise<boolean> {
 *     return false;
 *   }
 * }
 */
export abstract class KeyStore {
  /** Newest first, old ones until their time is over. It creates the first pair if there is none and none was configured. */
  abstract serverKeys(): Promise<readonly StoredServerKey[]>;
  /** The 32 secret bytes of a SecureKey of that module that is kept in the store and valid now. */
  abstract secureKey(module: string, keyId: Uint8Array): Promise<Uint8Array | undefined>;
  /**
   * Whether the store has or ever had a SecureKey of that module: clients without one are refused then. One that was revoked, is
   * over or was purged counts, or the end of the last one would open the module to everybody.
   */
  abstract hasSecureKeys(module: string): Promise<boolean>;
  /** Refuses a SecureKey from now on. False if the store does not hold it: a configured one has to go from the configuration. */
  abstract revokeSecureKey(keyId: Uint8Array): Promise<boolean>;
  /** The cookie key to seal with; a new one every 5 minutes. */
  abstract currentCookieKey(): Promise<CookieRandom>;
  /** A cookie key that may still open: issued at most 6 minutes ago. */
  abstract cookieKey(id: Uint8Array): Promise<CookieRandom | undefined>;
}
