import type { Outcome } from '@sealwire/core';
import type { RemoteCall, RemoteSession } from './remote-function.decorator.js';
import { requestView } from './request-view.js';
import { ResponseStandIn } from './response-stand-in.js';

/** One call while it runs. Request and response are made when somebody may see them: a function without enhancers needs neither. */
export class RunningCall implements RemoteCall {
  readonly #outer: object;
  readonly #origin: string;
  readonly #transaction: unknown;
  #request: object | undefined;
  #response: ResponseStandIn | undefined;
  #thrown = false;

  constructor(
    readonly module: string,
    readonly functionName: string,
    readonly args: readonly unknown[],
    readonly session: RemoteSession | undefined,
    inside: { readonly transaction: unknown; readonly outer: object; readonly origin: string },
  ) {
    this.#outer = inside.outer;
    this.#origin = inside.origin;
    this.#transaction = inside.transaction;
  }

  /** Not a property of its own: a log of this object would show the database's options. */
  get transaction(): unknown {
    return this.#transaction;
  }

  get request(): object {
    this.#request ??= this.response.req;
    return this.#request;
  }

  get response(): ResponseStandIn {
    if (!this.#response) {
      this.#response = new ResponseStandIn(this.#origin, localsOf(this.#outer));
      this.#response.req = requestView(this.#outer, this.#response);
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
