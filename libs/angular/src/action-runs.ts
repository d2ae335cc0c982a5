import { computed, type ErrorHandler, signal, untracked, type WritableSignal } from '@angular/core';
import { type CallOptions, OutcomeUnknownError, type Progress, RemoteError, SealwireError } from '@sealwire/client';
import type { RemoteActionOptions } from './action.js';
import { threw } from './describe.js';
import { asRemoteError } from './errors.js';
import type { Handle } from './handle.js';

type State<T> =
  | { readonly status: 'idle' | 'loading'; readonly value: undefined }
  | { readonly status: 'resolved'; readonly value: T }
  | { readonly status: 'error'; readonly error: RemoteError };

/** What the page sees of a run. */
interface Shown<Args, T> {
  readonly state: State<T>;
  readonly args?: Args;
  readonly progress?: Progress;
  /** it ended, and nothing of it was sent */
  readonly isUnsent?: boolean;
}

interface Unknown<Args, T> {
  /** of the run */
  readonly id: number;
  readonly shown: Shown<Args, T>;
}

export interface Run<Args> {
  readonly args: Args;
  readonly signal: AbortSignal;
  /** its SecureKey is still the one of now */
  isSame(): boolean;
  /** undefined as long as it waits for another run */
  id: number | undefined;
  /** of the function that was called last */
  name: string | undefined;
  /** a frame with a call of it may have been sent */
  hasLeft: boolean;
  /** what it ends with since `cancel()` */
  givenUp: RemoteError | undefined;
}

const IDLE: Shown<never, never> = { state: { status: 'idle', value: undefined } };

const NOTHING_YET: Progress = { up: 0, down: 0 };
const CHANGED = 'Nothing was sent: the SecureKey changed while this run waited for another one.';
const UNSENT = 'Nothing was sent: the run was given up.';
const GIVEN_UP = 'The run was given up.';
const OTHER_USER = 'Given up: the SecureKey changed before this run had ended.';

/** The runs of one action, and which of them is shown. */
export class Action<Args extends unknown[], T> {
  /** of the last one that began */
  readonly #now: WritableSignal<Shown<Args, T>>;
  /** of the last one whose outcome is unknown, until another one is sent */
  readonly #unknown: WritableSignal<Unknown<Args, T> | undefined>;
  /** the last one that began */
  #run = 0;
  /** the first one that `reset()` did not take away */
  #first = 1;
  readonly #open = new Set<Run<Args>>();
  readonly #pending = signal(0);
  #last: Promise<unknown> = Promise.resolve();
  /** since the last `cancel()` */
  #controller = new AbortController();

  /** What was never sent hides no run that may have happened. */
  readonly #shown = computed(() => {
    const now = this.#now();
    return (now.isUnsent && this.#unknown()?.shown) || now;
  });
  readonly progress = computed(() => this.#shown().progress);
  readonly args = computed(() => this.#shown().args);
  readonly snapshot = computed(() => this.#shown().state);
  readonly status = computed(() => this.snapshot().status);
  readonly isLoading = computed(() => this.status() === 'loading');
  readonly isPending = computed(() => this.#pending() > 0);
  readonly error = computed(() => {
    const state = this.snapshot();
    return state.status === 'error' ? state.error : undefined;
  });
  readonly outcomeUnknown = computed(() => this.error()?.code === 'outcome_unknown');
  /** as of every resource: throws while the status is `error` */
  readonly value = computed(() => {
    const state = this.snapshot();
    if (state.status === 'error') throw state.error;
    return state.value;
  });

  constructor(
    private readonly call: (run: Run<Args>, how: CallOptions) => (...args: Args) => Promise<T>,
    private readonly handle: Handle<unknown>,
    private readonly options: RemoteActionOptions<T>,
    private readonly errors: ErrorHandler,
  ) {
    this.#now = handle.ofUser<Shown<Args, T>>(IDLE);
    this.#unknown = handle.ofUser<Unknown<Args, T> | undefined>(undefined);
  }

  hasValue(): boolean {
    const state = this.snapshot();
    return state.status === 'resolved' && state.value !== undefined;
  }

  reset(): void {
    this.#first = ++this.#run + 1;
    this.#unknown.set(undefined);
    this.#now.set(IDLE);
  }

  cancel(): void {
    const controller = this.#controller;
    // first, for zone.js runs what waits for the abort inside of it, and that may run the action again
    this.#controller = new AbortController();
    for (const run of [...this.#open]) {
      const { name, hasLeft } = run;
      const error = hasLeft
        ? new OutcomeUnknownError(name ?? 'the function', undefined, new Error(GIVEN_UP))
        : new RemoteError('closed', UNSENT);
      run.givenUp = error;
      this.#end(run, { status: 'error', error });
    }
    controller.abort(new RemoteError('closed', GIVEN_UP));
  }

  run(...args: Args): void {
    // shown in `error`
    this.runAsync(...args).catch(() => {});
  }

  runAsync(...args: Args): Promise<T> {
    const { whilePending = 'ignore' } = this.options;
    const isFirst = this.#open.size === 0;
    if (whilePending === 'ignore' && !isFirst) {
      const message = 'Nothing was sent: another run of this action is under way.';
      return Promise.reject(new RemoteError('busy', message, { retryable: true }));
    }
    const { signal } = this.#controller;
    const isSame = this.handle.user();
    const run = { args, signal, isSame, id: undefined, name: undefined, hasLeft: false, givenUp: undefined };
    this.#open.add(run);
    this.#pending.set(this.#open.size);
    const start = (): Promise<T> => this.#start(run);
    const started = whilePending === 'queue' && !isFirst ? this.#last.then(start) : start();
    this.#last = started.catch(() => {});
    return started;
  }

  async #start(run: Run<Args>): Promise<T> {
    const { args, signal } = run;
    try {
      if (!run.isSame()) throw new RemoteError('closed', CHANGED);
      if (run.givenUp) throw run.givenUp;
      run.id = ++this.#run;
      const progress = this.options.progress ? { progress: NOTHING_YET } : {};
      this.#now.set({ state: { status: 'loading', value: undefined }, args, ...progress });
      if (!this.handle.tellsSent) this.#leaves(run);
      const value = await this.call(run, { ...this.#how(run), signal })(...args);
      this.#end(run, { status: 'resolved', value });
      this.#tell(this.options.onSuccess, value);
      return value;
    } catch (thrown) {
      const error = run.givenUp ?? this.#errorOf(run, thrown);
      if (!run.givenUp) this.#end(run, { status: 'error', error });
      this.#tell(this.options.onError, error);
      throw error;
    }
  }

  #errorOf({ name }: Run<Args>, thrown: unknown): RemoteError {
    const isOurs = thrown instanceof RemoteError || thrown instanceof SealwireError;
    if (name !== undefined || isOurs) return asRemoteError(thrown);
    const error = threw('remoteAction()', thrown);
    queueMicrotask(() => this.errors.handleError(error));
    return error;
  }

  #how(run: Run<Args>): CallOptions {
    const { timeout, progress } = this.options;
    // a count of bytes comes without what was reported last
    const onProgress = (now: Progress): void =>
      this.#show(run, { progress: { ...untracked(this.#now).progress, ...now } });
    return {
      ...(timeout === undefined ? {} : { timeout }),
      ...(progress ? { onProgress } : {}),
      onSent: () => this.#leaves(run),
    };
  }

  #leaves(run: Run<Args>): void {
    if (run.hasLeft) return;
    run.hasLeft = true;
    if (run.isSame()) this.#unknown.set(undefined);
  }

  #show(run: Run<Args>, change: Partial<Shown<Args, T>>): void {
    if (run.id === this.#run && run.isSame()) this.#now.update((now) => ({ ...now, ...change }));
  }

  #end(run: Run<Args>, state: State<T>): void {
    this.#open.delete(run);
    this.#pending.set(this.#open.size);
    const { id, args } = run;
    // it waited for another run
    if (id === undefined) return;
    if (!run.isSame()) {
      // neither a value nor an error, whose details may be as private
      const error = new RemoteError('closed', OTHER_USER);
      if (id === this.#run) this.#now.set({ state: { status: 'error', error } });
      return;
    }
    const isUnknown = state.status === 'error' && state.error.code === 'outcome_unknown';
    if (isUnknown && id >= this.#first) this.#unknown.set({ id, shown: { state, args } });
    // its result came although it was given up
    else if (untracked(this.#unknown)?.id === id) this.#unknown.set(undefined);
    this.#show(run, { state, isUnsent: !run.hasLeft && !isUnknown });
  }

  /** What a callback throws changes nothing of how the run went. */
  #tell<V>(callback: ((value: V) => void) | undefined, value: V): void {
    try {
      if (callback) this.handle.inZone(callback)(value);
    } catch (error) {
      // later, for an ErrorHandler may throw as well
      queueMicrotask(() => this.errors.handleError(error));
    }
  }
}
