import { Inject, Injectable } from '@nestjs/common';
import { fromHex, SIZE, toHex } from '@sealwire/core';
import { misconfigured, named, positive } from '../option-checks.js';
import { KeyStore, SessionDirectory, type SessionSelector, type SessionSummary } from '../ports/index.js';

/** Which sessions: all, or those of an id, a SecureKey or a module, one of these. Ids are hexadecimal. */
export interface SessionFilter {
  readonly id?: string;
  readonly keyId?: string;
  readonly module?: string;
}

/**
 * Administration of sessions, for the application's own operators.
 *
 * @example
 * import { Injectable } from '@nestjs/common';
 *
 * @Injectable()
 * export class Devices {
 *   constructor(private readonly sessions: SealwireSessions) {}
 *
 *   // Ends the sessions of a lost device and refuses its SecureKey from now on.
 *   async lost(keyId: string): Promise<number> {
 *     return this.sessions.revokeSecureKey(keyId);
 *   }
 * }
 */
@Injectable()
export class SealwireSessions {
  readonly #directory: SessionDirectory;
  readonly #keys: KeyStore;

  constructor(@Inject(SessionDirectory) directory: SessionDirectory, @Inject(KeyStore) keys: KeyStore) {
    this.#directory = directory;
    this.#keys = keys;
  }

  /** Live sessions in the order of their ids; `after` is the last id of the page before. `limit` is 100 by default. */
  async list(
    filter: SessionFilter = {},
    page: { readonly limit?: number; readonly after?: string } = {},
  ): Promise<SessionSummary[]> {
    const { limit = 100, after } = named(page, ['limit', 'after'], 'SealwireSessions.list()');
    positive({ limit }, 'limit');
    const last = after === undefined ? {} : { after: toHex(bytesOf('session', after, SIZE.sessionId)) };
    return this.#directory.list(selectorOf(filter), { limit, ...last });
  }

  async count(filter: SessionFilter = {}): Promise<number> {
    return this.#directory.count(selectorOf(filter));
  }

  /** Ends a session. Its client is told under seal and makes a new one. Answers whether there was such a session. */
  async revoke(id: string): Promise<boolean> {
    return (await this.#directory.end({ id: bytesOf('session', id, SIZE.sessionId) }, 'revoked')) > 0;
  }

  /**
   * Refuses a SecureKey of the store from now on and ends all its sessions. A SecureKey of `forFeature()` has to go from there.
   * @returns how many sessions ended
   */
  async revokeSecureKey(keyId: string): Promise<number> {
    const id = bytesOf('SecureKey', keyId, SIZE.keyId);
    await this.#keys.revokeSecureKey(id);
    return this.#directory.end({ keyId: id }, 'secure_key_revoked');
  }

  /** Ends the sessions of a module; their clients may open new ones. @returns how many */
  async revokeModule(module: string): Promise<number> {
    if (typeof module !== 'string') throw misconfigured('A module is named by its path, a text.');
    return this.#directory.end({ module }, 'revoked');
  }

  revokeAll(): Promise<number> {
    return this.#directory.end({ all: true }, 'revoked');
  }

  /** Deletes what is over and past its time of remembrance. @returns how many rows */
  purge(): Promise<number> {
    return this.#directory.purge();
  }
}

function bytesOf(what: string, id: unknown, size: number): Uint8Array {
  if (typeof id === 'string' && id.length === 2 * size && /^[0-9a-f]*$/i.test(id)) return fromHex(id);
  // not repeated: it may be a key
  throw misconfigured(`The id of a ${what} is text of ${2 * size} hexadecimal digits, and something else was given.`);
}

function selectorOf(filter: SessionFilter): SessionSelector {
  const { id, keyId, module } = named(filter, ['id', 'keyId', 'module'], 'The choice of sessions');
  if ([id, keyId, module].filter((given) => given !== undefined).length > 1) {
    throw misconfigured('Sessions are chosen by their id, their keyId or their module, not by several of these.');
  }
  if (id !== undefined) return { id: bytesOf('session', id, SIZE.sessionId) };
  if (keyId !== undefined) return { keyId: bytesOf('SecureKey', keyId, SIZE.keyId) };
  return module === undefined ? { all: true } : { module };
}
