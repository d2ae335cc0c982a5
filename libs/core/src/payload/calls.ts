import { type SealedStatus, SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { type CallOptions, isOrdinary, readOptions, writeOptions } from './call-options.js';
import { type EncodeOptions, isBytes, type Replace, Unsendable, UnsupportedValueError } from './cbor.js';
import { type DecodeOptions, decodeCounted, decodeValue, type Revive } from './cbor-decode.js';
import { encodeValue, type Writer, write } from './cbor-encode.js';

export {
  type DecodeOptions,
  decodeValue,
  type EncodeOptions,
  encodeValue,
  type Replace,
  type Revive,
  UnsupportedValueError,
};

/** One call of a remote function. */
export type Call = { readonly name: string; readonly args: readonly unknown[] } & CallOptions;

/** The outcome of one call. */
export type Outcome =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string; readonly details?: unknown };

/** The answer to a whole message in place of outcomes. */
export type MessageStatus =
  | { readonly status: Exclude<SealedStatus, 'lane_moved'> }
  | {
      readonly status: 'lane_moved';
      readonly lane: number;
      readonly known: 'never_ran' | 'ran' | 'unknown';
      readonly incarnation: Uint8Array;
    };

/** The content of a result frame: an outcome for each call, the sealed result of a first call, or a status. */
export type Reply =
  | { readonly outcomes: readonly Outcome[] }
  /** the sealed result frame of a first call that was asked for */
  | { readonly first: Uint8Array }
  | MessageStatus;

// Payloads are arrays with a place for each part (PROTOCOL.md section 5.5): no field names travel in every call.
const OUTCOMES = 0;
const STATUS = 1;
const FIRST = 2;
const VALUE = 0;
const ERROR = 1;

/** Items that the identity of a call adds when it is sent again: a tag, a map of two. */
const RESEND_ITEMS = 6;
/** Items of a refusal behind the first one: kind, code, message. */
const REFUSAL_ITEMS = 3;

/**
 * Writes the payload of a message of calls (PROTOCOL.md section 5.5).
 *
 * @param calls 1 to {@link LIMITS}.batch calls
 * @throws RangeError for none, or more than {@link LIMITS}.batch
 * @throws UnsupportedValueError that names call, argument and the place in it
 * @example
 * encodeCalls([{ name: 'pay', args: [{ lines: [1n] }] }]);
 */
export function encodeCalls(calls: readonly Call[], options?: EncodeOptions): Uint8Array {
  if (calls.length === 0 || calls.length > LIMITS.batch)
    throw new RangeError(`one message holds 1 to ${LIMITS.batch} calls`);
  return write((writer) => {
    const first = calls.filter(({ resend }) => !resend).length;
    // what can be sent once can be sent again
    writer.limit -= RESEND_ITEMS * first;
    writer.open(calls.length, 0);
    for (let i = 0; i < calls.length; i++) writeCall(writer, calls[i] as Call, i);
  }, options);
}

function writeCall(writer: Writer, call: Call, index: number): void {
  const { name, args } = call;
  let argument: number | undefined;
  try {
    if (!isName(name)) throw new Unsendable(`a name has 1 to ${LIMITS.functionName} characters`);
    const ordinary = isOrdinary(call);
    writer.open(ordinary ? 2 : 3, 1);
    writer.item(name, 2);
    writer.open(args.length, 2);
    for (argument = 0; argument < args.length; argument++) writer.item(args[argument], 3);
    argument = undefined;
    if (!ordinary) writeOptions(writer, call, 2);
  } catch (thrown) {
    const subject = argument === undefined ? 'The call of' : `Argument ${argument + 1} of`;
    throw new UnsupportedValueError(`${subject} \`${name}\``, thrown, index, argument);
  }
}

/**
 * Finds the argument that takes most bytes of encoded calls. It returns undefined if there is no argument.
 *
 * @returns places of the call and of the argument, from 0, and the argument's length in bytes
 * @example
 * largestArgument(encodeCalls([{ name: 'save', args: ['id', new Uint8Array(1000)] }])); // { call: 0, argument: 1, bytes: 1003 }
 */
export function largestArgument(
  payload: Uint8Array,
): { readonly call: number; readonly argument: number; readonly bytes: number } | undefined {
  let largest: { call: number; argument: number; bytes: number } | undefined;
  for (const [call, { args }] of decodeCalls(payload, { revive: (reference) => reference }).entries()) {
    for (const [argument, value] of args.entries()) {
      const bytes = encodeValue(value).length;
      if (!largest || bytes > largest.bytes) largest = { call, argument, bytes };
    }
  }
  return largest;
}

/**
 * Reads the payload of a message of calls.
 *
 * @throws SealwireError `bad_payload` for anything but 1 to {@link LIMITS}.batch calls
 * @example
 * const [call] = decodeCalls(encodeCalls([{ name: 'pay', args: [5n] }])); // { name: 'pay', args: [5n] }
 */
export function decodeCalls(bytes: Uint8Array, options?: DecodeOptions): Call[] {
  return batch(array(decodeValue(bytes, options))).map(decodeCall);
}

/**
 * Writes one outcome, to be stored and put into replies later, or to be the unit of a live result.
 *
 * @throws UnsupportedValueError if the value or the details cannot be sent
 * @example
 * const stored = encodeOutcome({ ok: true, value: 200n });
 * encodeReply({ outcomes: [stored] });
 */
export function encodeOutcome(outcome: Outcome, options?: EncodeOptions): Uint8Array {
  return write((writer) => writeOutcome(writer, outcome), options);
}

/**
 * Reads an outcome of its own, as a live result holds it.
 *
 * @throws SealwireError `bad_payload`
 * @example
 * decodeOutcome(encodeOutcome({ ok: true, value: 200n })); // { ok: true, value: 200n }
 */
export function decodeOutcome(bytes: Uint8Array, options?: DecodeOptions): Outcome {
  return readOutcome(decodeValue(bytes, options));
}

/**
 * Writes the payload of a result: one outcome for each call in order, or a status for the whole message.
 *
 * @param replace gives what stands for an outcome that cannot be sent; the other outcomes stay as they are
 * @param options of the values in outcomes
 * @throws UnsupportedValueError if an outcome cannot be sent and nothing stands for it
 * @example
 * encodeReply({ outcomes: [{ ok: true, value: 200n }] });
 * encodeReply({ status: 'busy' });
 */
export function encodeReply(
  reply: Exclude<Reply, { outcomes: unknown }> | { readonly outcomes: readonly (Outcome | Uint8Array)[] },
  replace?: (error: UnsupportedValueError, index: number) => Outcome,
  options?: EncodeOptions,
): Uint8Array {
  if ('first' in reply) return encodeValue([FIRST, reply.first]);
  if ('outcomes' in reply) return encodeOutcomes(reply.outcomes, replace, options);
  if (reply.status !== 'lane_moved') return encodeValue([STATUS, reply.status]);
  return encodeValue([STATUS, reply.status, reply.lane, reply.known, reply.incarnation]);
}

function encodeOutcomes(
  outcomes: readonly (Outcome | Uint8Array)[],
  replace: ((error: UnsupportedValueError, index: number) => Outcome) | undefined,
  options: EncodeOptions | undefined,
): Uint8Array {
  return write((writer) => {
    const { limit } = writer;
    writer.open(outcomes.length + 1, 0);
    writer.item(OUTCOMES, 1);
    outcomes.forEach((outcome, i) => {
      const left = outcomes.length - 1 - i;
      // a refusal of each later one still has its place
      writer.limit = limit - REFUSAL_ITEMS * (left + 1);
      writer.attempt(
        () => writeOutcome(writer, outcome),
        (thrown) => {
          const error =
            thrown instanceof UnsupportedValueError ? thrown : new UnsupportedValueError('The result', thrown);
          if (!replace) throw error;
          writer.limit = limit - REFUSAL_ITEMS * left;
          writeOutcome(writer, replace(error, i));
        },
      );
    });
  }, options);
}

function writeOutcome(writer: Writer, outcome: Outcome | Uint8Array): void {
  if (outcome instanceof Uint8Array) {
    writer.encoded(outcome, decodeCounted(outcome).items);
    return;
  }
  try {
    const parts = outcomeParts(outcome);
    writer.open(parts.length, 1);
    for (const part of parts) writer.item(part, 2);
  } catch (thrown) {
    throw new UnsupportedValueError(outcome.ok ? 'The result' : 'The error', thrown);
  }
}

/**
 * Reads the payload of a result.
 *
 * @throws SealwireError `bad_payload` for anything but a reply
 * @example
 * const reply = decodeReply(encodeReply({ outcomes: [{ ok: false, code: 'not_found', message: 'No such account.' }] }));
 * if ('outcomes' in reply) console.log(reply.outcomes.length);
 */
export function decodeReply(bytes: Uint8Array, options?: DecodeOptions): Reply {
  const [kind, ...rest] = array(decodeValue(bytes, options));
  if (kind === OUTCOMES) return { outcomes: batch(rest).map(readOutcome) };
  if (kind === STATUS) return decodeStatus(rest);
  if (kind === FIRST && rest.length === 1 && isBytes(rest[0])) return { first: rest[0] };
  return refuse();
}

function decodeCall(item: unknown): Call {
  const parts = array(item);
  const [name, args, options] = parts;
  if (!isName(name)) return refuse();
  if (parts.length === 2) return { name, args: array(args) };
  return parts.length === 3 ? { name, args: array(args), ...readOptions(options) } : refuse();
}

function isName(name: unknown): name is string {
  return typeof name === 'string' && name.length > 0 && name.length <= LIMITS.functionName;
}

function outcomeParts(outcome: Outcome): unknown[] {
  if (outcome.ok) return [VALUE, outcome.value];
  const { code, details } = outcome;
  // a message that was cut inside a character still reaches the caller
  const message = outcome.message.replace(/\p{Surrogate}/gu, '\uFFFD');
  return details === undefined ? [ERROR, code, message] : [ERROR, code, message, details];
}

function readOutcome(item: unknown): Outcome {
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
  return isBytes(value, length) ? value : refuse();
}

function refuse(): never {
  throw new SealwireError('bad_payload');
}
