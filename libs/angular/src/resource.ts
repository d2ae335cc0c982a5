import {
  computed,
  ErrorHandler,
  effect,
  type Injector,
  type ResourceOptions,
  type ResourceRef,
  resource,
  type Signal,
  untracked,
  type ValueEqualityFn,
} from '@angular/core';
import { type BatchApi, type BatchCall, type CallOptions, RemoteError } from '@sealwire/client';
import { type Described, describe } from './describe.js';
import { asRemoteError } from './errors.js';
import { handleOf } from './handle.js';
import type { RemoteModule } from './module.js';
import { bare, injectorOf, optionsOf, SWITCH } from './options.js';
import { type HandedOver, resolvedEarly } from './transfer.js';

/** Options of {@link remoteResource}. */
export interface RemoteResourceOptions<T> extends Pick<CallOptions, 'timeout'> {
  /** the value while there is no other */
  readonly defaultValue?: NoInfer<T>;
  readonly equal?: ValueEqualityFn<NoInfer<T>>;
  readonly injector?: Injector;
  readonly debugName?: string;
  /** false: travels alone and not with the other reads of the same turn (default true) */
  readonly batch?: boolean;
}

/** What {@link remoteResource} returns: a resource whose error is a RemoteError. */
export interface RemoteResourceRef<T> extends ResourceRef<T> {
  readonly error: Signal<RemoteError | undefined>;
  hasValue(this: T extends undefined ? this : never): this is RemoteResourceRef<Exclude<T, undefined>>;
  hasValue(): boolean;
}

const OPTIONS = {
  defaultValue: undefined,
  equal: undefined,
  injector: undefined,
  debugName: undefined,
  timeout: undefined,
  batch: SWITCH,
};

type Describe<Api, T> = (remote: BatchApi<Api>) => BatchCall<T> | undefined;

/**
 * A read. `call` only describes it and is reactive: a changed signal gives the call under way up and makes the new one;
 * undefined leaves the resource idle. Reads of one turn travel as one message, the first ones inside the handshake. For what
 * changes something, take `remoteAction`.
 *
 * @throws Error outside an injection context, unless `injector` is given; SealwireError `bad_configuration` for an option that does not
 * exist, or a value that it does not take
 * @example
 * import { input } from '@angular/core';
 * class AccountPage {
 *   readonly account = input.required<string>();
 *   readonly balance = remoteResource(Payments, (payments) => payments.balance(this.account()));
 * }
 */
export function remoteResource<Api, T>(
  module: RemoteModule<Api>,
  call: Describe<Api, T>,
  options: RemoteResourceOptions<T> & { readonly defaultValue: NoInfer<T> },
): RemoteResourceRef<T>;
export function remoteResource<Api, T>(
  module: RemoteModule<Api>,
  call: Describe<Api, T>,
  options?: RemoteResourceOptions<T>,
): RemoteResourceRef<T | undefined>;
export function remoteResource<Api, T>(
  module: RemoteModule<Api>,
  call: Describe<Api, T>,
  options: RemoteResourceOptions<T> = {},
): RemoteResourceRef<T | undefined> {
  const { injector: given, timeout, batch = true, ...others } = optionsOf(options, OPTIONS, 'remoteResource()');
  const injector = injectorOf(given, remoteResource);
  const handle = handleOf(injector.get(module));
  const described = computed(() =>
    handle.obstacle().why === undefined ? describe(call, 'remoteResource()') : undefined,
  );
  const errors = injector.get(ErrorHandler);
  let underWay: AbortController | undefined;
  const follow = (): void => {
    const wanted = described();
    // a resource that becomes idle lets its loader go on, and the application would wait for it
    if (wanted === undefined) underWay?.abort();
    if (wanted instanceof RemoteError) untracked(() => errors.handleError(wanted));
  };
  untracked(() => effect(follow, { injector }));
  const { handedOver, handOver } = handle;
  const early = computed(() => {
    const description = described();
    return description instanceof RemoteError ? undefined : description && handedOver?.(description);
  });
  let used: HandedOver | undefined;
  const load: ResourceOptions<unknown, Described<unknown>> = {
    ...(others as object),
    injector,
    params: (): Described<unknown> => described(),
    loader: async ({ params, abortSignal }) => {
      if (params instanceof RemoteError) throw params;
      const first = untracked(early);
      if (first && first !== used) {
        used = first;
        return first.value;
      }
      const stop = new AbortController();
      underWay = stop;
      abortSignal.addEventListener('abort', () => stop.abort(), { once: true });
      try {
        const value = await handle.read(params, { signal: stop.signal, timeout, batch });
        handOver?.(params, value);
        return value;
      } catch (error) {
        throw asRemoteError(error);
      }
    },
  };
  const loaded = resource(bare(load));
  return (handedOver ? resolvedEarly(loaded, early) : loaded) as unknown as RemoteResourceRef<T | undefined>;
}
