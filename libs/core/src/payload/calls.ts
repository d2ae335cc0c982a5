import { type SealedStatus, SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { decodeValue } from './cbor-decode.js';
import { encodeValue } from './cbor-encode.js';

export { decodeValue, encodeValue };

/** One call of a remote function. */
export type Call = {
  readonly name: string;
  readonly args: readonly unknown[];
  /** set when the call was sent before: its identity, and the incarnation of the server that may have run it */
  readonly resend?: { readonly callId: Uint8Array; readonly incarnation: Uint8Array };
};

/** What became of one call. */
export type Outcome =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string; readonly details?: unknown };

/** What a whole message is answered with instead of outcomes. */
export type MessageStatus =
  | { readonly status: Exclude<SealedStatus, 'lane_moved'> }
  | {
      readonly status: 'lane_moved';
      readonly lane: number;
      readonly known: 'never_ran' | 'ran' | 'unknown';
      readonly incarnation: Uint8Array;
    };

export type Reply =
  | { readonly outcomes: readonly Outcome[] }
  | MessageStatus
  /** the result frame of the first calls that a frame in lane 0 asked for */
  | { readonly first: Uint8Array };

// Payloads are arrays with a place for each part (PROTOCOL.md section 5.5): no field names travel in every call.
const OUTCOMES = 0;
const STATUS = 1;
const FIRST = 2;
const VALUE = 0;
const ERROR = 1;

export function encodeCalls(calls: readonly Call[]): Uint8Array {
  return encodeValue(
    calls.map(({ name, args, resend }) => (resend ? [name, args, resend.callId, resend.incarnation] : [name, args])),
  );
}

export function decodeCalls(bytes: Uint8Array): Call[] {
  return batch(array(decodeValue(bytes))).map(decodeCall);
}

export function encodeReply(reply: Reply): Uint8Array {
  if ('outcomes' in reply) return encodeValue([OUTCOMES, ...reply.outcomes.map(encodeOutcome)]);
  if ('first' in reply) return encodeValue([FIRST, reply.first]);
  if (reply.status !== 'lane_moved') return encodeValue([STATUS, reply.status]);
  return encodeValue([STATUS, reply.status, reply.lane, reply.known, reply.incarnation]);
}

export function decodeReply(bytes: Uint8Array): Reply {
  const [kind, ...rest] = array(decodeValue(bytes));
  if (kind === OUTCOMES) return { outcomes: batch(rest).map(decodeOutcome) };
  if (kind === STATUS) return decodeStatus(rest);
  if (kind === FIRST && rest.length === 1 && rest[0] instanceof Uint8Array) return { first: rest[0] };
  return refuse();
}

function decodeCall(item: unknown): Call {
  const parts = array(item);
  const [name, args, callId, incarnation] = parts;
  if (typeof name !== 'string' || name.length === 0 || name.length > LIMITS.functionName) return refuse();
  if (parts.length === 2) return { name, args: array(args) };
  if (parts.length !== 4) return refuse();
  const resend = { callId: sized(callId, SIZE.callId), incarnation: sized(incarnation, SIZE.incarnation) };
  return { name, args: array(args), resend };
}

function encodeOutcome(outcome: Outcome): unknown[] {
  if (outcome.ok) return [VALUE, outcome.value];
  const { code, message, details } = outcome;
  return details === undefined ? [ERROR, code, message] : [ERROR, code, message, details];
}

function decodeOutcome(item: unknown): Outcome {
  const parts = array(item);
  if (parts[0] === VALUE && parts.length === 2) return { ok: true, value: parts[1] };
  const [kind, code, message, details] = parts;
  if (kind !== ERROR || typeof code !== 'string' || typeof message !== 'string') return refuse();
  if (parts.length === 3) return { ok: false, code, message };
  return parts.length === 4 ? { ok: false, code, message, details } : refuse();
}

// a record, so that the compiler misses a status that is added elsewhere
const PLAIN_STATUS: Record<Exclude<SealedStatus, 'lane_moved'>, true> = {
  number_conflict: true,
  number_too_old: true,
  running: true,
  result_gone: true,
  outcome_unknown: true,
  session_ended: true,
  busy: true,
};

function decodeStatus(parts: readonly unknown[]): MessageStatus {
  const [status, lane, known, incarnation] = parts;
  if (status === 'lane_moved' && parts.length === 4) {
    if (typeof lane !== 'number' || !Number.isInteger(lane) || lane < 0 || lane >= 2 ** 32) return refuse();
    if (known !== 'never_ran' && known !== 'ran' && known !== 'unknown') return refuse();
    return { status, lane, known, incarnation: sized(incarnation, SIZE.incarnation) };
  }
  return parts.length === 1 && isPlainStatus(status) ? { status } : refuse();
}

function isPlainStatus(status: unknown): status is Exclude<SealedStatus, 'lane_moved'> {
  return typeof status === 'string' && Object.hasOwn(PLAIN_STATUS, status);
}

function array(value: unknown): unknown[] {
  return Array.isArray(value) ? value : refuse();
}

function batch(items: unknown[]): unknown[] {
  return items.length > 0 && items.length <= LIMITS.batch ? items : refuse();
}

function sized(value: unknown, length: number): Uint8Array {
  return value instanceof Uint8Array && value.length === length ? value : refuse();
}

function refuse(): never {
  throw new SealwireError('bad_payload');
}
