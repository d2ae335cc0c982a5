/** Ends by a signal of the application. */
export interface Abortable {
  abort(reason: unknown): void;
}

interface Listening {
  readonly items: Set<Abortable>;
  readonly stop: () => void;
}

const LISTENING = new WeakMap<AbortSignal, Listening>();

/** One listener a signal, however many calls it ends: Node warns of more than ten. */
export function listen(signal: AbortSignal, item: Abortable): void {
  const found = LISTENING.get(signal);
  if (found) {
    found.items.add(item);
    return;
  }
  const items = new Set([item]);
  const onAbort = (): void => {
    LISTENING.delete(signal);
    for (const each of items) each.abort(signal.reason);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  LISTENING.set(signal, { items, stop: () => signal.removeEventListener('abort', onAbort) });
}

export function unlisten(signal: AbortSignal, item: Abortable): void {
  const found = LISTENING.get(signal);
  if (!found?.items.delete(item) || found.items.size > 0) return;
  LISTENING.delete(signal);
  found.stop();
}

/** Exponential with jitter, in milliseconds; `retryAfter` is a hint of the server and so bounded. */
export function backoff(attempt: number, retryAfter = 0): number {
  const delay = Math.min(5_000, 100 * 2 ** Math.min(attempt, 10)) * (0.5 + Math.random() / 2);
  return Math.max(delay, Math.min(retryAfter, 10_000));
}

/** The first of the work, and undefined after `ms`. @throws the reason of the signal */
export async function within<T = never>(
  ms: number,
  signal: AbortSignal | undefined,
  work?: Promise<T>,
): Promise<T | undefined> {
  signal?.throwIfAborted();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stop = (): void => {};
  const time = new Promise<undefined>((resolve, reject) => {
    timer = setTimeout(() => resolve(undefined), ms);
    stop = () => reject(signal?.reason);
    signal?.addEventListener('abort', stop);
  });
  try {
    return await Promise.race(work ? [work, time] : [time]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}
