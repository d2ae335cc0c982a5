import type { Call } from '@sealwire/core';
import { type EncodeOptions, encodeCalls, isCallable, isStream, LIMITS } from '@sealwire/core/calls';
import { type Batch, type Caller, openBatch } from './batch.js';
import type { ConnectionState } from './connection.js';
import { type Added, type How, howOf, type Work } from './delivery/how.js';
import { letGo, type Parcel, pack } from './delivery/payload.js';
import { badConfiguration } from './errors.js';
import { EventHub, type RemoteEvents, type RemoteListener } from './events.js';
import { type MetadataSource, Refresher } from './metadata.js';
import { type Defaults, type RemoteOptions, resolveOptions, type Settings, type Tuning } from './options.js';
import type { BatchApi, BatchCall, Settled } from './types.js';

const FIRST = [0];

/** Finds streams that the encoder would take for objects without properties. */
const WITHOUT_STREAMS: EncodeOptions = {
  replace(value) {
    const prototype = Object.getPrototypeOf(value);
    const plain = prototype === Object.prototype || prototype === null;
    // a plain object is a stream by its iterator only, or by a method, which cannot be sent
    if (plain ? Symbol.asyncIterator in value : isStream(value)) throw new TypeError('a stream');
    return undefined;
  },
};

/** What has been seen of a call so far. */
export interface Progress {
  /** bytes that were handed to the transport, of the sending that is under way */
  readonly up: number;
  /** bytes of the answer */
  readonly down: number;
  /** what the function reported last with `@RemoteProgress()` */
  readonly value?: unknown;
  /** place of the call in its batch that `value` is from */
  readonly call?: number;
}

/** The bytes that carry calls, as they were handed to the transport. */
export interface SentFrame {
  /** sealed: a call, or the step 3 that the calls travel in; of a call with streams what comes before their first piece */
  readonly frame: Uint8Array;
  /** bytes of the calls before they were padded and sealed; 0 if the frame only asks for their result */
  readonly payload: number;
  /** places of the calls in their batch */
  readonly calls: readonly number[];
}

/** Pieces of an upload that were sealed, which leave next. */
export interface SealedPieces {
  /** the header of the call, 36 bytes: what is sent of it begins with them, each time */
  readonly head: Uint8Array;
  /** place of the first of them in the call; 0 again if the call is sealed again, and then come the same pieces */
  readonly first: number;
  /** bytes of each piece before it was padded and sealed */
  readonly payloads: readonly number[];
}

/** Pieces of a live result that opened together. */
export interface OpenedPieces {
  /** the first 12 bytes of the answer, which no two answers have in common */
  readonly head: Uint8Array;
  /** bytes of each piece before it was padded and sealed */
  readonly payloads: readonly number[];
}

/**
 * Options of one call or batch. What a function that is only told something throws (`on...` here, listeners of `$events`) changes
 * no call: the platform reports it as uncaught, as from a listener of an EventTarget, and Node ends a process that does not listen.
 */
export interface CallOptions {
  /** gives the call up, its streams and uploads too; it is then rejected with the signal's reason, whether it ran or not */
  readonly signal?: AbortSignal;
  /** milliseconds until the outcome is there, instead of the remote's `timeout`; the function learns them as its deadline */
  readonly timeout?: number;
  /** called as bytes travel, and when the function reports */
  readonly onProgress?: (progress: Progress) => void;
  /** called before a sealed frame that carries the call leaves, each time: what tools need to find the call on the wire */
  readonly onSent?: (sent: SentFrame) => void;
  /** called as pieces of a call with streams are sealed: what tools need to tell payload from padding */
  readonly onSealed?: (sealed: SealedPieces) => void;
  /** called as pieces of a live result open: the same for answers */
  readonly onOpened?: (opened: OpenedPieces) => void;
  /** laid over the `metadata` of the remote */
  readonly metadata?: MetadataSource;
}

/** The controls of a remote, beside its functions. */
export interface RemoteControls<Api> {
  /** The functions with options of their own: `remote.$call({ timeout: 500 }).balance('x')`. */
  $call(options: CallOptions): Api;
  /**
   * Several calls as one message; each has its own outcome, and none waits for another. What is too much for one message goes as
   * several, and so does a call with streams among its arguments.
   *
   * @example
   * const batch = remote.$batch((r) => [r.balance('a'), r.slowReport()]);
   * const balance = await batch.entries[0]; // before the report is there
   * const [first, second] = await batch;    // { status: 'fulfilled', value } or { status: 'rejected', reason }
   */
  $batch<T extends readonly BatchCall<unknown>[] | []>(
    build: (remote: BatchApi<Api>) => T,
    options?: CallOptions,
  ): Batch<T>;
  readonly $events: {
    /** @returns a function that removes the listener */
    on<K extends keyof RemoteEvents>(name: K, listener: RemoteListener<K>): () => void;
  };
  /** how it stands with the server; the event `connection` tells each change */
  $connection(): ConnectionState;
  /**
   * Loads and computes now what the first handshake needs, so that the first call has less to do: for a page that idles before
   * its user clicks. Nothing is sent, and nothing loaded while the device is offline. The promise is never rejected.
   *
   * @example
   * await remote.$prewarm();
   */
  $prewarm(): Promise<void>;
  /** Rejects what is pending with code `closed`, ends all streams and erases the keys. */
  $close(): void;
}

/** A client of one module: its functions, and the controls that begin with `$`. */
export type Remote<Api> = Api & RemoteControls<Api>;

/** @param greet runs after each handshake, before the calls that wait for it */
export type OpenCaller = (settings: Settings, events: EventHub, greet: (() => unknown) | undefined) => Caller;

/** `createRemote` without its defaults. */
export function openRemote<Api>(
  options: RemoteOptions<Api>,
  defaults: Defaults,
  open: OpenCaller,
  tuning: Partial<Tuning> = {},
): Remote<Api> {
  const settings = resolveOptions(options, defaults, tuning);
  const events = new EventHub();
  const { onSession, refresh } = settings;
  const refresher =
    refresh && new Refresher(() => refresh(make({ early: true, refresher: undefined })), settings.timeout);
  const greet = onSession && (() => onSession(make({ early: true, refresher })));
  const caller = open(settings, events, greet);

  const api = (controls: object, how: How) =>
    remoteFunctions<Api>(controls, async (call) => {
      const [settled] = await caller.invoke([call], how);
      if (settled?.status === 'fulfilled') return settled.value;
      throw settled?.reason;
    });

  const make = (whose: Pick<How, 'early' | 'refresher'>): Remote<Api> => {
    const controls: RemoteControls<Api> = {
      $call: (callOptions) => api({}, howOf(settings, callOptions, '$call', whose)),
      $batch: (build, callOptions = {}) =>
        openBatch(
          () => howOf(settings, callOptions, '$batch', whose),
          () => calls(build(remoteFunctions<BatchApi<Api>>({}, (call) => call))),
          caller,
        ),
      $events: { on: (name, listener) => events.on(name, listener) },
      $connection: () => events.connection.state,
      $prewarm: () => caller.prewarm(),
      $close: () => caller.close(),
    };
    return api(controls, howOf(settings, {}, 'createRemote', whose)) as Remote<Api>;
  };
  return make({ early: false, refresher });
}

function calls<T>(built: T): T & readonly Call[] {
  if (!Array.isArray(built) || !Array.from(built).every(isCall)) {
    throw badConfiguration('The function given to $batch must return an array of calls, made with its argument.');
  }
  return built as T & readonly Call[];
}

/**
 * An object on which each name that may be a remote function is one, made when it is first asked for: what `createRemote` and other
 * bindings hand out.
 *
 * @param controls properties that go before functions of the same name
 * @param send is given each call; what it returns is what the function returns
 * @example
 * const shown = remoteFunctions<{ hello(name: string): string }>({}, ({ name, args }) => `${name}(${args})`);
 * shown.hello('Ada'); // 'hello(Ada)'
 */
export function remoteFunctions<F>(controls: object, send: (call: Call) => unknown): F {
  const made = new Map<string, (...args: unknown[]) => unknown>();
  return new Proxy(controls, {
    get(target, name) {
      if (name in target) return Reflect.get(target, name);
      if (typeof name === 'symbol') return undefined;
      const found = made.get(name);
      if (found || !isCallable(name)) return found;
      const call = (...args: unknown[]): unknown => send({ name, args });
      made.set(name, call);
      return call;
    },
    set: () => false,
  }) as F;
}

function isCall(value: unknown): value is Call {
  return typeof value === 'object' && value !== null && 'name' in value && 'args' in value;
}

/** Calls as they were when they were made: arguments that are changed later do not travel. */
export interface Prepared {
  readonly work: Work;
  readonly parcels: readonly Parcel[];
  /** what the calls say beside their arguments, if that takes time; it comes to them later */
  readonly added: Promise<Added> | undefined;
}

/**
 * @param limit bytes of a payload, if there are several calls
 * @param check throws if no call is made any more
 * @throws what `check` throws, the reason of the signal, or RemoteError `metadata_failed`; the streams are closed then
 */
export function prepare(calls: readonly Call[], how: How, limit: number, check: () => void): Prepared {
  try {
    how.signal?.throwIfAborted();
    check();
    return prepared(calls, how, limit);
  } catch (error) {
    letGo(calls, error);
    throw error;
  }
}

function prepared(calls: readonly Call[], how: How, limit: number): Prepared {
  const work = { calls, settled: new Array<Settled>(calls.length), how, round: how.refresher?.round };
  const added = how.added?.();
  if (added instanceof Promise) return { work, parcels: parcelsOf(calls, limit, work.settled), added };
  const made = added ? calls.map((call) => ({ ...call, ...added })) : calls;
  return { work, parcels: parcelsOf(made, limit, work.settled), added: undefined };
}

function parcelsOf(calls: readonly Call[], limit: number, settled: Settled[]): readonly Parcel[] {
  const [only] = calls;
  if (only && calls.length === 1 && only.name.length <= LIMITS.functionName) {
    try {
      return [{ payload: encodeCalls(calls, WITHOUT_STREAMS), places: FIRST }];
    } catch {
      // below, with streams and with what cannot be sent
    }
  }
  return pack(calls, limit, settled);
}
