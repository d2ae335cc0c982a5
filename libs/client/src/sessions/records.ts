import { LIMITS, SIZE } from '@sealwire/core/calls';
import { NativeSecret } from '@sealwire/core/webcrypto';
import { absolute } from '../transport/network.js';
import type { SessionState } from './state.js';

const DATABASE = 'sealwire';
const STORE = 'sessions';
const VERSION = 1;
/** Numbers that are set aside for a page, durably before it takes the first one. */
export const BLOCK = 4_096;

// what is used of IndexedDB, which this package's compiler does not know
interface Request<T> {
  readonly result: T;
  onsuccess: (() => void) | null;
  onerror: ((event: { preventDefault(): void }) => void) | null;
}
interface Store {
  get(key: unknown): Request<unknown>;
  put(value: unknown, key: unknown): unknown;
  delete(key: unknown): unknown;
  getAllKeys(): Request<unknown[]>;
}
interface Transaction {
  readonly error: unknown;
  commit?(): void;
  oncomplete: (() => void) | null;
  onabort: (() => void) | null;
  objectStore(name: string): Store;
  abort(): void;
}
interface KeyRanges {
  bound(from: unknown, to: unknown): unknown;
}
interface Opening extends Request<Records> {
  onupgradeneeded: (() => void) | null;
  onblocked: (() => void) | null;
}
interface Factory {
  open(name: string, version: number): Opening;
}

/** The database of this origin. A key is the name of a module and the number of a slot. */
export interface Records {
  onversionchange: (() => void) | null;
  createObjectStore(name: string): unknown;
  transaction(store: string, mode: 'readwrite', options: { durability: 'strict' }): Transaction;
  close(): void;
}

/** @returns undefined if there is no IndexedDB, or it does not open: private windows, blocked storage, a newer version */
export async function openRecords(): Promise<Records | undefined> {
  try {
    const { indexedDB } = globalThis as { indexedDB?: Factory };
    if (!indexedDB) return undefined;
    const opening = indexedDB.open(DATABASE, VERSION);
    return await new Promise((resolve) => {
      opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
      opening.onerror = (event) => {
        event.preventDefault();
        resolve(undefined);
      };
      opening.onsuccess = () => {
        const { result } = opening;
        // a newer version of this library wants it; what is written after that fails
        result.onversionchange = () => result.close();
        resolve(result);
      };
    });
  } catch {
    return undefined;
  }
}

/**
 * Replaces records in one transaction, which has reached the disk when the promise resolves.
 *
 * @param key undefined for all
 * @param to given what is there, returns what is there afterwards; undefined deletes it, as is done with what cannot be read
 */
export function change(
  records: Records,
  key: readonly unknown[] | undefined,
  to: (found: unknown) => unknown,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const transaction = records.transaction(STORE, 'readwrite', { durability: 'strict' });
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    const store = transaction.objectStore(STORE);
    const one = (each: unknown): void => {
      const found = store.get(each);
      found.onerror = (event) => {
        event.preventDefault();
        store.delete(each);
      };
      found.onsuccess = () => {
        try {
          const next = to(found.result);
          if (next === undefined) store.delete(each);
          else if (next !== found.result) store.put(next, each);
        } catch {
          transaction.abort();
        }
      };
    };
    if (key) return one(key);
    const all = store.getAllKeys();
    all.onsuccess = () => all.result.forEach(one);
  });
}

/** @returns what all records of a module have in common */
export function nameOf({ url, modulePath }: { readonly url: string; readonly modulePath: string }): string {
  return `${absolute(url)} ${modulePath}`;
}

/** Deletes what is kept for a module. It is on its way before this returns, so a page may be left right after it. */
export function forget(records: Records, name: string): Promise<void> {
  const { IDBKeyRange } = globalThis as unknown as { IDBKeyRange: KeyRanges };
  return new Promise((resolve, reject) => {
    const transaction = records.transaction(STORE, 'readwrite', { durability: 'strict' });
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    // an array is behind all numbers
    transaction.objectStore(STORE).delete(IDBKeyRange.bound([name], [name, []]));
    transaction.commit?.();
  });
}

/** The same on a page that has nothing of it. */
export async function forgetModule(module: Parameters<typeof nameOf>[0]): Promise<void> {
  const records = await openRecords();
  if (records) await forget(records, nameOf(module)).finally(() => records.close());
}

/** The end of the numbers that are set aside beside those that were taken. */
export function reservedBy({ counter }: SessionState): number {
  return Math.min(counter + BLOCK, LIMITS.counter);
}

/** @throws the error of the platform if it did not take a secret */
export async function storable(state: SessionState): Promise<object> {
  const { epoch, renewal, began, lastOpened } = state;
  const { clientToServer, serverToClient, since } = epoch;
  const keyOf = (secret: unknown) => (secret as NativeSecret).key;
  const keys = await Promise.all([clientToServer, serverToClient, renewal].map(keyOf));
  return {
    ...{ ...state, renewal: keys[2], began: began.wall, lastOpened: lastOpened.wall },
    epoch: { ...epoch, clientToServer: keys[0], serverToClient: keys[1], since: since.wall },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: whatever is found there
type Loose = Record<string, any>;

/** @returns undefined for what is damaged, or from a clock that was ahead of today's */
export function restored(stored: unknown): SessionState | undefined {
  try {
    const { sessionId, renewal, options, roundTripMs, began, lastOpened, terms, counter, accepted, epoch } =
      stored as Loose;
    const { maxBody, maxUpload, pulse } = options;
    const { lane, idle, lifetime } = terms;
    const { index, calls, bytes, confirmed, since } = epoch;
    const whole = [maxUpload, index, calls, bytes].every((one) => isWhole(one, 0, Number.MAX_SAFE_INTEGER));
    const served = isWhole(maxBody, LIMITS.body, U32) && isWhole(pulse, 0, 0xffff) && isWhole(idle, 0, U32);
    const lasts = isWhole(lifetime, 0, LIMITS.sessionSeconds) && roundTripMs >= 0 && Number.isFinite(roundTripMs);
    const numbered = isWhole(lane, 0, U32) && isWhole(counter, 0, LIMITS.counter) && isWhole(accepted, -1, counter);
    if (!whole || !served || !lasts || !numbered) return undefined;
    return {
      ...{ sessionId: bytesOf(sessionId, SIZE.sessionId), renewal: held(renewal), roundTripMs, counter, accepted },
      ...{ began: momentOf(began), lastOpened: momentOf(lastOpened), options: { maxBody, maxUpload, pulse } },
      terms: { lane, idle, lifetime, incarnation: bytesOf(terms.incarnation, SIZE.incarnation) },
      epoch: {
        ...{ index, bytes, open: 0, confirmed: confirmed === true, since: momentOf(since) },
        // at most so many since it was written
        calls: calls + BLOCK,
        clientToServer: held(epoch.clientToServer),
        serverToClient: held(epoch.serverToClient),
      },
    };
  } catch {
    return undefined;
  }
}

const U32 = 2 ** 32 - 1;

function isWhole(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

function bytesOf(value: unknown, length: number): Uint8Array {
  if (!(value instanceof Uint8Array) || value.length !== length) throw new TypeError('bytes');
  return value;
}

function held(key: unknown): NativeSecret {
  const { type, extractable, algorithm } = key as {
    type?: string;
    extractable?: boolean;
    algorithm?: { name?: string; hash?: { name?: string } };
  };
  const isHmac = algorithm?.name === 'HMAC' && algorithm.hash?.name === 'SHA-256';
  if (type !== 'secret' || extractable !== false || !isHmac) throw new TypeError('key');
  return new NativeSecret(key as never);
}

function momentOf(wall: unknown): { monotonic: number; wall: number } {
  const ago = Date.now() - (wall as number);
  if (typeof wall !== 'number' || !(ago >= 0)) throw new RangeError('time');
  return { monotonic: performance.now() - ago, wall: wall as number };
}
