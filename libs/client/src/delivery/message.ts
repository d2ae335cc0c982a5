import { type Attempt, attempt, callFrameLength, isPending, type Outcome, type Reply, run } from '@sealwire/core';
import type { Sent } from '../sessions/sent.js';
import { now } from '../sessions/session.js';
import { announce, exchange, type Meter } from '../streams/exchange.js';
import { Reception } from '../streams/reception.js';
import type { Origin } from '../streams/resumption.js';
import type { Upload } from '../streams/upload.js';
import { unopened } from '../transport/hint.js';
import { RUNTIME, rouseNoMore } from '../transport/network.js';
import { post } from '../transport/transport.js';
import type { Delivery, Limited } from './delivery.js';
import { isMisread } from './failure.js';
import type { Work } from './how.js';
import { type Abortable, abandon, landed, listen, type Repeating, unlisten } from './limits.js';
import { type Parcel, pieceOf, tooLarge } from './payload.js';
import {
  frameless,
  goesAgain,
  goesBeside,
  isRefused,
  isWithheld,
  outOfTime,
  rejectionOf,
  SETBACKS,
  stop,
  unanswered,
} from './setbacks.js';
import { type Event, type State, TABLE } from './table.js';

/** A timer that fires so much too late tells of a process that slept: the answer may lie in the socket. */
const [SLEPT_MS, LOOK_AGAIN_MS] = [100, 250];

/** Calls that travel together under one number, in one state of the table. */
export class Message implements Limited, Abortable, Repeating {
  state: State = 'waiting';
  payload: Uint8Array;
  /** places of its calls in what the caller asked for */
  places: readonly number[];
  /** the number that it is under, and the last one that it was under */
  sent: Sent | undefined;
  last: Sent | undefined;
  readonly ended: Promise<void>;
  /** Something of the frame may have left this machine. */
  left = false;
  /** That left, and not every sending of it was answered `busy` under seal. */
  mayRun = false;
  /** its calls carry their identities */
  resent = false;
  /** the server said so of one of its numbers, without the result */
  ran = false;
  /** new metadata was asked for */
  refreshed = false;
  /** it waits for `refresh` */
  asking = false;
  /** what reads live results that are under way, or only say that they are live; undefined if there never was one */
  receptions: Set<Reception> | undefined;
  /** cut streams that go on in the result of the calls, by their places */
  continued: readonly Origin[] | undefined;
  meter: Meter | undefined;
  lastError: unknown;
  tries = 0;
  numbers = 0;
  unheardSince = 0;
  #resolve!: () => void;
  #reject!: (reason: unknown) => void;
  #deadline: number;
  /** for answers that may lie in the socket: one for each deadline, or timers that are always late would put off its end for ever */
  #looks = 0;
  readonly flights: AbortController[] = [];
  copying = false;
  /** a pause of it ends sooner if the network or the page comes back */
  rousable = false;
  /** earlier numbers whose requests are still under way */
  #past: Sent[] | undefined;

  constructor(
    readonly delivery: Delivery,
    public work: Work,
    { payload, places }: Parcel,
    /** the streams among the arguments */
    readonly upload: Upload | undefined,
    /** how often `onSession` had run when its metadata was made */
    public greetings: number,
  ) {
    this.payload = payload;
    this.places = places;
    const { timeout, signal } = work.how;
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#deadline = performance.now() + timeout;
    delivery.alarms.set(this, this.#deadline);
    if (signal) listen(signal, this);
  }

  get origin(): string {
    return this.delivery.origin;
  }

  get timeout(): number {
    return this.work.how.timeout;
  }

  /** Goes through the row of the table. An action that goes on to another state ends it. */
  on(event: Event, what?: unknown): void {
    const row = TABLE[this.state][event];
    if (!row) return;
    this.state = row.to;
    for (const action of row.does) {
      if (action === 'deliver' || action === 'seal' || action === 'transmit' || action === 'want') {
        this[action](what as never);
      } else SETBACKS[action](this, what as never);
      if (this.state !== row.to) return;
    }
  }

  ring(at: number, late: number): void {
    if (at >= this.#deadline && late > SLEPT_MS && this.#looks++ === 0) this.#deadline = at + LOOK_AGAIN_MS;
    if (at < this.#deadline) this.rouse();
    else stop(this, outOfTime(this));
  }

  /** A pause is over, or there is room for another request. */
  rouse(): void {
    if (this.rousable) rouseNoMore(this);
    this.rousable = false;
    this.delivery.alarms.set(this, this.#deadline);
    this.on('wake');
  }

  /** More of its arguments has left than ever before: progress enough, unless a time was set for this call. */
  moved(more = 0): void {
    if (!this.work.how.hard) [this.#deadline, this.#looks] = [performance.now() + this.timeout + more, 0];
  }

  /** What was set for a request that nobody could see moving is over with it. */
  stopped(): void {
    this.#deadline = Math.min(this.#deadline, performance.now() + this.timeout);
  }

  abort(reason: unknown): void {
    this.upload?.cancel(reason);
    this.#reject(reason);
    this.finish();
  }

  board(sent: Sent): void {
    this.#attach(sent);
    this.left = true;
    this.mayRun = true;
    this.on('boarded');
  }

  want(): void {
    const { sessions } = this.delivery;
    if (RUNTIME.navigator?.onLine === false) this.on('offline');
    else if (sessions.current && !sessions.current.over) {
      const isGreeted = this.work.how.changing && this.greetings !== sessions.greetings;
      if (!sessions.greeting || sessions.admits(this)) this.on(isGreeted ? 'greeted' : 'session');
    } else sessions.want();
  }

  seal(): void {
    const session = this.delivery.sessions.current;
    if (!session) return;
    const { upload, payload, places } = this;
    if (upload && isRefused(this, session)) return;
    const longest = upload ? pieceOf(payload) : payload.length;
    if (Math.max(payload.length, callFrameLength(longest)) > session.state.options.maxBody) {
      stop(this, tooLarge(payload, session.state.options.maxBody, this.work.calls, places));
    } else this.#attach(upload ? upload.seal(session, payload, places.length) : session.seal(payload, places.length));
  }

  transmit(): void {
    const { sent } = this;
    const isOffline = RUNTIME.navigator?.onLine === false;
    const frame = isOffline ? undefined : sent?.frame();
    if (isOffline) this.on('offline');
    else if (isPending(frame) || !sent || !frame) frameless(this, isPending(frame) ? frame : undefined);
    else void this.#request(sent, frame);
  }

  async #request(sent: Sent, frame: Uint8Array): Promise<void> {
    const { places, upload, delivery, flights } = this;
    this.wakeIn(this.timeout / 3);
    if ((upload && isWithheld(this, sent)) || (flights.length > 0 && !goesBeside(this))) return;
    if (this.tries++ > 0 && !this.left && sent.requests === 0) sent.at = now();
    sent.requests++;
    const flight = new AbortController();
    flights.push(flight);
    if (this.work.how.onSent) announce(this, frame, sent.number.lane === 0);
    const opens = (bytes: Uint8Array) => run(attempt(sent.open(bytes)));
    const answer =
      upload || this.work.how.onProgress
        ? await exchange(this, frame, flight.signal, opens)
        : await post(delivery.settings, frame, flight.signal, opens);
    // what reads a live result may go on when all outcomes are there, so it aborts the request itself
    if (this.copying || flight.signal.aborted) landed(this, flight);
    else flights.splice(flights.indexOf(flight), 1);
    if ('read' in answer) await new Reception(this, sent, places, flight).read(answer);
    // it counts as under way until it is opened, for which its keys are needed
    const opening = answer instanceof Uint8Array ? opens(answer) : undefined;
    const opened = isPending(opening) ? await opening : opening;
    sent.requests--;
    if (this.state === 'done') return;
    if (opened) this.#answered(sent, places, opened);
    else if ('error' in answer && !flight.signal.aborted) unanswered(this, sent, answer);
    if (sent.requests > 0) return;
    if (sent === this.sent) this.on('alone');
    else sent.release();
  }

  #answered(sent: Sent, places: readonly number[], opened: Attempt<Reply>): void {
    const reply = 'value' in opened ? opened.value : undefined;
    if ('error' in opened && !isMisread(opened.error)) {
      unanswered(this, sent, unopened(opened.error));
      return;
    }
    const event = reply ? this.eventOf(reply, sent.total) : 'malformed';
    // under seal the server says that nothing of the frame ran
    this.heard(sent, event !== 'busy');
    if (sent === this.sent) this.on(event, reply);
    else if (event === 'result' && places === this.places) this.on('late_result', reply);
  }

  /** An answer opened. */
  heard(sent: Sent, mayRun: boolean): void {
    if (this.delivery.sessions.doubted) this.delivery.sessions.opened(sent.session);
    if (this.delivery.events.connection.state.state !== 'open') this.delivery.events.emit('answered', {});
    this.unheardSince = performance.now();
    this.left = true;
    if (mayRun) this.mayRun = true;
  }

  deliver({ outcomes }: Extract<Reply, { outcomes: unknown }>): void {
    for (let i = 0; i < outcomes.length; i++) this.settle(i, outcomes[i]);
    if (this.state === 'done') this.finish();
  }

  /** Hands one outcome over, unless its call goes out again. @param index of the call in this message */
  settle(index: number, outcome: Outcome | undefined): void {
    const place = this.places[index];
    const { settled, calls, how } = this.work;
    if (!outcome || place === undefined || settled[place]) return;
    if (outcome.ok) settled[place] = { status: 'fulfilled', value: outcome.value };
    else if (goesAgain(this, outcome)) return;
    else settled[place] = { status: 'rejected', reason: rejectionOf(this, calls[place]?.name ?? '', outcome) };
    how.onSettled?.(place, settled[place]);
  }

  eventOf(reply: Reply, total: number): Event {
    if ('first' in reply) return 'malformed';
    if ('status' in reply) return reply.status === 'lane_moved' ? `moved_${reply.known}` : reply.status;
    if (reply.outcomes.length !== total) return 'malformed';
    let event: Event = 'result';
    for (const outcome of reply.outcomes) {
      if (outcome.ok || !goesAgain(this, outcome)) continue;
      if (outcome.code === 'unavailable') return 'unavailable';
      event = 'unauthorized';
    }
    return event;
  }

  wakeIn(ms: number): void {
    this.delivery.alarms.set(this, Math.min(performance.now() + ms, this.#deadline));
  }

  #attach(sent: Sent): void {
    this.sent = sent;
    this.last = sent;
    this.numbers++;
    this.tries = 0;
    this.unheardSince = performance.now();
  }

  /** Its requests may still bring the result, so its keys stay as long as they. */
  detach(): void {
    const { sent } = this;
    this.sent = undefined;
    if (sent && sent.requests > 0) this.#past = [...(this.#past ?? []), sent];
    else sent?.release();
  }

  finish(): void {
    this.state = 'done';
    this.delivery.alarms.clear(this);
    const { signal } = this.work.how;
    if (signal) unlisten(signal, this);
    this.detach();
    if (this.rousable) rouseNoMore(this);
    if (this.flights.length > 0) abandon(this);
    for (const sent of this.#past ?? []) sent.release();
    for (const reception of [...(this.receptions ?? [])]) reception.left();
    if (!this.receptions?.size) this.upload?.cancel(undefined);
    this.delivery.leave(this);
    this.#resolve();
  }
}
