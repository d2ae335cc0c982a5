import type { Soon } from '@sealwire/core';
import { unreachable } from '../errors.js';
import { isOffline, type Rousable, rouseLater, rouseNoMore, whenOnline } from '../transport/network.js';

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

/**
 * The first of the work, and undefined after `ms`.
 *
 * @param rousable whether the time is over sooner if the network or the page comes back
 * @throws the reason of the signal
 */
export async function within<T = never>(
  ms: number,
  signal: AbortSignal | undefined,
  work?: Promise<T>,
  rousable = false,
): Promise<T | undefined> {
  signal?.throwIfAborted();
  let end = (): void => {};
  let stop = (_reason: unknown): void => {};
  const time = new Promise<undefined>((resolve, reject) => {
    end = () => resolve(undefined);
    stop = reject;
  });
  const timer = setTimeout(end, ms);
  const item = { rouse: end, abort: stop };
  if (signal) listen(signal, item);
  if (rousable) rouseLater(item);
  try {
    return await Promise.race(work ? [work, time] : [time]);
  } finally {
    clearTimeout(timer);
    if (rousable) rouseNoMore(item);
    if (signal) unlisten(signal, item);
  }
}

/** `within` that somebody may end by what he finds in a set. @throws also the reason that he gives */
export async function withinOpen<T>(
  closables: Set<Abortable>,
  ms: number,
  signal: AbortSignal | undefined,
  work?: Soon<T>,
  rousable?: boolean,
): Promise<T | undefined> {
  const closing = new AbortController();
  const closed = aborted(closing.signal);
  closables.add(closing);
  try {
    return await within<T>(ms, signal, work ? Promise.race([work, closed]) : closed, rousable);
  } finally {
    closables.delete(closing);
  }
}

/** How often code is fetched before a call is told. */
const LOADS = 2;

/**
 * Code that is loaded when it is needed first. While the device is offline nothing is fetched.
 *
 * @param failed says what cannot be done without it
 * @param waits is called when it has to wait for the network
 * @throws RemoteError `unreachable`, or the reason of the signal
 */
export async function loadedCode<T>(
  load: () => Soon<T>,
  failed: string,
  signal: AbortSignal,
  waits: () => void,
): Promise<T> {
  for (let tries = 1; ; ) {
    const back = whenOnline(signal);
    if (back) waits();
    await back;
    try {
      return await load();
    } catch (error) {
      signal.throwIfAborted();
      if (isOffline()) continue;
      if (tries++ >= LOADS) throw unreachable(`${failed}; ${whatToDo()}`, error);
      await within(backoff(LOADS), signal, undefined, true);
    }
  }
}

function whatToDo(): string {
  return 'ServiceWorkerGlobalScope' in globalThis
    ? 'a service worker loads no code later, so bundle it into one file, without splitting'
    : 'load the page again';
}

/** @throws the reason of the signal, whenever that is */
export function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** A browser has six connections to an origin: four are left for what is sent the first time. */
const COPIES = 2;

/** Sends the same bytes until an answer to them opens: in one request, or in two while neither is answered. */
export interface Repeating extends Rousable {
  readonly origin: string;
  /** its requests under way, the oldest first */
  readonly flights: AbortController[];
  /** it has room for a second request, or waits for it */
  copying: boolean;
}

interface Copies {
  readonly held: Set<Repeating>;
  readonly queue: Set<Repeating>;
}

/** of all remotes of this page or process */
const ORIGINS = new Map<string, Copies>();

/** @returns whether a request may go out beside the one that is under way; if not, the item is roused when there may be room */
export function mayCopy(item: Repeating): boolean {
  const { origin, flights } = item;
  if (flights.length >= 2) return false;
  item.copying = true;
  const copies = ORIGINS.get(origin) ?? { held: new Set(), queue: new Set() };
  ORIGINS.set(origin, copies);
  const { held, queue } = copies;
  if (held.size >= COPIES && !held.has(item)) {
    queue.add(item);
    return false;
  }
  queue.delete(item);
  held.add(item);
  return true;
}

/** A request is over. */
export function landed(item: Repeating, flight: AbortController): void {
  const { flights } = item;
  const place = flights.indexOf(flight);
  if (place < 0) return;
  flights.splice(place, 1);
  if (item.copying && flights.length < 2) endCopying(item);
}

/** The newest request gives way: the first may still be answered, and another connection may do better than the last. */
export function giveWay(item: Repeating): void {
  const newest = item.flights.at(-1);
  newest?.abort();
  if (newest) landed(item, newest);
}

/** Nobody waits for an answer any more, so that no request stays open as long as the server likes. */
export function abandon(item: Repeating): void {
  // an abort costs an error object with its stack, too much for every call that went well
  for (const flight of [...item.flights]) flight.abort();
  if (item.copying) endCopying(item);
}

function endCopying(item: Repeating): void {
  item.copying = false;
  const copies = ORIGINS.get(item.origin);
  if (!copies) return;
  const { held, queue } = copies;
  queue.delete(item);
  held.delete(item);
  for (const next of [...queue]) {
    if (held.size >= COPIES) break;
    queue.delete(next);
    next.rouse();
  }
  if (held.size + queue.size === 0) ORIGINS.delete(item.origin);
}
