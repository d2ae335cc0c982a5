import {
  handshakeRandom,
  hedgedRandom,
  type KeySize,
  type MessageStatus,
  type Random,
  run,
  SealwireError,
  toHex,
} from '@sealwire/core';
import { within } from '../delivery/limits.js';
import type { Message } from '../delivery/message.js';
import { isFresh, stop } from '../delivery/setbacks.js';
import { ChannelBlockedError, closedError, onSessionFailed, RemoteError } from '../errors.js';
import type { EventHub, RenewalReason } from '../events.js';
import type { Settings } from '../options.js';
import { HeadersError } from '../transport/transport.js';
import type { FirstCalls } from './first-calls.js';
import { FINAL, Handshaker } from './handshake.js';
import { FinishPlan, HALF_MADE, type Handshaken, Pace } from './renewal.js';
import type { Provable } from './sent.js';
import { newEpoch, now, Session } from './session.js';
import type { Keeper, SessionState } from './state.js';

/** Milliseconds that a storage has, since the remote was made, to say what an earlier page left. */
const FINDING_MS = 3_000;

/** Holds the one session of a remote, renews it for all waiting messages at once, and tells them what became of theirs. */
export class Sessions {
  /** that a new number may be taken from now; undefined while a handshake runs */
  current: Session | undefined;
  /** A hint or a handshake put the session in doubt, so that an answer under seal is news. */
  doubted = false;
  /** the newest, whether or not it takes numbers */
  #session: Session | undefined;
  #reason: RenewalReason = 'session_unknown';
  /** of the handshake that runs or waits for its turn */
  #flight: AbortController | undefined;
  #shaking = false;
  #closed = false;
  readonly #found: Promise<void> | undefined;
  /** the same, or the end of its time */
  readonly #finding: Promise<void> | undefined;
  #keeper: Keeper | undefined;
  /** the greeting that runs, or the error of the last one, until one has succeeded */
  greeting: { readonly error?: unknown } | undefined;
  /** how many have succeeded */
  greetings = 0;
  /** handshakes that ended between steps 3 and 4 since the last one that did not, at most {@link HALF_MADE} */
  #halfMade: FirstCalls[] = [];
  readonly #pace = new Pace();
  readonly #random: Random;
  readonly #handshaker: Handshaker;

  constructor(
    private readonly settings: Settings,
    private readonly keySize: KeySize,
    private readonly events: EventHub,
    /** that are under way */
    private readonly messages: ReadonlySet<Message>,
    /** runs in each new session before the waiting messages */
    private readonly greet: (() => unknown) | undefined,
  ) {
    const { primitives } = settings;
    this.#random = hedgedRandom(primitives);
    this.#handshaker = new Handshaker(settings, keySize, { primitives, random: handshakeRandom(primitives) }, events);
    this.#found = settings.persistence?.ɵfind(settings).then((keeper) => {
      this.#keeper = keeper;
    });
    this.#finding = this.#found && within(FINDING_MS, undefined, this.#found);
  }

  /** why the last handshake did not get through */
  get lastError(): unknown {
    return this.#handshaker.lastError;
  }

  /** Does now what the first handshake would do. */
  async prewarm(): Promise<void> {
    const isNeeded = () => !(this.#session || this.#flight || this.#closed || this.#keeper?.left);
    if (isNeeded() && this.#finding) await this.#finding;
    if (isNeeded()) await this.#handshaker.prepare();
  }

  /** A message waits for a session, or for what only a handshake can tell. */
  want(): void {
    const over = this.current?.over;
    if (this.current && over) this.end(this.current, over);
    else this.#start();
  }

  /** Whether a message may take a number now; one that has to wait for `onSession` may not. */
  admits({ work }: Message): boolean {
    if (work.how.early) return true;
    if (this.greeting && 'error' in this.greeting) this.#greet();
    return this.greeting === undefined;
  }

  #greet(): void {
    const { greet } = this;
    if (!greet) {
      this.#keep();
      return;
    }
    const greeting = {};
    this.greeting = greeting;
    Promise.resolve()
      .then(greet)
      .then(
        () => {
          if (this.greeting !== greeting) return;
          this.greeting = undefined;
          this.#keep();
          this.greetings += 1;
          this.#tellWaiting();
        },
        (error: unknown) => {
          if (this.greeting !== greeting) return;
          this.greeting = { error };
          for (const message of [...this.messages]) {
            if (message.state === 'waiting' && !message.work.how.early) stop(message, onSessionFailed(error));
          }
        },
      );
  }

  /**
   * Unsealed answers suggest that the session is gone: reason enough to shake hands again, for nothing else.
   *
   * @param refused whether they say so in words that only a server or a forger uses
   * @returns whether for five minutes there was nothing but such words
   */
  hint(session: Provable, refused: boolean): boolean {
    this.doubted = true;
    if (refused && this.#pace.hint()) return true;
    if (session === this.#session && !this.#session.ended) this.#reason = 'session_unknown';
    // of an older session too: there is a number of it that only a handshake can ask about now
    this.#start();
    return false;
  }

  /** The server said under seal, or the client knows, that the session takes no more numbers. */
  end(session: Provable, reason: RenewalReason): void {
    if (session !== this.#session) {
      // told late, by a stream that was read slowly: the session that is there has nothing to do with it
      if (this.#needed()) this.#start();
      return;
    }
    if (!this.#session.ended) this.#reason = reason;
    this.#session.ended = true;
    this.current = undefined;
    this.#keeper?.drop();
    this.#start();
  }

  /** An answer has opened, so the session is alive whatever hints said. */
  opened(session: Provable): void {
    this.#pace.opened();
    this.doubted = this.#flight !== undefined;
    if (this.#flight && !this.#shaking && session === this.current && !this.#needed()) this.#halt();
  }

  moved(session: Provable, { lane, incarnation }: Extract<MessageStatus, { status: 'lane_moved' }>): void {
    if (!(session instanceof Session) || !session.adoptLane(lane, incarnation)) return;
    this.events.emit('resumed', { sessionId: toHex(session.id), lane });
  }

  /** Nobody waits any more. */
  rest(): void {
    this.#halt();
  }

  close(): void {
    this.#closed = true;
    void this.#found?.then(() => this.#keeper?.close());
    this.#handshaker.discard();
    this.#halt();
    const sessionId = this.#session && toHex(this.#session.id);
    this.#session?.retire();
    this.#session = undefined;
    this.current = undefined;
    this.#forgetHalfMade();
    this.events.emit('closed', { sessionId });
  }

  /** Whether a number is out that only a handshake can ask about. */
  #needed(): boolean {
    for (const { state, sent } of this.messages) {
      if (state === 'asking' || (sent !== undefined && sent.session !== this.#session)) return true;
    }
    return false;
  }

  #halt(): void {
    const flight = this.#flight;
    this.#flight = undefined;
    this.#shaking = false;
    if (this.#session && !this.#session.ended) this.current = this.#session;
    flight?.abort(closedError());
  }

  #start(): void {
    if (this.#flight || this.#closed) return;
    this.#flight = new AbortController();
    this.doubted = true;
    void this.#renew(this.#flight);
  }

  /** Goes on with the session of an earlier page, without a handshake. */
  #goOn(state: SessionState): void {
    const { sessionId, roundTripMs, terms } = state;
    this.#take(state);
    this.#keep();
    this.events.emit('restored', { sessionId: toHex(sessionId), lane: terms.lane, roundTripMs });
    this.#tellWaiting();
  }

  #take(state: SessionState): Session {
    const session = new Session(this.settings, this.keySize, this.#random, state);
    this.#session = session;
    this.current = session;
    this.#shaking = false;
    this.#flight = undefined;
    return session;
  }

  /** Only a session that was greeted is kept. */
  #keep(): void {
    if (this.#session) this.#keeper?.keep(this.#session);
  }

  /** One at a time; goes on until a session is there, or it makes no sense, or nobody waits. Never rejects. */
  async #renew(flight: AbortController): Promise<void> {
    if (this.#finding) await this.#finding;
    const left = this.#session ? undefined : this.#keeper?.left;
    if (left && this.#flight === flight) this.#goOn(left);
    while (this.#flight === flight) {
      const plan = new FinishPlan(
        this.settings.primitives,
        this.keySize,
        this.#session,
        this.messages,
        this.#halfMade,
        this.greet !== undefined,
      );
      try {
        await this.#turn(flight.signal);
        this.#shaking = true;
        this.current = undefined;
        this.#pace.started();
        this.events.emit('connecting', {});
        const done = await this.#handshaker.run(flight.signal, plan);
        await run(plan.open(done.finished));
        if (this.#flight === flight) this.#install(done, plan);
      } catch (error) {
        if (plan.first) this.#remember(plan.first);
        if (this.#flight === flight) this.#failed(error, plan);
      }
    }
  }

  /** Its step 3 may have arrived, and moved the data of the old session to one that only this key can name. */
  #remember(first: FirstCalls): void {
    this.#halfMade = [...this.#halfMade, first];
    if (this.#halfMade.length > HALF_MADE) this.#halfMade.shift()?.named();
    if (this.#closed) this.#forgetHalfMade();
  }

  #forgetHalfMade(): void {
    for (const first of this.#halfMade) first.named();
    this.#halfMade = [];
  }

  /** While a handshake has to wait, the old session serves: the hint may have been forged. */
  async #turn(signal: AbortSignal): Promise<void> {
    const delay = this.#pace.delay();
    if (delay === 0) return;
    this.#shaking = false;
    if (this.#session && !this.#session.ended) {
      this.current = this.#session;
      this.#tellWaiting();
    }
    await within(delay, signal, undefined, true);
  }

  #install({ finished, serverOptions, roundTripMs, frameBytes }: Handshaken, plan: FinishPlan): void {
    const old = this.#session;
    const { sessionId, terms, secrets } = finished;
    const { renewal, clientToServer, serverToClient } = this.#keeper?.hold(secrets) ?? secrets;
    const began = now();
    const session = this.#take({
      ...{ sessionId, renewal, options: serverOptions, roundTripMs, began, lastOpened: began, terms },
      ...{ counter: 0, accepted: -1, epoch: newEpoch(0, clientToServer, serverToClient, true) },
    });
    this.#handshaker.lastError = undefined;
    // first, for what it brings may end the last call
    const named = { sessionId: toHex(sessionId) };
    this.events.emit('opened', { ...named, lane: terms.lane, roundTripMs, frameBytes });
    if (old) this.events.emit('renewed', { oldSessionId: toHex(old.id), ...named, reason: this.#reason });
    this.#reason = 'session_unknown';
    this.#greet();
    if (plan.settle(session)) this.#pace.opened();
    this.#forgetHalfMade();
    this.#tellWaiting();
    old?.retire();
    // more numbers were out than one step 3 may ask about
    for (const { state } of this.messages) if (state === 'asking') this.#start();
  }

  #failed(error: unknown, plan: FinishPlan): void {
    // calls that may have run are asked about as long as they have time: the next headers may do
    if (error instanceof HeadersError)
      for (const message of [...this.messages]) if (isFresh(message)) stop(message, error);
    const refused = error instanceof SealwireError && FINAL.has(error.code);
    if (refused || (error instanceof RemoteError && error.code === 'policy')) {
      this.events.emit('refused', { code: error.code, cause: error });
    }
    if (error instanceof RemoteError || (refused && !this.#session && !plan.first)) this.#giveUp(error);
    // the server was there: the refusal may be forged, or pass
    else if (refused && this.#pace.hint()) this.#giveUp(new ChannelBlockedError());
  }

  #giveUp(error: unknown): void {
    this.#halt();
    for (const message of [...this.messages]) stop(message, error);
  }

  #tellWaiting(): void {
    for (const message of [...this.messages]) if (message.state === 'waiting') message.want();
  }
}
