import type { Call } from '@sealwire/core';
import { LIMITS, lazy } from '@sealwire/core/calls';
import { webPrimitives } from '@sealwire/core/webcrypto';
import type { Caller } from './batch.js';
import type { How } from './delivery/how.js';
import { aborted, loadedCode, within } from './delivery/limits.js';
import { dropStreams } from './delivery/payload.js';
import { closedError, notReached, notSent } from './errors.js';
import type { EventHub } from './events.js';
import type { RemoteOptions, Settings } from './options.js';
import { type OpenCaller, openRemote, prepare, type Remote } from './remote.js';
import { isOffline } from './transport/network.js';
import { fetchTransport } from './transport/transport.js';
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
  return openRemote<Api>(options, { primitives: webPrimitives, transport: fetchTransport }, openLater);
}

/** SHA-256 of bytes, for packages that build on this one. */
export const ɵsha256 = (bytes: Uint8Array): Uint8Array => webPrimitives.sha256(bytes);

const sending = lazy(
  () => import('./delivery/delivery.js'),
  ({ openCaller }) => openCaller,
);

const NO_CODE = 'The code that sends calls was not loaded';

const openLater: OpenCaller = (settings, events, greet) => new LateCaller(settings, events, greet);

/** Loads what sends calls while the page starts, and keeps until then the calls that are made. */
class LateCaller implements Caller {
  #caller: Caller | undefined;
  #loading: Promise<Caller> | undefined;
  /** calls that have not been handed on yet: later ones go after them */
  #waiting = 0;
  readonly #closing = new AbortController();
  readonly #closed = aborted(this.#closing.signal);

  constructor(
    private readonly settings: Settings,
    private readonly events: EventHub,
    private readonly greet: (() => unknown) | undefined,
  ) {
    this.#closed.catch(() => {});
    // a call that needs it tells why, and tries again
    this.#load().catch(() => {});
  }

  async invoke(calls: readonly Call[], how: How): Promise<Settled[]> {
    if (this.#caller && this.#waiting === 0) return this.#caller.invoke(calls, how);
    how.signal?.throwIfAborted();
    this.#closing.signal.throwIfAborted();
    const end = performance.now() + how.timeout;
    const prepared = prepare(calls, how, LIMITS.body * (7 / 8));
    // whoever waits for it is told
    prepared.added?.catch(() => {});
    this.#waiting++;
    if (isOffline()) this.#offline();
    try {
      const caller = await within(how.timeout, how.signal, Promise.race([this.#load(), this.#closed]));
      if (!caller) throw isOffline() ? notSent() : notReached(undefined);
      this.#closing.signal.throwIfAborted();
      return caller.invoke(calls, { ...how, timeout: end - performance.now() }, prepared);
    } catch (error) {
      dropStreams(prepared.parcels, error);
      throw error;
    } finally {
      this.#waiting--;
      if (!this.#caller && this.#waiting === 0 && this.events.connection.isOffline) this.events.emit('rested', {});
    }
  }

  async prewarm(): Promise<void> {
    if (isOffline()) return;
    await this.#load().then(
      (caller) => caller.prewarm(),
      () => {},
    );
  }

  close(): void {
    const { signal } = this.#closing;
    if (this.#caller) this.#caller.close();
    else if (!signal.aborted) {
      this.settings.persistence?.ɵforget(this.settings);
      this.events.emit('closed', { sessionId: undefined });
    }
    this.#closing.abort(closedError());
  }

  #load(): Promise<Caller> {
    this.#loading ??= this.#open().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #open(): Promise<Caller> {
    if (this.#caller) return this.#caller;
    const { settings, events, greet } = this;
    const { signal } = this.#closing;
    const open = await loadedCode<OpenCaller>(sending, NO_CODE, signal, () => {
      if (this.#waiting > 0) this.#offline();
    });
    signal.throwIfAborted();
    this.#caller = open(settings, events, greet);
    return this.#caller;
  }

  /** A remote without encryption has no state. */
  #offline(): void {
    if (this.settings.keySize) this.events.offline();
  }
}
