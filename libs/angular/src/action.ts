import {
  computed,
  ErrorHandler,
  type Injector,
  type Resource,
  type Signal,
  signal,
  untracked,
  type WritableSignal,
} from '@angular/core';
import { type CallOptions, OutcomeUnknownError, type Progress, type Remote, RemoteError } from '@sealwire/client';
import { asRemoteError } from './errors.js';
import { type Handle, handleOf } from './handle.js';
import type { RemoteModule } from './module.js';
import { injectorOf, optionsOf, SWITCH } from './options.js';

/**
 * A write: it runs when told to, goes on when the component ends, and shows how it goes. `T` is what `value` may be, `undefined`
 * before the first result among it, and `Result` what the function returns.
 */
export interface RemoteAction<Args extends readonly unknown[], T, Result = Exclude<T, undefined>> extends Resource<T> {
  /** Starts it; how it ends is in `status`, `value` and `error`. Never throws: made for `(click)`. */
  run(...args: Args): void;
  /** The same as a promise, rejected with the RemoteError. */
  runAsync(...args: Args): Promise<Result>;
  readonly isPending: Signal<boolean>;
  /** how far the last run is, for files up and down and for what the function reports; undefined without the option `progress` */
  readonly progress: Signal<Progress | undefined>;
  /** arguments of the last run */
  readonly args: Signal<Args | undefined>;
  readonly error: Signal<RemoteError | undefined>;
  /** the last run may have happened, and nobody can tell (`OutcomeUnknownError`) */
  readonly outcomeUnknown: Signal<boolean>;
  /**
   * Gives up what is under way, such as an upload, and what waits for it. The function is told by its signal, and its streams are
   * cut; since it may have run, the run ends as `outcomeUnknown`.
   */
  cancel(): void;
  /** Back to `idle`. A run under way goes on, but is not shown any more. */
  reset(): void;
  hasValue(this: T extends undefined ? this : never): this is RemoteAction<Args, Exclude<T, undefined>, Result>;
  hasValue(): boolean;
}

/** Options of {@link remoteAction}. */
export interface RemoteActionOptions<T> extends Pick<CallOptions, 'timeout'> {
  /**
   * What becomes of a run while another one is under way: `ignore` (default) drops it, so that a second click pays nothing
   * twice, and `runAsync` is rejected with code `busy`; `queue` starts it afterwards; `parallel` starts it at once, and the
   * last one started is shown.
   */
  readonly whilePending?: 'ignore' | 'queue' | 'parallel';
  /** shows in `progress` how far a run is (default false) */
  readonly progress?: boolean;
  readonly onSuccess?: (value: T) => void;
  readonly onError?: (error: RemoteError) => void;
  readonly injector?: Injector;
}

const OPTIONS = {
  whilePending: ['ignore', 'queue', 'parallel'],
  progress: SWITCH,
  onSuccess: undefined,
  onError: undefined,
  injector: undefined,
  timeout: undefined,
};

type State<T> =
  | { readonly status: 'idle' | 'loading'; readonly value: undefined }
  | { readonly status: 'resolved'; readonly value: T }
  | { readonly status: 'error'; readonly error: RemoteError };

/** What the page sees of the last run. */
interface Shown<Args, T> {
  readonly state: State<T>;
  readonly args?: Args;
  readonly progress?: Progress;
}

const IDLE: Shown<never, never> = { state: { status: 'idle', value: undefined } };

/**
 * A write. It is sent when `run` or `runAsync` is called and never by itself, is not cancelled by a re-render or by the end
 * of the component, and is a `Resource` that shows how the last run went. For what only reads, take `remoteResource`.
 *
 * @param pick the function of the module
 * @throws Error outside an injection context, unless `injector` is given; SealwireError `bad_configuration` for an option that does not
 * exist, or a value that it does not take
 * @example
 * class AccountPage {
 *   readonly transfer = remoteAction(Payments, (payments) => payments.transfer);
 *   // in the template: <button (click)="pay()" [disabled]="transfer.isPending()">Pay</button>
 *   pay(): void {
 *     this.transfer.run('a', 'b', 500n);
 *   }
 * }
 */
export function remoteAction<Api, Args extends unknown[], T>(
  module: RemoteModule<Api>,
  pick: (remote: Api) => (...args: Args) => Promise<T>,
  given: RemoteActionOptions<T> = {},
): RemoteAction<Args, T | undefined, T> {
  const options = optionsOf(given, OPTIONS, 'remoteAction()');
  const injector = injectorOf(options.injector, remoteAction);
  const remote: Remote<Api> = injector.get(module);
  const call = (how: CallOptions): ((...args: Args) => Promise<T>) => pick(remote.$call(how));
  const handle = handleOf(remote) as Handle<unknown>;
  return new Action(call, handle, options, injector.get(ErrorHandler)) as unknown as RemoteAction<
    Args,
    T | undefined,
    T
  >;
}

const CHANGED = 'Nothing was sent: the SecureKey changed while this run waited for another one.';
const GIVEN_UP = 'Nothing was sent: the run was given up while it waited for another one.';
const OTHER_USER = 'Given up: the SecureKey changed before this run had ended.';

class Action<Args extends unknown[], T> {
  readonly #shown: WritableSignal<Shown<Args, T>>;
  /** the one that is shown */
  #run = 0;
  readonly #pending = signal(0);
  #last: Promise<unknown> = Promise.resolve();
  /** since the last `cancel()` */
  #controller = new AbortController();

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
    private readonly call: (how: CallOptions) => (...args: Args) => Promise<T>,
    private readonly handle: Handle<unknown>,
    private readonly options: RemoteActionOptions<T>,
    private readonly errors: ErrorHandler,
  ) {
    this.#shown = handle.ofUser<Shown<Args, T>>(IDLE);
  }

  hasValue(): boolean {
    const state = this.snapshot();
    return state.status === 'resolved' && state.value !== undefined;
  }

  reset(): void {
    this.#run++;
    this.#shown.set(IDLE);
  }

  cancel(): void {
    const controller = this.#controller;
    // first, for zone.js runs what waits for the abort inside of it, and that may run the action again
    this.#controller = new AbortController();
    controller.abort(new OutcomeUnknownError('the function', undefined, new Error('The run was given up.')));
  }

  run(...args: Args): void {
    // shown in `error`
    this.runAsync(...args).catch(() => {});
  }

  runAsync(...args: Args): Promise<T> {
    const { whilePending = 'ignore' } = this.options;
    if (whilePending === 'ignore' && untracked(this.#pending) > 0) {
      const message = 'Nothing was sent: another run of this action is under way.';
      return Promise.reject(new RemoteError('busy', message, { retryable: true }));
    }
    const mustWait = whilePending === 'queue' && untracked(this.#pending) > 0;
    const isSame = this.handle.user();
    this.#pending.update((count) => count + 1);
    const { signal } = this.#controller;
    const start = (): Promise<T> => this.#start(args, isSame, signal);
    const started = mustWait ? this.#last.then(start) : start();
    this.#last = started.catch(() => {});
    return started;
  }

  async #start(args: Args, isSame: () => boolean, signal: AbortSignal): Promise<T> {
    const id = ++this.#run;
    const show = (change: Partial<Shown<Args, T>>): void => {
      if (id === this.#run && isSame()) this.#shown.update((now) => ({ ...now, ...change }));
    };
    const end = (state: State<T>): void => {
      if (isSame()) show({ state });
      // neither a value nor an error, whose details may be as private
      else if (id === this.#run)
        this.#shown.set({ state: { status: 'error', error: new RemoteError('closed', OTHER_USER) } });
    };
    if (isSame()) this.#shown.set({ state: { status: 'loading', value: undefined }, args });
    try {
      if (!isSame()) throw new RemoteError('closed', CHANGED);
      if (signal.aborted) throw new RemoteError('closed', GIVEN_UP);
      // a count of bytes comes without what was reported last
      const tell = (now: Progress): void => show({ progress: { ...untracked(this.#shown).progress, ...now } });
      const value = await this.call({ ...this.#how(tell), signal })(...args);
      this.#end(() => end({ status: 'resolved', value }));
      this.#tell(this.options.onSuccess, value);
      return value;
    } catch (thrown) {
      const error = asRemoteError(thrown);
      this.#end(() => end({ status: 'error', error }));
      this.#tell(this.options.onError, error);
      throw error;
    }
  }

  #how(onProgress: (now: Progress) => void): CallOptions {
    const { timeout, progress } = this.options;
    return { ...(timeout === undefined ? {} : { timeout }), ...(progress ? { onProgress } : {}) };
  }

  #end(show: () => void): void {
    this.#pending.update((count) => count - 1);
    show();
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
