import { type Call, type KeySize, LIMITS, type Soon } from '@sealwire/core';
import { closedError, notReached } from '../errors.js';
import type { EventHub } from '../events.js';
import { LONGEST, type Settings } from '../options.js';
import { openPlain } from '../plain.js';
import { type OpenCaller, type Prepared, prepare } from '../remote.js';
import { Sessions } from '../sessions/sessions.js';
import { Upload } from '../streams/upload.js';
import { isOffline, originOf } from '../transport/network.js';
import type { Settled } from '../types.js';
import type { Added, How, Work } from './how.js';
import { type Abortable, withinOpen } from './limits.js';
import { Message } from './message.js';
import { dropStreams, type Parcel, withAdded } from './payload.js';
import { stop } from './setbacks.js';

/** Brings calls to the server at most once, and answers each with its own outcome. */
export class Delivery {
  readonly alarms = new Alarms();
  readonly sessions: Sessions;
  readonly origin: string;
  /** live results, pauses and metadata that is being made, which `$close()` ends */
  readonly closables = new Set<Abortable>();
  /** messages under way, at most {@link LIMITS.callsInFlight} */
  readonly #messages = new Set<Message>();
  readonly #queue = new Set<Message>();
  #closed = false;

  constructor(
    readonly settings: Settings,
    keySize: KeySize,
    readonly events: EventHub,
    greet?: () => unknown,
  ) {
    this.origin = originOf(settings.url);
    this.sessions = new Sessions(settings, keySize, events, this.#messages, greet);
  }

  /**
   * @param early the calls, if they were prepared already
   * @returns the outcome of each call
   * @throws the reason of the signal, or RemoteError `closed` or `metadata_failed`
   */
  async invoke(calls: readonly Call[], how: How, early?: Prepared): Promise<Settled[]> {
    const { greetings } = this.sessions;
    const limit = (this.sessions.current?.state.options.maxBody ?? LIMITS.body) * (7 / 8);
    const prepared = early ?? prepare(calls, how, limit, () => this.#check());
    const { added } = prepared;
    if (early) {
      how.signal?.throwIfAborted();
      this.#check();
    }
    const work = early ? { ...early.work, how } : prepared.work;
    const parcels = added ? await this.#later(prepared.parcels, how, added) : prepared.parcels;
    const all = parcels.map((parcel) =>
      this.launch(this.message(work, parcel, greetings, parcel.streams && new Upload(parcel.streams))),
    );
    await (all.length === 1 ? all[0] : Promise.all(all));
    return work.settled;
  }

  /** Made here for the resumption of streams, which messages import: it cannot import them. */
  message(work: Work, parcel: Parcel, greetings: number, upload?: Upload): Message {
    return new Message(this, work, parcel, upload, greetings);
  }

  /** @throws the reason of its signal, or RemoteError `closed` */
  launch(message: Message): Promise<void> {
    const { early, signal } = message.work.how;
    if (this.#closed) message.abort(closedError());
    // it may have fired before the message listened to it
    else if (signal?.aborted) message.abort(signal.reason);
    else if (this.#messages.size < LIMITS.callsInFlight || early) this.#admit(message);
    else this.#queue.add(message);
    return message.ended;
  }

  #check(): void {
    if (this.#closed) throw closedError();
  }

  /** The arguments are those of the time of the call; what asynchronous metadata gives comes to them. */
  async #later(parcels: readonly Parcel[], how: How, added: Promise<Added>): Promise<Parcel[]> {
    try {
      return withAdded(parcels, await this.added(how, added));
    } catch (error) {
      dropStreams(parcels, error);
      throw error;
    }
  }

  /**
   * What asynchronous metadata gives, within the time of a call.
   *
   * @throws the reason of the signal, or RemoteError `closed`, `timeout` or `metadata_failed`
   */
  async added({ timeout, signal }: How, making: Soon<Added>): Promise<Added> {
    this.#check();
    const added = await withinOpen(this.closables, timeout, signal, making);
    if (!added) throw notReached(undefined);
    return added;
  }

  async prewarm(): Promise<void> {
    if (!isOffline()) await this.sessions.prewarm();
  }

  #admit(message: Message): void {
    this.#messages.add(message);
    message.want();
  }

  leave(message: Message): void {
    this.#queue.delete(message);
    if (!this.#messages.delete(message)) return;
    const [next] = this.#queue;
    if (next && this.#messages.size < LIMITS.callsInFlight) {
      this.#queue.delete(next);
      this.#admit(next);
    }
    this.#rest();
  }

  /** Nobody may be waiting any more. */
  #rest(): void {
    if (this.#messages.size > 0) return;
    if (this.sessions.doubted) this.sessions.rest();
    const { state } = this.events.connection.state;
    if (state === 'connecting' || state === 'waiting') this.events.emit('rested', {});
  }

  /**
   * Until the time is over, or the network or the page comes back.
   *
   * @throws the reason of the signal, or RemoteError `closed`
   */
  async pause(ms: number, signal: AbortSignal | undefined, gone: Promise<void>): Promise<void> {
    this.#check();
    await withinOpen(this.closables, ms, signal, gone, true);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const message of [...this.#queue, ...this.#messages]) stop(message, closedError());
    for (const one of [...this.closables]) one.abort(closedError());
    this.sessions.close();
  }
}

/** Has one moment at which something has to happen. */
export interface Limited {
  /** @param late milliseconds between that moment and now: much, if the process slept or was busy */
  ring(now: number, late: number): void;
}

/** Milliseconds to whose multiples a moment is rounded up, so that many moments make few timers. */
const GRAIN = 4;

/** Time limits of everything that is under way, on one timer. A call that is answered in time costs none. */
class Alarms {
  readonly #due = new Map<Limited, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #armed = Number.POSITIVE_INFINITY;

  /** @param at by `performance.now()`; replaces the moment that was set before */
  set(item: Limited, at: number): void {
    if (this.#due.size === 0) hold(this.#timer);
    this.#due.set(item, at);
    const moment = Math.ceil(at / GRAIN) * GRAIN;
    if (moment < this.#armed) this.#arm(moment);
  }

  clear(item: Limited): void {
    // the timer stays armed for the next call, but keeps no process alive
    if (this.#due.delete(item) && this.#due.size === 0) release(this.#timer);
  }

  #arm(moment: number): void {
    clearTimeout(this.#timer);
    this.#armed = moment;
    const ms = Math.max(0, Math.min(moment - performance.now(), LONGEST));
    this.#timer = setTimeout(() => this.#fire(), ms);
  }

  #fire(): void {
    const now = performance.now();
    // what is set meanwhile is armed below, once
    this.#armed = Number.NEGATIVE_INFINITY;
    for (const [item, at] of [...this.#due]) {
      if (at > now || this.#due.get(item) !== at) continue;
      this.#due.delete(item);
      item.ring(now, now - at);
    }
    let next = Number.POSITIVE_INFINITY;
    for (const at of this.#due.values()) next = Math.min(next, at);
    this.#armed = Number.POSITIVE_INFINITY;
    if (next < this.#armed) this.#arm(Math.ceil(next / GRAIN) * GRAIN);
  }
}

/** Node's timers keep the process alive; a browser's are numbers. */
function hold(timer: unknown): void {
  (timer as { ref?(): void } | undefined)?.ref?.();
}

function release(timer: unknown): void {
  (timer as { unref?(): void } | undefined)?.unref?.();
}

/** What brings the calls of a remote to its server. */
export const openCaller: OpenCaller = (settings, events, greet) =>
  settings.keySize ? new Delivery(settings, settings.keySize, events, greet) : openPlain(settings, events, greet);
