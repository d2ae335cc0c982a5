import type { ServerResponse } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import {
  type Answered,
  answerFinish,
  answerStart,
  type CookieState,
  discardHandshake,
  erase,
  type FinishOpened,
  FLAG_PINNED,
  FLAG_SECURE_KEY,
  frameDigest,
  type HandshakeSuite,
  hedgedRandom,
  isSessionIdOf,
  LIMITS,
  makeSessionId,
  openFinish,
  type Primitives,
  parseFinish,
  parseStart,
  proveSession,
  type Renewal,
  SealwireError,
  type ServerOptions,
  type StartFrame,
  serverKeyId,
  thrownText,
  toHex,
} from '@sealwire/core';
import { SealwireEvents } from '../admin/events.js';
import { SparseLog } from '../admin/sparse-log.js';
import type { RegisteredModule } from '../functions/registry.js';
import { KeyRing } from '../keys/key-ring.js';
import type { ResolvedOptions } from '../options.js';
import { type NewSession, NumberLedger, SessionData, SessionStore } from '../ports/index.js';
import { doneWithin, withinTime } from '../time-limit.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';
import { prepareFirstCalls, runFirstCalls } from './first-calls.js';
import { HandshakeLimits, RecentIds } from './limits.js';
import type { Prepare, Prepared } from './origin.js';
import type { Peer } from './peer.js';
import { Sessions } from './sessions.js';

/** How long step 4 waits for first calls; the results of others are asked for under the session. */
const FIRST_CALLS_WAIT = 250;
const SECOND = 1_000;
const NO_LANES: readonly [] = [];

/** The reason why a handshake was refused: told to the operator, never to the client. */
class Refused extends Error {}

/** A step 3 that opened. */
interface Finish {
  readonly cookie: CookieState;
  readonly opened: FinishOpened;
  /** the session's id, hexadecimal: one text for all that keep it */
  readonly key: string;
  readonly messages: readonly Prepared[];
  readonly keyId: Uint8Array | undefined;
}

/** The likeliest reason why step 1 was refused; the client is not told which. */
function refusalOf(
  module: RegisteredModule,
  start: StartFrame,
  policy: ServerOptions,
  known: { server: boolean; secure: boolean },
): string {
  const pinned = (start.flags & FLAG_PINNED) !== 0;
  const secured = (start.flags & FLAG_SECURE_KEY) !== 0;
  if (start.keySize < module.keySize) return 'the EncryptionKey is shorter than the module asks for';
  if (policy.requirePinned && !pinned) return 'the client pinned no server key';
  if (policy.requireSecureKey && !secured) return 'the client has no SecureKey';
  if (pinned && !known.server) return 'the pinned server key is not known';
  if (secured && !known.secure) return 'the SecureKey is not known';
  return 'the frame did not open: another key, another module path, or altered on the way';
}

/** Steps 1 and 3 at the server. Between them it keeps nothing. */
@Injectable()
export class Handshakes {
  private readonly suite: HandshakeSuite;
  private readonly log = new SparseLog(SECOND);
  /** sessions that step 3 was answered for: a copy of one costs no statement */
  private readonly used = new RecentIds();

  constructor(
    @Inject(PRIMITIVES) private readonly primitives: Primitives,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(SessionData) private readonly data: SessionData,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(KeyRing) private readonly keys: KeyRing,
    @Inject(Sessions) private readonly sessions: Sessions,
    @Inject(HandshakeLimits) private readonly limits: HandshakeLimits,
    @Inject(SealwireEvents) private readonly events: SealwireEvents,
  ) {
    this.suite = { primitives, random: hedgedRandom(primitives) };
  }

  /** Answers step 1 with step 2. */
  start(module: RegisteredModule, bytes: Uint8Array, peer: Peer): Promise<Uint8Array> {
    return this.opaquely(module, peer, async () => {
      if (module.keySize === 0) throw new Refused('the module is configured without encryption');
      const start = parseStart(bytes);
      this.limits.ask(peer);
      const secured = (start.flags & FLAG_SECURE_KEY) !== 0;
      const [server, secure, seal, options] = await Promise.all([
        this.keys.named(start.serverKeyId),
        this.keys.secureKey(module, secured ? start.keyId : undefined),
        this.keys.cookieSealer(module.path, this.store.now()),
        this.policyOf(module, module.keySize),
      ]);
      // what others took meanwhile counts; from here to the charge nothing is awaited
      this.limits.ask(peer);
      const sessionId = (random: Uint8Array) =>
        makeSessionId(this.primitives, this.store.sessionIdKey(), module.path, random);
      const keys = { serverKey: server.pair, secureKey: secure.secret };
      try {
        const answer = answerStart(this.suite, { modulePath: module.path, options, sessionId, ...keys }, start, seal);
        this.limits.opened(peer);
        return answer;
      } catch (error) {
        this.limits.unopened();
        const known = { server: server.known, secure: secure.known };
        throw new Refused(refusalOf(module, start, options, known), { cause: error });
      }
    });
  }

  /**
   * Answers step 3 with step 4: the old sessions end, the new one is written down, then its first calls run. Only whoever
   * inserts the session answers, so a cookie serves once.
   */
  async finish(
    module: RegisteredModule,
    bytes: Uint8Array,
    peer: Peer,
    answer: ServerResponse,
    prepare: Prepare,
  ): Promise<Uint8Array> {
    if (!this.sessions.accepting) throw new SealwireError('busy');
    const finish = await this.opaquely(module, peer, () => this.openFinish(module, bytes, prepare));
    const { opened, key } = finish;
    if (!this.used.add(key)) {
      discardHandshake(opened);
      throw new SealwireError('handshake_used');
    }
    try {
      const digest = frameDigest(this.primitives, bytes);
      return await this.sessions.opening(this.establish(module, finish, digest, peer, answer));
    } catch (error) {
      // the client sends it again
      if (error instanceof SealwireError && error.code === 'busy') this.used.delete(key);
      discardHandshake(opened);
      throw error;
    }
  }

  private async establish(
    module: RegisteredModule,
    { cookie, opened, key, messages, keyId }: Finish,
    digest: Uint8Array,
    peer: Peer,
    answer: ServerResponse,
  ): Promise<Uint8Array> {
    const { answers, previous } = await this.renew(module, keyId, opened);
    const firstCalls = messages.length > 0 ? { digest, count: messages.length } : undefined;
    const row: NewSession = {
      id: opened.sessionId,
      module: module.path,
      keyId,
      keySize: cookie.keySize,
      firstKey: opened.firstKey.slice(),
      idleSeconds: module.autoSessionsLive ?? this.options.autoSessionsLive,
      lifetimeSeconds: this.options.sessionLifetime,
      peer: peer.lock,
      firstCalls,
      previous,
    };
    const limits = { module: module.maxSessions, secureKey: module.maxSessionsPerKey };
    const created = await this.ask(this.store.create(row, limits));
    erase(row.firstKey);
    if (!created) throw new SealwireError('handshake_used');

    const now = this.store.now();
    const { idleSeconds: idle, lifetimeSeconds: lifetime } = row;
    const times = { lastUsed: now, expires: now + lifetime * 1000, idleSeconds: idle };
    const session = this.sessions.make({
      ...row,
      ...created,
      ...times,
      key,
      closed: NO_LANES,
      ended: undefined,
    });
    const { ledger, data, sessions } = this;
    const means = { session, ledger, data, sessions, answer, patience: this.options.abandonAfter };
    const { suite, firstKey, firstResults } = opened;
    const run = runFirstCalls(means, { suite, firstKey, firstResults, keySize: row.keySize }, digest, messages);
    if (messages.length > 0) await doneWithin(run.ready, FIRST_CALLS_WAIT);
    const terms = { ...created, idle, lifetime };
    const { frame, secrets } = answerFinish(opened, terms, answers, run.answers());
    try {
      if (!(await this.ask(this.store.activate(row.id, secrets)))) throw new SealwireError('session_unknown');
    } catch (error) {
      // nothing else would ever end the record of its first calls
      this.ledger.close(session);
      throw error;
    }
    session.activate(secrets);
    this.sessions.add(session);
    for (const old of previous) this.sessions.inherit(old, session);
    const opening = { sessionId: session.key, module: module.path };
    this.events.emit('opened', { ...opening, keyId: keyId && toHex(keyId), peer: peer.address });
    if (previous.length > 0) this.events.emit('renewed', { ...opening, previous: previous.map((old) => toHex(old)) });
    return frame;
  }

  private async openFinish(module: RegisteredModule, bytes: Uint8Array, prepare: Prepare): Promise<Finish> {
    const finish = parseFinish(bytes);
    const cookie = await this.keys.openCookie(module.path, finish.cookie);
    const age = this.store.now() - cookie.issued;
    if (age < -LIMITS.cookieSkewSeconds * 1000 || age > LIMITS.cookieSeconds * 1000) {
      throw new Refused('the cookie is too old');
    }
    const keyId = (cookie.flags & FLAG_SECURE_KEY) === 0 ? undefined : cookie.keyId;
    if (keyId && !(await this.keys.secureKey(module, keyId)).known) throw new Refused('the SecureKey was revoked');
    const opened = openFinish(this.suite, cookie, finish);
    const key = toHex(opened.sessionId);
    return { cookie, opened, key, keyId, messages: prepareFirstCalls(opened.firstCalls, prepare) };
  }

  /** Ends the old sessions that the client proved, and tells what became of the numbers that they left unanswered. */
  private async renew(
    module: RegisteredModule,
    keyId: Uint8Array | undefined,
    { renewals, provenOver }: FinishOpened,
  ): Promise<{ answers: Answered[]; previous: Uint8Array[] }> {
    const answers: Answered[] = [];
    const previous: Uint8Array[] = [];
    for (const renewal of renewals) {
      const answered = await this.renewOne(module, keyId, renewal, provenOver);
      if (answered.key) previous.push(renewal.sessionId);
      answers.push(answered);
    }
    return { answers, previous };
  }

  private async renewOne(
    module: RegisteredModule,
    keyId: Uint8Array | undefined,
    { sessionId, proof, numbers }: Renewal,
    provenOver: Uint8Array,
  ): Promise<Answered> {
    const { primitives, store } = this;
    const verify = (key: Uint8Array) => primitives.equal(proveSession(primitives, key, provenOver), proof);
    const ours = isSessionIdOf(primitives, store.sessionIdKey(), module.path, sessionId);
    const renewed = ours && (await this.ask(store.renew(sessionId, { module: module.path, keyId }, verify)));
    if (!renewed) return { key: undefined, answers: numbers.map(() => ({ known: 'unknown' })) };
    const { session, key, first } = renewed;
    // before the ledger is asked: what it says of numbers that it did not take must stay true
    const held = this.sessions.ended(sessionId, 'renewed', undefined);
    const known = numbers.length === 0 ? [] : await this.ask(this.ledger.recall(session, numbers));
    const told = known.map((answer, i) => (first && numbers[i]?.number.lane !== 0 ? { known: 'unknown' } : answer));
    // without step 4 the client has no keys for a frame
    return { key, answers: told as typeof known, held: held && !first };
  }

  private async policyOf(module: RegisteredModule, minKeySize: 16 | 32): Promise<ServerOptions> {
    const [pairs, requireSecureKey] = await Promise.all([this.keys.serverKeys(), this.keys.requiresSecureKey(module)]);
    return {
      force: module.force,
      requirePinned: module.requirePinned,
      requireSecureKey,
      minKeySize,
      pins: pairs.slice(0, 4).map(({ publicKey }) => serverKeyId(publicKey, this.primitives)),
      incarnation: this.store.incarnation(),
      maxBody: module.maxBody ?? this.options.maxBody,
      age: this.store.age(),
      maxUpload: module.maxUpload ?? this.options.maxUpload,
      pulse: this.options.pulse,
    };
  }

  /** Every reason becomes the one answer `handshake_failed`; limits and another version say so. */
  private async opaquely<T>(module: RegisteredModule, peer: Peer, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const code = error instanceof SealwireError ? error.code : undefined;
      if (code === 'busy' || code === 'version') throw error;
      const { address } = peer;
      const reason = thrownText(error);
      this.events.emit('handshakeRefused', { module: module.path, peer: address, reason });
      if (code === 'rate_limited') throw error;
      this.log.warn(`A handshake of ${address} with the module '${module.path}' was refused: ${reason}`);
      throw new SealwireError('handshake_failed');
    }
  }

  private ask<T>(work: Promise<T>): Promise<T> {
    return withinTime(work, this.options.storeTimeout);
  }
}
