import { type Call, decodeReply, encodeCalls, LIMITS, type Outcome } from '@sealwire/core';
import type { CallOptions, Settled } from './delivery/caller.js';
import { OutcomeUnknownError, RemoteError } from './errors.js';
import type { Settings } from './options.js';
import { hasType, outerCode } from './transport/transport.js';

const CONTENT_TYPE = 'application/cbor';

/** Calls without encryption, each sent once: with no call numbers, a second sending could run a second time. */
export class PlainCaller {
  readonly #closed = new AbortController();

  constructor(private readonly settings: Settings) {}

  close(): void {
    this.#closed.abort(new RemoteError('closed', 'This remote was closed.'));
  }

  async invoke(calls: readonly Call[], options: CallOptions): Promise<Settled[]> {
    const settled: Settled[] = [];
    for (let i = 0; i < calls.length; i += LIMITS.batch) {
      settled.push(...(await this.#send(calls.slice(i, i + LIMITS.batch), options)));
    }
    return settled;
  }

  async #send(calls: readonly Call[], { signal, timeout = this.settings.timeout }: CallOptions): Promise<Settled[]> {
    const time = AbortSignal.timeout(timeout);
    const any = AbortSignal.any([time, this.#closed.signal, ...(signal ? [signal] : [])]);
    any.throwIfAborted();
    const body = encodeCalls(calls);
    try {
      const { url, headers, transport } = this.settings;
      const request = { url, body, contentType: CONTENT_TYPE, headers: headers(), signal: any };
      const response = await Promise.race([transport.send(request), aborted(any)]);
      if (response.status === 200 && hasType(response, CONTENT_TYPE)) {
        const reply = decodeReply(response.body);
        if ('outcomes' in reply && reply.outcomes.length === calls.length) return reply.outcomes.map(settle);
      }
      const code = outerCode(response);
      if (code === undefined) throw new Error(`The server answered HTTP ${response.status}.`);
      const refusal = new RemoteError(code, `The server refused the call: ${code}.`, {
        retryable: code === 'busy' || code === 'rate_limited',
      });
      return calls.map(() => ({ status: 'rejected', reason: refusal }));
    } catch (error) {
      if (signal?.aborted || this.#closed.signal.aborted) throw any.reason;
      return calls.map(({ name }) => ({
        status: 'rejected',
        reason: new OutcomeUnknownError(name, undefined, error),
      }));
    }
  }
}

function settle(outcome: Outcome): Settled {
  if (outcome.ok) return { status: 'fulfilled', value: outcome.value };
  const { code, message, details } = outcome;
  return { status: 'rejected', reason: new RemoteError(code, message, { details, retryable: code === 'unavailable' }) };
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}
