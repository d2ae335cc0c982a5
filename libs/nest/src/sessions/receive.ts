import { Inject, Injectable } from '@nestjs/common';
import {
  type Call,
  type CallFrame,
  type CallNumber,
  callIdentity,
  decodeCalls,
  encodeReply,
  FIRST_CALLS,
  frameDigest,
  type MessageStatus,
  type Primitives,
  parseCall,
  type RenewalAnswer,
  SealwireError,
  type Sending,
} from '@sealwire/core';
import type { SealedOrigin } from '../functions/dispatcher.js';
import type { RegisteredModule } from '../functions/registry.js';
import type { ResolvedOptions } from '../options.js';
import { type Acceptance, type CloseReason, NumberLedger, SessionStore } from '../ports/ports.js';
import { withinTime } from '../time-limit.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';
import { CallSession } from './call-session.js';
import type { LiveSession, OpenedFrame } from './session.js';
import { SessionCache } from './sessions.js';

/** Has opened calls run and answers the encoded reply; it never throws. */
export type Run = (calls: readonly Call[], origin: SealedOrigin) => Promise<Uint8Array>;

/** A session that moved under a call is looked for so often. */
const ATTEMPTS = 3;
/** How old a copy of a shared session must be to be read again because a frame does not fit it. */
const REFRESH_MS = 1_000;

type Refusal = Exclude<Acceptance['kind'], 'accepted' | 'running' | 'done' | 'lane_moved'>;
const STATUS_OF: Record<Refusal, Exclude<MessageStatus['status'], 'lane_moved'>> = {
  conflict: 'number_conflict',
  too_old: 'number_too_old',
  outcome_unknown: 'outcome_unknown',
  session_ended: 'session_ended',
  busy: 'busy',
};

/** Calls of sessions: find the session, open the frame, ask the ledger, have the calls run, seal the reply. */
@Injectable()
export class SessionService {
  constructor(
    @Inject(PRIMITIVES) private readonly primitives: Primitives,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(SessionCache) private readonly sessions: SessionCache,
  ) {}

  /**
   * Answers a call frame with a result frame.
   * @throws SealwireError for what is answered unsealed; nothing ran then
   */
  async answer(module: RegisteredModule, bytes: Uint8Array, peer: string | undefined, run: Run): Promise<Uint8Array> {
    const frame = parseCall(bytes);
    if (frame.number.lane === FIRST_CALLS.lane) throw new SealwireError('bad_frame');
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (!this.sessions.accepting) throw new SealwireError('busy');
      const found = this.sessions.find(frame.sessionId);
      const session = found instanceof Promise ? await found : found;
      if (session.module !== module.path || (session.peer !== undefined && session.peer !== peer)) {
        throw new SealwireError('session_unknown');
      }
      const opened = this.open(session, frame);
      if (opened && opened.secrets.epoch > session.epoch) await this.sessions.advance(session, opened.secrets);
      const reply = opened && (await this.reply(session, frame, opened, bytes, run));
      if (reply) return session.seal(frame, opened.secrets, reply);
      this.sessions.discard(session);
    }
    throw new SealwireError('busy');
  }

  /** Who sent calls of this session: their identities come from the key that proves it. */
  originOf(
    session: Pick<LiveSession, 'id' | 'key' | 'module' | 'keyId'>,
    proofKey: Uint8Array,
    sending: Sending,
  ): SealedOrigin {
    return {
      session: (transaction) => new CallSession(this.store, session, transaction),
      keyId: session.keyId,
      callId: (index) => callIdentity(this.primitives, proofKey, sending, index),
    };
  }

  /** Undefined where another instance may know an epoch that this one does not. Failures are slowed down, never punished. */
  private open(session: LiveSession, frame: CallFrame): OpenedFrame | undefined {
    const now = performance.now();
    if (!session.failedOpens.has(now)) throw new SealwireError('busy');
    try {
      return session.open(frame);
    } catch (error) {
      session.failedOpens.take();
      const stale = !this.ledger.exclusive && session.isForeignEpoch(frame.epoch) && now - session.since > REFRESH_MS;
      if (stale) return undefined;
      throw error;
    }
  }

  /** The encoded reply; undefined where the session is not this process's (any more) and has to be attached again. */
  private async reply(
    session: LiveSession,
    frame: CallFrame,
    opened: OpenedFrame,
    bytes: Uint8Array,
    run: Run,
  ): Promise<Uint8Array | undefined> {
    const { number } = frame;
    this.endIfOver(session);
    const digest = frameDigest(this.primitives, bytes);
    if (session.ended) return this.ended(session, number, digest);
    if (session.released) return undefined;
    const calls = decodeCalls(opened.payload);
    if (number.lane < session.lane) return this.moved(session, number, digest);
    if (number.lane > session.lane) return undefined;
    const accepted = this.ledger.accept(session, number, digest, this.options.storeTimeout);
    const acceptance = accepted instanceof Promise ? await accepted : accepted;
    switch (acceptance.kind) {
      case 'accepted':
        return this.run(session, number, digest, calls, run);
      case 'running':
        return acceptance.settled ?? status('running');
      case 'done':
        return acceptance.reply ?? status('result_gone');
      case 'lane_moved':
        return undefined;
      default:
        return status(STATUS_OF[acceptance.kind]);
    }
  }

  private async run(
    session: LiveSession,
    number: CallNumber,
    digest: Uint8Array,
    calls: Call[],
    run: Run,
  ): Promise<Uint8Array> {
    session.lastUsed = this.store.now();
    this.store.touch(session.id);
    session.enter();
    try {
      const reply = await run(calls, this.originOf(session, session.renewal, { number, digest }));
      this.ledger.finish(session, number, digest, reply);
      return reply;
    } finally {
      session.leave();
    }
  }

  private async moved(session: LiveSession, number: CallNumber, digest: Uint8Array): Promise<Uint8Array> {
    const answer = await this.recall(session, number, digest);
    if (answer.known === 'result') return answer.reply;
    if (answer.known === 'running') return status('running');
    const { lane, incarnation } = session;
    return encodeReply({ status: 'lane_moved', lane, known: answer.known, incarnation });
  }

  /** It takes no number any more, and still tells of those that it took. */
  private async ended(session: LiveSession, number: CallNumber, digest: Uint8Array): Promise<Uint8Array> {
    const answer = await this.recall(session, number, digest);
    if (answer.known === 'result') return answer.reply;
    return status(answer.known === 'running' ? 'running' : 'session_ended');
  }

  private recall(session: LiveSession, number: CallNumber, digest: Uint8Array): Promise<RenewalAnswer> {
    return withinTime(this.ledger.recall(session, number, digest), this.options.storeTimeout);
  }

  /** Idle time counts from the last accepted call. Where sessions are shared, only the store knows all of them. */
  private endIfOver(session: LiveSession): void {
    const now = this.store.now();
    const over: CloseReason | undefined =
      now > session.expires ? 'expired' : now - session.lastUsed > session.idleMs ? 'idle' : undefined;
    if (!over || session.ended) return;
    const stale = !this.ledger.exclusive && performance.now() - session.since > REFRESH_MS;
    if (over === 'idle' && stale) this.sessions.discard(session);
    else this.sessions.expire(session, over);
  }
}

function status(value: Exclude<MessageStatus['status'], 'lane_moved'>): Uint8Array {
  return encodeReply({ status: value });
}
