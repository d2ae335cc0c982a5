import { AsyncResource } from 'node:async_hooks';
import { type Call, type Outcome, toHex } from '@sealwire/core';
import type { CallSession } from '../sessions/call-session.js';
import type { Arrival } from '../sessions/peer.js';
import type { Audience } from '../streams/audience.js';
import type { Resume } from '../streams/decorators.js';
import { inContext } from '../streams/generators.js';
import type { StreamingCall } from '../streams/live-reply.js';
import { holdStreams, letGoStreams } from '../streams/sources.js';
import { RemoteFunctionError } from './outcome.js';
import type { RemoteCall } from './remote-function.decorator.js';
import { requestView } from './request-view.js';
import { ResponseStandIn } from './response-stand-in.js';

interface Inside {
  readonly transaction: unknown;
  /** undefined for a plaintext call */
  readonly session: ((transaction: unknown) => CallSession) | undefined;
  /** of the message that brought the call */
  readonly arrival: Arrival;
  /** `Controller.method` */
  readonly origin: string;
  readonly sent: Pick<Call, 'metadata' | 'deadline' | 'resume'>;
  readonly resumable: boolean;
  /** who waits for the message */
  readonly audience: () => Audience;
  readonly progress: (value: unknown) => void;
}

const NO_METADATA: Readonly<Record<string, string>> = Object.freeze({});

/** One call while it runs. Request, response and session are made when somebody may see them: most functions need none. */
export class RunningCall implements RemoteCall, StreamingCall {
  readonly #inside: Inside;
  #session: CallSession | undefined;
  #request: object | undefined;
  #response: ResponseStandIn | undefined;
  #thrown = false;
  #error: unknown;
  #admitted = false;
  #answers = false;
  #signal: CallSignal | undefined;
  #context: AsyncResource | undefined;

  constructor(
    readonly module: string,
    readonly functionName: string,
    readonly args: readonly unknown[],
    inside: Inside,
  ) {
    this.#inside = inside;
  }

  get session(): CallSession | undefined {
    this.#session ??= this.#inside.session?.(this.#inside.transaction);
    return this.#session;
  }

  /** Writes the data that was set on the session, if there is any. */
  save(): Promise<void> | undefined {
    return this.#session?.save();
  }

  /** Not a property of its own: a log of this object would show the database's options. */
  get transaction(): unknown {
    return this.#inside.transaction;
  }

  get metadata(): Readonly<Record<string, string>> {
    return this.#inside.sent.metadata ?? NO_METADATA;
  }

  get resumable(): boolean {
    return this.#inside.resumable;
  }

  get resume(): Resume | undefined {
    const { resume } = this.#inside.sent;
    return resume && { run: toHex(resume.run), position: resume.position, version: resume.version };
  }

  get signal(): AbortSignal {
    this.#signal ??= new CallSignal(this.#inside.audience(), this.#inside.sent.deadline);
    return this.#signal.signal;
  }

  progress(value: unknown): void {
    this.#inside.progress(value);
  }

  /** The error that stands for what was thrown because its signal fired. */
  abortOf(thrown: unknown): RemoteFunctionError | undefined {
    return this.#signal?.reasonOf(thrown);
  }

  abandon(reason: RemoteFunctionError): void {
    this.#signal?.abort(reason);
  }

  end(): void {
    this.#signal?.end();
  }

  get request(): object {
    this.#request ??= this.response.req;
    return this.#request;
  }

  get response(): ResponseStandIn {
    if (!this.#response) {
      const { arrival, origin } = this.#inside;
      this.#response = new ResponseStandIn(origin, localsOf(arrival.request));
      this.#response.req = requestView(arrival.request, this.#response, this.#inside.sent.metadata);
    }
    return this.#response;
  }

  /** Whether its guards let it pass. */
  get admitted(): boolean {
    return this.#admitted;
  }

  /** In which its function ran, if that returned an object, which may hold streams. */
  get context(): AsyncResource | undefined {
    return this.#context;
  }

  /** Its function has the response, and answers through it if it returns nothing. */
  answers(): void {
    this.#answers = true;
  }

  /**
   * Its function returned, in the async context that guards and interceptors made.
   * @param intercepted interceptors get the value, and may wait
   */
  returned(value: unknown, intercepted = false): unknown {
    if (intercepted) holdStreams(value);
    try {
      this.#response?.check();
    } catch (error) {
      letGoStreams(value, error);
      throw error;
    }
    if (value === undefined && this.#answers && !this.response.headersSent) return this.response.answered(this.signal);
    if (typeof value === 'object' && value !== null) this.#context = new AsyncResource('SealwireStream');
    return inContext(value, this.#context);
  }

  /** @throws Error if guards did with the response what is refused */
  admit(): void {
    this.#response?.check();
    this.#admitted = true;
  }

  /** Whether the function, or what stands before it, threw, whatever filters made of it. */
  get thrown(): boolean {
    return this.#thrown;
  }

  /** What it threw, as filters were shown it. */
  get error(): unknown {
    return this.#error;
  }

  /** An answer that was written before an error does not count; filters write anew, and not a success unless they say so. */
  throws(error: unknown, status: number): void {
    this.#thrown = true;
    this.#error = error;
    this.response.restart(status);
  }

  /** The outcome that was written on the response, undefined if there is none. */
  written(): Outcome | undefined {
    return this.#response?.outcome();
  }

  /** Tells listeners of the response that the call is over. */
  settle(outcome: Outcome): void {
    this.#signal?.returned();
    this.#response?.settle(outcome);
  }
}

/** The values that the application's middleware left for this request, if the platform has a place for them. */
function localsOf(outer: object): object | undefined {
  return (outer as { res?: { locals?: object } }).res?.locals;
}

/** The AbortSignal of one call, and why it fired. */
class CallSignal {
  readonly #controller = new AbortController();
  readonly #deadline: NodeJS.Timeout | undefined;
  readonly #unwatch: () => void;

  /** @param deadline milliseconds from now, undefined if there is none */
  constructor(audience: Audience, deadline: number | undefined) {
    this.#unwatch = audience.watch((reason) => this.#controller.abort(reason));
    if (deadline === undefined) return;
    this.#deadline = setTimeout(() => {
      this.#controller.abort(new RemoteFunctionError('deadline', 'The deadline of the call is over.'));
    }, deadline).unref();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Why the function threw that, if it did so because the signal fired: what it was aborted with may be wrapped. */
  reasonOf(thrown: unknown): RemoteFunctionError | undefined {
    const { aborted, reason } = this.#controller.signal;
    if (!aborted) return undefined;
    const { name, cause } = (thrown ?? {}) as { name?: unknown; cause?: unknown };
    return thrown === reason || cause === reason || name === 'AbortError' ? reason : undefined;
  }

  abort(reason: RemoteFunctionError): void {
    this.#controller.abort(reason);
  }

  /** The function has returned: its caller's deadline is kept, however long what it returned streams. */
  returned(): void {
    clearTimeout(this.#deadline);
  }

  /** The call is over; the signal does not fire any more. */
  end(): void {
    this.returned();
    this.#unwatch();
  }
}
