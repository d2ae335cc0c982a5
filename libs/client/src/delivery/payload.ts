import type { Call } from '@sealwire/core';
import { concat, decodeCalls, encodeCalls, FoundStreams, LIMITS, largestArgument } from '@sealwire/core/calls';
import { RemoteError, remoteError } from '../errors.js';
import type { Settled } from '../types.js';
import type { Added } from './how.js';

/** Calls that travel together, and their places among those that the caller asked for. */
export interface Parcel {
  readonly payload: Uint8Array;
  readonly places: readonly number[];
  /** the streams among the arguments of its only call */
  readonly streams?: FoundStreams | undefined;
}

/** Lays over each call what it says beside its arguments. */
export function withAdded(parcels: readonly Parcel[], added: Added): Parcel[] {
  return parcels.map((parcel) => {
    const all = parcel.places.map((_, i) => i);
    return { ...parcel, payload: rewrite(parcel.payload, all, (call) => ({ ...call, ...added })) };
  });
}

/** Tells the streams of calls that are not sent. */
export function dropStreams(parcels: readonly Parcel[], error: unknown): void {
  for (const { streams } of parcels) streams?.drop(0, error);
}

/** The same of calls that were not looked at. */
export function letGo(calls: readonly Call[], error: unknown): void {
  for (const call of calls) {
    try {
      encodeOne(call).streams.drop(0, error);
    } catch {
      // that of a call which cannot be sent is done
    }
  }
}

/**
 * Encodes calls, as many together as fit into a message. One that cannot be sent is rejected in `settled` and takes no other
 * with it.
 *
 * @param limit bytes of a payload; a single call may be longer
 */
export function pack(calls: readonly Call[], limit: number, settled: Settled[]): Parcel[] {
  const parcels: Parcel[] = [];
  let encoded: Uint8Array[] = [];
  let places: number[] = [];
  let length = 0;
  const close = (): void => {
    if (places.length > 0) parcels.push({ payload: join(encoded), places });
    [encoded, places, length] = [[], [], 0];
  };
  calls.forEach((call, place) => {
    try {
      const { payload: one, streams } = encodeOne(call);
      if (streams.size > 0) {
        parcels.push({ payload: one, places: [place], streams });
        return;
      }
      if (places.length === LIMITS.batch || length + one.length > limit) close();
      encoded.push(one);
      places.push(place);
      length += one.length;
    } catch (error) {
      settled[place] = { status: 'rejected', reason: remoteError(error) };
    }
  });
  close();
  return parcels;
}

/** @throws UnsupportedValueError, or RemoteError for a name that is too long */
function encodeOne(call: Call): { payload: Uint8Array; streams: FoundStreams } {
  if (call.name.length > LIMITS.functionName) {
    throw new RemoteError('function_unknown', `The name of a function has at most ${LIMITS.functionName} characters.`);
  }
  const streams = new FoundStreams();
  try {
    return { payload: encodeCalls([call], streams), streams };
  } catch (error) {
    streams.drop(0, error);
    throw error;
  }
}

/** A payload is an array of calls (PROTOCOL.md section 5.5): one head, then the calls. */
export function join(payloads: readonly Uint8Array[]): Uint8Array {
  const [only] = payloads;
  if (only && payloads.length === 1) return only;
  const count = payloads.length;
  const head = count < 24 ? [0x80 | count] : count < 256 ? [0x98, count] : [0x99, count >> 8, count & 0xff];
  return concat(Uint8Array.from(head), ...payloads.map((payload) => payload.subarray(1)));
}

/** Bytes of the largest piece that a payload goes in if streams go with it. */
export function pieceOf(payload: Uint8Array): number {
  return Math.min(payload.length, LIMITS.firstPieceBody);
}

/**
 * @param limit bytes of a frame that the server takes, as it said under seal
 * @param places of the calls of the payload among all
 */
export function tooLarge(
  payload: Uint8Array,
  limit: number,
  calls: readonly Call[],
  places: readonly number[],
): RemoteError {
  const largest = largestArgument(payload);
  const name = largest && calls[places[largest.call] ?? 0]?.name;
  const where = largest ? ` Argument ${largest.argument + 1} of \`${name}\` has ${largest.bytes}.` : '';
  return new RemoteError(
    'too_large',
    `Nothing was sent: the message is larger than the ${limit} bytes that the server takes.${where}`,
  );
}

/** The calls of those indices, written anew as `change` makes them. Their streams stay what they are. */
export function rewrite(
  payload: Uint8Array,
  keep: readonly number[],
  change: (call: Call, index: number) => Call,
): Uint8Array {
  const calls = decodeCalls(payload, { revive: (parts) => new Reference(parts as unknown[]) });
  return encodeCalls(
    keep.flatMap((i) => calls.slice(i, i + 1).map((call) => change(call, i))),
    { replace: (value) => (value instanceof Reference ? value.parts : undefined) },
  );
}

/** What stands for a stream in a payload. */
class Reference {
  constructor(readonly parts: readonly unknown[]) {}
}
