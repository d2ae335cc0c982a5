import type { Call, Resume } from '@sealwire/core';
import type { IncomingStream } from '@sealwire/core/live';
import type { Delivery } from '../delivery/delivery.js';
import { type How, unsettled } from '../delivery/how.js';
import { backoff } from '../delivery/limits.js';
import type { Message } from '../delivery/message.js';
import { join, rewrite } from '../delivery/payload.js';
import { changedError, closedError, RemoteError, remoteError } from '../errors.js';
import type { Settled } from '../types.js';

/** Failures of a resuming call that pass, beside those after which any call may be tried again. */
const PASSING: ReadonlySet<string> = new Set([
  // of the transport, of which nobody says what may follow
  'unreachable',
  // nobody waited for it in time: the network was away
  'cancelled',
  'deadline',
  'outcome_unknown',
  'result_gone',
]);

/** As long as the longest pause: whoever is on the way could else cut each run behind its first piece, and have it begin at once. */
const LASTED_MS = 5_000;

function passes({ code, retryable }: RemoteError): boolean {
  return retryable || PASSING.has(code);
}

/** A stream that can be gone on with, the call that it came from, and how far it came. */
export class Origin {
  readonly call: Call;
  /** that call alone */
  readonly #payload: Uint8Array;
  #run: Uint8Array | undefined;
  #position: unknown;
  #arrived: number;
  /** when the run began, or was asked to go on */
  #since = performance.now();
  /** resuming calls since a run lasted */
  attempts = 0;
  /** told that nobody reads the stream any more, while it waits to go on */
  onLeft: (() => unknown) | undefined;

  /** @param index of the call in the payload of the message */
  constructor(
    readonly stream: IncomingStream,
    message: Message,
    index: number,
    readonly place: number,
  ) {
    this.call = { name: message.work.calls[place]?.name ?? '', args: [] };
    this.#payload = rewrite(message.payload, [index], ({ resend: _, ...call }) => call);
    this.#arrived = stream.arrived;
    this.#position = stream.kind === 'items' ? undefined : stream.arrived;
  }

  /** Whether its consumer may still want more, and a position is known. @param run the run that was cut */
  canGoOn(run: Uint8Array | undefined): boolean {
    const { stream } = this;
    if (stream.ended || stream.cancelled) return false;
    const [position, place] = this.#reached();
    // an item without one among what waits: its consumer meets that
    if (stream.ended) return false;
    if (performance.now() - this.#since > LASTED_MS) this.attempts = 0;
    if (stream.arrived === this.#arrived) return true;
    // not by the position itself: a later run may bring other items of the same one
    if (place > this.#arrived) [this.#position, this.#run] = [position, run];
    this.#arrived = stream.arrived;
    return this.#run !== undefined;
  }

  #reached(): readonly [position: unknown, place: number] {
    const { stream } = this;
    try {
      return stream.kind === 'items' ? stream.position : [stream.arrived, stream.arrived];
    } catch (error) {
      stream.end(remoteError(error));
      return [undefined, 0];
    }
  }

  /** The call that goes on with the stream, as a payload. Without a position it begins anew. */
  again(added: Partial<Call>): Uint8Array {
    this.#since = performance.now();
    const { version } = this.stream.info;
    const run = this.#run;
    const resume: Resume | undefined = run && {
      run,
      position: this.#position,
      ...(version !== undefined && { version }),
    };
    return rewrite(this.#payload, [0], ({ resume: _, metadata: __, ...call }) => ({
      ...call,
      ...added,
      ...(resume && { resume }),
    }));
  }
}

/**
 * Sends the calls of cut streams again, together, until they go on, their consumers have gone, or the server says that they
 * cannot. Never rejects.
 */
export async function goOn(delivery: Delivery, how: How, origins: readonly Origin[], cause: unknown): Promise<void> {
  let waiting = origins;
  let why = cause;
  // whoever waits for a later cut has taken its place
  const gone = new Promise<void>((resolve) => {
    for (const origin of origins) {
      origin.onLeft = () => waiting.some(({ stream }) => !stream.cancelled && !stream.ended) || resolve();
    }
  });
  try {
    for (;;) {
      const attempt = Math.max(...waiting.map((origin) => origin.attempts++));
      for (const { call, stream } of waiting) {
        const event = { functionName: call.name, stream: stream.value, attempt: attempt + 1, cause: why };
        delivery.events.emit('resuming', event);
      }
      await delivery.pause(backoff(attempt), how.signal, gone);
      waiting = waiting.filter(({ stream }) => !stream.ended && !stream.cancelled);
      if (waiting.length === 0) return;
      const settled = await attemptOf(delivery, how, waiting, gone);
      waiting = waiting.filter((origin, place) => {
        const outcome = settled[place];
        if (!outcome || outcome.status === 'fulfilled') return false;
        why = outcome.reason;
        if (passes(outcome.reason)) return true;
        origin.stream.end(outcome.reason);
        return false;
      });
      if (waiting.length === 0) return;
    }
  } catch (error) {
    for (const { stream } of waiting) stream.end(error);
  }
}

/** @throws the reason of the signal, or RemoteError `closed` */
async function attemptOf(
  delivery: Delivery,
  how: How,
  origins: readonly Origin[],
  gone: Promise<void>,
): Promise<Settled[]> {
  const calls = origins.map(({ call }) => call);
  const settled = new Array<Settled>(calls.length);
  try {
    const { greetings } = delivery.sessions;
    const round = how.refresher?.round;
    const added = await delivery.added(how, how.added?.() ?? {});
    const payload = join(origins.map((origin) => origin.again(added)));
    const work = { calls, settled, how: unsettled(how), round };
    const message = delivery.message(work, { payload, places: calls.map((_, place) => place) }, greetings);
    message.continued = origins;
    await Promise.race([delivery.launch(message), gone.then(() => message.abort(closedError()))]);
    // an ordinary result goes on with nothing
    const ended = message.receptions ? [] : origins.filter((_, place) => settled[place]?.status === 'fulfilled');
    for (const { stream } of ended) stream.end(changedError());
  } catch (error) {
    if (!(error instanceof RemoteError && passes(error))) throw error;
    return calls.map(() => ({ status: 'rejected', reason: error }));
  }
  return settled;
}
