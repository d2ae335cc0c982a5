import type { Stoppable } from './flights.js';

/** The streams of this process by their session, also of sessions that have moved on to another process. */
export class SessionStreams {
  readonly #streams = new Map<string, Set<Stoppable>>();
  /** of sessions by which time they end in any case */
  readonly #ends = new Map<string, NodeJS.Timeout>();

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

  /** The process ends. */
  stop(): void {
    for (const streams of this.#streams.values()) this.#stop(streams, 'busy');
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
  }
}
