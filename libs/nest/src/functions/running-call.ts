import type { Outcome } from '@sealwire/core';
import type { CallSession } from '../sessions/call-session.js';
import type { Arrival } from '../sessions/peer.js';
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
}

/** One call while it runs. Request, response and session are made when somebody may see them: most functions need none. */
export class RunningCall implements RemoteCall {
  readonly #inside: Inside;
  #session: CallSession | undefined;
  #request: object | undefined;
  #response: ResponseStandIn | undefined;
  #thrown = false;

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

  get request(): object {
    this.#request ??= this.response.req;
    return this.#request;
  }

  get response(): ResponseStandIn {
    if (!this.#response) {
      const { arrival, origin } = this.#inside;
      this.#response = new ResponseStandIn(origin, localsOf(arrival.request));
      this.#response.req = requestView(arrival.request, this.#response);
    }
    return this.#response;
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
    this.#response?.settle(outcome);
  }
}

/** What the application's middleware left for this request, where the platform has such a place. */
function localsOf(outer: object): object | undefined {
  return (outer as { res?: { locals?: object } }).res?.locals;
}
