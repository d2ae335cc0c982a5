import type { ServerResponse } from 'node:http';
import type { CallNumber } from '@sealwire/core';
import { isGone } from '../quirks/http2.js';
import { Audience } from './audience.js';
import type { LiveReply } from './live-reply.js';

/** The live reply to first calls, which step 4 cannot carry. */
interface Parked {
  readonly reply: LiveReply;
  /** told that it was sent */
  over(): void;
}

/**
 * So many requests of one message wait for its result beside the one that brought it: a client has one, and some whose connections broke
 * off unnoticed. Whoever recorded a frame, without keys, can send it without end.
 */
const COPIES = 8;

/** What a request hears that waits: the message has its result, its result is live, or it waits in vain. */
type News = 'over' | 'live' | 'left';

/** A message that runs, as far as somebody asked about it. */
class Flight {
  readonly audience: Audience;
  #parked: Parked | undefined;
  isLive = false;
  /** somebody tells of its end */
  watched = false;
  readonly #waiting = new Set<(news: News) => void>();

  constructor(patience: number) {
    this.audience = new Audience(patience);
  }

  /** Its result is sent as it comes about, to one request; whoever else asks is told that it runs. */
  goLive(): void {
    this.isLive = true;
    this.#tell('live');
  }

  end(): void {
    this.audience.end();
    this.#tell('over');
  }

  /** Keeps the live reply to first calls until the client asks for it. */
  park(parked: Parked): void {
    this.#parked = parked;
    this.goLive();
  }

  /** Hands it out, to the first that asks. */
  take(): Parked | undefined {
    const parked = this.#parked;
    this.#parked = undefined;
    return parked;
  }

  /** Waits until there is news, and keeps nothing of a request whose connection is gone. At once `left` if enough others wait. */
  news(response: ServerResponse): Promise<News> {
    if (this.isLive) return Promise.resolve('live');
    if (this.#waiting.size >= COPIES || response.closed || isGone(response)) return Promise.resolve('left');
    return new Promise((resolve) => {
      const leave = (): void => told('left');
      const told = (news: News): void => {
        this.#waiting.delete(told);
        response.off('close', leave);
        resolve(news);
      };
      this.#waiting.add(told);
      response.once('close', leave);
    });
  }

  #tell(news: News): void {
    for (const told of this.#waiting) told(news);
  }
}

/** What ends with its session: a live result, or the streams of a live call. */
export interface Stoppable {
  /** @param status told under seal if there is still somebody to tell */
  stop(status: 'session_ended' | 'busy'): void;
}

/** The messages of one session that somebody asked about while they run. Most are never in here. */
export class Flights {
  readonly #flights = new Map<string, Flight>();

  at({ lane, counter }: CallNumber, patience: number): Flight {
    const key = `${lane}:${counter}`;
    const known = this.#flights.get(key);
    if (known) return known;
    const flight = new Flight(patience);
    this.#flights.set(key, flight);
    return flight;
  }

  /**
   * @param response of a request that waits for it
   * @param settled resolves when the message has its result, at once if it has it already
   */
  join(number: CallNumber, response: ServerResponse, patience: number, settled?: Promise<unknown>): Flight {
    const flight = this.at(number, patience);
    flight.audience.join(response);
    // whoever ended the message may have done so before
    if (settled && !flight.watched) {
      flight.watched = true;
      void settled.then(() => this.end(number));
    }
    return flight;
  }

  /** The message has its result. */
  end({ lane, counter }: CallNumber): void {
    const key = `${lane}:${counter}`;
    this.#flights.get(key)?.end();
    this.#flights.delete(key);
  }
}

/** How long the streams of a renewed session wait for the next one, in milliseconds. */
const RENEWAL_MS = 10_000;

/** The streams of this process by their session, also of sessions that have moved on to another process. */
export class SessionStreams {
  readonly #streams = new Map<string, Set<Stoppable>>();
  /** of sessions by which time they end in any case */
  readonly #ends = new Map<string, NodeJS.Timeout>();
  /** takes the streams of a renewed session out of those of the next one */
  readonly #inherited = new Map<string, () => void>();

  /** @param expired called at the end of the session's life, if it still has streams then */
  add(key: string, milliseconds: number, stream: Stoppable, expired: () => void): () => void {
    let streams = this.#streams.get(key);
    if (!streams) {
      streams = new Set();
      this.#streams.set(key, streams);
      this.#ends.set(key, setTimeout(expired, Math.max(0, milliseconds)).unref());
    }
    streams.add(stream);
    return () => this.#remove(key, stream);
  }

  /** A session ended. */
  end(key: string): void {
    this.#stop(this.#streams.get(key), 'session_ended');
  }

  /** Its client renewed a session: the streams go on as part of the next one, or end if that is not made here. */
  renewed(key: string): void {
    if (!this.#streams.has(key)) return;
    setTimeout(() => this.#inherited.has(key) || this.end(key), RENEWAL_MS).unref();
  }

  /** @param add puts a stream among those of the next session */
  inherit(key: string, add: (stream: Stoppable) => () => void): void {
    const streams = this.#streams.get(key);
    if (!streams) return;
    clearTimeout(this.#ends.get(key));
    this.#inherited.set(key, add({ stop: (status) => this.#stop(streams, status) }));
  }

  /** Nothing is known of any session any more. */
  endAll(): void {
    for (const key of [...this.#streams.keys()]) this.end(key);
  }

  /** The process ends. */
  stop(): void {
    for (const streams of [...this.#streams.values()]) this.#stop(streams, 'busy');
  }

  #stop(streams: ReadonlySet<Stoppable> | undefined, status: 'session_ended' | 'busy'): void {
    for (const stream of [...(streams ?? [])]) stream.stop(status);
  }

  #remove(key: string, stream: Stoppable): void {
    const streams = this.#streams.get(key);
    streams?.delete(stream);
    if (streams?.size !== 0) return;
    this.#streams.delete(key);
    clearTimeout(this.#ends.get(key));
    this.#ends.delete(key);
    this.#inherited.get(key)?.();
    this.#inherited.delete(key);
  }
}
