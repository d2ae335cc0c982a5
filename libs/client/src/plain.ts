import { type Call, decodeReply, LIMITS, type Outcome, SealwireError } from '@sealwire/core';
import { failure, NEVER_LEFT, RETRYABLE, rejection } from './delivery/failure.js';
import type { How } from './delivery/how.js';
import { aborted, listen, unlisten, withinOpen } from './delivery/limits.js';
import { type Parcel, withAdded } from './delivery/payload.js';
import { closedError, notReached, notSent, RemoteError } from './errors.js';
import type { EventHub } from './events.js';
import type { Settings } from './options.js';
import { type OpenCaller, type Prepared, prepare } from './remote.js';
import { Meter } from './streams/exchange.js';
import { hasType, hintOf } from './transport/hint.js';
import { whenOnline } from './transport/network.js';
import { type CompleteResponse, headersOf, wholeBody } from './transport/transport.js';
import type { Settled } from './types.js';

const CONTENT_TYPE = 'application/cbor';

/** What brings calls without encryption to their server. */
export const openPlain: OpenCaller = (settings, events) => new PlainCaller(settings, events);

/** Calls without encryption, each sent once: with no call numbers, a second sending could run a second time. */
class PlainCaller {
  readonly #pending = new Set<AbortController>();
  #closed = false;

  constructor(
    private readonly settings: Settings,
    private readonly events: EventHub,
  ) {}

  /** There is no handshake. */
  async prewarm(): Promise<void> {}

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const request of this.#pending) request.abort(closedError());
    this.events.emit('closed', { sessionId: undefined });
  }

  async invoke(calls: readonly Call[], how: How, early?: Prepared): Promise<Settled[]> {
    const { timeout, signal, onProgress } = how;
    const check = (): void => {
      if (this.#closed) throw closedError();
    };
    const end = performance.now() + timeout;
    const meter = onProgress && new Meter(onProgress);
    const { work, parcels, added } = early ?? prepare(calls, how, LIMITS.body, check);
    const { settled } = work;
    const more = added && (await withinOpen(this.#pending, timeout, signal, added));
    signal?.throwIfAborted();
    check();
    if (added && !more) throw notReached(undefined);
    for (const parcel of more ? withAdded(parcels, more) : parcels) {
      if (parcel.streams) {
        parcel.streams.drop(0, undefined);
        for (const place of parcel.places) settled[place] = { status: 'rejected', reason: noStreams() };
        continue;
      }
      const outcomes = await this.#request(parcel, end - performance.now(), signal, meter).catch(
        (error: unknown) => error,
      );
      if (signal?.aborted) throw signal.reason;
      parcel.places.forEach((place, i) => {
        settled[place] = settle(calls[place]?.name ?? '', Array.isArray(outcomes) ? outcomes[i] : outcomes);
      });
    }
    return settled;
  }

  /** @throws what stood in the way: RemoteError for what certainly did not run */
  async #request(
    { payload, places }: Parcel,
    ms: number,
    signal: AbortSignal | undefined,
    meter: Meter | undefined,
  ): Promise<readonly Outcome[]> {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(new SealwireError('timeout', notReached(undefined).message)), ms);
    this.#pending.add(controller);
    if (signal) listen(signal, controller);
    try {
      await whenOnline(controller.signal)?.catch(() => {
        throw notSent();
      });
      const { url, transport } = this.settings;
      const response = await Promise.race([
        transport.send({
          url,
          body: payload,
          contentType: CONTENT_TYPE,
          headers: headersOf(this.settings),
          signal: controller.signal,
        }),
        aborted(controller.signal),
      ]);
      meter?.sent(payload.length);
      const body = await wholeBody(response, transport);
      meter?.received(body.length);
      return outcomesOf({ ...response, body }, places.length, url);
    } finally {
      clearTimeout(timer);
      this.#pending.delete(controller);
      if (signal) unlisten(signal, controller);
    }
  }
}

function outcomesOf(response: CompleteResponse, count: number, url: string): readonly Outcome[] {
  if (response.status === 200 && hasType(response, CONTENT_TYPE)) {
    const reply = decodeReply(response.body);
    if ('outcomes' in reply && reply.outcomes.length === count) return reply.outcomes;
  }
  const { code, error } = hintOf(response, url);
  if (code === undefined) throw error;
  throw new RemoteError(code, `The server refused the call: ${code}.`, { retryable: RETRYABLE.has(code) });
}

function noStreams(): RemoteError {
  return new RemoteError('unsupported_value', 'A call without encryption takes no streams and no files.');
}

function settle(name: string, outcome: Outcome | unknown): Settled {
  if (outcome instanceof RemoteError) return { status: 'rejected', reason: outcome };
  if (outcome instanceof Error || !isOutcome(outcome)) {
    const mayHaveRun = !(outcome instanceof SealwireError && NEVER_LEFT.has(outcome.code));
    return { status: 'rejected', reason: failure(name, mayHaveRun, undefined, outcome) };
  }
  if (outcome.ok) return { status: 'fulfilled', value: outcome.value };
  return { status: 'rejected', reason: rejection(name, outcome, false, undefined) };
}

function isOutcome(value: unknown): value is Outcome {
  return typeof value === 'object' && value !== null && 'ok' in value;
}
