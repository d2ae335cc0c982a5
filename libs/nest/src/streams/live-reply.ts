import { Logger } from '@nestjs/common';
import {
  encodeOutcome,
  encodeReply,
  encodeValue,
  type Outcome,
  OutgoingStreams,
  type Replace,
  type StreamFailure,
  UNIT,
  type WritePiece,
} from '@sealwire/core';
import { failureOf, INTERNAL, RemoteFunctionError } from '../functions/outcome.js';
import { asSource, streamIn } from './sources.js';

/** A call that has its outcome; bytes are one that is encoded already. */
export interface Ended {
  readonly outcome: Outcome | Uint8Array;
  /** undefined if no function ran */
  readonly call: StreamingCall | undefined;
}

/** A call as far as its streams outlive it. */
export interface StreamingCall {
  readonly resumable: boolean;
  /** nobody reads its streams any more: its signal fires */
  abandon(reason: RemoteFunctionError): void;
  /** it is over with all of its streams */
  end(): void;
}

const EMPTY = new Uint8Array(0);
const PROGRESS_WAITING = 256;

/** The reply to one message that is sent as it comes about: outcomes, progress, and the streams in outcomes. */
export class LiveReply {
  readonly #logger = new Logger('Sealwire');
  readonly #out = new OutgoingStreams();
  /** progress that came while the consumer was behind */
  readonly #waiting: { readonly place: number; readonly value: unknown }[] = [];
  readonly #streaming: StreamingCall[] = [];
  #blocked = true;
  #complete!: () => void;
  /** Resolves when every call has its outcome. */
  readonly complete = new Promise<void>((resolve) => {
    this.#complete = resolve;
  });

  /**
   * @param run 16 random bytes
   * @param together the payload of an ordinary result with the same outcomes, once all are there
   */
  constructor(
    run: Uint8Array,
    private readonly together: () => Uint8Array,
  ) {
    this.#out.send(UNIT.run, 0, run);
  }

  /** The payload of an ordinary result with its outcomes; undefined if it holds a stream. */
  whole(): Uint8Array | undefined {
    return this.size > 0 ? undefined : this.together();
  }

  /** How many streams it holds so far. With one it is sent once and never kept. */
  get size(): number {
    return this.#out.size;
  }

  outcome(place: number, { outcome, call }: Ended): void {
    this.#reportWaiting();
    const before = this.size;
    this.#out.send(UNIT.outcome, place, outcome instanceof Uint8Array ? outcome : this.#encode(outcome, call));
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
    this.#unblock();
    try {
      await this.#out.run(
        (body, last) => {
          const pending = write(body, last);
          if (!pending) return;
          this.#blocked = true;
          return pending.then(() => this.#unblock());
        },
        (thrown) => this.#failure(thrown),
      );
    } finally {
      this.#end();
    }
  }

  /** All of that piece has been sent. */
  reuse(piece: Uint8Array): void {
    this.#out.reuse(piece);
  }

  /** Its sources are closed; the status is the last that is sent. */
  stop(status: 'session_ended' | 'busy'): void {
    const reason = cancelled();
    for (const call of this.#streaming) call.abandon(reason);
    this.#out.stop(UNIT.status, encodeReply({ status }), reason);
  }

  /** Nobody reads it: its sources are closed. */
  cancel(): void {
    const reason = cancelled();
    for (const call of this.#streaming) call.abandon(reason);
    this.#out.cancel(reason);
    this.#end();
  }

  #end(): void {
    this.#blocked = true;
    for (const call of this.#streaming.splice(0)) call.end();
  }

  #encode(outcome: Outcome, call: StreamingCall | undefined): Uint8Array {
    const { size } = this;
    const core = call?.resumable ? this.#out.replaceResumable : this.#out.replace;
    const replace: Replace = (value) => {
      const stream = streamIn(value);
      return stream && core(asSource(stream));
    };
    try {
      return encodeOutcome(outcome, { replace });
    } catch (error) {
      this.#logger.error(error);
      this.#out.drop(size, error);
      return encodeOutcome(INTERNAL);
    }
  }

  #report(place: number, value: unknown): void {
    try {
      this.#out.send(UNIT.progress, place, encodeValue(value));
    } catch (error) {
      this.#logger.error(error);
    }
  }

  #unblock(): void {
    this.#blocked = false;
    this.#reportWaiting();
  }

  #reportWaiting(): void {
    for (const { place, value } of this.#waiting.splice(0)) this.#report(place, value);
  }

  #failure(thrown: unknown): StreamFailure {
    const failure = failureOf(thrown);
    if (failure === INTERNAL) this.#logger.error(thrown);
    return failure;
  }
}

function cancelled(): RemoteFunctionError {
  return new RemoteFunctionError('cancelled', 'Nobody reads the stream any more.');
}
