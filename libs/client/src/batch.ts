import type { Call } from '@sealwire/core';
import type { How } from './delivery/how.js';
import type { Prepared } from './remote.js';
import type { BatchCall, BatchResults, Settled } from './types.js';

/** The outcomes of a batch when all are there, and each as soon as it is. */
export type Batch<T extends readonly unknown[]> = Promise<BatchResults<T>> & {
  /** One promise a call, in their order, rejected with the call's RemoteError, or with what the batch is rejected with. */
  readonly entries: BatchEntries<T>;
};

/** Promises of the values of a batch, in the order of its calls. */
export type BatchEntries<T extends readonly unknown[]> = {
  -readonly [K in keyof T]: T[K] extends BatchCall<infer R> ? Promise<R> : never;
};

/** What brings calls to a server. */
export interface Caller {
  /** @param early the same calls, if they were prepared already */
  invoke(calls: readonly Call[], how: How, early?: Prepared): Promise<Settled[]>;
  prewarm(): Promise<void>;
  close(): void;
}

/** A mistake rejects the promise; its entries are none then. Who takes entries is told by them of everything else. */
export function openBatch<T extends readonly BatchCall<unknown>[] | []>(
  how: () => How,
  build: () => T & readonly Call[],
  caller: Caller,
): Batch<T> {
  const entries: Entry[] = [];
  const start = async (): Promise<Settled[]> => {
    const made = how();
    const calls = build();
    for (let i = 0; i < calls.length; i++) entries.push(new Entry());
    try {
      const settled = await caller.invoke(calls, {
        ...made,
        onSettled: (place, outcome) => entries[place]?.settle(outcome),
      });
      settled.forEach((outcome, place) => {
        entries[place]?.settle(outcome);
      });
      return settled;
    } catch (error) {
      for (const entry of entries) entry.reject(error);
      throw error;
    }
  };
  const all = start();
  return withEntries(
    all,
    entries.map(({ promise }) => promise),
  ) as unknown as Batch<T>;
}

/** Whoever takes entries is told by them, so that the batch is no unhandled rejection then. */
export function withEntries<T>(all: Promise<T>, entries: readonly Promise<unknown>[]): Promise<T> {
  const get = (): readonly Promise<unknown>[] => {
    if (entries.length > 0) all.catch(() => {});
    return entries;
  };
  return Object.defineProperty(all, 'entries', { enumerable: true, get });
}

class Entry {
  readonly promise: Promise<unknown>;
  resolve!: (value: unknown) => void;
  reject!: (reason: unknown) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // whoever reads the array needs no entry
    this.promise.catch(() => {});
  }

  settle(outcome: Settled): void {
    if (outcome.status === 'fulfilled') this.resolve(outcome.value);
    else this.reject(outcome.reason);
  }
}
