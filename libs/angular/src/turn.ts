import type { BatchCall, CallOptions } from '@sealwire/client';

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

  /** Given up only when nobody wants any of it. */
  async #together(all: readonly Waiting[], timeout: number | undefined): Promise<void> {
    const stop = new AbortController();
    const wanted = all.filter(({ signal, reject }) => {
      if (signal.aborted) reject(signal.reason);
      return !signal.aborted;
    });
    if (wanted.length === 0) return;
    let open = wanted.length;
    for (const { signal, reject } of wanted) {
      const giveUp = (): void => {
        reject(signal.reason);
        if (--open === 0) stop.abort(signal.reason);
      };
      signal.addEventListener('abort', giveUp, { once: true, signal: stop.signal });
    }
    try {
      const how: CallOptions = { signal: stop.signal, ...(timeout === undefined ? {} : { timeout }) };
      const calls = wanted.map(({ call }) => call);
      await this.send(calls, how, (outcomes) => {
        outcomes.forEach((outcome, i) => {
          outcome.then(wanted[i]?.resolve, wanted[i]?.reject);
        });
      });
    } catch (error) {
      for (const { reject } of wanted) reject(error);
    }
  }
}
