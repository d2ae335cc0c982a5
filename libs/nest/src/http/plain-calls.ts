import { Logger } from '@nestjs/common';
import { type Call, decodeCalls, encodeReply, LIMITS, type Outcome, SealwireError } from '@sealwire/core';
import { INTERNAL } from '../functions/outcome.js';

/** Calls and outcomes as plaintext, for modules that are not forced (PROTOCOL.md appendix D). */
export interface PlainFormat {
  readonly contentType: string;
  decode(body: Uint8Array | undefined, parsed: unknown): Call[];
  encode(outcomes: readonly Outcome[]): Uint8Array | string;
}

/** The payloads of sealed calls, without the seal. */
export const CBOR_FORMAT: PlainFormat = {
  contentType: 'application/cbor',
  decode: (body) => decodeCalls(body ?? new Uint8Array(0), { bytes: bufferOf }),
  encode: (outcomes) => encodeReply({ outcomes }, instead),
};

/** For people with curl: bigints become decimal text, bytes base64, maps objects, sets arrays. */
export const JSON_FORMAT: PlainFormat = {
  contentType: 'application/json',
  // what the platform parsed is looked at again: not every parser refuses `__proto__`
  decode: (body, parsed) => callsOf(parse(() => (body ? utf8.decode(body) : JSON.stringify(parsed)))),
  encode: (outcomes) => `{"outcomes":[${outcomes.map(encodeOutcome).join(',')}]}`,
};

/** A copy of its own, as a Buffer: still a Uint8Array, and class-transformer keeps it whole. */
export function bufferOf(view: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(view.length);
  copy.set(view);
  return copy;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function parse(read: () => string): unknown {
  try {
    const text = read();
    measure(text);
    return JSON.parse(text, withoutPrototype);
  } catch {
    throw new SealwireError('bad_payload');
  }
}

/** The object around the calls is a level that sealed calls do not have. */
const DEPTH = LIMITS.cborDepth + 1;
const BETWEEN = ' \t\n\r,:';

/** Refuses what the payload of sealed calls must not hold either, before anything is made of it. One pass over the text. */
function measure(text: string): void {
  let [depth, items, at] = [0, 0, 0];
  while (at < text.length) {
    const character = text[at++] as string;
    if (BETWEEN.includes(character)) continue;
    if (character === ']' || character === '}') {
      depth--;
      continue;
    }
    if (++items > LIMITS.payloadItems) throw new SealwireError('bad_payload');
    if (character === '[' || character === '{') {
      if (++depth > DEPTH) throw new SealwireError('bad_payload');
    } else if (character === '"') {
      while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
      at++;
    } else {
      while (at < text.length && !BETWEEN.includes(text[at] as string) && !']}'.includes(text[at] as string)) at++;
    }
  }
}

/** A key that a careless copy would take for the prototype; the payload of sealed calls refuses it too. */
function withoutPrototype(key: string, value: unknown): unknown {
  if (key === '__proto__') throw new SealwireError('bad_payload');
  return value;
}

function callsOf(parsed: unknown): Call[] {
  const calls = isRecord(parsed) ? parsed.calls : undefined;
  if (!Array.isArray(calls) || calls.length === 0 || calls.length > LIMITS.batch)
    throw new SealwireError('bad_payload');
  return calls.map((call: unknown) => {
    const { name, args = [] } = isRecord(call) ? call : {};
    if (typeof name !== 'string' || !name || name.length > LIMITS.functionName || !Array.isArray(args)) {
      throw new SealwireError('bad_payload');
    }
    return { name, args };
  });
}

/** A value that cannot be carried fails its own call only. */
function instead(error: unknown): Outcome {
  new Logger('Sealwire').error(error);
  return INTERNAL;
}

function encodeOutcome(outcome: Outcome): string {
  try {
    return JSON.stringify(withoutUndefined(outcome), jsonValue);
  } catch (error) {
    return JSON.stringify(instead(error));
  }
}

/** JSON has no undefined; a function without a result answers null. */
function withoutUndefined(outcome: Outcome): Outcome {
  return outcome.ok && outcome.value === undefined ? { ok: true, value: null } : outcome;
}

function jsonValue(this: unknown, key: string, value: unknown): unknown {
  const original = (this as Record<string, unknown>)[key];
  if (original instanceof Uint8Array) return Buffer.from(original).toString('base64');
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, item]) => [keyText(name), item]));
  return value instanceof Set ? [...value] : value;
}

/** Only what has one text: objects would all be the same key. */
function keyText(key: unknown): string {
  if (typeof key === 'string') return key;
  if (typeof key === 'number' || typeof key === 'bigint' || typeof key === 'boolean') return String(key);
  if (key instanceof Date) return key.toJSON();
  throw new TypeError(`JSON cannot carry a Map with ${key === null ? 'null' : `a key of type ${typeof key}`}.`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
