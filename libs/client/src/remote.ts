import { type Call, isCallable, type Primitives, type RESERVED_NAMES, type RemoteParameters } from '@sealwire/core';
import { Caller, type CallOptions, type Settled } from './delivery/caller.js';
import { badConfiguration } from './errors.js';
import { EventHub, type RemoteEvents, type RemoteListener } from './events.js';
import { type RemoteOptions, resolveOptions, type Tuning } from './options.js';
import { PlainCaller } from './plain.js';
import { SessionManager } from './sessions/session-manager.js';

type ReservedName = (typeof RESERVED_NAMES)[number] | `$${string}`;

type Instance<T> = T extends abstract new (...args: never[]) => infer I ? I : T;
// biome-ignore lint/suspicious/noExplicitAny: the widest function type that keeps parameters inferable
type AnyFunction = (...args: any[]) => unknown;

/**
 * The remote functions of a controller (its class or instance type): public methods without the parameters that the
 * server injects, results awaited. Methods that are no remote functions show too; calling one is `function_unknown`.
 */
export type RemoteApi<T> = {
  [K in keyof Instance<T> as K extends string
    ? K extends ReservedName
      ? never
      : Instance<T>[K] extends AnyFunction
        ? K
        : never
    : never]: Instance<T>[K] extends AnyFunction
    ? (...args: RemoteParameters<Parameters<Instance<T>[K]>>) => Promise<Awaited<ReturnType<Instance<T>[K]>>>
    : never;
};

declare const result: unique symbol;
/** A call that a batch holds but that is not sent by itself. */
export type BatchCall<R> = Call & { readonly [result]?: R };
export type BatchApi<Api> = {
  [K in keyof Api]: Api[K] extends (...args: infer P) => Promise<infer R> ? (...args: P) => BatchCall<R> : never;
};
export type BatchResults<T extends readonly unknown[]> = {
  -readonly [K in keyof T]: T[K] extends BatchCall<infer R> ? Settled<R> : never;
};

export interface RemoteControls<Api> {
  /** The functions with a signal or time of their own: `remote.$call({ timeout: 500 }).balance('x')`. */
  $call(options: CallOptions): Api;
  /** Several calls as one message; each has its own outcome. More than 256 go as several messages. */
  $batch<T extends readonly BatchCall<unknown>[] | []>(
    build: (remote: BatchApi<Api>) => T,
    options?: CallOptions,
  ): Promise<BatchResults<T>>;
  readonly $events: {
    /** @returns a function that removes the listener */
    on<K extends keyof RemoteEvents>(name: K, listener: RemoteListener<K>): () => void;
  };
  /** Rejects what is pending with code `closed` and erases the keys. */
  $close(): void;
}

export type Remote<Api> = Api & RemoteControls<Api>;

/** `createRemote` without its default for `primitives`. */
export function openRemote<Api>(
  options: RemoteOptions,
  primitives: Primitives,
  tuning: Partial<Tuning> = {},
): Remote<Api> {
  const settings = resolveOptions(options, primitives, tuning);
  const events = new EventHub();
  const manager = settings.keySize && new SessionManager(settings, settings.keySize, events);
  const caller = manager ? new Caller(settings, manager) : new PlainCaller(settings);

  const api = (callOptions: CallOptions, controls: object) =>
    functions<Api>(controls, async (call) => {
      const [settled] = await caller.invoke([call], callOptions);
      if (settled?.status === 'fulfilled') return settled.value;
      throw settled?.reason;
    });

  const controls: RemoteControls<Api> = {
    $call: (callOptions) => api(callOptions, {}),
    async $batch<T extends readonly BatchCall<unknown>[] | []>(
      build: (remote: BatchApi<Api>) => T,
      callOptions: CallOptions = {},
    ) {
      const calls = build(functions<BatchApi<Api>>({}, (call) => call));
      if (!Array.isArray(calls)) throw badConfiguration('The function given to $batch must return an array of calls.');
      return (await caller.invoke(calls, callOptions)) as BatchResults<T>;
    },
    $events: { on: (name, listener) => events.on(name, listener) },
    $close() {
      if (manager) manager.close();
      else (caller as PlainCaller).close();
    },
  };
  return api({}, controls) as Remote<Api>;
}

function functions<F>(controls: object, send: (call: Call) => unknown): F {
  return new Proxy(controls, {
    get(target, name) {
      if (name in target) return Reflect.get(target, name);
      if (typeof name === 'symbol' || !isCallable(name)) return undefined;
      return (...args: unknown[]) => send({ name, args });
    },
    set: () => false,
  }) as F;
}
