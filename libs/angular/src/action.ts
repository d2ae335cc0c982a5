import { ErrorHandler, type Injector, type Resource, type Signal } from '@angular/core';
import { type CallOptions, type Progress, type Remote, type RemoteError, remoteFunctions } from '@sealwire/client';
import { Action, type Run } from './action-runs.js';
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
  /**
   * how far the last run is, for files up and down and for what the function reports; undefined before the first run, and without the
   * option `progress`. Bytes count as they travel, sealed and padded, which are more than those of the file.
   */
  readonly progress: Signal<Progress | undefined>;
  /** arguments of the last run */
  readonly args: Signal<Args | undefined>;
  readonly error: Signal<RemoteError | undefined>;
  /**
   * the last run may have happened, and nobody can tell (`OutcomeUnknownError`); a later one of which nothing was sent does not hide
   * that
   */
  readonly outcomeUnknown: Signal<boolean>;
  /**
   * Gives up what is under way, such as an upload, and what waits for it. The function is told by its signal, and its streams are
   * cut; since it may have run, the run ends as `outcomeUnknown`, or with code `closed` if nothing of it was sent. Another run may
   * begin at once.
   */
  cancel(): void;
  /** Back to `idle`. A run under way goes on, but is not shown any more; until it ends `whilePending` and `isPending` count it. */
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
  type Functions = Record<string, (...args: unknown[]) => Promise<unknown>>;
  const call = (run: Run<Args>, how: CallOptions): ((...args: Args) => Promise<T>) => {
    const functions = remote.$call(how) as Functions;
    return pick(
      remoteFunctions<Api>({}, ({ name, args }) => {
        run.name = name;
        return functions[name]?.(...args);
      }),
    );
  };
  const handle = handleOf(remote) as Handle<unknown>;
  return new Action(call, handle, options, injector.get(ErrorHandler)) as unknown as RemoteAction<
    Args,
    T | undefined,
    T
  >;
}
