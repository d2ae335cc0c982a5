import {
  type BatchCall,
  type CallOptions,
  type OpenedPieces,
  type Remote,
  remoteFunctions,
  type SealedPieces,
  type SentFrame,
} from '@sealwire/client';
import type { RecordedCall } from './exchange.js';
import { json, show, showError } from './values.js';
import type { Owner, WireLog } from './wire-log.js';

const LAST_ITEMS = 20;

type Functions = Record<string, (...args: unknown[]) => Promise<unknown>>;

/** A remote that does what the given one does; what the application says and hears is written down. */
export function watchedRemote<Api>(
  log: WireLog,
  remote: Remote<Api>,
  owner: Owner,
  isPaused: () => boolean,
): Remote<Api> {
  const begin = ({ name, args }: BatchCall<unknown>) => new Watch(log, owner, name, args);
  const call = (one: BatchCall<unknown>, how: CallOptions): Promise<unknown> => {
    const { name, args } = one;
    if (isPaused()) return (remote.$call(how) as Functions)[name]?.(...args) as Promise<unknown>;
    const watch = begin(one);
    const options = { ...how, ...loading(log, () => [watch.id], how) };
    const made = (remote.$call(options) as Functions)[name]?.(...args) as Promise<unknown>;
    // a promise of its own, so that a rejection that nobody handles is still told
    return made.then(
      (value) => watch.fulfilled(value),
      (error: unknown) => {
        watch.rejected(error);
        throw error;
      },
    );
  };
  const functions = (how: CallOptions) => remoteFunctions<object>({}, (one) => call(one, how));
  const plain = functions({});
  const controls = {
    $call: (how: CallOptions) => {
      // a mistake throws here, as it does without the recorder
      remote.$call(how);
      return functions(how);
    },
    $batch: (build: (api: never) => BatchCall<unknown>[], how: CallOptions = {}) => {
      if (isPaused()) return remote.$batch(build as never, how);
      let watches: Watch[] = [];
      const watched = (api: never): unknown => {
        const calls = build(api);
        if (Array.isArray(calls)) watches = calls.map(begin);
        return calls;
      };
      const hooks = loading(log, () => watches.map(({ id }) => id), how);
      const batch = remote.$batch(watched as never, { ...how, ...hooks });
      (batch.entries as Promise<unknown>[]).forEach((entry, place) => {
        entry.then(
          (value) => watches[place]?.fulfilled(value),
          (error: unknown) => watches[place]?.rejected(error),
        );
      });
      return batch;
    },
  };
  return new Proxy(remote as object, {
    get(target, name) {
      if (name in controls) return Reflect.get(controls, name);
      if (typeof name === 'symbol' || name in target) return Reflect.get(target, name);
      return Reflect.get(plain, name);
    },
  }) as Remote<Api>;
}

function loading(log: WireLog, ids: () => readonly number[], given: CallOptions) {
  // without a prototype: what something put on Object.prototype is no hook
  const own: CallOptions = Object.assign(Object.create(null), given);
  return {
    onSent(sent: SentFrame): void {
      log.load(sent, ids());
      own.onSent?.(sent);
    },
    onSealed(sealed: SealedPieces): void {
      log.sealed(sealed);
      own.onSealed?.(sealed);
    },
    onOpened(opened: OpenedPieces): void {
      log.opened(opened);
      own.onOpened?.(opened);
    },
  };
}

/** One call and what becomes of it. */
class Watch {
  readonly id: number;
  readonly #began = performance.now();

  constructor(
    private readonly log: WireLog,
    owner: Owner,
    name: string,
    args: readonly unknown[],
  ) {
    this.id = log.nextId();
    const [only] = args;
    const isObject = args.length === 1 && typeof only === 'object' && only !== null && !Array.isArray(only);
    const call: RecordedCall = {
      id: this.id,
      module: owner.module,
      name,
      args: args.map(show),
      json: json(isObject ? only : args),
      startedAt: performance.timeOrigin + this.#began,
      ms: undefined,
      state: 'pending',
      sent: false,
      outcome: undefined,
      outcomeJson: undefined,
      items: 0,
      lastItems: [],
      lastItemsJson: [],
    };
    log.calls.add(call, owner);
  }

  fulfilled<T>(value: T): T {
    const streams = this.#follow(value);
    this.#change({
      state: streams > 0 ? 'streaming' : 'done',
      outcome: show(value),
      outcomeJson: json(value),
      ms: performance.now() - this.#began,
    });
    this.log.settled(this.id, { ok: true, value });
    return value;
  }

  rejected(error: unknown): void {
    const { code, message, details } = Object(error) as { code?: unknown; message?: string; details?: unknown };
    this.#change({
      state: 'failed',
      outcome: showError(error),
      outcomeJson: json({ code: code ?? 'error', message, details }),
      ms: performance.now() - this.#began,
    });
    this.log.settled(this.id, { ok: false, code: `${code}`, message: message ?? '', details });
  }

  #change(changes: Partial<RecordedCall>): void {
    this.log.calls.change(this.id, changes);
    this.log.changed();
  }

  /** Notes the items of sequences in the value as the application takes them. @returns how many sequences */
  #follow(value: unknown): number {
    if (typeof value !== 'object' || value === null) return 0;
    const inside = isSequence(value) ? [value] : Object.values(value).filter(isSequence);
    for (const sequence of inside) this.#listen(sequence);
    return inside.length;
  }

  #listen(sequence: AsyncIterable<unknown>): void {
    const iterator = sequence[Symbol.asyncIterator].bind(sequence);
    const listened = (): AsyncIterator<unknown> => {
      const inner = iterator();
      const next = inner.next.bind(inner);
      const heard = async (...args: [] | [unknown]): Promise<IteratorResult<unknown>> => {
        try {
          const result = await next(...args);
          if (result.done) this.#change({ state: 'done' });
          else this.#item(result.value);
          return result;
        } catch (error) {
          this.#change({ state: 'failed', outcome: showError(error) });
          throw error;
        }
      };
      const end = (how: 'return' | 'throw') =>
        inner[how] &&
        ((value?: unknown) => {
          this.#change({ state: 'done' });
          return inner[how]?.(value);
        });
      const noted = { next: heard, return: end('return'), throw: end('throw') };
      return new Proxy(inner, {
        get: (target, name) => {
          if (name in noted) return Reflect.get(noted, name);
          const found: unknown = Reflect.get(target, name);
          return typeof found === 'function' ? found.bind(target) : found;
        },
      });
    };
    try {
      Object.defineProperty(sequence, Symbol.asyncIterator, { value: listened, configurable: true });
    } catch {
      // it is frozen, so its items are not shown
    }
  }

  #item(item: unknown): void {
    const { items = 0, lastItems = [], lastItemsJson = [] } = this.log.calls.get(this.id) ?? {};
    this.#change({
      items: items + 1,
      lastItems: [...lastItems.slice(1 - LAST_ITEMS), show(item)],
      lastItemsJson: [...lastItemsJson.slice(1 - LAST_ITEMS), json(item)],
    });
  }
}

function isSequence(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value && !('getReader' in value);
}
