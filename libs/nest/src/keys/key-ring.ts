import { Inject, Injectable } from '@nestjs/common';
import {
  type CookieState,
  concat,
  cookieKeyId,
  deriveCookieKey,
  formatKeyText,
  type HandshakeSuite,
  hedgedRandom,
  type KeyPair,
  openCookie,
  type Primitives,
  parseServerPrivateKey,
  SealwireError,
  sealCookie,
  serverKeyId,
  toHex,
} from '@sealwire/core';
import type { RegisteredModule } from '../functions/registry.js';
import type { ResolvedOptions } from '../options.js';
import { KeyStore, SessionStore } from '../ports/ports.js';
import { withinTime } from '../time-limit.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';

/** How long keys of the store are used before it is asked again: what a rotation or revocation waits for. */
const FRESH_MS = 1_000;
const CACHED = 1_000;

/** The server's keys: what the options give, then what the store keeps. */
@Injectable()
export class KeyRing {
  private readonly configured: readonly KeyPair[];
  /** stand in for keys that are not known, so that refusing costs the same work */
  private readonly dummyPair: KeyPair;
  private readonly dummySecret: Uint8Array;
  private readonly suite: HandshakeSuite;
  private readonly asked = new Map<string, { readonly answer: Promise<unknown>; readonly until: number }>();

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(PRIMITIVES) private readonly primitives: Primitives,
    @Inject(KeyStore) private readonly store: KeyStore,
    @Inject(SessionStore) private readonly sessions: SessionStore,
  ) {
    this.configured = options.serverKeys.map((text) => parseServerPrivateKey(text, primitives));
    this.dummyPair = primitives.x25519KeyPair(primitives.random(32));
    this.dummySecret = primitives.random(32);
    this.suite = { primitives, random: hedgedRandom(primitives) };
  }

  /** Newest first, at least one. */
  async serverKeys(): Promise<readonly KeyPair[]> {
    return this.configured.length > 0 ? this.configured : this.fresh('server', () => this.store.serverKeys());
  }

  /** Public half and fingerprint of the newest key, for the log and for whoever pins it. */
  async describe(): Promise<{ readonly publicKey: string; readonly fingerprint: string }> {
    const { publicKey } = await this.newest();
    return { publicKey: formatKeyText('swp1', publicKey), fingerprint: toHex(serverKeyId(publicKey, this.primitives)) };
  }

  async named(id: Uint8Array): Promise<{ readonly pair: KeyPair; readonly known: boolean }> {
    const pairs = await this.serverKeys();
    const found = pairs.find(({ publicKey }) => toHex(serverKeyId(publicKey, this.primitives)) === toHex(id));
    return { pair: found ?? this.dummyPair, known: found !== undefined };
  }

  async secureKey(
    module: RegisteredModule,
    keyId: Uint8Array,
  ): Promise<{ readonly secret: Uint8Array; readonly known: boolean }> {
    const id = toHex(keyId);
    const secret =
      module.secureKeys.find((key) => toHex(key.keyId) === id)?.secret ??
      (await this.fresh(`${module.path} ${id}`, () => this.store.secureKey(module.path, keyId)));
    return { secret: secret ?? this.dummySecret, known: secret !== undefined };
  }

  /** Seals with a key that only the newest server key's holder can use. */
  async cookieSealer(module: string, issued: number): Promise<(state: Omit<CookieState, 'issued'>) => Uint8Array> {
    const { id, random } = await this.ask(this.store.currentCookieKey());
    const key = this.cookieKey(random, (await this.newest()).privateKey);
    return (state) => sealCookie(this.suite, { id, key }, module, { ...state, issued });
  }

  /** @throws SealwireError `open_failed` where no key of this server, new or old, opens it */
  async openCookie(module: string, cookie: Uint8Array): Promise<CookieState> {
    const shared = await this.ask(this.store.cookieKey(cookieKeyId(cookie)));
    if (!shared) throw new SealwireError('open_failed');
    for (const { privateKey } of await this.serverKeys()) {
      try {
        const key = this.cookieKey(shared.random, privateKey);
        return openCookie(this.primitives, { id: shared.id, key }, module, cookie);
      } catch {
        // sealed under another of the server's keys, or by nobody
      }
    }
    throw new SealwireError('open_failed');
  }

  /**
   * Of this state of the database only: a restore takes away the rows that make a cookie serve once, and with them step 3 would
   * run its first calls again.
   */
  private cookieKey(random: Uint8Array, privateKey: Uint8Array): Uint8Array {
    return deriveCookieKey(this.primitives, random, concat(privateKey, this.sessions.incarnation()));
  }

  private async newest(): Promise<KeyPair> {
    const [pair] = await this.serverKeys();
    if (!pair) throw new SealwireError('bad_configuration', 'The store has no server key.');
    return pair;
  }

  /** What the store answered lately, else what it answers now; whoever asks meanwhile gets the same. */
  private fresh<T>(name: string, question: () => Promise<T>): Promise<T> {
    const known = this.asked.get(name);
    if (known && known.until > performance.now()) return known.answer as Promise<T>;
    const answer = this.ask(question());
    // anybody can name keys that do not exist
    if (this.asked.size >= CACHED) this.asked.clear();
    const entry = { answer, until: performance.now() + FRESH_MS };
    this.asked.set(name, entry);
    answer.catch(() => {
      if (this.asked.get(name) === entry) this.asked.delete(name);
    });
    return answer;
  }

  private ask<T>(work: Promise<T>): Promise<T> {
    return withinTime(work, this.options.storeTimeout);
  }
}
