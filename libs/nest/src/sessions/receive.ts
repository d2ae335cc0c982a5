import { Inject, Injectable } from '@nestjs/common';
import {
  type CallFrame,
  type CallNumber,
  callIdentity,
  encodeReply,
  FIRST_LANE,
  frameDigest,
  isSessionIdOf,
  type MessageStatus,
  type NumberAnswer,
  type Primitives,
  parseCall,
  SealwireError,
} from '@sealwire/core';
import type { RegisteredModule } from '../functions/registry.js';
import type { ResolvedOptions } from '../options.js';
import { type Acceptance, type CloseReason, NumberLedger, SessionData, SessionStore } from '../ports/index.js';
import { withinTime } from '../time-limit.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';
import { CallSession } from './call-session.js';
import { AddressBuckets } from './limits.js';
import type { Prepare, Prepared } from './origin.js';
import { type Arrival, type Peer, peerOf } from './peer.js';
import type { OpenedFrame, Session } from './session.js';
import { Sessions } from './sessions.js';

/** A session that moved under a call is looked for so often. */
const ATTEMPTS = 3;
/** How old a copy of a shared session must be to be read again because a frame does not fit it. */
const REFRESH_MS = 1_000;
/** How often the store is told of a session's use at most. */
const TOUCH_MS = 1_000;
const FAILED_OPENS = { perSecond: 20, burst: 20 };

type Status = Exclude<MessageStatus['status'], 'lane_moved'>;
type Refusal = Exclude<Acceptance['kind'], 'accepted' | 'running' | 'done' | 'lane_moved'>;
const STATUS_OF: Record<Refusal, Status> = {
  conflict: 'number_conflict',
  too_old: 'number_too_old',
  outcome_unknown: 'outcome_unknown',
  session_ended: 'session_ended',
  busy: 'busy',
};

/** A frame that opened, and all that its answer needs. */
interface Received {
  readonly session: Session;
  readonly frame: CallFrame;
  readonly opened: OpenedFrame;
  readonly digest: Uint8Array;
}

/**
 * Call frames: finds the session, opens the frame, asks the ledger for its number, has it run, and seals the result once. It
 * knows sessions and numbers, and nothing of what runs.
 */
@Injectable()
export class Receiver {
  private readonly failures = new AddressBuckets(FAILED_OPENS);

  constructor(
    @Inject(PRIMITIVES) private readonly primitives: Primitives,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(SessionData) private readonly data: SessionData,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(Sessions) private readonly sessions: Sessions,
  ) {}

  /**
   * Answers a call frame with a result frame. Nothing is asked of the store or of other instances for a frame that does not
   * open, but for one look at a session that is not here.
   * @throws SealwireError for what is answered unsealed; nothing ran then
   */
  async receive(module: RegisteredModule, bytes: Uint8Array, arrival: Arrival, prepare: Prepare): Promise<Uint8Array> {
    const frame = parseCall(bytes);
    let stale = false;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (!this.sessions.accepting) throw new SealwireError('busy');
      const held = stale ? undefined : this.sessions.held(frame.sessionId);
      const session = held ?? (await this.look(module, frame.sessionId));
      // a copy that another frame has used up meanwhile
      if (!held && session.released) continue;
      if (session.module !== module.path || (session.peer !== undefined && session.peer !== this.peer(arrival).lock)) {
        throw new SealwireError('session_unknown');
      }
      const opened = this.open(session, frame, arrival);
      stale = opened === undefined;
      if (!opened) continue;
      if (held || session.ended) {
        if (!held) this.sessions.add(session);
        session.enter();
        try {
          const answer = await this.answer(session, frame, opened, bytes, prepare);
          if (answer) return answer;
          this.sessions.discard(session);
        } finally {
          session.leave();
        }
      } else await this.sessions.take(session);
    }
    throw new SealwireError('busy');
  }

  private peer(arrival: Arrival): Peer {
    return peerOf(arrival, this.options.peerLock);
  }

  private look(module: RegisteredModule, id: Uint8Array): Promise<Session> {
    if (!isSessionIdOf(this.primitives, this.store.sessionIdKey(), module.path, id)) {
      throw new SealwireError('session_unknown');
    }
    return this.sessions.look(id);
  }

  /**
   * Undefined where another instance may have led a shared session to an epoch that this copy does not know. A frame that does
   * not open is its sender's failure: above some a second from one address they are answered `busy`, and the session knows
   * nothing of it.
   */
  private open(session: Session, frame: CallFrame, arrival: Arrival): OpenedFrame | undefined {
    try {
      return session.open(frame);
    } catch (error) {
      const { address } = this.peer(arrival);
      const slow = !this.failures.has(address);
      if (!slow) this.failures.take(address);
      const keyless = error instanceof SealwireError && error.code === 'session_unknown';
      const old = performance.now() - session.since > REFRESH_MS;
      if (keyless && old && !this.ledger.exclusive && !session.ended) return undefined;
      throw slow ? new SealwireError('busy') : error;
    }
  }

  /** The result frame; undefined where the session is not this process's (any more) and has to be found again. */
  private async answer(
    session: Session,
    frame: CallFrame,
    opened: OpenedFrame,
    bytes: Uint8Array,
    prepare: Prepare,
  ): Promise<Uint8Array | undefined> {
    if (!session.ended && opened.secrets.epoch > session.epoch) await this.sessions.advance(session, opened.secrets);
    this.endIfOver(session);
    const { number } = frame;
    const received = { session, frame, opened, digest: frameDigest(this.primitives, bytes) };
    if (!session.ended) {
      if (session.released) return undefined;
      // K_first is over with the first frame that opens
      if (session.touched === undefined) this.touch(session, true);
    }
    if (number.lane === FIRST_LANE) return this.first(received);
    if (session.ended) return this.ended(received);
    const prepared = prepare(opened.payload);
    if (number.lane < session.lane) return this.moved(received);
    if (number.lane > session.lane) return undefined;
    // a message that is above the limit by itself runs alone, or never would
    const full = session.calls > 0 && session.calls + prepared.calls > this.options.sessionCalls;
    if (full && !(await this.isTaken(received))) {
      return this.status(received, 'busy');
    }
    // counted before the ledger is asked, so that frames which come meanwhile meet the limit
    session.calls += prepared.calls;
    let acceptance: Acceptance | undefined;
    try {
      const accepted = this.ledger.accept(session, number, received.digest, this.options.storeTimeout);
      acceptance = accepted instanceof Promise ? await accepted : accepted;
    } finally {
      if (acceptance?.kind !== 'accepted') session.calls -= prepared.calls;
    }
    switch (acceptance.kind) {
      case 'accepted':
        return this.run(received, prepared);
      case 'running':
        if (!acceptance.settled) return this.status(received, 'running');
        return (await acceptance.settled) ?? this.status(received, 'result_gone');
      case 'done':
        return acceptance.result ?? this.status(received, 'result_gone');
      case 'lane_moved':
        return undefined;
      default:
        return this.status(received, STATUS_OF[acceptance.kind]);
    }
  }

  private async run({ session, frame, opened, digest }: Received, prepared: Prepared): Promise<Uint8Array> {
    const { number } = frame;
    this.touch(session, false);
    let result: Uint8Array | undefined;
    try {
      const reply = await prepared.run({
        session: (transaction) => new CallSession(this.data, session, transaction),
        callId: (index) => callIdentity(this.primitives, session.renewal, { number, digest }, index),
      });
      result = session.seal(frame, opened.secrets, reply);
      return result;
    } finally {
      session.calls -= prepared.calls;
      this.ledger.finish(session, number, digest, result);
    }
  }

  private touch(session: Session, proved: boolean): void {
    const now = this.store.now();
    session.lastUsed = now;
    const pause = Math.min(TOUCH_MS, session.idleMs / 8);
    if (!proved && session.touched !== undefined && now - session.touched < pause) return;
    session.touched = now;
    this.store.touch(session.id, proved);
  }

  /** A first call is asked for: an ordinary frame without a body, which never runs anything. */
  private async first(received: Received): Promise<Uint8Array> {
    const { session, frame, opened } = received;
    if (opened.payload.length > 0) throw new SealwireError('bad_frame');
    const asked = this.ledger.first(session, frame.number);
    const known = asked instanceof Promise ? await withinTime(asked, this.options.storeTimeout) : asked;
    if (known.kind === 'outcome_unknown') return this.status(received, known.kind);
    if (known.kind === 'running' && !known.settled) return this.status(received, known.kind);
    const first = known.kind === 'running' ? await known.settled : known.result;
    return first ? this.seal(received, encodeReply({ first })) : this.status(received, 'result_gone');
  }

  private async moved(received: Received): Promise<Uint8Array> {
    const answer = await this.recall(received);
    if (answer.known === 'result') return answer.frame;
    if (answer.known === 'running') return this.status(received, 'running');
    const { lane, incarnation } = received.session;
    return this.seal(received, encodeReply({ status: 'lane_moved', lane, known: answer.known, incarnation }));
  }

  /** It takes no number any more, and still tells of those that it took. */
  private async ended(received: Received): Promise<Uint8Array> {
    const answer = await this.recall(received);
    if (answer.known === 'result') return answer.frame;
    return this.status(received, answer.known === 'running' ? 'running' : 'session_ended');
  }

  /** Whether the frame's number runs, ran, or lies too far back to run: no more work, and another answer than `busy`. */
  private async isTaken(received: Received): Promise<boolean> {
    const { known } = await this.recall(received);
    if (known !== 'unknown') return known !== 'never_ran';
    const { session, frame } = received;
    return withinTime(Promise.resolve(this.ledger.isTooOld(session, frame.number)), this.options.storeTimeout);
  }

  private async recall({ session, frame, digest }: Received): Promise<NumberAnswer> {
    const number: CallNumber = frame.number;
    const [answer] = await withinTime(this.ledger.recall(session, [{ number, digest }]), this.options.storeTimeout);
    return answer ?? { known: 'unknown' };
  }

  private status(received: Received, status: Status): Uint8Array {
    return this.seal(received, encodeReply({ status }));
  }

  private seal({ session, frame, opened }: Received, reply: Uint8Array): Uint8Array {
    return session.seal(frame, opened.secrets, reply);
  }

  /** Idle time counts from the last accepted call. Where sessions are shared, only the store knows all of them. */
  private endIfOver(session: Session): void {
    const now = this.store.now();
    const over: CloseReason | undefined =
      now > session.expires ? 'expired' : now - session.lastUsed > session.idleMs ? 'idle' : undefined;
    if (!over || session.ended) return;
    const stale = !this.ledger.exclusive && performance.now() - session.since > REFRESH_MS;
    if (over === 'idle' && stale) this.sessions.discard(session);
    else this.sessions.expire(session, over);
  }
}
