import { fromHex } from './bytes.js';
import { CborWriter, MAJOR, SIMPLE } from './cbor-writer.js';
import { SealwireError } from './errors.js';
import { LIMITS } from './limits.js';

/** Tags of the IANA registry that a payload may hold (PROTOCOL.md section 5.5). */
export const TAG = { date: 1, bigint: 2, negativeBigint: 3, set: 258, map: 259 } as const;

/** @throws SealwireError `unsupported_value` that names the path, for what no payload can hold. */
export function encodeValue(value: unknown): Uint8Array {
  const out = new CborWriter();
  append(out, value, undefined);
  return out.written();
}

/** A container on the way down to the current value. */
class Scope {
  key: unknown = '';

  constructor(
    readonly container: object,
    readonly parent: Scope | undefined,
    readonly depth: number,
  ) {}
}

function append(out: CborWriter, value: unknown, scope: Scope | undefined): void {
  switch (typeof value) {
    case 'string':
      out.text(value);
      return;
    case 'number':
      out.number(value);
      return;
    case 'boolean':
      out.byte(value ? SIMPLE.true : SIMPLE.false);
      return;
    case 'undefined':
      out.byte(SIMPLE.undefined);
      return;
    case 'bigint':
      appendBigint(out, value);
      return;
    case 'object':
      if (value === null) out.byte(SIMPLE.null);
      else appendObject(out, value, scope);
      return;
    default:
      throw unsupported(`a ${typeof value}`, scope);
  }
}

function appendObject(out: CborWriter, value: object, scope: Scope | undefined): void {
  if (value instanceof Uint8Array) {
    out.bytes(value);
  } else if (Array.isArray(value)) {
    const inner = enter(value, scope, 1);
    out.head(MAJOR.array, value.length);
    for (let i = 0; i < value.length; i++) {
      inner.key = i;
      append(out, value[i], inner);
    }
  } else if (value instanceof Date) {
    out.head(MAJOR.tag, TAG.date);
    out.number(value.getTime() / 1000);
  } else if (value instanceof Map) {
    const inner = enter(value, scope, 2);
    out.head(MAJOR.tag, TAG.map);
    out.head(MAJOR.map, value.size);
    for (const [key, item] of value) {
      inner.key = key;
      append(out, key, inner);
      append(out, item, inner);
    }
  } else if (value instanceof Set) {
    const inner = enter(value, scope, 2);
    out.head(MAJOR.tag, TAG.set);
    out.head(MAJOR.array, value.size);
    for (const item of value) append(out, item, inner);
  } else {
    appendProperties(out, value, scope);
  }
}

/** Own enumerable properties, in their order; an object with `toJSON` stands for what that returns. */
function appendProperties(out: CborWriter, value: object, scope: Scope | undefined): void {
  const inner = enter(value, scope, 1);
  if ('toJSON' in value && typeof value.toJSON === 'function') {
    append(out, value.toJSON(), inner);
    return;
  }
  // promises, errors, regular expressions, typed arrays ...: their own properties don't say what they hold
  const kind = Object.prototype.toString.call(value);
  if (kind !== '[object Object]') throw unsupported(`a value of type ${kind.slice(8, -1)}`, scope);
  const keys = Object.keys(value);
  out.head(MAJOR.map, keys.length);
  for (const key of keys) {
    inner.key = key;
    if (key === '__proto__') throw unsupported('a property with this name', inner);
    out.text(key);
    append(out, (value as Record<string, unknown>)[key], inner);
  }
}

/** Always a bignum, so that it arrives as a bigint whatever its size. */
function appendBigint(out: CborWriter, value: bigint): void {
  const hex = (value < 0n ? -1n - value : value).toString(16);
  out.head(MAJOR.tag, value < 0n ? TAG.negativeBigint : TAG.bigint);
  out.bytes(fromHex(hex.length % 2 ? `0${hex}` : hex));
}

function enter(container: object, parent: Scope | undefined, levels: number): Scope {
  const depth = (parent?.depth ?? 0) + levels;
  // bounds a cycle too, though not one that branches, hence the search; the path is short
  if (depth > LIMITS.cborDepth) throw unsupported(`nested deeper than ${LIMITS.cborDepth} levels`, parent);
  for (let scope = parent; scope; scope = scope.parent) {
    if (scope.container === container) throw unsupported('a reference to what holds it', parent);
  }
  return new Scope(container, parent, depth);
}

function unsupported(what: string, scope: Scope | undefined): SealwireError {
  const path: string[] = [];
  for (let s = scope; s; s = s.parent) path.unshift(String(s.key));
  return new SealwireError('unsupported_value', `${path.join('.') || 'The value'} cannot be sent: ${what}.`);
}
