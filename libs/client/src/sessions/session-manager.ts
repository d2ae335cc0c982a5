import { type KeySize, LIMITS, type MessageStatus, SealwireError, toHex } from '@sealwire/core';
import { Interrupt } from '../delivery/interrupt.js';
import type { Message } from '../delivery/message.js';
import { ChannelBlockedError, PolicyError, RemoteError } from '../errors.js';
import type { EventHub, RenewalReason } from '../events.js';
import type { Settings } from '../options.js';
import { FINAL, type Handshaken, Handshaker, type Stop } from './handshake.js';
import { Pace } from './pace.js';
import { FinishPlan } from './renewal.js';
import { Session } from './session.js';

/** Holds the one session of a remote, renews it for all waiting messages at once, and tells them what became of theirs. */
export class SessionManager {
  /** messages that are under way, at most {@link LIMITS.callsInFlight} */
  readonly #messages = new Set<Message>();
  /** those of them that wait for a session, with or without a number that step 3 asks about */
  readonly #waiting = new Set<Message>();
  #queue: Message[] = [];
  #session: Session | undefined;
  #reason: RenewalReason = 'session_unknown';
  #stop: Stop | undefined;
  #shaking = false;
  #closed = false;
  readonly #pace = new Pace();
  readonly #handshaker: Handshaker;
  /** why the last handshake did not get through */
  lastError: unknown;

  constructor(
    private readonly settings: Settings,
    private readonly keySize: KeySize,
    private readonly events: EventHub,
  ) {
    this.#handshaker = new Handshaker(settings, keySize, (error) => {
      this.lastError = error;
    });
  }

  /** Takes the message in, or waits until there is room. */
  async enter(message: Message): Promise<void> {
    if (this.#closed) throw closedError();
    if (this.#messages.size < LIMITS.callsInFlight) {
      this.#messages.add(message);
      return;
    }
    this.#queue.push(message);
    await message.mail();
  }

  leave(message: Message): void {
    this.#queue = this.#queue.filter((other) => other !== message);
    if (!this.#messages.delete(message)) return;
    const next = this.#queue.find((other) => !other.stopped);
    if (next) {
      this.#queue = this.#queue.filter((other) => other !== next);
      this.#messages.add(next);
      next.tell({ known: 'again' });
    }
    if (this.#messages.size === 0) this.#halt();
  }

  /** The session that a new number may be taken from now. */
  usable(): Session | undefined {
    const session = this.#session;
    if (!session || session.ended || this.#shaking) return undefined;
    if (session.exhausted) this.end(session, 'numbers_used_up');
    return session.ended ? undefined : session;
  }

  /** Waits for what the next handshake brings. */
  async join(message: Message): ReturnType<Message['mail']> {
    this.#waiting.add(message);
    this.#start();
    try {
      return await message.mail();
    } finally {
      this.#waiting.delete(message);
    }
  }

  /** An unsealed answer says that the session is gone: reason enough to shake hands again, for nothing else. */
  hint(session: Session): void {
    if (this.#pace.hint()) throw new ChannelBlockedError();
    if (session === this.#session && !session.ended) this.#reason = 'session_unknown';
    // of an older session too: there is a number of it that only a handshake can ask about now
    this.#start();
  }

  /** The server said under seal, or the client knows, that the session takes no more numbers. */
  end(session: Session, reason: RenewalReason): void {
    if (session !== this.#session) return;
    if (!session.ended) this.#reason = reason;
    session.ended = true;
    this.#start();
  }

  /** An answer has opened, so the session is alive whatever hints said. */
  opened(session: Session): void {
    this.#pace.opened();
    const idle = this.#stop && !this.#shaking && session === this.#session && !session.ended;
    // what rode in a half-finished handshake still needs the next one
    if (idle && ![...this.#waiting].some(({ sent }) => sent)) this.#halt();
  }

  moved(session: Session, { lane, incarnation }: Extract<MessageStatus, { status: 'lane_moved' }>): void {
    if (!session.adoptLane(lane, incarnation)) return;
    this.events.emit('resumed', { sessionId: toHex(session.id), lane });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#halt();
    for (const message of [...this.#queue, ...this.#messages]) message.stop(closedError());
    const sessionId = this.#session && toHex(this.#session.id);
    this.#session?.retire();
    this.#session = undefined;
    this.events.emit('closed', { sessionId });
  }

  #halt(): void {
    const stop = this.#stop;
    this.#stop = undefined;
    this.#shaking = false;
    stop?.interrupt.reject(closedError());
    stop?.abort();
  }

  #start(): void {
    if (this.#stop || this.#closed) return;
    const controller = new AbortController();
    const stop: Stop = { interrupt: new Interrupt(), signal: controller.signal, abort: () => controller.abort() };
    this.#stop = stop;
    this.#shaking = true;
    void this.#renew(stop);
  }

  /** One at a time; goes on until a session is there, or it makes no sense, or nobody waits. Never rejects. */
  async #renew(stop: Stop): Promise<void> {
    while (this.#stop === stop) {
      const plan = new FinishPlan(this.settings.primitives);
      try {
        await this.#wait(stop);
        if (this.#stop !== stop) return;
        this.#pace.started();
        const done = await this.#handshaker.run(stop, (answered) =>
          plan.prepare(answered, this.#session, this.#messages, this.#waiting),
        );
        if (this.#stop === stop) this.#install(done, plan);
      } catch (error) {
        if (this.#stop === stop) this.#failed(error, plan);
      }
    }
  }

  /** While a handshake has to wait, the old session serves: the hint may have been forged. */
  async #wait(stop: Stop): Promise<void> {
    const delay = this.#pace.delay();
    if (delay === 0) return;
    this.#shaking = false;
    if (this.#session && !this.#session.ended) this.#tellWaiting();
    await stop.interrupt.race(delay);
    if (this.#stop === stop) this.#shaking = true;
  }

  #install({ finished, roundTripMs, frameBytes }: Handshaken, plan: FinishPlan): void {
    const old = this.#session;
    const session = new Session(this.settings, this.keySize, finished);
    this.#session = session;
    this.#shaking = false;
    this.#stop = undefined;
    this.lastError = undefined;
    if (plan.settle(finished, this.#messages)) this.#pace.opened();
    this.#tellWaiting();
    old?.retire();
    const sessionId = toHex(session.id);
    this.events.emit('opened', { sessionId, lane: session.lane, roundTripMs, frameBytes });
    if (old) this.events.emit('renewed', { oldSessionId: toHex(old.id), sessionId, reason: this.#reason });
  }

  #failed(error: unknown, plan: FinishPlan): void {
    this.lastError = error;
    const refused = error instanceof SealwireError && FINAL.has(error.code);
    if (error instanceof PolicyError || (refused && !this.#session && !plan.begun)) this.#giveUp(error);
    // the server was there: the refusal may be forged, or pass
    else if (refused && this.#pace.hint()) this.#giveUp(new ChannelBlockedError());
  }

  #giveUp(error: unknown): void {
    this.#halt();
    for (const message of this.#messages) message.stop(error);
  }

  #tellWaiting(): void {
    for (const message of this.#waiting) if (!message.sent) message.tell({ known: 'again' });
  }
}

function closedError(): RemoteError {
  return new RemoteError('closed', 'This remote was closed.');
}
