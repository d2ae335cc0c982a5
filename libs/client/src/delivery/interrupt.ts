/** A promise that somebody else settles, raced against work and time. Its timers never outlive the race. */
export class Interrupt<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (reason: unknown) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // it may be rejected while nobody waits
    this.promise.catch(() => {});
  }

  /** The first of the work, the interrupt, and undefined after `ms`. */
  async race<W = never>(ms: number, work?: Promise<W>): Promise<W | T | undefined> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const time = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), Math.min(ms, LONGEST));
    });
    try {
      return await Promise.race(work ? [work, this.promise, time] : [this.promise, time]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The longest time that `setTimeout` takes. */
export const LONGEST = 2 ** 31 - 1;

/** Exponential with jitter, in milliseconds; `retryAfter` is a hint of the server and so bounded. */
export function backoff(attempt: number, retryAfter = 0): number {
  const delay = Math.min(5_000, 100 * 2 ** attempt) * (0.5 + Math.random() / 2);
  return Math.max(delay, Math.min(retryAfter, 10_000));
}
