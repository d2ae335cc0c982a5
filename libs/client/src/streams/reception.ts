import {
  concat,
  decodeOutcome,
  decodeValue,
  isPending,
  LIMITS,
  type MessageStatus,
  type Outcome,
  run,
  SealwireError,
  SIZE,
} from '@sealwire/core';
import {
  decodeEnding,
  type IncomingStream,
  IncomingStreams,
  type LiveOpener,
  nextTurn,
  openLiveResult,
  STOP,
  UNIT,
  type Unit,
  UnitReader,
} from '@sealwire/core/live';
import type { Limited } from '../delivery/delivery.js';
import { unsettled } from '../delivery/how.js';
import { type Abortable, listen, unlisten } from '../delivery/limits.js';
import type { Message } from '../delivery/message.js';
import { unanswered } from '../delivery/setbacks.js';
import { changedError, cutError, RemoteError, remoteError } from '../errors.js';
import type { Sent } from '../sessions/sent.js';
import type { Session } from '../sessions/session.js';
import type { LiveBody } from '../transport/body.js';
import { lost } from '../transport/hint.js';
import { maxResponse } from '../transport/transport.js';
import { opened } from './exchange.js';
import { goOn, Origin } from './resumption.js';

/** So many intervals without a sign of life are a cut. */
const SILENT_PULSES = 3;
const EMPTY: Uint8Array = new Uint8Array(0);

/** Reads one live result: hands its outcomes over as they come, and feeds its streams to the last piece. */
export class Reception implements Limited, Abortable {
  readonly #streams = new IncomingStreams({
    errorOf: ({ code, message, details }) => new RemoteError(code, message, { details }),
    // its outcome may still be on its way here, and others may be left in the same turn
    onCancel: (k) => {
      if (this.#unread.push(k) === 1) nextTurn(() => this.#left());
    },
  });
  readonly #units: UnitReader;
  readonly #outcomes: Outcome[] = [];
  #missing: number;
  /** the streams that can be gone on with after a cut */
  readonly #origins: Origin[] = [];
  #opener: LiveOpener | undefined;
  #header = EMPTY;
  #head = EMPTY;
  #run: Uint8Array | undefined;
  /** streams that nobody reads any more, of which the server is not told yet */
  readonly #unread: number[] = [];
  #status: MessageStatus | undefined;
  #body: LiveBody | undefined;
  #begun = false;
  #watched = false;
  #closed = false;
  /** when a piece opened last, later by what came of the next one; undefined while nothing is read because a consumer is behind */
  #heardAt: number | undefined;
  #told: () => void = () => {};

  constructor(
    private readonly message: Message,
    private readonly sent: Sent,
    private readonly places: readonly number[],
    private readonly controller: AbortController,
  ) {
    this.#units = new UnitReader('result', maxResponse(message.delivery.settings.transport), sent.total);
    this.#missing = sent.total;
  }

  /** Resolves when all outcomes have come, or nothing more comes. The streams go on. */
  read(body: LiveBody): Promise<void> {
    const { message } = this;
    this.#body = body;
    message.receptions ??= new Set();
    message.receptions.add(this);
    if (message.state === 'done') this.#close();
    return new Promise((resolve) => {
      this.#told = resolve;
      void this.#pump(body);
    });
  }

  /** The message has ended, by its outcomes or without them. */
  left(): void {
    if (this.#missing === 0 && !this.#closed) return;
    const { signal } = this.message.work.how;
    // what a batch has handed out goes on without the calls that ran out of time
    if (this.#isRead && !signal?.aborted) return;
    this.#fail(signal?.aborted ? signal.reason : new RemoteError('closed', 'The call was given up.'));
  }

  abort(reason: unknown): void {
    this.#fail(reason as Error);
  }

  ring(now: number): void {
    const heard = this.#heardAt ?? now;
    const silence = this.#silence;
    if (now - heard >= silence) this.#broken(new SealwireError('stream_cut', 'Nothing was heard for three pulses.'));
    else this.message.delivery.alarms.set(this, heard + silence);
  }

  async #pump(body: LiveBody): Promise<void> {
    try {
      while (!this.#closed) {
        const { done, value } = await body.read();
        if (this.#closed) return;
        if (done || !value) break;
        this.#heard(value.length);
        this.message.meter?.received(value.length);
        await this.#bytes(value);
      }
      if (this.#closed) return;
      if (!this.#opener) throw new SealwireError('open_failed');
      this.#opener.end();
      this.#finish();
    } catch (error) {
      this.#broken(error);
    }
  }

  /** Whoever holds the server's pieces back could else keep a result alive with a byte of them now and then. */
  #heard(bytes: number): void {
    const now = performance.now();
    this.#heardAt = Math.min(now, (this.#heardAt ?? now) + bytes / LIMITS.trickle);
  }

  async #bytes(value: Uint8Array): Promise<void> {
    const { message, sent } = this;
    let bytes = value;
    let opener = this.#opener;
    if (!opener) {
      opener = this.#open(value);
      if (!opener) return;
      this.#opener = opener;
      bytes = this.#head;
      this.#head = EMPTY;
    }
    const opening = run(opener.push(bytes));
    const pieces = isPending(opening) ? await opening : opening;
    opened(message, this.#header, pieces);
    if (pieces.length > 0) this.#heardAt = performance.now();
    for (const piece of pieces) {
      if (this.#closed) return;
      if (!this.#begun) this.#begin();
      sent.alive();
      for (const unit of this.#units.push(piece)) {
        const behind = unit.kind === UNIT.pulse ? undefined : this.#take(unit);
        if (!behind) continue;
        this.#heardAt = undefined;
        this.#watch();
        await behind;
        this.#heardAt = performance.now();
        if (this.#closed) return;
      }
    }
    if (!opener.ended || this.#missing > 0 || this.#streams.open > 0) this.#watch();
  }

  /** The first 12 bytes are the header; what is behind them stays in `head`. */
  #open(bytes: Uint8Array): LiveOpener | undefined {
    const head = this.#head.length > 0 ? concat(this.#head, bytes) : bytes;
    this.#head = head;
    if (head.length < SIZE.resultHeader) return undefined;
    this.#head = head.subarray(SIZE.resultHeader);
    this.#header = head.slice(0, SIZE.resultHeader);
    return this.sent.openLive(openLiveResult, this.#header);
  }

  /** The first piece has opened: from here on it is the server that speaks. */
  #begin(): void {
    this.#begun = true;
    const { message, sent } = this;
    message.heard(sent, true);
    if (sent === message.sent) message.on('live');
  }

  /** It goes on: silence, a signal and `$close()` end it. Many a result is whole with its first piece and needs none of this. */
  #watch(): void {
    if (this.#watched || !this.#begun || this.#closed) return;
    this.#watched = true;
    const { delivery, work } = this.message;
    if (work.how.signal) listen(work.how.signal, this);
    delivery.closables.add(this);
    if (this.#silence > 0) delivery.alarms.set(this, performance.now() + this.#silence);
  }

  /** Milliseconds without a sign of life that are a cut; 0 if the server sends none. */
  get #silence(): number {
    return (this.sent.session as Session).state.options.pulse * SILENT_PULSES * 1_000;
  }

  #take(unit: Unit): void | Promise<void> {
    switch (unit.kind) {
      case UNIT.run:
        this.#run = unit.bytes.slice();
        return undefined;
      case UNIT.outcome:
        return this.#outcome(unit);
      case UNIT.progress:
        return this.message.meter?.reported(this.places[unit.stream] ?? 0, decodeValue(unit.bytes));
      case UNIT.status:
        this.#status = decodeEnding(unit.bytes);
        return undefined;
      default: {
        const behind = this.#streams.accept(unit);
        // calls that were given up may run for long behind the last stream
        if (this.#missing > 0 && this.message.state === 'done') this.#cancelled();
        return behind;
      }
    }
  }

  #outcome({ stream: index, bytes }: Unit): void {
    const { message } = this;
    const { list } = this.#streams;
    const before = list.length;
    const current = this.sent === message.sent;
    const place = this.places[index] ?? 0;
    const continued = message.continued?.[place];
    this.#streams.continued = continued?.stream;
    const outcome = decodeOutcome(bytes, { revive: this.#streams.revive });
    const stream = list[before];
    if (continued) this.#goesOn(continued, outcome, stream);
    else if (stream?.info.resumable && list.length === before + 1 && current && !message.upload) {
      this.#origins.push(new Origin(stream, message, index, place));
    }
    // its call was given up
    if (message.state === 'done') for (const one of list.slice(before)) one.cancel();
    this.#outcomes[index] = outcome;
    this.#missing--;
    if (current) message.settle(index, outcome);
    if (this.#missing > 0) return;
    const reply = { outcomes: this.#outcomes };
    const event = message.eventOf(reply, this.sent.total);
    if (current) message.on(event, reply);
    else if (event === 'result' && this.places === message.places) message.on('late_result', reply);
    this.#told();
    this.#letGo();
    this.#cancelled();
  }

  /** Streams that the caller has dropped become garbage only if nothing here holds the values that they are in. */
  #letGo(): void {
    this.#outcomes.length = 0;
    const { message } = this;
    if (message.state !== 'done') return;
    message.work = { ...message.work, calls: [], settled: [], how: unsettled(message.work.how) };
  }

  /** The outcome of a call that was sent to go on with a stream. */
  #goesOn(origin: Origin, outcome: Outcome, stream: IncomingStream | undefined): void {
    if (!outcome.ok) return;
    if (stream !== origin.stream) {
      origin.stream.end(changedError());
      return;
    }
    this.#origins.push(origin);
    this.message.delivery.events.emit('streamResumed', { functionName: origin.call.name, stream: stream.value });
  }

  /** Nobody reads some streams any more: their sources are closed, by the end of the connection or, if that goes on, by a call. */
  #left(): void {
    const streams = this.#unread.splice(0);
    this.#cancelled();
    if (this.#closed) {
      for (const origin of this.#origins) origin.onLeft?.();
      return;
    }
    const { message, controller } = this;
    const { early, timeout } = message.work.how;
    const how = { early, timeout, signal: controller.signal };
    message.delivery.invoke([{ name: STOP, args: [this.#run, ...streams] }], how).catch(() => {});
  }

  /** Closes the connection if nobody reads any stream that is still open. */
  #cancelled(): void {
    if (this.#isRead) return;
    // one that is whole is read to its last piece
    if (this.#missing === 0 ? this.#streams.open > 0 : this.message.state === 'done') this.#close();
  }

  get #isRead(): boolean {
    return this.#streams.list.some(({ ended, cancelled }) => !ended && !cancelled);
  }

  /** The last piece has opened. */
  #finish(): void {
    const status = this.#status;
    if (!this.#units.clean) throw new SealwireError('bad_payload');
    if (status) {
      const { message, sent } = this;
      if (status.status === 'session_ended') message.delivery.sessions.end(sent.session, 'session_ended');
      this.#cut(new SealwireError(status.status), () => message.on(message.eventOf(status, 0), status));
      return;
    }
    if (this.#missing > 0 || this.#streams.open > 0) throw new SealwireError('bad_payload');
    this.#close();
  }

  #broken(error: unknown): void {
    if (this.#closed) return;
    const { message, sent } = this;
    if (!this.#begun) {
      this.#close();
      if (message.state !== 'done') unanswered(message, sent, lost(error));
    } else if (error instanceof SealwireError && ['bad_payload', 'too_large'].includes(error.code)) {
      // authentic, and no other sending would bring anything else
      for (const { stream } of this.#origins) stream.end(remoteError(error));
      this.#streams.fail(remoteError(error));
      this.#cut(error, () => message.on('malformed', error));
    } else this.#cut(error, () => message.on('cut'));
  }

  /** The message ended before its end. @param tell what becomes of the calls that have no outcome */
  #cut(cause: unknown, tell: () => void): void {
    const missing = this.#missing > 0;
    const { message, sent } = this;
    const origins = this.#origins.filter((origin) => origin.canGoOn(this.#run));
    const kept = new Set(origins.map(({ stream }) => stream));
    for (const stream of this.#streams.list)
      if (!stream.ended && !kept.has(stream)) stream.end(cutError(stream, cause));
    this.#close();
    if (missing && sent === message.sent) {
      message.lastError = cause;
      tell();
    }
    if (origins.length > 0) void goOn(message.delivery, message.work.how, origins, cause);
  }

  #fail(error: Error): void {
    this.#streams.fail(error);
    this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { message, controller } = this;
    const { delivery, work, upload } = message;
    delivery.alarms.clear(this);
    delivery.closables.delete(this);
    if (work.how.signal) unlisten(work.how.signal, this);
    message.receptions?.delete(this);
    if (!this.#opener?.ended) {
      this.#opener?.erase();
      this.#body?.cancel().catch(() => {});
      controller.abort();
    }
    if (message.state === 'done' && !message.receptions?.size) upload?.cancel(undefined);
    this.#told();
  }
}
