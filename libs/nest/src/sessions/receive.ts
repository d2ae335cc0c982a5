import { Inject, Injectable } from '@nestjs/common';
import {
  type CallFrame,
  callIdentity,
  FIRST_LANE,
  frameDigest,
  isSessionIdOf,
  type Primitives,
  parseCall,
  SealwireError,
} from '@sealwire/core';
import type { RegisteredModule } from '../functions/registry.js';
import type { ResolvedOptions } from '../options.js';
import { type Acceptance, type CloseReason, NumberLedger, SessionData, SessionStore } from '../ports/index.js';
import { LiveReply } from '../streams/live-reply.js';
import { LiveResult } from '../streams/live-result.js';
import type { Upload } from '../streams/upload.js';
import { withinTime } from '../time-limit.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';
import { Answers, type Received } from './answers.js';
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

/** What came with a frame. */
interface Incoming {
  readonly bytes: Uint8Array;
  readonly arrival: Arrival;
  readonly prepare: Prepare;
  readonly upload: Upload | undefined;
}

/**
 * Call frames: finds the session, opens the frame, asks the ledger for its number, has it run, and seals the result once. It
 * knows sessions and numbers, and nothing of what runs.
 */
@Injectable()
export class Receiver {
  private readonly failures = new AddressBuckets(FAILED_OPENS);
  private readonly answers: Answers;

  constructor(
    @Inject(PRIMITIVES) private readonly primitives: Primitives,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(SessionData) private readonly data: SessionData,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(Sessions) private readonly sessions: Sessions,
  ) {
    this.answers = new Answers(ledger, options);
  }

  /**
   * Answers a call frame with a result frame. Nothing is asked of the store or of other instances for a frame that does not
   * open, but for one look at a session that is not here.
   * @param bytes the frame; of a live call header and first chunk, and `upload` brings the rest
   * @throws SealwireError for what is answered unsealed; nothing ran then
   */
  async receive(
    module: RegisteredModule,
    bytes: Uint8Array,
    arrival: Arrival,
    prepare: Prepare,
    upload?: Upload,
  ): Promise<Uint8Array | LiveResult> {
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
      if (upload) upload.keyed = true;
      if (held || session.ended) {
        if (!held) this.sessions.add(session);
        session.enter();
        try {
          const answer = await this.answer(session, frame, opened, { bytes, arrival, prepare, upload });
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
   * Undefined if another instance may have led a shared session to an epoch that this copy does not know. A frame that does
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

  /** The result frame; undefined if the session is not this process's (any more) and has to be found again. */
  private async answer(
    session: Session,
    frame: CallFrame,
    opened: OpenedFrame,
    { bytes, arrival, prepare, upload }: Incoming,
  ): Promise<Uint8Array | LiveResult | undefined> {
    if (!session.ended && opened.secrets.epoch > session.epoch) await this.sessions.advance(session, opened.secrets);
    this.endIfOver(session);
    const { number } = frame;
    const received = { session, frame, opened, digest: frameDigest(this.primitives, bytes), arrival };
    if (!session.ended) {
      if (session.released) return undefined;
      // K_first is over with the first frame that opens
      if (session.touched === undefined) this.touch(session, true);
    }
    if (number.lane === FIRST_LANE) return this.first(received);
    if (session.ended) return this.answers.ended(received);
    let { payload } = opened;
    if (opened.live && upload) {
      const { opener, bodies } = opened.live;
      try {
        payload = await upload.payload(opener, bodies);
      } catch (error) {
        return this.answers.broken(received, error);
      }
      if (session.released) return undefined;
    }
    const prepared = prepare(payload);
    if (number.lane < session.lane) return this.answers.moved(received);
    if (number.lane > session.lane) return undefined;
    // whatever it holds: one as large as the limit would never run beside a stream
    const full = prepared.calls > 0 && session.calls >= this.options.sessionCalls;
    if (full && !(await this.answers.isTaken(received))) {
      return this.answers.status(received, 'busy');
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
        return this.run(received, prepared, upload);
      case 'running':
        if (!acceptance.settled) return this.answers.status(received, 'running');
        return this.answers.settled(received, acceptance.settled);
      case 'done':
        return acceptance.result ?? this.answers.status(received, 'result_gone');
      case 'lane_moved':
        return undefined;
      default:
        return this.answers.refusal(received, acceptance.kind);
    }
  }

  private async run(
    received: Received,
    prepared: Prepared,
    upload: Upload | undefined,
  ): Promise<Uint8Array | LiveResult> {
    const { session, frame, opened, digest, arrival } = received;
    const { number } = frame;
    this.touch(session, false);
    if (upload) upload.alive = () => this.touch(session, false);
    const release = upload && this.sessions.addStream(session, upload);
    let landed: Promise<void> | undefined;
    const over = (result: Uint8Array | undefined): void => {
      landed = Promise.resolve();
      release?.();
      upload?.close();
      session.calls -= prepared.calls;
      session.land(number);
      this.ledger.finish(session, number, digest, result);
    };
    let reply: Uint8Array | LiveReply | undefined;
    let result: Uint8Array | undefined;
    try {
      reply = await prepared.run({
        session: (transaction) => new CallSession(this.data, session, transaction),
        callId: (index) => callIdentity(this.primitives, session.renewal, { number, digest }, index),
        audience: () => session.flights.join(number, arrival.answer, this.options.abandonAfter, landed).audience,
        together: undefined,
      });
      if (!(reply instanceof LiveReply)) {
        result = session.seal(frame, opened.secrets, reply);
        return result;
      }
      const live = reply;
      return this.live(received, live, () => over(this.answers.kept(received, live)));
    } finally {
      if (!(reply instanceof LiveReply)) over(result);
    }
  }

  /** Sends a reply as it comes about, as the answer to the frame. */
  private live({ session, frame, opened }: Received, reply: LiveReply, over: () => void): LiveResult {
    session.enter();
    let leave = (): void => session.leave();
    let release: (() => void) | undefined;
    const result = new LiveResult(reply, {
      begin: (body, last) => session.sealLive(frame, opened.secrets, body, last),
      pulse: Math.min(this.options.pulse * 1_000, session.idleMs / 4),
      goesOn: () => {
        release = this.sessions.addStream(session, result);
        session.flights.at(frame.number, this.options.abandonAfter).goLive();
      },
      alive: () => this.touch(session, false),
      done: () => {
        release?.();
        over();
        leave();
      },
    });
    void reply.complete.then(() => {
      if (reply.size > 0 && !result.over) leave = session.stream();
    });
    return result;
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
  private async first(received: Received): Promise<Uint8Array | LiveResult> {
    const { session, frame, opened, arrival } = received;
    if (opened.payload.length > 0 || opened.live) throw new SealwireError('bad_frame');
    const asked = this.ledger.first(session, frame.number);
    const known = asked instanceof Promise ? await withinTime(asked, this.options.storeTimeout) : asked;
    if (known.kind === 'outcome_unknown') return this.answers.status(received, known.kind);
    if (known.kind === 'running' && !known.settled) return this.answers.status(received, known.kind);
    if (known.kind === 'done') return this.answers.firstResult(received, known.result);
    const flight = session.flights.join(frame.number, arrival.answer, this.options.abandonAfter, known.settled);
    const news = await flight.news(arrival.answer);
    if (news === 'over') return this.answers.firstResult(received, await known.settled);
    const parked = news === 'live' ? flight.take() : undefined;
    return parked ? this.live(received, parked.reply, parked.over) : this.answers.status(received, 'running');
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
