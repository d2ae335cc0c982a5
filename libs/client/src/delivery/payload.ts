import { type Call, concat, decodeCalls, encodeCalls, LIMITS, largestArgument } from '@sealwire/core';
import { RemoteError, remoteError } from '../errors.js';
import type { Settled } from '../types.js';

/** Calls that travel together, and their places among those that the caller asked for. */
export interface Parcel {
  readonly payload: Uint8Array;
  readonly places: readonly number[];
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
      const one = encodeOne(call);
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

function encodeOne(call: Call): Uint8Array {
  if (call.name.length > LIMITS.functionName) {
    throw new RemoteError('function_unknown', `The name of a function has at most ${LIMITS.functionName} characters.`);
  }
  return encodeCalls([call]);
}

/** A payload is an array of calls (PROTOCOL.md section 5.5): one head, then the calls. */
function join(payloads: readonly Uint8Array[]): Uint8Array {
  const [only] = payloads;
  if (only && payloads.length === 1) return only;
  const count = payloads.length;
  const head = count < 24 ? [0x80 | count] : count < 256 ? [0x98, count] : [0x99, count >> 8, count & 0xff];
  return concat(Uint8Array.from(head), ...payloads.map((payload) => payload.subarray(1)));
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

/** The calls of those indices, to be sent under another number with the identity that each had first. */
export function withIdentity(
  payload: Uint8Array,
  keep: readonly number[],
  identity: (index: number) => Uint8Array,
  incarnation: Uint8Array,
): Uint8Array {
  const calls = decodeCalls(payload);
  return encodeCalls(
    keep.flatMap((i) =>
      calls.slice(i, i + 1).map((call) => ({ resend: { callId: identity(i), incarnation }, ...call })),
    ),
  );
}
