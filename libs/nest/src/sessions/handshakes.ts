import { Inject, Injectable } from '@nestjs/common';
import {
  answerFinish,
  answerStart,
  type Call,
  type CookieState,
  decodeCalls,
  FIRST_CALLS,
  type FinishOpened,
  FLAG_PINNED,
  FLAG_SECURE_KEY,
  frameDigest,
  type HandshakeSuite,
  hedgedRandom,
  LIMITS,
  openFinish,
  type Primitives,
  parseFinish,
  parseStart,
  proveSession,
  type RenewalAnswer,
  SealwireError,
  type ServerOptions,
  type StartFrame,
  serverKeyId,
  toHex,
} from '@sealwire/core';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { SealwireEvents } from '../admin/events.js';
import type { RegisteredModule } from '../functions/registry.js';
import { KeyRing } from '../keys/key-ring.js';
import type { ResolvedOptions } from '../options.js';
import { type NewSession, NumberLedger, SessionStore } from '../ports/ports.js';
import { withinTime } from '../time-limit.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';
import { type Run, SessionService } from './receive.js';
import { SessionCache } from './sessions.js';

const EMPTY = new Uint8Array(0);

/** Addresses of whoever sent a frame. */
export interface Peer {
  /** for the rate limit and the events */
  readonly address: string;
  /** what sessions are locked to, undefined where they are not */
  readonly lock: string | undefined;
}

/** What was wrong with a handshake: told to the operator, never to the client. */
class Refused extends Error {}

/** The likeliest reason why step 1 was refused; the client is not told which. */
function refusalOf(module: RegisteredModule, start: StartFrame, known: { server: boolean; secure: boolean }): string {
  const pinned = (start.flags & FLAG_PINNED) !== 0;
  const secured = (start.flags & FLAG_SECURE_KEY) !== 0;
  if (start.keySize < module.keySize) return 'the EncryptionKey is shorter than the module asks for';
  if (module.requirePinned && !pinned) return 'the client pinned no server key';
  if (module.requireSecureKey && !secured) return 'the client has no SecureKey';
  if (pinned && !known.server) return 'the pinned server key is not known';
  if (secured && !known.secure) return 'the SecureKey is not known';
  return 'the frame did not open: another key, another module path, or altered on the way';
}

/** Steps 1 and 3 at the server. Between them it keeps nothing. */
@Injectable()
export class HandshakeService {
  private readonly suite: HandshakeSuite;
  private readonly limiter: RateLimiterMemory | undefined;
  /** first calls that run now, by session: a client that lost patience with step 4 gets their reply by its next handshake */
  private readonly running = new Map<string, { readonly digest: Uint8Array; readonly reply: Promise<Uint8Array> }>();

  constructor(
    @Inject(PRIMITIVES) private readonly primitives: Primitives,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(KeyRing) private readonly keys: KeyRing,
    @Inject(SessionCache) private readonly sessions: SessionCache,
    @Inject(SessionService) private readonly calls: SessionService,
    @Inject(SealwireEvents) private readonly events: SealwireEvents,
  ) {
    this.suite = { primitives, random: hedgedRandom(primitives) };
    if (options.handshakeRate) this.limiter = new RateLimiterMemory(options.handshakeRate);
  }

  /** Answers step 1 with step 2. */
  async start(module: RegisteredModule, bytes: Uint8Array, peer: Peer): Promise<Uint8Array> {
    await this.limit('1', peer);
    return this.opaquely(module, peer, async () => {
      if (module.keySize === 0) throw new Refused('the module is configured without encryption');
      const start = parseStart(bytes);
      const server = await this.keys.named(start.serverKeyId);
      const secure = await this.keys.secureKey(module, start.keyId);
      const seal = await this.keys.cookieSealer(module.path, this.store.now());
      const options = await this.policyOf(module, module.keySize);
      try {
        const config = { modulePath: module.path, options, serverKey: server.pair, secureKey: secure.secret };
        return answerStart(this.suite, config, start, seal);
      } catch (error) {
        const known = { server: server.known, secure: secure.known };
        throw new Refused(refusalOf(module, start, known), { cause: error });
      }
    });
  }

  /**
   * Answers step 3 with step 4: the old sessions end, the new one is written down, then its first calls run. Only whoever
   * inserts the session answers, so a cookie serves once.
   */
  async finish(module: RegisteredModule, bytes: Uint8Array, peer: Peer, run: Run): Promise<Uint8Array> {
    if (!this.sessions.accepting) throw new SealwireError('busy');
    await this.limit('3', peer);
    const { cookie, opened, calls } = await this.opaquely(module, peer, () => this.openFinish(module, bytes));
    const { answers, previous } = await this.reconcile(opened);
    const session = this.describe(module, cookie, opened, peer);
    const created = await this.ask(this.store.create(session));
    if (!created) throw new SealwireError('handshake_used');

    const key = toHex(session.id);
    const identity = { ...session, key, lane: created.lane, incarnation: created.incarnation, closed: undefined };
    let reply: Uint8Array = EMPTY;
    if (calls.length > 0) {
      const digest = frameDigest(this.primitives, bytes);
      const running = run(calls, this.calls.originOf(identity, opened.firstKey, { number: FIRST_CALLS, digest }));
      this.running.set(key, { digest, reply: running });
      reply = await running;
      this.ledger.finish(identity, FIRST_CALLS, digest, reply);
      this.running.delete(key);
    }
    const { idleSeconds: idle, lifetimeSeconds: lifetime } = session;
    const { lane, incarnation } = created;
    const { frame, secrets } = answerFinish(opened, { lane, idle, lifetime, incarnation }, answers, reply);
    if (!(await this.ask(this.store.activate(session.id, secrets)))) throw new SealwireError('session_unknown');
    const now = this.store.now();
    this.sessions.add({ ...identity, epoch: 0, secrets, lastUsed: now, expires: now + lifetime * 1000 });
    this.announce(key, module, session, previous, peer);
    return frame;
  }

  private async openFinish(
    module: RegisteredModule,
    bytes: Uint8Array,
  ): Promise<{ cookie: CookieState; opened: FinishOpened; calls: Call[] }> {
    const finish = parseFinish(bytes);
    const cookie = await this.keys.openCookie(module.path, finish.cookie);
    const age = this.store.now() - cookie.issued;
    if (age < -LIMITS.cookieSkewSeconds * 1000 || age > LIMITS.cookieSeconds * 1000) {
      throw new Refused('the cookie is too old');
    }
    if ((cookie.flags & FLAG_SECURE_KEY) !== 0 && !(await this.keys.secureKey(module, cookie.keyId)).known) {
      throw new Refused('the SecureKey was revoked');
    }
    const opened = openFinish(this.suite, cookie, finish);
    const calls = opened.firstCalls.length === 0 ? [] : decodeCalls(opened.firstCalls);
    return { cookie, opened, calls };
  }

  private describe(module: RegisteredModule, cookie: CookieState, opened: FinishOpened, peer: Peer): NewSession {
    return {
      id: cookie.sessionId,
      module: module.path,
      keyId: (cookie.flags & FLAG_SECURE_KEY) === 0 ? undefined : cookie.keyId,
      keySize: cookie.keySize,
      firstKey: opened.firstKey,
      idleSeconds: module.autoSessionsLive ?? this.options.autoSessionsLive,
      lifetimeSeconds: this.options.sessionLifetime,
      peer: peer.lock,
    };
  }

  /**
   * What became of the numbers that the client's old sessions left unanswered, with what is still known here; and those of
   * the sessions that it proved to be its own.
   */
  private async reconcile(opened: FinishOpened): Promise<{ answers: RenewalAnswer[][]; previous: string[] }> {
    const answers: RenewalAnswer[][] = [];
    const previous: string[] = [];
    for (const renewal of opened.renewals) {
      let proved = false;
      const expected = (key: Uint8Array) => proveSession(this.primitives, key, opened.provenOver);
      const proves = (key: Uint8Array) => {
        const right = this.primitives.equal(expected(key), renewal.proof);
        proved ||= right;
        return right;
      };
      await this.sessions.retire(renewal.sessionId, proves);
      const known = await this.ask(this.store.reconcile(renewal, proves));
      if (proved) previous.push(toHex(renewal.sessionId));
      answers.push(proved ? await Promise.all(known.map((answer, i) => this.recall(renewal, i, answer))) : known);
    }
    return { answers, previous };
  }

  /** Asked only for a number of a session that its client proved. */
  private async recall(
    renewal: FinishOpened['renewals'][number],
    index: number,
    answer: RenewalAnswer,
  ): Promise<RenewalAnswer> {
    const asked = renewal.numbers[index];
    if ((answer.known !== 'ran' && answer.known !== 'unknown') || !asked) return answer;
    const { number, digest } = asked;
    const id = renewal.sessionId;
    const key = toHex(id);
    const first = number.lane === FIRST_CALLS.lane;
    const running = first ? this.running.get(key) : undefined;
    if (running && this.primitives.equal(running.digest, digest)) {
      // whoever waits for a long call gives it up by its own time limit, and asks again
      return { known: 'result', reply: await running.reply };
    }
    const old = { id, key, lane: 0, incarnation: EMPTY, closed: undefined };
    const recalled = await this.ask(this.ledger.recall(old, number, digest));
    // the row of first calls is written before they run: a server that stopped in between leaves it open whether they did
    return first || recalled.known !== 'unknown' ? recalled : answer;
  }

  private announce(
    key: string,
    module: RegisteredModule,
    session: NewSession,
    previous: readonly string[],
    peer: Peer,
  ): void {
    const keyId = session.keyId && toHex(session.keyId);
    this.events.emit('opened', { sessionId: key, module: module.path, keyId, peer: peer.address });
    if (previous.length > 0) this.events.emit('renewed', { sessionId: key, module: module.path, previous });
  }

  private async policyOf(module: RegisteredModule, minKeySize: 16 | 32): Promise<ServerOptions> {
    const pairs = await this.keys.serverKeys();
    return {
      force: module.force,
      requirePinned: module.requirePinned,
      requireSecureKey: module.requireSecureKey,
      minKeySize,
      pins: pairs.slice(0, 4).map(({ publicKey }) => serverKeyId(publicKey, this.primitives)),
      incarnation: this.store.incarnation(),
    };
  }

  private async limit(step: string, peer: Peer): Promise<void> {
    try {
      await this.limiter?.consume(`${step} ${peer.address}`);
    } catch {
      throw new SealwireError('rate_limited');
    }
  }

  /** Every reason becomes the one answer `handshake_failed`; a server that is busy or of another version says so. */
  private async opaquely<T>(module: RegisteredModule, peer: Peer, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof SealwireError && (error.code === 'busy' || error.code === 'version')) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      this.events.emit('handshakeRefused', { module: module.path, peer: peer.address, reason });
      throw new SealwireError('handshake_failed');
    }
  }

  private ask<T>(work: Promise<T>): Promise<T> {
    return withinTime(work, this.options.storeTimeout);
  }
}
