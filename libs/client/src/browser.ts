import type { Call } from '@sealwire/core';
import { LIMITS, lazy } from '@sealwire/core/calls';
import { webPrimitives } from '@sealwire/core/webcrypto';
import type { Caller } from './batch.js';
import type { How } from './delivery/how.js';
import { within } from './delivery/limits.js';
import { dropStreams } from './delivery/payload.js';
import { closedError, notReached, unreachable } from './errors.js';
import type { EventHub } from './events.js';
import type { RemoteOptions, Settings } from './options.js';
import { type OpenCaller, openRemote, prepare, type Remote } from './remote.js';
import type { Settled } from './types.js';

export * from './common.js';

/**
 * Makes a typed client of one module, in a browser or another runtime without `node:crypto`. Nothing is sent before the first
 * call.
 *
 * @throws PolicyError or SealwireError `bad_configuration` or `bad_key` with a sentence that says what to change
 * @example
 * import type { PaymentsController } from './payments.controller.js';
 *
 * const payments = createRemote<RemoteApi<PaymentsController>>({ url: '/remote/payments', serverKey: 'swp1...' });
 * const balance = await payments.balance('alice');
 */
export function createRemote<Api>(options: RemoteOptions<Api>): Remote<Api> {
  return openRemote<Api>(options, webPrimitives, openLater);
}

/** SHA-256 of bytes, for packages that build on this one. */
export const ɵsha256 = (bytes: Uint8Array): Uint8Array => webPrimitives.sha256(bytes);

const sending = lazy(() => import('./delivery/delivery.js').then(({ openCaller }) => openCaller));

const openLater: OpenCaller = (settings, events, greet) => new LateCaller(settings, events, greet);

/** Loads what sends calls while the page starts, and keeps until then the calls that are made. */
class LateCaller implements Caller {
  #caller: Caller | undefined;
  /** calls that have not been handed on yet: later ones go after them */
  #waiting = 0;
  #closed = false;
  readonly #closing: Promise<never>;
  #end = (): void => {};

  constructor(
    private readonly settings: Settings,
    private readonly events: EventHub,
    private readonly greet: (() => unknown) | undefined,
  ) {
    this.#closing = new Promise((_, reject) => {
      this.#end = () => reject(closedError());
    });
    this.#closing.catch(() => {});
    // a call that needs it tells why, and tries again
    this.#load().catch(() => {});
  }

  async invoke(calls: readonly Call[], how: How): Promise<Settled[]> {
    if (this.#caller && this.#waiting === 0) return this.#caller.invoke(calls, how);
    how.signal?.throwIfAborted();
    if (this.#closed) throw closedError();
    const end = performance.now() + how.timeout;
    const prepared = prepare(calls, how, LIMITS.body * (7 / 8));
    // whoever waits for it is told
    prepared.added?.catch(() => {});
    this.#waiting++;
    try {
      const caller = await within(how.timeout, how.signal, Promise.race([this.#load(), this.#closing]));
      if (!caller) throw notReached(undefined);
      if (this.#closed) throw closedError();
      return caller.invoke(calls, { ...how, timeout: end - performance.now() }, prepared);
    } catch (error) {
      dropStreams(prepared.parcels, error);
      throw error;
    } finally {
      this.#waiting--;
    }
  }

  async prewarm(): Promise<void> {
    await this.#load().then(
      (caller) => caller.prewarm(),
      () => {},
    );
  }

  close(): void {
    const first = !this.#closed;
    this.#closed = true;
    this.#end();
    if (this.#caller) this.#caller.close();
    else if (first) this.events.emit('closed', { sessionId: undefined });
  }

  async #load(): Promise<Caller> {
    try {
      const open = await sending();
      if (this.#closed) throw closedError();
      this.#caller ??= open(this.settings, this.events, this.greet);
      return this.#caller;
    } catch (error) {
      throw this.#closed ? closedError() : unreachable('The code that sends calls was not loaded', error);
    }
  }
}
