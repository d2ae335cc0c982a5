import type { BatchCall, CallOptions } from '@sealwire/client';
import { holdsStream } from './holds-stream.js';

export interface ReadOptions {
  readonly signal: AbortSignal;
  /** milliseconds */
  readonly timeout?: number | undefined;
  /** false: not with others */
  readonly batch: boolean;
}

interface Waiting {
  readonly call: BatchCall<unknown>;
  readonly signal: AbortSignal;
  resolve(value: unknown): void;
  reject(reason: unknown): void;
}

/** @param each is given the outcomes, each of which settles as soon as it is there */
type Send = (
  calls: BatchCall<unknown>[],
  how: CallOptions,
  each: (outcomes: readonly Promise<unknown>[]) => void,
) => Promise<unknown>;

/** Gathers the reads of one turn, those with another time apart. */
export class Turn {
  readonly #waiting = new Map<number | undefined, Waiting[]>();

  constructor(
    private readonly endOfTurn: (run: () => void) => void,
    private readonly send: Send,
  ) {}

  add(call: BatchCall<unknown>, { signal, timeout, batch }: ReadOptions): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!batch) {
        void this.#together([{ call, signal, resolve, reject }], timeout);
        return;
      }
      const waiting = this.#waiting.get(timeout) ?? [];
      waiting.push({ call, signal, resolve, reject });
      if (waiting.length > 1) return;
      this.#waiting.set(timeout, waiting);
      this.endOfTurn(() => {
        this.#waiting.delete(timeout);
        void this.#together(waiting, timeout);
      });
    });
  }

  /** Given up only when nobody wants any of it: what is answered counts no more, unless a stream in it is still read. */
  async #together(all: readonly Waiting[], timeout: number | undefined): Promise<void> {
    const stop = new AbortController();
    const wanted = all.filter(({ signal, reject }) => {
      if (signal.aborted) reject(signal.reason);
      return !signal.aborted;
    });
    if (wanted.length === 0) return;
    const open = new Set(wanted);
    let unanswered = wanted.length;
    for (const one of wanted) {
      const giveUp = (): void => {
        one.reject(one.signal.reason);
        open.delete(one);
        if (open.size === 0) stop.abort(one.signal.reason);
      };
      one.signal.addEventListener('abort', giveUp, { once: true, signal: stop.signal });
    }
    const answered = (one: Waiting | undefined, value: unknown): void => {
      unanswered--;
      if (one && unanswered > 0 && !holdsStream(value)) open.delete(one);
      if (open.size === 0) stop.abort();
    };
    try {
      const how: CallOptions = { signal: stop.signal, ...(timeout === undefined ? {} : { timeout }) };
      const calls = wanted.map(({ call }) => call);
      await this.send(calls, how, (outcomes) => {
        outcomes.forEach((outcome, i) => {
          const one = wanted[i];
          outcome.then(one?.resolve, one?.reject);
          outcome.then(
            (value) => answered(one, value),
            () => answered(one, undefined),
          );
        });
      });
    } catch (error) {
      for (const { reject } of wanted) reject(error);
    }
  }
}
