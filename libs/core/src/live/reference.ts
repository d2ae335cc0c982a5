import { SealwireError } from '../errors.js';
import { LIMITS } from '../limits.js';
import type { StreamInfo, StreamKind } from './sources.js';

/** What a property of the info is, and where it may stand. */
const PROPERTIES: Readonly<Record<keyof StreamInfo, { in: readonly StreamKind[]; is(value: unknown): boolean }>> = {
  resumable: { in: ['items', 'bytes', 'file'], is: (value) => value === true },
  version: { in: ['bytes', 'file'], is: isText },
  offset: { in: ['bytes', 'file'], is: isCount },
  name: { in: ['file'], is: isText },
  type: { in: ['file'], is: isText },
  size: { in: ['file'], is: isCount },
  modified: { in: ['file'], is: (value) => value instanceof Date },
};

/** @throws SealwireError `bad_payload` for anything but what `OutgoingStreams.replace` gives */
export function readReference(reference: unknown): { kind: StreamKind; k: number; info: StreamInfo } {
  if (!Array.isArray(reference) || reference.length < 2 || reference.length > 3) return refuse();
  const [kind, k, info = {}] = reference as [unknown, unknown, unknown?];
  if (kind !== 'items' && kind !== 'bytes' && kind !== 'file') return refuse();
  if (!isCount(k) || (k as number) > 0xffff) return refuse();
  if (typeof info !== 'object' || info === null || Object.getPrototypeOf(info) !== Object.prototype) return refuse();
  for (const [name, value] of Object.entries(info)) {
    const property = Object.hasOwn(PROPERTIES, name) ? PROPERTIES[name as keyof StreamInfo] : undefined;
    if (!property?.in.includes(kind) || !property.is(value)) return refuse();
  }
  const named = info as StreamInfo;
  if (kind === 'file' && (named.name === undefined || named.type === undefined)) return refuse();
  return { kind, k: k as number, info: named };
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value.length <= LIMITS.streamText;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function refuse(): never {
  throw new SealwireError('bad_payload');
}
