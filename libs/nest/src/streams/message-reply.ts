import { encodeOutcome, type Outcome, type Replace } from '@sealwire/core';
import { OutgoingStreams } from '@sealwire/core/live';
import { type Ended, LiveReply } from './live-reply.js';
import { asSource, holdStreams, letGoStreams, streamIn } from './sources.js';

/** What the outcomes of a message are encoded with if none of them holds a stream; else `onStream` is called. */
export type EncodeReply = (outcomes: readonly Ended['outcome'][], onStream: () => void) => Uint8Array;

/**
 * Waits for the outcomes of one message. The reply is the encoded payload of an ordinary result if all outcomes come together and
 * none holds a stream; else it is live: as soon as one holds a stream, a call reports progress, or some outcomes of a batch are
 * there and others are not a turn later.
 */
export class MessageReply {
  readonly reply: Promise<Uint8Array | LiveReply>;
  readonly #ended: (Ended | undefined)[];
  #missing: number;
  #together: boolean;
  #live: LiveReply | undefined;
  #resolve!: (reply: Uint8Array | LiveReply) => void;
  #reject!: (error: unknown) => void;

  /**
   * @param calls how many the message has
   * @param together until it is resolved a batch is not live because some of its outcomes are ready before others
   */
  constructor(
    calls: number,
    together: Promise<unknown> | undefined,
    private readonly encode: EncodeReply,
  ) {
    this.#ended = new Array(calls);
    this.#missing = calls;
    this.#together = together !== undefined;
    void together?.then(() => this.#part());
    this.reply = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  end(place: number, ended: Ended): void {
    const first = this.#missing === this.#ended.length;
    this.#ended[place] = ended;
    this.#missing -= 1;
    if (this.#live) this.#add(this.#live, place, ended);
    else if (this.#missing === 0) this.#whole();
    else {
      holdStreams(ended.outcome);
      if (first && !this.#together) setImmediate(() => this.#missing > 0 && this.#goLive());
    }
  }

  #part(): void {
    this.#together = false;
    if (this.#missing > 0 && this.#missing < this.#ended.length) this.#goLive();
  }

  progress(place: number, value: unknown): void {
    if (!this.#ended[place]) this.#goLive().progress(place, value);
  }

  /** A mistake of this library: no outcome stands for it. */
  fail(error: unknown): void {
    this.#reject(error);
  }

  #whole(): void {
    try {
      this.#settle();
    } catch (error) {
      this.#reject(error);
    }
  }

  #settle(): void {
    let streams = false;
    const outcomes = this.#ended.map((ended) => (ended as Ended).outcome);
    const payload = this.encode(outcomes, () => {
      streams = true;
    });
    if (streams) {
      this.#goLive();
      return;
    }
    for (const ended of this.#ended) ended?.call?.end();
    this.#resolve(payload);
  }

  #goLive(): LiveReply {
    if (this.#live) return this.#live;
    const live = new LiveReply();
    this.#live = live;
    this.#resolve(live);
    this.#ended.forEach((ended, place) => {
      if (ended) live.outcome(place, ended);
    });
    if (this.#missing === 0) live.finish();
    return live;
  }

  #add(live: LiveReply, place: number, ended: Ended): void {
    live.outcome(place, ended);
    if (this.#missing === 0) live.finish();
  }
}

/** A stream stands in an outcome that can hold none. */
export class StreamRefusedError extends Error {
  override readonly name = 'StreamRefusedError';
}

/**
 * Encodes an outcome that may hold no stream; one that it holds is closed.
 *
 * @throws StreamRefusedError with that sentence; UnsupportedValueError
 */
export function encodeWhole(outcome: Outcome, sentence: string): Uint8Array {
  const streams = new OutgoingStreams();
  const replace: Replace = (value) => {
    const stream = streamIn(value);
    return stream && streams.replace(asSource(stream));
  };
  try {
    const bytes = encodeOutcome(outcome, { replace });
    if (streams.size === 0) return bytes;
    throw new StreamRefusedError(sentence);
  } catch (error) {
    streams.cancel(error);
    letGoStreams(outcome, error);
    throw error;
  }
}
