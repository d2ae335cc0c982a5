import { Inject, Injectable } from '@nestjs/common';
import { erase, LIMITS, type Primitives, SIZE, toHex } from '@sealwire/core';
import { type CookieRandom, KeyStore, type StoredServerKey } from '../ports/index.js';
import { PRIMITIVES } from '../tokens.js';

const COOKIE_KEY_MS = 300_000;

/** Key pair and cookie keys of a process that keeps none. */
@Injectable()
export class MemoryKeyStore extends KeyStore {
  private readonly pair: StoredServerKey;
  /** newest last */
  private readonly cookieKeys: (CookieRandom & { readonly made: number })[] = [];

  constructor(@Inject(PRIMITIVES) private readonly primitives: Primitives) {
    super();
    this.pair = { ...primitives.x25519KeyPair(primitives.random(SIZE.key)), created: Date.now() };
  }

  async serverKeys(): Promise<readonly StoredServerKey[]> {
    return [this.pair];
  }

  async secureKey(): Promise<undefined> {}

  async hasSecureKeys(): Promise<boolean> {
    return false;
  }

  async revokeSecureKey(): Promise<boolean> {
    return false;
  }

  async currentCookieKey(): Promise<CookieRandom> {
    const newest = this.cookieKeys.at(-1);
    if (newest && performance.now() - newest.made < COOKIE_KEY_MS) return newest;
    const key = { id: this.primitives.random(4), random: this.primitives.random(32), made: performance.now() };
    this.cookieKeys.push(key);
    setTimeout(() => this.forget(key), COOKIE_KEY_MS + LIMITS.cookieSeconds * 1000).unref();
    return key;
  }

  async cookieKey(id: Uint8Array): Promise<CookieRandom | undefined> {
    return this.cookieKeys.find((key) => toHex(key.id) === toHex(id));
  }

  private forget(key: MemoryKeyStore['cookieKeys'][number]): void {
    erase(key.random);
    this.cookieKeys.splice(this.cookieKeys.indexOf(key), 1);
  }
}
