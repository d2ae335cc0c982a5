import { type Call, isCallable, type Primitives, unknownOption } from '@sealwire/core';
import { Delivery } from './delivery/delivery.js';
import { badConfiguration } from './errors.js';
import { EventHub, type RemoteEvents, type RemoteListener } from './events.js';
import { milliseconds, type RemoteOptions, resolveOptions, type Tuning } from './options.js';
import { PlainCaller } from './plain.js';
import type { BatchApi, BatchCall, BatchResults } from './types.js';

/** Options of one call or batch. */
export interface CallOptions {
  /** gives the call up; it is then rejected with the signal's reason, whether it ran or not */
  readonly signal?: AbortSignal;
  /** milliseconds, instead of the remote's `timeout` */
  readonly timeout?: number;
}

/** What a remote has beside its functions. */
export interface RemoteControls<Api> {
  /** The functions with a signal or time of their own: `remote.$call({ timeout: 500 }).balance('x')`. */
  $call(options: CallOptions): Api;
  /** Several calls as one message; each has its own outcome. What is too much for one goes as several. */
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

/** A client of one module: its functions, and the controls that begin with `$`. */
export type Remote<Api> = Api & RemoteControls<Api>;

/** `createRemote` without its default for `primitives`. */
export function openRemote<Api>(
  options: RemoteOptions,
  primitives: Primitives,
  tuning: Partial<Tuning> = {},
): Remote<Api> {
  const settings = resolveOptions(options, primitives, tuning);
  const events = new EventHub();
  const caller = settings.keySize
    ? new Delivery(settings, settings.keySize, events)
    : new PlainCaller(settings, events);

  const api = (controls: object, timeout: number, signal?: AbortSignal) =>
    functions<Api>(controls, async (call) => {
      const [settled] = await caller.invoke([call], timeout, signal);
      if (settled?.status === 'fulfilled') return settled.value;
      throw settled?.reason;
    });

  const controls: RemoteControls<Api> = {
    $call: (callOptions) => api({}, timeOf(callOptions, '$call', settings.timeout), callOptions.signal),
    async $batch<T extends readonly BatchCall<unknown>[] | []>(
      build: (remote: BatchApi<Api>) => T,
      callOptions: CallOptions = {},
    ) {
      const timeout = timeOf(callOptions, '$batch', settings.timeout);
      const calls = build(functions<BatchApi<Api>>({}, (call) => call));
      if (!Array.isArray(calls) || !calls.every(isCall)) {
        throw badConfiguration('The function given to $batch must return an array of calls, made with its argument.');
      }
      return (await caller.invoke(calls, timeout, callOptions.signal)) as BatchResults<T>;
    },
    $events: { on: (name, listener) => events.on(name, listener) },
    $close: () => caller.close(),
  };
  return api(controls, settings.timeout) as Remote<Api>;
}

function timeOf(options: CallOptions, what: string, standard: number): number {
  unknownOption(options, ['signal', 'timeout'], what);
  return options.timeout === undefined ? standard : milliseconds('timeout', options.timeout);
}

/** Each name is one function, made when it is first asked for. */
function functions<F>(controls: object, send: (call: Call) => unknown): F {
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
