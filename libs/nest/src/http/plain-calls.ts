import { type Call, decodeCalls, encodeReply, LIMITS, type Outcome, SealwireError } from '@sealwire/core';

/** Calls and outcomes as plaintext, for modules that are not forced (PROTOCOL.md section 5.6). */
export interface PlainFormat {
  readonly contentType: string;
  decode(body: Uint8Array | undefined, parsed: unknown): Call[];
  encode(outcomes: readonly Outcome[]): Uint8Array | string;
}

/** The payloads of sealed calls, without the seal. */
export const CBOR_FORMAT: PlainFormat = {
  contentType: 'application/cbor',
  decode: (body) => decodeCalls(body ?? new Uint8Array(0)),
  encode: (outcomes) => encodeReply({ outcomes }),
};

/** For people with curl: bigints become decimal text, bytes base64, maps objects, sets arrays. */
export const JSON_FORMAT: PlainFormat = {
  contentType: 'application/json',
  decode: (body, parsed) => callsOf(body ? parse(body) : parsed),
  encode: (outcomes) => JSON.stringify({ outcomes: outcomes.map(withoutUndefined) }, jsonValue),
};

function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new SealwireError('bad_payload');
  }
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

/** JSON has no undefined; a function without a result answers null. */
function withoutUndefined(outcome: Outcome): Outcome {
  return outcome.ok && outcome.value === undefined ? { ok: true, value: null } : outcome;
}

function jsonValue(this: unknown, key: string, value: unknown): unknown {
  const original = (this as Record<string, unknown>)[key];
  if (original instanceof Uint8Array) return Buffer.from(original).toString('base64');
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Map) return Object.fromEntries(value);
  return value instanceof Set ? [...value] : value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
