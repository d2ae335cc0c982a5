import { Inject, Injectable } from '@nestjs/common';
import {
  type CookieState,
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
import { SparseLog } from '../admin/sparse-log.js';
import type { ModulePolicy, ResolvedOptions } from '../options.js';
import { KeyStore, SessionStore, type StoredServerKey } from '../ports/index.js';
import { withinTime } from '../time-limit.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';

/** How long keys of the store are used before it is asked again: what a rotation or revocation waits for. */
const FRESH_MS = 1_000;
/** So long after a server key of the store was made, every instance knows it: the rest is for its commit and for clocks. */
const KNOWN_MS = 2 * FRESH_MS;
const CACHED = 1_000;
/** so many a client takes */
const PINS = 2;
/** after its start a process may get cookies of the one before it */
const FOREIGN_MS = 70_000;

/**
 * The server's keys: those of the options first, then those that the store keeps. Inject it to write the public ones into a page
 * that the application serves, or into the configuration of a build.
 *
 * @example
 * import { Controller, Get } from '@nestjs/common';
 *
 * @Controller('configuration')
 * export class ConfigurationController {
 *   constructor(private readonly keys: KeyRing) {}
 *
 *   @Get()
 *   async configuration(): Promise<{ serverKey: readonly string[] }> {
 *     return { serverKey: await this.keys.publicKeys() }; // ['swp1...'], as `serverKey` of createRemote takes it
 *   }
 * }
 */
@Injectable()
export class KeyRing {
  readonly #configured: readonly StoredServerKey[];
  /** stand in for keys that are not known, so that refusing costs the same work */
  readonly #dummyPair: KeyPair;
  readonly #dummySecret: Uint8Array;
  readonly #suite: HandshakeSuite;
  readonly #asked = new Map<string, { readonly answer: Promise<unknown>; readonly until: number }>();
  readonly #options: ResolvedOptions;
  readonly #primitives: Primitives;
  readonly #store: KeyStore;
  readonly #sessions: SessionStore;
  readonly #foreign = new SparseLog(Number.POSITIVE_INFINITY);

  constructor(
    @Inject(RESOLVED_OPTIONS) options: ResolvedOptions,
    @Inject(PRIMITIVES) primitives: Primitives,
    @Inject(KeyStore) store: KeyStore,
    @Inject(SessionStore) sessions: SessionStore,
  ) {
    this.#options = options;
    this.#primitives = primitives;
    this.#store = store;
    this.#sessions = sessions;
    this.#configured = options.serverKeys.map((text) => ({ ...parseServerPrivateKey(text, primitives), created: 0 }));
    this.#dummyPair = primitives.x25519KeyPair(primitives.random(32));
    this.#dummySecret = primitives.random(32);
    this.#suite = { primitives, random: hedgedRandom(primitives) };
  }

  /** Newest first, at least one. */
  async serverKeys(): Promise<readonly StoredServerKey[]> {
    return this.#configured.length > 0 ? this.#configured : this.#fresh('server', () => this.#store.serverKeys());
  }

  /**
   * The public keys that a client may pin, `swp1...`: one, or two during a rotation, the newest first. A client that got them over
   * the network trusts whoever answered it there; one that has them in its bundle does not (SECURITY.md).
   */
  async publicKeys(): Promise<readonly string[]> {
    const pairs = await this.serverKeys();
    return pairs.slice(0, PINS).map(({ publicKey }) => formatKeyText('swp1', publicKey));
  }

  /** Public half and fingerprint of the newest key, for the log and for whoever pins it. */
  async describe(): Promise<{ readonly publicKey: string; readonly fingerprint: string }> {
    const { publicKey } = await this.#newest();
    return {
      publicKey: formatKeyText('swp1', publicKey),
      fingerprint: toHex(serverKeyId(publicKey, this.#primitives)),
    };
  }

  async named(id: Uint8Array): Promise<{ readonly pair: KeyPair; readonly known: boolean }> {
    const pairs = await this.serverKeys();
    const found = pairs.find(({ publicKey }) => toHex(serverKeyId(publicKey, this.#primitives)) === toHex(id));
    return { pair: found ?? this.#dummyPair, known: found !== undefined };
  }

  /**
   * The secret of a SecureKey, a dummy one if the id is not known. The store is asked about every id that a client names, in
   * the same way: what it costs tells nobody which ids there are.
   */
  async secureKey(
    module: ModulePolicy,
    keyId: Uint8Array | undefined,
  ): Promise<{ readonly secret: Uint8Array; readonly known: boolean }> {
    if (!keyId) return { secret: this.#dummySecret, known: false };
    const stored = (await this.#stored(module))
      ? await this.#ask(this.#store.secureKey(module.path, keyId))
      : undefined;
    const id = toHex(keyId);
    const secret = module.secureKeys.find((key) => toHex(key.keyId) === id)?.secret ?? stored;
    return { secret: secret ?? this.#dummySecret, known: secret !== undefined };
  }

  /** As the module says, else as soon as it has, or ever had, a SecureKey in the store. */
  async requiresSecureKey(module: ModulePolicy): Promise<boolean> {
    return module.requireSecureKey ?? this.#stored(module);
  }

  /**
   * Seals with a key that only the holder of a server key can use: of the newest one that every instance knows. A step 3 that one
   * of them could not open would be refused, and its first calls would have an unknown outcome.
   */
  async cookieSealer(module: string, issued: number): Promise<(state: Omit<CookieState, 'issued'>) => Uint8Array> {
    const { id, random } = await this.#ask(this.#store.currentCookieKey());
    const key = this.#cookieKey(random, (await this.#newest(issued - KNOWN_MS)).privateKey);
    return (state) => sealCookie(this.#suite, { id, key }, module, { ...state, issued });
  }

  /** @throws SealwireError `open_failed` if no key of this server, new or old, opens it */
  async openCookie(module: string, cookie: Uint8Array): Promise<CookieState> {
    const shared = await this.#ask(this.#store.cookieKey(cookieKeyId(cookie)));
    if (!shared) {
      this.#noticeForeign();
      throw new SealwireError('open_failed');
    }
    for (const { privateKey } of await this.serverKeys()) {
      try {
        const key = this.#cookieKey(shared.random, privateKey);
        return openCookie(this.#primitives, { id: shared.id, key }, module, cookie);
      } catch {
        // sealed under another of the server's keys, or by nobody
      }
    }
    throw new SealwireError('open_failed');
  }

  /**
   * The key is of this state of the database only. A restore takes away the rows that make a cookie serve once, and without them
   * step 3 would run its first calls again.
   */
  #cookieKey(random: Uint8Array, privateKey: Uint8Array): Uint8Array {
    return deriveCookieKey(this.#primitives, random, privateKey, this.#sessions.incarnation());
  }

  /** Whether the store has or had SecureKeys of the module. */
  #stored({ path }: ModulePolicy): Promise<boolean> {
    return this.#fresh(`SecureKeys of ${path}`, () => this.#store.hasSecureKeys(path));
  }

  /** Once: a cookie that this process did not make comes long after its start, and only this process has its sessions. */
  #noticeForeign(): void {
    if (this.#sessions.age() <= FOREIGN_MS) return;
    this.#foreign.warn(
      'A handshake came here that another process began, or nobody. Sessions are kept in memory, so one process only may serve ' +
        'a module: behind a load balancer with several, give SealwireModule.forRoot() a store that they share.',
    );
  }

  /** Of the server keys that were made by then, or the oldest if none was. */
  async #newest(by = Number.POSITIVE_INFINITY): Promise<KeyPair> {
    const pairs = await this.serverKeys();
    const pair = pairs.find(({ created }) => created <= by) ?? pairs.at(-1);
    if (!pair) throw new SealwireError('bad_configuration', 'The store has no server key.');
    return pair;
  }

  /** The store's answer of less than a second ago, else the one that it gives now; whoever asks meanwhile gets the same. */
  #fresh<T>(name: string, question: () => Promise<T>): Promise<T> {
    const known = this.#asked.get(name);
    if (known && known.until > performance.now()) return known.answer as Promise<T>;
    const answer = this.#ask(question());
    // anybody can name keys that do not exist
    if (this.#asked.size >= CACHED) this.#asked.clear();
    const entry = { answer, until: performance.now() + FRESH_MS };
    this.#asked.set(name, entry);
    answer.catch(() => {
      if (this.#asked.get(name) === entry) this.#asked.delete(name);
    });
    return answer;
  }

  #ask<T>(work: Promise<T>): Promise<T> {
    return withinTime(work, this.#options.storeTimeout);
  }
}
