import { Inject, Injectable, Logger } from '@nestjs/common';
import { SealwireError } from '@sealwire/core';
import { SparseLog } from '../admin/sparse-log.js';
import type { Rate, ResolvedOptions } from '../options.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import type { Peer } from './peer.js';
import type { Session } from './session.js';

/** So many at once, so many a second. Times are of `performance.now()`. */
class TokenBucket {
  private tokens: number;
  private last = performance.now();

  constructor(private readonly rate: Rate) {
    this.tokens = rate.burst;
  }

  has(): boolean {
    const now = performance.now();
    this.tokens = Math.min(this.rate.burst, this.tokens + ((now - this.last) / 1000) * this.rate.perSecond);
    this.last = now;
    return this.tokens >= 1;
  }

  take(cost = 1): void {
    this.tokens -= cost;
  }
}

/**
 * A bucket for each address that took something lately. Their number is bounded, for anybody may have many addresses: those
 * that took nothing for longest are forgotten, a generation at once.
 */
export class AddressBuckets {
  private recent = new Map<string, TokenBucket>();
  private older = new Map<string, TokenBucket>();

  constructor(
    private readonly rate: Rate,
    private readonly most = 20_000,
  ) {}

  get size(): number {
    return this.recent.size + this.older.size;
  }

  has(address: string): boolean {
    return (this.recent.get(address) ?? this.older.get(address))?.has() ?? true;
  }

  take(address: string): void {
    const bucket = this.recent.get(address) ?? this.older.get(address) ?? new TokenBucket(this.rate);
    bucket.take();
    if (this.recent.size >= this.most / 2) {
      this.older = this.recent;
      this.recent = new Map();
    }
    this.older.delete(address);
    this.recent.set(address, bucket);
  }
}

const MINUTE = 60_000;
/** A step 1 that does not open costs the server a twentieth of one that it answers: no KEM, no key pair. */
const UNOPENED = 1 / 20;

/**
 * How many handshakes begin. An address pays only for a step 1 that opened and met the policy, so whoever shares it (behind a
 * proxy that is not trusted all clients do) is not shut out by bytes that nobody needs a key for. All addresses together pay for
 * what the processor does.
 */
@Injectable()
export class HandshakeLimits {
  private readonly addresses: AddressBuckets | undefined;
  private readonly total: TokenBucket | undefined;
  private readonly log = new SparseLog(MINUTE);
  private readonly totalLog = new SparseLog(MINUTE);
  private readonly logger = new Logger('Sealwire');
  private hinted = false;

  constructor(@Inject(RESOLVED_OPTIONS) { handshakeRate, handshakeRateTotal }: ResolvedOptions) {
    if (handshakeRate) this.addresses = new AddressBuckets(handshakeRate);
    if (handshakeRateTotal) this.total = new TokenBucket(handshakeRateTotal);
  }

  /** Before step 1 is tried. @throws SealwireError `busy` for all addresses together, `rate_limited` for one */
  ask(peer: Peer): void {
    this.hint(peer);
    if (this.total?.has() === false) {
      this.totalLog.warn(`Handshakes of all addresses together are limited (handshakeRateTotal), now ${peer.address}.`);
      throw new SealwireError('busy');
    }
    if (this.addresses?.has(peer.address) === false) {
      this.log.warn(`Handshakes of one address are limited (handshakeRate), now ${peer.address}.`);
      throw new SealwireError('rate_limited');
    }
  }

  opened(peer: Peer): void {
    this.total?.take();
    this.addresses?.take(peer.address);
  }

  unopened(): void {
    this.total?.take(UNOPENED);
  }

  /** Once, at first sight. */
  private hint(peer: Peer): void {
    if (this.hinted || !peer.forwardingIgnored) return;
    this.hinted = true;
    this.logger.warn(
      'A request came with X-Forwarded-For, which the platform does not trust: all clients behind that proxy count as one ' +
        "address. Name your proxies in Express's `trust proxy` or Fastify's `trustProxy`.",
    );
  }
}

const AT_ONCE = 8;
const WAITING = 256;
const REMEMBERED_MS = 1_000;

/**
 * Copies of sessions that the store was asked for because a frame names them. Anybody who saw an id can send such frames, so the
 * store is asked a few at a time, and about one id once a second, found or not.
 */
export class LookUps {
  readonly #known = new Map<string, Promise<Session | undefined>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(private readonly find: (id: Uint8Array) => Promise<Session | undefined>) {}

  /** @throws SealwireError `busy` */
  get(key: string, id: Uint8Array): Promise<Session | undefined> {
    const known = this.#known.get(key);
    if (known) return known;
    const answer = this.#ask(id.slice());
    this.#known.set(key, answer);
    answer.then(
      (session) => {
        setTimeout(() => {
          // adopted or forgotten meanwhile
          if (this.#known.get(key) !== answer) return;
          this.#known.delete(key);
          session?.release();
        }, REMEMBERED_MS).unref();
      },
      () => this.#known.delete(key),
    );
    return answer;
  }

  /** The copy goes on as the session of this process, or is erased: it may be another one now. */
  forget(key: string, adopted = false): void {
    const answer = this.#known.get(key);
    this.#known.delete(key);
    if (!adopted) answer?.then((session) => session?.release()).catch(() => undefined);
  }

  async #ask(id: Uint8Array): Promise<Session | undefined> {
    if (this.#running >= AT_ONCE) {
      if (this.#waiting.length >= WAITING) throw new SealwireError('busy');
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      return await this.find(id);
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }
}

/** Ids seen lately, a bounded number: the older half goes at once. */
export class RecentIds {
  private recent = new Set<string>();
  private older = new Set<string>();

  constructor(private readonly most = 20_000) {}

  /** False if it is there already. */
  add(id: string): boolean {
    if (this.recent.has(id) || this.older.has(id)) return false;
    if (this.recent.size >= this.most / 2) {
      this.older = this.recent;
      this.recent = new Set();
    }
    this.recent.add(id);
    return true;
  }

  delete(id: string): void {
    this.recent.delete(id);
    this.older.delete(id);
  }
}
