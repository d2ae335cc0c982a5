import {
  computed,
  DestroyRef,
  ErrorHandler,
  effect,
  type Injector,
  linkedSignal,
  NgZone,
  PendingTasks,
  type Signal,
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
  ɵwithEntries,
} from '@sealwire/client';
import { type Build, recorded } from './describe.js';
import { asRemoteError } from './errors.js';
import { type Asked, asked } from './secure-key.js';
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
  /** calls tell when they are sent (`onSent`): those without encryption do not */
  readonly tellsSent: boolean;
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
const SILENT =
  'Remote functions do not run while a page is rendered on the server; withServerCalls({ url }) lets them.';

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
  readonly isSilent: boolean;
  readonly tellsSent: boolean;
  readonly handedOver: HandleOptions<Api>['handedOver'];
  readonly handOver: HandleOptions<Api>['handOver'];
  readonly #key: Signal<Asked>;
  readonly #zone: NgZone;
  readonly #tasks: PendingTasks;
  readonly #listeners = new Set<Listener>();
  readonly #turn: Turn;
  /** apart from reads, which over HttpClient alone would wait for the end of a stream */
  readonly #streams: Turn;
  #opened: Opened<Api> | undefined;
  #lastKey: string | undefined;
  #isClosed = false;

  constructor(
    injector: Injector,
    private readonly options: HandleOptions<Api>,
  ) {
    const { secureKey, isSilent } = options;
    this.isSilent = isSilent;
    this.tellsSent = options.tellsSent;
    this.handedOver = options.handedOver;
    this.handOver = options.handOver;
    this.#zone = injector.get(NgZone);
    this.#tasks = injector.get(PendingTasks);
    const changes = typeof secureKey === 'function' && !isSilent;
    this.#key = asked(isSilent ? undefined : secureKey);
    this.obstacle = computed(() => {
      const { key, failure } = this.#key();
      const isKeyless = changes && key === undefined && !failure;
      return { why: isSilent ? SILENT : isKeyless ? 'There is no SecureKey now, so nothing was sent.' : undefined };
    });
    const turn = (): Turn =>
      new Turn(options.endOfTurn, (calls, how, each) =>
        this.invoke((remote) => {
          const batch = remote.$batch(() => calls, how);
          each(batch.entries);
          return batch;
        }),
      );
    this.#turn = turn();
    this.#streams = turn();
    this.remote = this.#facade();
    handles.set(this.remote as object, this);
    if (changes) {
      const follow = (): void => {
        const { key, failure } = this.#key();
        this.#follow(key);
        // nobody may be calling, and an effect that throws would keep those behind it from running
        if (failure) untracked(() => injector.get(ErrorHandler).handleError(failure));
      };
      untracked(() => effect(follow, { injector }));
    }
    // mistakes of the configuration show where the remote is injected
    else if (!isSilent) this.#open();
    injector.get(DestroyRef).onDestroy(() => this.#close());
  }

  /**
   * Calls outside Angular's zone, whose timers would keep the application unstable; the call itself does, as by HttpClient.
   *
   * @param call is given also what tells errors: of calls that ended with the former user it says so
   */
  invoke<T>(call: (remote: Remote<Api>, told: (error: unknown) => unknown) => PromiseLike<T>): Promise<T> {
    const isSameUser = this.user();
    const told = (error: unknown): unknown => {
      const isOfFormer = !isSameUser() && error instanceof RemoteError && error.code === 'closed';
      return isOfFormer ? new RemoteError('closed', OTHER_USER, { cause: error }) : error;
    };
    const done = this.#tasks.add();
    return new Promise<T>((resolve, reject) => {
      this.#zone.runOutsideAngular(() => {
        try {
          call(this.#open(), told).then(resolve, (error) => reject(told(error)));
        } catch (error) {
          reject(asRemoteError(error));
        }
      });
    }).finally(done);
  }

  /** What the application gave to be told something runs in its zone, as with HttpClient. */
  inZone<T>(listener: (told: T) => void): (told: T) => void {
    return (told) => this.#zone.run(() => listener(told));
  }

  /** A call of a resource; those of one turn travel as one message, if they may. */
  read(call: BatchCall<unknown>, how: ReadOptions): Promise<unknown> {
    return this.#turn.add(call, how, this.#checkUser());
  }

  /** A call whose result streams; those of one turn travel as one message, so that their results share a connection. */
  stream(call: BatchCall<unknown>, signal: AbortSignal): Promise<unknown> {
    const done = this.#tasks.add();
    return this.#streams.add(call, { signal, batch: true }, this.#checkUser()).finally(done);
  }

  #checkUser(): () => void {
    const isSame = this.user();
    return () => {
      if (!isSame()) throw new RemoteError('closed', OTHER_USER);
    };
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
    const { key, failure } = untracked(this.#key);
    this.#follow(key);
    if (failure) throw failure;
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
      $call: (how: CallOptions) => this.#functions<Api>({}, (remote) => remote.$call(this.#how(how))),
      $batch: (build: Build<Api>, how?: CallOptions) => this.#batch(build, how),
      $events: {
        on: (name: keyof RemoteEvents, given: RemoteListener<keyof RemoteEvents>) => {
          const listener = this.inZone(given);
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

  #batch(build: Build<Api>, how: CallOptions | undefined): Promise<unknown> {
    let entries: readonly Promise<unknown>[] | undefined;
    const all = this.invoke((remote, told) => {
      const batch = remote.$batch(build, this.#how(how));
      entries = batch.entries.map((entry) => entry.catch((error) => Promise.reject(told(error))));
      return batch;
    });
    // nothing can be called: each is rejected with what the whole batch is rejected with
    entries ??= recorded(build).map(() => all.then());
    // whoever reads the array needs no entry
    for (const entry of entries) entry.catch(() => {});
    return ɵwithEntries(all, entries);
  }

  /** Options of an instance of a class may come from the class. */
  #how<How extends CallOptions | undefined>(how: How): How {
    const onProgress = how?.onProgress;
    if (typeof onProgress !== 'function' || onProgress === (Object.prototype as CallOptions).onProgress) return how;
    // the inspector spreads them
    const own = { value: this.inZone(onProgress), enumerable: true };
    return Object.create(Object.getPrototypeOf(how), { ...Object.getOwnPropertyDescriptors(how), onProgress: own });
  }

  #functions<F>(controls: object, of: (remote: Remote<Api>) => Api): F {
    type Functions = Record<string, (...args: unknown[]) => Promise<unknown>>;
    return remoteFunctions<F>(controls, ({ name, args }) =>
      this.invoke((remote) => ((of(remote) as Functions)[name] as Functions[string])(...args)),
    );
  }
}
