import {
  computed,
  DestroyRef,
  effect,
  type Injector,
  linkedSignal,
  NgZone,
  PendingTasks,
  type Signal,
  signal,
  untracked,
  type WritableSignal,
} from '@angular/core';
import {
  type BatchCall,
  type CallOptions,
  type ConnectionState,
  PolicyError,
  type Remote,
  RemoteError,
  type RemoteEvents,
  type RemoteListener,
  remoteFunctions,
} from '@sealwire/client';
import { asRemoteError } from './errors.js';
import type { HandedOver } from './transfer.js';
import { type ReadOptions, Turn } from './turn.js';

export interface HandleOptions<Api> {
  /** @param isCurrent whether that is still the SecureKey of now; it changes as a signal does */
  open(secureKey: string | undefined, isCurrent: () => boolean): Remote<Api>;
  /** Deletes what earlier pages have kept. */
  forget(): void;
  endOfTurn(run: () => void): void;
  readonly secureKey: string | (() => string | undefined) | undefined;
  /** nothing is called at all, for the page is rendered on the server */
  readonly isSilent: boolean;
  /** of a browser: what came with the page as the value of a call */
  readonly handedOver?: ((call: BatchCall<unknown>) => HandedOver | undefined) | undefined;
  /** of the server: sends a value along with the page */
  readonly handOver?: ((call: BatchCall<unknown>, value: unknown) => void) | undefined;
}

interface Opened<Api> {
  readonly key: string | undefined;
  readonly remote: Remote<Api>;
}

interface Listener {
  readonly name: keyof RemoteEvents;
  readonly listener: RemoteListener<keyof RemoteEvents>;
  stop: (() => void) | undefined;
}

const OTHER_USER = 'Given up: the SecureKey changed before this call was answered; it may have run.';

const handles = new WeakMap<object, Handle<unknown>>();

/** What stands behind the remote that `inject(module)` gives. */
export function handleOf<Api>(remote: Remote<Api>): Handle<Api> {
  const handle = handles.get(remote as object);
  if (!handle) throw new Error('This remote was not made by a module of @sealwire/angular.');
  return handle as Handle<Api>;
}

/** One module as one injector sees it: a remote that stays the same while SecureKeys, and their sessions, come and go. */
export class Handle<Api> {
  readonly remote: Remote<Api>;
  /** Changes with the SecureKey. Reads depend on it; why nothing can be called now, or undefined. */
  readonly obstacle: Signal<{ readonly why: string | undefined }>;
  readonly connection = this.ofUser<ConnectionState>({ state: 'idle' });
  readonly handedOver: HandleOptions<Api>['handedOver'];
  readonly handOver: HandleOptions<Api>['handOver'];
  readonly #key: Signal<string | undefined>;
  readonly #zone: NgZone;
  readonly #tasks: PendingTasks;
  readonly #listeners = new Set<Listener>();
  readonly #turn: Turn;
  #opened: Opened<Api> | undefined;
  #lastKey: string | undefined;
  #isClosed = false;

  constructor(
    injector: Injector,
    private readonly options: HandleOptions<Api>,
  ) {
    const { secureKey, isSilent } = options;
    this.handedOver = options.handedOver;
    this.handOver = options.handOver;
    this.#zone = injector.get(NgZone);
    this.#tasks = injector.get(PendingTasks);
    this.#key = typeof secureKey === 'function' ? computed(secureKey) : signal(secureKey).asReadonly();
    const keyless = typeof secureKey === 'function' ? 'There is no SecureKey now, so nothing was sent.' : undefined;
    this.obstacle = computed(() => {
      const key = this.#key();
      const silent =
        'Remote functions do not run while a page is rendered on the server; withServerCalls({ url }) lets them.';
      return { why: isSilent ? silent : key === undefined ? keyless : undefined };
    });
    this.#turn = new Turn(options.endOfTurn, (calls, how, each) =>
      this.invoke((remote) => {
        const batch = remote.$batch(() => calls, how);
        each(batch.entries);
        return batch;
      }),
    );
    this.remote = this.#facade();
    handles.set(this.remote as object, this);
    if (typeof secureKey === 'function') untracked(() => effect(() => this.#follow(this.#key()), { injector }));
    // mistakes of the configuration show where the remote is injected
    else if (!isSilent) this.#open();
    injector.get(DestroyRef).onDestroy(() => this.#close());
  }

  /** Calls outside Angular's zone, whose timers would keep the application unstable; the call itself does, as by HttpClient. */
  invoke<T>(call: (remote: Remote<Api>) => PromiseLike<T>): Promise<T> {
    const done = this.#tasks.add();
    const isSame = this.user();
    return new Promise<T>((resolve, reject) => {
      const fail = (error: unknown): void => {
        const isOfFormer = !isSame() && error instanceof RemoteError && error.code === 'closed';
        reject(isOfFormer ? new RemoteError('closed', OTHER_USER, { cause: error }) : error);
      };
      this.#zone.runOutsideAngular(() => {
        try {
          call(this.#open()).then(resolve, fail);
        } catch (error) {
          reject(asRemoteError(error));
        }
      });
    }).finally(done);
  }

  /** A call of a resource; those of one turn travel as one message, if they may. */
  read(call: BatchCall<unknown>, how: ReadOptions): Promise<unknown> {
    return this.#turn.add(call, how);
  }

  /** What one user sees: empty again in the moment in which the SecureKey changes, before any effect has run. */
  ofUser<T>(empty: T): WritableSignal<T> {
    return linkedSignal({ source: () => this.obstacle(), computation: () => empty });
  }

  /** @returns a function that says whether the SecureKey is still the one of now: what comes later is shown to nobody */
  user(): () => boolean {
    const isCurrent = this.#current();
    return () => untracked(isCurrent);
  }

  #current(): () => boolean {
    const user = untracked(this.obstacle);
    return () => this.obstacle() === user;
  }

  #open(): Remote<Api> {
    if (this.#isClosed) throw new RemoteError('closed', 'This remote was closed.');
    const { why } = untracked(this.obstacle);
    const key = untracked(this.#key);
    this.#follow(key);
    if (why !== undefined) throw new PolicyError(why);
    const open = (): Remote<Api> => this.options.open(key, this.#current());
    this.#opened ??= { key, remote: this.#attach(this.#zone.runOutsideAngular(open)) };
    return this.#opened.remote;
  }

  #follow(key: string | undefined): void {
    const before = this.#lastKey;
    this.#lastKey = key;
    if (before === key) return;
    if (this.#opened) this.#drop();
    else if (before !== undefined) this.options.forget();
  }

  #attach(remote: Remote<Api>): Remote<Api> {
    const isSameUser = this.user();
    remote.$events.on('connection', (state) => {
      if (this.#opened?.remote === remote && isSameUser()) this.connection.set(state);
    });
    for (const item of this.#listeners) item.stop = remote.$events.on(item.name, item.listener);
    return remote;
  }

  #drop(): void {
    const opened = this.#opened;
    this.#opened = undefined;
    opened?.remote.$close();
    this.connection.set({ state: 'idle' });
  }

  #close(): void {
    this.#isClosed = true;
    this.#drop();
  }

  #facade(): Remote<Api> {
    const controls = {
      $call: (how: CallOptions) => this.#functions<Api>({}, (remote) => remote.$call(how)),
      $batch: (build: never, how?: CallOptions) => {
        let entries: unknown = [];
        const all = this.invoke((remote) => {
          const batch = remote.$batch(build, how);
          entries = batch.entries;
          return batch;
        });
        return Object.assign(all, { entries });
      },
      $events: {
        on: (name: keyof RemoteEvents, listener: RemoteListener<keyof RemoteEvents>) => {
          const item: Listener = { name, listener, stop: this.#opened?.remote.$events.on(name, listener) };
          this.#listeners.add(item);
          return () => {
            this.#listeners.delete(item);
            item.stop?.();
          };
        },
      },
      $connection: () => untracked(this.connection),
      $prewarm: async () => {
        try {
          await this.#zone.runOutsideAngular(() => this.#open().$prewarm());
        } catch {
          // the first call tells what stands in the way
        }
      },
      $close: () => this.#close(),
    };
    return this.#functions<Remote<Api>>(controls, (remote) => remote);
  }

  #functions<F>(controls: object, of: (remote: Remote<Api>) => Api): F {
    type Functions = Record<string, (...args: unknown[]) => Promise<unknown>>;
    return remoteFunctions<F>(controls, ({ name, args }) =>
      this.invoke((remote) => ((of(remote) as Functions)[name] as Functions[string])(...args)),
    );
  }
}

/** Describes a call and makes none. */
export const recorder = remoteFunctions<never>({}, (call) => call);
