import { RemoteFunctionError } from '../functions/outcome.js';
import type { Audience } from './audience.js';

/** The AbortSignal of one call, and why it fired. */
export class CallSignal {
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
