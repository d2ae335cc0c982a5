import { SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { isBytes, Unsendable } from './cbor.js';
import type { Writer } from './cbor-encode.js';

/** The options of a call, beside name and arguments. */
export interface CallOptions {
  /** set when the call was sent before: its identity, and the incarnation of the server that may have run it */
  readonly resend?: { readonly callId: Uint8Array; readonly incarnation: Uint8Array };
  /** the stream that is gone on with */
  readonly resume?: Resume;
  /** milliseconds that the caller waits, a positive integer */
  readonly deadline?: number;
  /** names in lower case (tokens of RFC 9110) and values, as headers of a request */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The place at which a stream goes on. */
export interface Resume {
  /** 16 bytes, from the first piece of the result that was cut */
  readonly run: Uint8Array;
  /** of the last item that arrived; the offset for a stream of bytes */
  readonly position: unknown;
  /** of the bytes that are gone on with, as their handler stated it */
  readonly version?: string;
}

/** Keys of the map on the wire, ascending. */
const KEY = { callId: 0, incarnation: 1, resume: 2, deadline: 3, metadata: 4 } as const;
const NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;
/** Neither controls nor what only half of a character is. */
const VALUE = /^[\t\x20-\x7e\u00a0-\u{10ffff}]*$/u;

export function isOrdinary({ resend, resume, deadline, metadata }: CallOptions): boolean {
  return !resend && !resume && deadline === undefined && !metadata;
}

/** Writes the third part of a call. @throws Unsendable */
export function writeOptions(writer: Writer, options: CallOptions, depth: number): void {
  const { resend, resume, deadline, metadata } = options;
  const entries: (readonly [keyof typeof KEY, unknown])[] = [];
  if (resend) entries.push(['callId', resend.callId], ['incarnation', resend.incarnation]);
  if (resume) {
    const { run, position, version } = resume;
    entries.push(['resume', version === undefined ? [run, position] : [run, position, version]]);
  }
  if (deadline !== undefined) entries.push(['deadline', deadline]);
  if (metadata) entries.push(['metadata', metadata]);
  writer.openMap(entries.length, depth);
  for (const [name, value] of entries) {
    const fault = CHECKS[KEY[name]]?.(value);
    if (fault) throw new Unsendable(fault);
    writer.item(KEY[name], depth + 2);
    try {
      writer.item(value, depth + 2);
    } catch (thrown) {
      throw Unsendable.below(thrown, options, name);
    }
  }
}

/** @throws SealwireError `bad_payload` */
export function readOptions(map: unknown): CallOptions {
  if (!(map instanceof Map) || optionFault(map)) throw new SealwireError('bad_payload');
  const [run, position, version] = (map.get(KEY.resume) ?? []) as [Uint8Array, unknown, string?];
  return {
    ...(map.has(KEY.callId) && { resend: { callId: map.get(KEY.callId), incarnation: map.get(KEY.incarnation) } }),
    ...(run && { resume: version === undefined ? { run, position } : { run, position, version } }),
    ...(map.has(KEY.deadline) && { deadline: map.get(KEY.deadline) }),
    ...(map.has(KEY.metadata) && { metadata: map.get(KEY.metadata) }),
  };
}

/** @returns what is wrong with the options of a call, undefined if nothing is */
function optionFault(map: ReadonlyMap<unknown, unknown>): string | undefined {
  let before = -1;
  for (const [key, value] of map) {
    if (typeof key !== 'number' || key <= before) return 'an option out of order';
    before = key;
    const fault = CHECKS[key]?.(value) ?? (key in CHECKS ? undefined : 'an unknown option');
    if (fault) return fault;
  }
  if (map.size === 0) return 'options without one';
  return map.has(KEY.callId) === map.has(KEY.incarnation) ? undefined : 'an identity without its incarnation';
}

const CHECKS: Readonly<Record<number, (value: unknown) => string | undefined>> = {
  [KEY.callId]: (value) => (isBytes(value, SIZE.callId) ? undefined : 'an identity of another length'),
  [KEY.incarnation]: (value) => (isBytes(value, SIZE.incarnation) ? undefined : 'an incarnation of another length'),
  [KEY.resume]: (value) => {
    const [run, , version] = Array.isArray(value) && [2, 3].includes(value.length) ? value : [];
    if (!isBytes(run, SIZE.runId)) return 'a run id of another length';
    return (value as unknown[]).length === 2 || typeof version === 'string' ? undefined : 'a version that is no text';
  },
  [KEY.deadline]: (value) =>
    Number.isInteger(value) && (value as number) > 0 && (value as number) <= LIMITS.deadline
      ? undefined
      : `a deadline that is no integer from 1 to ${LIMITS.deadline}`,
  [KEY.metadata]: metadataFault,
};

function metadataFault(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'metadata that is no object';
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return 'metadata that is no object';
  const entries = Object.entries(value as Record<string, unknown>);
  if (entries.length > LIMITS.metadata) return `metadata of more than ${LIMITS.metadata} names`;
  for (const [name, text] of entries) {
    if (name.length > LIMITS.metadataName || !NAME.test(name)) {
      return `metadata \`${name.slice(0, LIMITS.metadataName)}\`, whose name is no lower-case token of 1 to ${LIMITS.metadataName} characters`;
    }
    if (typeof text !== 'string' || text.length > LIMITS.metadataValue || !VALUE.test(text)) {
      return `metadata \`${name}\` that is no printable text of up to ${LIMITS.metadataValue} characters`;
    }
  }
  return undefined;
}
