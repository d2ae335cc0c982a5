import { isPlatformServer } from '@angular/common';
import {
  computed,
  ErrorHandler,
  effect,
  type Injector,
  PLATFORM_ID,
  type Signal,
  signal,
  untracked,
  type WritableSignal,
} from '@angular/core';
import { type BatchApi, type BatchCall, RemoteError } from '@sealwire/client';
import { type Described, describe } from './describe.js';
import { asRemoteError } from './errors.js';
import { type Handle, handleOf } from './handle.js';
import { isStream } from './holds-stream.js';
import type { RemoteModule } from './module.js';
import { injectorOf, misconfigured, optionsOf } from './options.js';

/** Options of {@link remoteStream}. */
export interface RemoteStreamOptions {
  /** items that `items` holds at most, the newest ones (default: all) */
  readonly keep?: number;
  readonly injector?: Injector;
}

/**
 * `idle` without a call; `loading` until the stream is there; `open` while items come; `resuming` while a stream that was cut is
 * gone on with; `ended` by its source; `error`.
 */
export type RemoteStreamStatus = 'idle' | 'loading' | 'open' | 'resuming' | 'ended' | 'error';

/** What {@link remoteStream} returns. */
export interface RemoteStream<T> {
  /** the newest item */
  readonly value: Signal<T | undefined>;
  /** the items so far, in the order they came, as many as `keep` says */
  readonly items: Signal<readonly T[]>;
  /** how many came, kept or not */
  readonly count: Signal<number>;
  readonly status: Signal<RemoteStreamStatus>;
  readonly error: Signal<RemoteError | undefined>;
  /** Calls anew, from the first item on. */
  restart(): void;
  /** Gives the stream up until `restart()` or a changed signal; the items stay. */
  stop(): void;
}

interface State {
  readonly status: RemoteStreamStatus;
  readonly error?: RemoteError;
}

const IDLE: State = { status: 'idle' };

/**
 * A function that streams, as signals. `call` only describes the call and is reactive: a changed signal gives the stream up and
 * begins the new one; undefined leaves it idle. It ends with the component. What is cut and resumable goes on by itself. While a
 * page is rendered on the server it stays idle.
 *
 * @throws Error outside an injection context, unless `injector` is given; SealwireError `bad_configuration` for an option that does not
 * exist, or a `keep` that is no whole number above 0
 * @example
 * class Rates {
 *   readonly rates = remoteStream(
 *     remoteModule<{ watch(currency: string): AsyncGenerator<number> }>('rates'),
 *     (functions) => functions.watch('CHF'),
 *     { keep: 100 },
 *   );
 *   // in the template: {{ rates.value() }} @if (rates.status() === 'resuming') { … }
 * }
 */
export function remoteStream<Api, T>(
  module: RemoteModule<Api>,
  call: (remote: BatchApi<Api>) => BatchCall<AsyncIterable<T>> | undefined,
  options: RemoteStreamOptions = {},
): RemoteStream<T> {
  const own = optionsOf(options, { keep: undefined, injector: undefined }, 'remoteStream()');
  const injector = injectorOf(own.injector, remoteStream);
  const { keep = Number.POSITIVE_INFINITY } = own;
  if (keep !== Number.POSITIVE_INFINITY && !(Number.isInteger(keep) && keep >= 1))
    throw misconfigured('remoteStream() keeps a whole number of items, at least 1.');
  const handle = handleOf(injector.get(module));
  const isServer = isPlatformServer(injector.get(PLATFORM_ID));
  const described = computed(() =>
    isServer || handle.obstacle().why !== undefined ? undefined : describe(call, 'remoteStream()'),
  );
  const errors = injector.get(ErrorHandler);
  const stream = new Stream<T>(handle as Handle<unknown>, keep, described);
  untracked(() =>
    effect(
      (onCleanup) => {
        stream.restarts();
        const wanted = described();
        if (stream.isStopped(wanted)) return;
        untracked(() => stream.begin(wanted));
        onCleanup(() => stream.giveUp());
        if (wanted instanceof RemoteError) untracked(() => errors.handleError(wanted));
      },
      { injector },
    ),
  );
  return stream;
}

class Stream<T> implements RemoteStream<T> {
  readonly restarts = signal(0);
  readonly #state: WritableSignal<State>;
  /** changes with each item: copying the items for each would cost their square */
  readonly count: WritableSignal<number>;
  #items: T[] = [];
  #run: AbortController | undefined;
  /** what was to be called when it was stopped */
  #stopped: Described<AsyncIterable<T>>;

  readonly status = computed(() => this.#state().status);
  readonly error = computed(() => this.#state().error);
  readonly items = computed((): readonly T[] => (this.count() === 0 ? [] : this.#items.slice(-this.keep)));
  readonly value = computed(() => this.items().at(-1));

  constructor(
    private readonly handle: Handle<unknown>,
    private readonly keep: number,
    private readonly described: Signal<Described<AsyncIterable<T>>>,
  ) {
    this.#state = handle.ofUser(IDLE);
    this.count = handle.ofUser(0);
  }

  restart(): void {
    this.#stopped = undefined;
    this.restarts.update((times) => times + 1);
  }

  stop(): void {
    this.#stopped = untracked(this.described);
    this.giveUp();
    const { status } = untracked(this.#state);
    if (status !== 'error' && status !== 'idle') this.#state.set({ status: 'ended' });
  }

  /** Before the first effect has run, and the one of a `restart()`, there is nothing to give up yet. */
  isStopped(wanted: Described<AsyncIterable<T>>): boolean {
    return wanted !== undefined && wanted === this.#stopped;
  }

  giveUp(): void {
    const run = this.#run;
    // first, for zone.js runs what waits for the abort inside of it
    this.#run = undefined;
    run?.abort();
  }

  begin(call: Described<AsyncIterable<T>>): void {
    this.#items = [];
    this.count.set(0);
    const failed = call instanceof RemoteError;
    this.#state.set(failed ? { status: 'error', error: call } : call ? { status: 'loading' } : IDLE);
    if (!call || failed) return;
    const run = new AbortController();
    this.#run = run;
    void this.#read(call, run);
  }

  async #read(call: BatchCall<AsyncIterable<T>>, run: AbortController): Promise<void> {
    const { signal } = run;
    const isSame = this.handle.user();
    const isShown = (): boolean => this.#run === run && isSame();
    const show = (state: State): void => {
      if (isShown()) this.#state.set(state);
    };
    const statuses = new WeakMap<object, RemoteStreamStatus>();
    let mine: object | undefined;
    const following = this.#follow((stream, status) => {
      statuses.set(stream, status);
      if (stream === mine) show({ status });
    });
    try {
      const stream = await this.handle.stream(call, signal);
      if (!isStream<T>(stream))
        throw new RemoteError('bad_configuration', `"${call.name}" returned no stream of items.`);
      mine = stream;
      show({ status: statuses.get(stream) ?? 'open' });
      const items = stream[Symbol.asyncIterator]();
      if (signal.aborted) return void items.return?.();
      // the message goes on for the other streams that began with it
      signal.addEventListener('abort', () => items.return?.().catch(() => {}), { once: true });
      for await (const item of { [Symbol.asyncIterator]: () => items }) {
        if (!isShown()) return;
        this.#take(item);
      }
      show({ status: 'ended' });
    } catch (error) {
      show({ status: 'error', error: asRemoteError(error) });
    } finally {
      following();
    }
  }

  #take(item: T): void {
    this.#items.push(item);
    // in one go now and then, for each time costs all items
    if (this.#items.length > 2 * this.keep) this.#items = this.#items.slice(-this.keep);
    this.count.update((count) => count + 1);
  }

  /** @returns a function that stops it */
  #follow(tell: (stream: object, status: RemoteStreamStatus) => void): () => void {
    const { $events } = this.handle.remote;
    const stops = [
      $events.on('resuming', ({ stream }) => stream && tell(stream, 'resuming')),
      $events.on('streamResumed', ({ stream }) => stream && tell(stream, 'open')),
    ];
    return () => {
      for (const stop of stops) stop();
    };
  }
}
