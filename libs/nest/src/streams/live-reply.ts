import type { AsyncResource } from 'node:async_hooks';
import { inspect } from 'node:util';
import { Logger } from '@nestjs/common';
import { encodeOutcome, encodeReply, encodeValue, type Outcome, type Replace, SIZE, toHex } from '@sealwire/core';
import { OutgoingStreams, type StreamFailure, UNIT, type WritePiece } from '@sealwire/core/live';
import { nodePrimitives } from '@sealwire/core/node';
import { failureOf, INTERNAL, type RemoteFunctionError } from '../functions/outcome.js';
import { cancelled } from './audience.js';
import { letGoStreams, sourceInContext, streamIn } from './sources.js';

/** A call that has its outcome; bytes are one that is encoded already. */
export interface Ended {
  readonly outcome: Outcome | Uint8Array;
  /** undefined if no function ran, or nothing of it outlives its outcome */
  readonly call: StreamingCall | undefined;
  /** `Controller.method`, if a function ran */
  readonly origin?: string;
  /** in which the function ran: that of the streams inside what it returned */
  readonly context?: AsyncResource | undefined;
}

/** A call as far as its streams outlive it. */
export interface StreamingCall {
  readonly resumable: boolean;
  /** nobody reads its streams any more: its signal fires */
  abandon(reason: RemoteFunctionError): void;
  /** it is over with all of its streams */
  end(): void;
}

/** The call whose function returned a stream. */
type Owner = Omit<Ended, 'outcome'>;

const logger = new Logger('Sealwire');
const EMPTY = new Uint8Array(0);
const UNREAD = 'Nobody reads the stream any more.';
const TWO_STREAMS =
  'The function is resumable and returned several streams, of which only one could go on after a cut: return one, and the others from functions of their own.';
const PROGRESS_WAITING = 256;

/** The reply to one message that is sent as it comes about: outcomes, progress, and the streams in outcomes. */
export class LiveReply {
  /** those that are sent, by the run ids that their clients alone know */
  static readonly #sent = new Map<string, LiveReply>();
  readonly #run = nodePrimitives.random(SIZE.runId);
  readonly #out = new OutgoingStreams();
  /** progress that came while the consumer was behind */
  readonly #waiting: { readonly place: number; readonly value: unknown }[] = [];
  readonly #streaming: StreamingCall[] = [];
  /** as they were sent, as long as none holds a stream */
  readonly #outcomes: Uint8Array[] = [];
  /** whose each stream is, by its number */
  readonly #owners: Owner[] = [];
  #blocked = true;
  /** why nobody reads what is still to come */
  #gone: RemoteFunctionError | undefined;
  #complete!: () => void;
  /** Resolves when every call has its outcome. */
  readonly complete = new Promise<void>((resolve) => {
    this.#complete = resolve;
  });

  constructor() {
    this.#out.scope = (stream, work) => {
      const context = this.#owners[stream]?.context;
      return context ? context.runInAsyncScope(work) : work();
    };
    this.#out.onCloseFailed = (thrown, stream) => {
      // what it waited for was broken off by its signal
      if ((thrown as Partial<Error> | undefined)?.name !== 'AbortError')
        this.#tell(thrown, stream, 'while what it streams was closed');
    };
    this.#out.send(UNIT.run, 0, this.#run);
  }

  /** The payload of an ordinary result with its outcomes; undefined if it holds a stream, or they are too much for one payload. */
  whole(): Uint8Array | undefined {
    if (this.size > 0) return undefined;
    try {
      return encodeReply({ outcomes: this.#outcomes });
    } catch {
      // each was encoded by itself, with the items of a whole payload
      return undefined;
    }
  }

  /** How many streams it holds so far. With one it is sent once and never kept. */
  get size(): number {
    return this.#out.size;
  }

  outcome(place: number, ended: Ended): void {
    const { outcome, ...owner } = ended;
    const { call } = owner;
    this.#reportWaiting();
    const before = this.size;
    const bytes = outcome instanceof Uint8Array ? outcome : this.#encode(outcome, owner);
    this.#out.send(UNIT.outcome, place, bytes);
    if (this.size > 0) this.#outcomes.length = 0;
    else this.#outcomes[place] = bytes;
    if (this.#gone && this.size > before) {
      this.#out.drop(before, this.#gone);
      call?.abandon(this.#gone);
    }
    if (this.size > before && call) this.#streaming.push(call);
    else call?.end();
  }

  /** For a consumer that is behind the newest values wait, at most 256. */
  progress(place: number, value: unknown): void {
    if (!this.#blocked) {
      this.#report(place, value);
      return;
    }
    if (this.#waiting.length >= PROGRESS_WAITING) this.#waiting.shift();
    this.#waiting.push({ place, value });
  }

  pulse(): void {
    if (!this.#blocked) this.#out.send(UNIT.pulse, 0, EMPTY);
  }

  /** Every call has its outcome. */
  finish(): void {
    this.#out.finish();
    this.#complete();
  }

  /** @param write as for `OutgoingStreams.run` */
  async run(write: WritePiece): Promise<void> {
    const key = toHex(this.#run);
    this.#unblock();
    try {
      LiveReply.#sent.set(key, this);
      await this.#out.run(
        (body, last) => {
          const pending = write(body, last);
          if (!pending) return;
          this.#blocked = true;
          return pending.then(() => this.#unblock());
        },
        (thrown, stream, item) => this.#failure(thrown, stream, item),
      );
    } catch (error) {
      this.#gone ??= cancelled(UNREAD);
      throw error;
    } finally {
      LiveReply.#sent.delete(key);
      this.#end();
    }
  }

  /** Nobody reads that stream of a run any more. A run that is over, or that another server sends, is not known here. */
  static leave(run: Uint8Array, stream: number): void {
    const reply = LiveReply.#sent.get(toHex(run));
    if (reply) reply.#leave(stream);
  }

  /** Its source is closed, and its call abandoned if it has no other one. */
  #leave(stream: number): void {
    const reason = cancelled(UNREAD);
    if (!this.#out.leave(stream, reason)) return;
    const owner = this.#owners[stream];
    if (!this.#owners.some((one, k) => one === owner && this.#out.isOpen(k))) owner?.call?.abandon(reason);
  }

  /** Its sources are closed; the status is the last that is sent. */
  stop(status: 'session_ended' | 'busy'): void {
    this.#out.stop(UNIT.status, encodeReply({ status }), this.#abandon());
  }

  /** Nobody reads it: its sources are closed. */
  cancel(): void {
    this.#out.cancel(this.#abandon());
    this.#end();
  }

  #abandon(): RemoteFunctionError {
    this.#gone ??= cancelled(UNREAD);
    for (const call of this.#streaming) call.abandon(this.#gone);
    return this.#gone;
  }

  #end(): void {
    this.#blocked = true;
    for (const call of this.#streaming.splice(0)) call.end();
  }

  #encode(outcome: Outcome, owner: Owner): Uint8Array {
    const { call, origin, context } = owner;
    const { size } = this;
    // an iterable stands once in a result, or its consumers would share its items
    const sources = new Map<object, object>();
    const core = call?.resumable ? this.#out.replaceResumable : this.#out.replace;
    const replace: Replace = (value) => {
      const stream = streamIn(value);
      if (!stream) return undefined;
      if (call?.resumable && this.size > size) throw new TypeError(TWO_STREAMS);
      const known = Symbol.asyncIterator in stream ? sources.get(stream) : undefined;
      const source =
        known ?? (context ? context.runInAsyncScope(sourceInContext, undefined, stream) : sourceInContext(stream));
      sources.set(stream, source);
      const reference = core(source);
      this.#owners[this.size - 1] = owner;
      return reference;
    };
    try {
      return encodeOutcome(outcome, { replace });
    } catch (error) {
      logger.error(`${origin ?? 'A function'}: ${(error as Error).message}`, (error as Error).stack);
      this.#out.drop(size, error);
      letGoStreams(outcome, error, this.#out);
      return encodeOutcome(INTERNAL);
    }
  }

  #report(place: number, value: unknown): void {
    try {
      this.#out.send(UNIT.progress, place, encodeValue(value));
    } catch (error) {
      logger.error(error);
    }
  }

  #unblock(): void {
    this.#blocked = false;
    this.#reportWaiting();
  }

  #reportWaiting(): void {
    for (const { place, value } of this.#waiting.splice(0)) this.#report(place, value);
  }

  #failure(thrown: unknown, stream: number, item: number): StreamFailure {
    return this.#tell(thrown, stream, `${item < 0 ? 'the beginning' : `item ${item} (from 0)`} of what it streams`);
  }

  #tell(thrown: unknown, stream: number, when: string): StreamFailure {
    const failure = failureOf(thrown);
    if (failure !== INTERNAL) return failure;
    const what = thrown instanceof Error ? thrown.message : inspect(thrown);
    const sentence = `${this.#owners[stream]?.origin ?? 'A function'}, ${when}: ${what}`;
    logger.error(sentence, thrown instanceof Error ? thrown.stack : undefined);
    return failure;
  }
}
