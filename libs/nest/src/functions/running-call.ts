import { type Call, type Outcome, toHex } from '@sealwire/core';
import type { CallSession } from '../sessions/call-session.js';
import type { Arrival } from '../sessions/peer.js';
import type { Audience } from '../streams/audience.js';
import { CallSignal } from '../streams/call-signal.js';
import type { Resume } from '../streams/decorators.js';
import type { StreamingCall } from '../streams/live-reply.js';
import type { RemoteFunctionError } from './outcome.js';
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
  #admitted = false;
  #signal: CallSignal | undefined;

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

  /** What was set on the session, if anybody asked for it. */
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

  admit(): void {
    this.#admitted = true;
  }

  /** Whether the function, or what stands before it, threw, whatever filters made of it. */
  get thrown(): boolean {
    return this.#thrown;
  }

  /** What was written before an error does not count; filters write anew, and not a success unless they say so. */
  throws(status: number): void {
    this.#thrown = true;
    this.response.restart(status);
  }

  /** What was written on the response, undefined if nothing was. */
  written(): Outcome | undefined {
    return this.#response?.outcome();
  }

  /** Tells listeners of the response that the call is over. */
  settle(outcome: Outcome): void {
    this.#signal?.returned();
    this.#response?.settle(outcome);
  }
}

/** What the application's middleware left for this request, where the platform has such a place. */
function localsOf(outer: object): object | undefined {
  return (outer as { res?: { locals?: object } }).res?.locals;
}
