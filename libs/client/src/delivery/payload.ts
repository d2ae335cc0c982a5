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

/** Items that may come to a call after it was packed: its identity, a deadline, metadata. */
const LATER_ITEMS = 12 + 2 * LIMITS.metadata;

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
  let items = 1;
  // one call alone is neither too many items nor has the stream of another
  const taken = calls.length > 1 ? new Set<object>() : undefined;
  const close = (): void => {
    if (places.length > 0) parcels.push({ payload: join(encoded), places });
    [encoded, places, length, items] = [[], [], 0, 1];
  };
  calls.forEach((call, place) => {
    try {
      const { payload: one, streams } = encodeOne(call, taken);
      if (streams.size > 0) {
        parcels.push({ payload: one, places: [place], streams });
        return;
      }
      const own = taken ? itemsOf(one) - 1 + LATER_ITEMS : 0;
      const isFull = length + one.length > limit || items + own > LIMITS.payloadItems;
      if (isFull || places.length === LIMITS.batch) close();
      encoded.push(one);
      places.push(place);
      length += one.length;
      items += own;
    } catch (error) {
      settled[place] = { status: 'rejected', reason: remoteError(error) };
    }
  });
  close();
  return parcels;
}

/**
 * @param taken streams of other calls that can be read once, to which its own are added
 * @throws UnsupportedValueError, or RemoteError for a name that is too long
 */
function encodeOne(call: Call, taken?: Set<object>): { payload: Uint8Array; streams: FoundStreams } {
  if (call.name.length > LIMITS.functionName) {
    throw new RemoteError('function_unknown', `The name of a function has at most ${LIMITS.functionName} characters.`);
  }
  const streams = new FoundStreams(taken);
  try {
    return { payload: encodeCalls([call], streams), streams };
  } catch (error) {
    streams.drop(0, error);
    throw error;
  }
}

/** Items of what was encoded: each has one head. */
function itemsOf(encoded: Uint8Array): number {
  let items = 0;
  for (let at = 0; at < encoded.length; items++) {
    const head = encoded[at++] as number;
    const kind = head >> 5;
    let argument = head & 31;
    if (argument >= 24) {
      const end = at + 2 ** (argument - 24);
      for (argument = 0; at < end; at++) argument = argument * 256 + (encoded[at] as number);
    }
    // bytes and texts follow their head
    if (kind === 2 || kind === 3) at += argument;
  }
  return items;
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
