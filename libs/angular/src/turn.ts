import type { BatchCall, CallOptions } from '@sealwire/client';
import { giveUp, holdsStream } from './holds-stream.js';

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
  /** throws if it may not be sent any more */
  check(): void;
  resolve(value: unknown): void;
  reject(reason: unknown): void;
}

/** @param each is given the outcomes, each of which settles as soon as it is there */
type Send = (
  calls: BatchCall<unknown>[],
  how: CallOptions,
  each: (outcomes: readonly Promise<unknown>[]) => void,
) => Promise<unknown>;

/** Gathers the calls of one turn, those with another time apart. */
export class Turn {
  readonly #waiting = new Map<number | undefined, Waiting[]>();

  constructor(
    private readonly endOfTurn: (run: () => void) => void,
    private readonly send: Send,
  ) {}

  /** @param check throws if the call may not be sent any more when the turn is over */
  add(call: BatchCall<unknown>, { signal, timeout, batch }: ReadOptions, check: () => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const one: Waiting = { call, signal, check, resolve, reject };
      if (!batch) {
        void this.#together([one], timeout);
        return;
      }
      const waiting = this.#waiting.get(timeout) ?? [];
      waiting.push(one);
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
    const wanted = all.filter(({ signal, check, reject }) => {
      try {
        signal.throwIfAborted();
        check();
        return true;
      } catch (error) {
        reject(error);
        return false;
      }
    });
    if (wanted.length === 0) return;
    const open = new Set(wanted);
    let unanswered = wanted.length;
    for (const one of wanted) {
      const leave = (): void => {
        one.reject(one.signal.reason);
        open.delete(one);
        if (open.size === 0) stop.abort(one.signal.reason);
      };
      one.signal.addEventListener('abort', leave, { once: true, signal: stop.signal });
    }
    const answered = (one: Waiting | undefined, value: unknown): void => {
      unanswered--;
      // nobody reads it, and what waits for a reader holds the other streams of its message back
      if (one?.signal.aborted) giveUp(value);
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
