import {
  ApplicationRef,
  type EnvironmentProviders,
  Injectable,
  inject,
  makeEnvironmentProviders,
  NgZone,
  type OnDestroy,
  PendingTasks,
} from '@angular/core';
import {
  type ApiOf,
  OutcomeUnknownError,
  RemoteError,
  type RemoteModule,
  ɵBACKEND,
  type ɵBackend,
  ɵpathOf,
  ɵSEALWIRE,
  ɵSealwire,
} from '@sealwire/angular';
import {
  type BatchCall,
  type CallOptions,
  type ConnectionState,
  type Progress,
  type Remote,
  remoteFunctions,
  type Settled,
} from '@sealwire/client';
import { TestEvents } from './test-events.js';
import { FedStream, type TestStream } from './test-stream.js';

// biome-ignore lint/suspicious/noExplicitAny: any module will do
type AnyModule = RemoteModule<any>;
type FunctionName<M> = keyof ApiOf<M> & string;
type ArgsOf<M, K extends FunctionName<M>> = ApiOf<M>[K] extends (...args: infer Args) => unknown ? Args : never;
type ResultOf<M, K extends FunctionName<M>> = ApiOf<M>[K] extends (...args: never[]) => Promise<infer R> ? R : never;

type ItemOf<R> = R extends AsyncIterable<infer Item> ? Item : never;

/** A call that was made and that the test answers, once. */
export interface TestCall<Args extends readonly unknown[] = readonly unknown[], R = unknown> {
  /** `payments.balance` */
  readonly name: string;
  readonly args: Args;
  /** the caller gave it up, or its remote was closed */
  readonly cancelled: boolean;
  /** @throws Error if the call was answered already, or cancelled, as the other two do */
  flush(value: R): void;
  /** Rejects with a RemoteError of that code. */
  error(code: string, message?: string, details?: unknown): void;
  /** Rejects with an OutcomeUnknownError: it may have run. */
  outcomeUnknown(): void;
  /** Answers with a stream, whose items the test gives. */
  stream(): TestStream<ItemOf<R>>;
  /** Says how far the call is, to a caller that wants to know; what is left out stays as it was. */
  progress(now: Partial<Progress>): void;
}

class Call implements TestCall {
  cancelled = false;
  #isAnswered = false;
  #progress: Progress = { up: 0, down: 0 };
  #stream: FedStream | undefined;

  constructor(
    readonly module: AnyModule,
    readonly functionName: string,
    readonly args: readonly unknown[],
    private readonly onProgress: CallOptions['onProgress'],
    private readonly settle: (outcome: Settled) => void,
    private readonly newStream: () => FedStream,
  ) {}

  get name(): string {
    return `${ɵpathOf(this.module)}.${this.functionName}`;
  }

  flush(value: unknown): void {
    this.#answer({ status: 'fulfilled', value });
  }

  error(code: string, message = code, details?: unknown): void {
    this.#answer({ status: 'rejected', reason: new RemoteError(code, message, { details }) });
  }

  outcomeUnknown(): void {
    this.#answer({ status: 'rejected', reason: new OutcomeUnknownError(this.functionName, undefined) });
  }

  stream(): TestStream<never> {
    const stream = this.newStream();
    this.flush(stream.consumer);
    this.#stream = stream;
    return stream;
  }

  progress(now: Partial<Progress>): void {
    this.#check();
    this.#progress = { ...this.#progress, ...now };
    this.onProgress?.(this.#progress);
  }

  /** @returns whether it was still to be answered */
  cancel(reason: unknown): boolean {
    this.#stream?.cancel(reason);
    if (!this.#isAnswered) this.cancelled = true;
    return this.cancelled;
  }

  #answer(outcome: Settled): void {
    this.#check();
    this.#isAnswered = true;
    this.settle(outcome);
  }

  #check(): void {
    if (this.#isAnswered) throw new Error(`The call of ${this.name} was answered already.`);
    if (this.cancelled) throw new Error(`The call of ${this.name} was cancelled.`);
  }
}

/**
 * Finds the calls that the code under test made, in plaintext and typed. Each look first lets effects run, so that the calls
 * of resources are there without waiting; those of a component with zone.js run when its fixture detects changes.
 *
 * @example
 * import { TestBed } from '@angular/core/testing';
 * import { expect } from 'vitest';
 * const sealwire = TestBed.inject(SealwireTestingController);
 * const call = sealwire.expectOne(Payments, 'transfer');
 * expect(call.args).toEqual(['a', 'b', 500n]);
 * call.error('insufficient_funds', 'The account has less than that.');
 * sealwire.verify();
 */
@Injectable()
export class SealwireTestingController implements OnDestroy {
  readonly #application = inject(ApplicationRef);
  readonly #open = new Set<Call>();
  readonly #tasks = inject(PendingTasks);
  readonly #zone = inject(NgZone);
  /** of the remotes that are open */
  readonly #remotes = new Map<AnyModule, Set<TestEvents>>();
  #isOver = false;

  /** The one open call of that function. @throws Error if there is none, or more than one */
  expectOne<M extends AnyModule, K extends FunctionName<M>>(
    module: M,
    name: K,
  ): TestCall<ArgsOf<M, K>, ResultOf<M, K>> {
    const found = this.match(module, name);
    const [one] = found;
    if (one && found.length === 1) return one;
    throw new Error(`Expected one call of ${ɵpathOf(module)}.${name}, found ${found.length}. ${this.#others()}`);
  }

  /** @param name without it: no call of the whole module. @throws Error if there is an open call */
  expectNone<M extends AnyModule>(module: M, name?: FunctionName<M>): void {
    const found = this.#find(module, name);
    if (found.length === 0) return;
    throw new Error(`Expected no call of ${found.map((call) => call.name).join(', ')}, found ${found.length}.`);
  }

  /** The open calls of that function, in the order they were made; the test answers them from here on. */
  match<M extends AnyModule, K extends FunctionName<M>>(
    module: M,
    name: K,
  ): readonly TestCall<ArgsOf<M, K>, ResultOf<M, K>>[] {
    const found = this.#find(module, name);
    for (const call of found) this.#open.delete(call);
    return found as unknown as TestCall<ArgsOf<M, K>, ResultOf<M, K>>[];
  }

  /** Says how the module stands with its server. @throws Error if nothing has injected or called it yet */
  connection<M extends AnyModule>(module: M, state: ConnectionState): void {
    const remotes = this.#remotes.get(module);
    if (!remotes?.size) throw new Error(`Nothing has injected the module ${ɵpathOf(module)} yet, or called it.`);
    for (const events of remotes) events.connect(state);
  }

  /** @throws Error if calls were made that nothing expected */
  verify(): void {
    this.#application.tick();
    if (this.#open.size > 0) throw new Error(`Calls that nothing expected. ${this.#others()}`);
  }

  ngOnDestroy(): void {
    this.#isOver = true;
  }

  /** The remote that the code under test gets; for the provider below. */
  ɵopen(module: AnyModule): Remote<unknown> {
    const cancels = new Set<(reason: unknown) => void>();
    const events = new TestEvents();
    const remotes = this.#remotes.get(module) ?? new Set();
    this.#remotes.set(module, remotes.add(events));
    const send = (
      { name, args }: BatchCall<unknown>,
      { signal, onProgress, onSent }: CallOptions,
      place = 0,
    ): Promise<Settled> =>
      new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        onSent?.({ frame: Uint8Array.of(), payload: 0, calls: [place] });
        const stream = (): FedStream => new FedStream(name, events, () => this.#settles());
        const call = new Call(module, name, args, onProgress, resolve, stream);
        this.#open.add(call);
        const cancel = (reason: unknown): void => {
          if (call.cancel(reason)) reject(reason);
          this.#open.delete(call);
        };
        cancels.add(cancel);
        signal?.addEventListener('abort', () => cancel(signal.reason), { once: true });
      });
    const api = (controls: object, how: CallOptions = {}) =>
      remoteFunctions<object>(controls, (call) => unwrapped(send(call, how)));
    return api({
      $call: (how: CallOptions) => api({}, how),
      $batch: (build: (remote: object) => BatchCall<unknown>[], how: CallOptions = {}) =>
        batchOf(build(remoteFunctions<object>({}, (call) => call)).map((call, place) => send(call, how, place))),
      $events: events,
      $connection: () => events.connection,
      $close: () => {
        remotes.delete(events);
        // at the end of a test nobody is there to handle a rejection
        if (this.#isOver) return;
        for (const cancel of cancels) cancel(new RemoteError('closed', 'This remote was closed.'));
        cancels.clear();
      },
    }) as Remote<unknown>;
  }

  /** Whoever waits for what was said has it by the next macrotask. */
  #settles(): void {
    const done = this.#tasks.add();
    this.#zone.runOutsideAngular(() => setTimeout(done));
  }

  #find(module: AnyModule, name?: string): Call[] {
    this.#application.tick();
    return [...this.#open].filter(
      (call) => call.module === module && (name === undefined || call.functionName === name),
    );
  }

  #others(): string {
    return `Open: ${[...this.#open].map((call) => call.name).join(', ') || 'none'}.`;
  }
}

async function unwrapped(outcome: Promise<Settled>): Promise<unknown> {
  const settled = await outcome;
  if (settled.status === 'fulfilled') return settled.value;
  throw settled.reason;
}

function batchOf(outcomes: readonly Promise<Settled>[]): object {
  const entries = outcomes.map(unwrapped);
  // whoever reads the array needs no entry
  for (const entry of entries) entry.catch(() => {});
  return Object.assign(Promise.all(outcomes), { entries });
}

function backend(): ɵBackend {
  const controller = inject(SealwireTestingController);
  return { open: (module) => controller.ɵopen(module), endOfTurn: (run) => run() };
}

/**
 * Replaces the network and the cryptography, with or without `provideSealwire` beside it: calls wait until the test answers
 * them.
 *
 * @example
 * import { TestBed } from '@angular/core/testing';
 * import { afterEach, beforeEach } from 'vitest';
 * beforeEach(() => TestBed.configureTestingModule({ providers: [provideSealwireTesting()] }));
 * afterEach(() => TestBed.inject(SealwireTestingController).verify());
 */
export function provideSealwireTesting(): EnvironmentProviders {
  return makeEnvironmentProviders([
    SealwireTestingController,
    { provide: ɵBACKEND, useFactory: backend },
    { provide: ɵSEALWIRE, useClass: ɵSealwire },
  ]);
}
