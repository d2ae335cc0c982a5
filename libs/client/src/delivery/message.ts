import type { Call, MessageStatus, NumberAnswer, Reply } from '@sealwire/core';
import { ChannelBlockedError, notReached } from '../errors.js';
import { now, type Sent } from '../sessions/session.js';
import type { Hint } from '../transport/hint.js';
import { post } from '../transport/transport.js';
import type { Settled } from '../types.js';
import type { Delivery, Limited } from './delivery.js';
import { failure, isMisread, isRefusal, misread, readHint, rejection, traceOf } from './failure.js';
import { type Abortable, backoff, listen, unlisten } from './limits.js';
import { type Parcel, tooLarge, withIdentity } from './payload.js';
import { type Event, type State, TABLE } from './table.js';

/** A timer that fires so much too late tells of a process that slept: the answer may lie in the socket. */
const [SLEPT_MS, LOOK_AGAIN_MS] = [100, 250];

/** Calls that travel together under one number, in one state of the table. */
export class Message implements Limited, Abortable {
  state: State = 'waiting';
  payload: Uint8Array;
  /** places of its calls in what the caller asked for */
  places: readonly number[];
  /** the number that it is under */
  sent: Sent | undefined;
  readonly ended: Promise<void>;
  #resolve!: () => void;
  #reject!: (reason: unknown) => void;
  #deadline: number;
  #controller: AbortController | undefined;
  /** earlier numbers whose requests are still under way */
  #past: Sent[] | undefined;
  /** the server said so of one of its numbers, without the result */
  #ran = false;
  #resent = false;
  /** Something of the frame may have left this machine. */
  #left = false;
  /** That left, and not every sending of it was answered `busy` under seal. */
  #mayRun = false;
  #numbers = 0;
  #tries = 0;
  #unheardSince = 0;
  #lastError: unknown;
  /** the last number that it was under, for the error */
  #last: Sent | undefined;

  constructor(
    private readonly delivery: Delivery,
    private readonly calls: readonly Call[],
    { payload, places }: Parcel,
    private readonly settled: Settled[],
    private readonly timeout: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.payload = payload;
    this.places = places;
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#deadline = performance.now() + timeout;
    delivery.alarms.set(this, this.#deadline);
    if (signal) listen(signal, this);
  }

  /** Goes through the row of the table. An action that goes on to another state ends it. */
  on(event: Event, what?: unknown): void {
    const row = TABLE[this.state][event];
    if (!row) return;
    this.state = row.to;
    for (const action of row.does) {
      this[action](what as never);
      if (this.state !== row.to) return;
    }
  }

  ring(at: number, late: number): void {
    if (at >= this.#deadline && late > SLEPT_MS) this.#deadline = at + LOOK_AGAIN_MS;
    this.delivery.alarms.set(this, this.#deadline);
    if (at < this.#deadline) this.on('wake');
    else this.stop(notReached(this.#lastError ?? this.delivery.sessions.lastError));
  }

  abort(reason: unknown): void {
    this.#reject(reason);
    this.#finish();
  }

  /** Ends every call that has no outcome yet. */
  stop(error: unknown): void {
    const mayHaveRun = this.#resent || this.#mayRun || (this.sent !== undefined && this.sent.requests > 0);
    for (const place of this.places) {
      const reason = failure(this.calls[place]?.name ?? '', mayHaveRun, traceOf(this.#last), error);
      this.settled[place] ??= { status: 'rejected', reason };
    }
    this.#finish();
  }

  board(sent: Sent): void {
    this.#attach(sent);
    this.#left = true;
    this.#mayRun = true;
    this.on('boarded');
  }

  told(sent: Sent, answer: NumberAnswer): void {
    if (sent !== this.sent) return;
    if (answer.known !== 'result') {
      this.on(`told_${answer.known}`);
      return;
    }
    let reply: Reply | undefined;
    try {
      reply = sent.openTold(answer.frame);
    } catch (error) {
      this.#lastError = error;
    }
    if (!reply) this.on('told_unknown');
    else this.on('outcomes' in reply ? eventOf(reply, sent.total) : 'malformed', reply);
  }

  want(): void {
    const { sessions } = this.delivery;
    if (sessions.current && !sessions.current.over) this.on('session');
    else sessions.want();
  }

  seal(): void {
    const session = this.delivery.sessions.current;
    if (!session) return;
    if (this.payload.length <= session.maxBody) this.#attach(session.seal(this.payload, this.places.length));
    if ((this.sent?.frame()?.length ?? Number.POSITIVE_INFINITY) <= session.maxBody) return;
    this.#detach();
    this.stop(tooLarge(this.payload, session.maxBody, this.calls, this.places));
  }

  transmit(): void {
    const { sent, delivery } = this;
    const frame = sent?.frame();
    const again = this.#tries++ > 0;
    if (!sent || !frame) {
      // without step 4 only a renewal can ask
      if (again) delivery.sessions.want();
      else this.pause();
      return;
    }
    if (again && !this.#left && sent.requests === 0) sent.at = now();
    sent.requests++;
    this.#controller ??= new AbortController();
    this.#wakeIn(this.timeout / 3);
    void this.#request(sent, frame, this.#controller.signal);
  }

  async #request(sent: Sent, frame: Uint8Array, signal: AbortSignal): Promise<void> {
    const { places } = this;
    const answer = await post(this.delivery.settings, frame, signal);
    sent.requests--;
    if (this.state === 'done') return;
    if (answer instanceof Uint8Array) this.#answered(sent, places, answer);
    else this.#unanswered(sent, answer);
    if (sent.requests > 0) return;
    if (sent === this.sent) this.on('alone');
    else sent.release();
  }

  #answered(sent: Sent, places: readonly number[], frame: Uint8Array): void {
    let reply: Reply | undefined;
    try {
      reply = sent.open(frame);
    } catch (error) {
      if (!isMisread(error)) {
        this.#unanswered(sent, { status: 200, code: undefined, wait: 0, error });
        return;
      }
    }
    if (this.delivery.sessions.doubted) this.delivery.sessions.opened(sent.session);
    if (this.delivery.events.connection.state.state === 'waiting') this.delivery.events.emit('answered', {});
    this.#unheardSince = performance.now();
    const event = reply ? eventOf(reply, sent.total) : 'malformed';
    this.#left = true;
    // under seal the server says that nothing of the frame ran
    if (event !== 'busy') this.#mayRun = true;
    if (sent === this.sent) this.on(event, reply);
    else if (event === 'result' && places === this.places) this.on('late_result', reply);
  }

  #unanswered(sent: Sent, hint: Hint): void {
    const { status, error: cause } = hint;
    this.#lastError = cause;
    if (sent !== this.sent) return;
    this.delivery.events.emit('retrying', { what: 'call', attempt: this.#tries, status, cause });
    // a gateway may rewrite whatever the server says of the session
    const muted = status !== undefined && performance.now() - this.#unheardSince >= this.timeout / 3;
    if (muted) this.#unheardSince = performance.now();
    const { left, event } = readHint(hint, muted);
    this.#left ||= left;
    this.#mayRun ||= left;
    this.on(event, hint);
  }

  hint(hint: Hint): void {
    const { sent, delivery } = this;
    if (sent && delivery.sessions.hint(sent.session, isRefusal(hint))) this.stop(new ChannelBlockedError());
  }

  deliver({ outcomes }: Extract<Reply, { outcomes: unknown }>): void {
    for (let i = 0; i < outcomes.length; i++) {
      const outcome = outcomes[i];
      const place = this.places[i];
      if (!outcome || place === undefined) continue;
      if (outcome.ok) this.settled[place] = { status: 'fulfilled', value: outcome.value };
      else if (outcome.code !== 'unavailable') {
        const reason = rejection(this.calls[place]?.name ?? '', outcome, this.#ran, traceOf(this.#last));
        this.settled[place] = { status: 'rejected', reason };
      }
    }
    if (this.state === 'done') this.#finish();
  }

  /** By the pause of a retransmission; what runs is asked about soon. */
  pause(what?: Hint | Reply): void {
    const tries = Math.max(this.#tries, this.#numbers) - 1;
    const wait = what && 'wait' in what ? what.wait : 0;
    this.#wakeIn(backoff(this.state === 'running' ? Math.min(tries, 3) : tries, wait));
  }

  rest(): void {
    if (this.#numbers < 2) this.on('wake');
    else this.#wakeIn(backoff(this.#numbers - 2));
  }

  end({ status }: { readonly status: 'number_conflict' | 'session_ended' }): void {
    if (this.sent) this.delivery.sessions.end(this.sent.session, status);
  }

  adopt(status: Extract<MessageStatus, { status: 'lane_moved' }>): void {
    if (this.sent) this.delivery.sessions.moved(this.sent.session, status);
  }

  forget(): void {
    this.#detach();
    this.#left = false;
    this.#mayRun = false;
  }

  identify(): void {
    const { sent, places } = this;
    if (!this.#left && sent?.requests === 0) this.forget();
    if (!sent || sent !== this.sent) return;
    const keep = places.flatMap((place, i) => (this.settled[place] ? [] : [i]));
    this.payload = withIdentity(this.payload, keep, (i) => sent.identity(i), sent.incarnation);
    if (keep.length < places.length) this.places = keep.map((i) => places[i] as number);
    this.#resent = true;
    this.#detach();
  }

  note(): void {
    this.#ran = true;
  }

  linger(): void {
    if (this.sent?.requests === 0) this.on('alone');
    else this.#wakeIn(this.timeout / 3);
  }

  fail(what: unknown): void {
    this.stop(misread(what));
  }

  #wakeIn(ms: number): void {
    this.delivery.alarms.set(this, Math.min(performance.now() + ms, this.#deadline));
  }

  #attach(sent: Sent): void {
    this.sent = sent;
    this.#last = sent;
    this.#numbers++;
    this.#tries = 0;
    this.#unheardSince = performance.now();
  }

  /** Its requests may still bring the result, so its keys stay as long as they. */
  #detach(): void {
    const { sent } = this;
    this.sent = undefined;
    if (sent && sent.requests > 0) this.#past = [...(this.#past ?? []), sent];
    else sent?.release();
  }

  #finish(): void {
    this.state = 'done';
    this.delivery.alarms.clear(this);
    if (this.signal) unlisten(this.signal, this);
    this.#detach();
    // an abort costs an error object with its stack, too much for every call that went well
    if (this.#past?.some(({ requests }) => requests > 0)) this.#controller?.abort();
    for (const sent of this.#past ?? []) sent.release();
    this.delivery.leave(this);
    this.#resolve();
  }
}

function eventOf(reply: Reply, total: number): Event {
  if ('first' in reply) return 'malformed';
  if ('status' in reply) return reply.status === 'lane_moved' ? `moved_${reply.known}` : reply.status;
  if (reply.outcomes.length !== total) return 'malformed';
  for (const outcome of reply.outcomes) if (!outcome.ok && outcome.code === 'unavailable') return 'unavailable';
  return 'result';
}
