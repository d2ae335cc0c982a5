import { encode, Token, Type } from 'cborg';
import { fromHex } from '../bytes.js';
import { SealwireError } from '../errors.js';
import { LIMITS } from '../limits.js';

/** Tags of the IANA registry that a payload may hold (PROTOCOL.md section 5.5). */
export const TAG = { date: 1, bigint: 2, negativeBigint: 3, set: 258, map: 259 } as const;

/** @throws SealwireError `unsupported_value` that names the path, for what no payload can hold. */
export function encodeValue(value: unknown): Uint8Array {
  const bytes = encode(new Root(value), ENCODE_OPTIONS);
  // the library lends parts of Node's shared Buffer pool
  return bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes);
}

/** Hands the whole value to {@link append}: the library's own walk sorts keys, loses -0 and follows any depth. */
class Root {
  constructor(readonly value: unknown) {}
}

const ENCODE_OPTIONS = {
  typeEncoders: {
    Object: (root: Root) => {
      const out: Token[] = [];
      append(out, root.value, undefined);
      return out;
    },
  },
};

/** A container on the way down to the current value. */
class Scope {
  key: unknown = '';

  constructor(
    readonly container: object,
    readonly parent: Scope | undefined,
    readonly depth: number,
  ) {}
}

const NULL = new Token(Type.null, null);
const UNDEFINED = new Token(Type.undefined, undefined);
const TRUE = new Token(Type.true, true);
const FALSE = new Token(Type.false, false);

function append(out: Token[], value: unknown, scope: Scope | undefined): void {
  switch (typeof value) {
    case 'string':
      out.push(new Token(Type.string, value));
      return;
    case 'number':
      out.push(number(value));
      return;
    case 'boolean':
      out.push(value ? TRUE : FALSE);
      return;
    case 'undefined':
      out.push(UNDEFINED);
      return;
    case 'bigint':
      appendBigint(out, value);
      return;
    case 'object':
      if (value === null) out.push(NULL);
      else appendObject(out, value, scope);
      return;
    default:
      throw unsupported(`a ${typeof value}`, scope);
  }
}

function appendObject(out: Token[], value: object, scope: Scope | undefined): void {
  if (value instanceof Uint8Array) {
    out.push(new Token(Type.bytes, value));
  } else if (Array.isArray(value)) {
    const inner = enter(value, scope, 1);
    out.push(new Token(Type.array, value.length));
    for (let i = 0; i < value.length; i++) {
      inner.key = i;
      append(out, value[i], inner);
    }
  } else if (value instanceof Date) {
    out.push(new Token(Type.tag, TAG.date), number(value.getTime() / 1000));
  } else if (value instanceof Map) {
    const inner = enter(value, scope, 2);
    out.push(new Token(Type.tag, TAG.map), new Token(Type.map, value.size));
    for (const [key, item] of value) {
      inner.key = key;
      append(out, key, inner);
      append(out, item, inner);
    }
  } else if (value instanceof Set) {
    const inner = enter(value, scope, 2);
    out.push(new Token(Type.tag, TAG.set), new Token(Type.array, value.size));
    for (const item of value) append(out, item, inner);
  } else {
    appendProperties(out, value, scope);
  }
}

/** Own enumerable properties, in their order; an object with `toJSON` stands for what that returns. */
function appendProperties(out: Token[], value: object, scope: Scope | undefined): void {
  const inner = enter(value, scope, 1);
  if ('toJSON' in value && typeof value.toJSON === 'function') {
    append(out, value.toJSON(), inner);
    return;
  }
  // promises, errors, regular expressions, typed arrays ...: their own properties don't say what they hold
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  if (kind !== 'Object') throw unsupported(`a value of type ${kind}`, scope);
  const keys = Object.keys(value);
  out.push(new Token(Type.map, keys.length));
  for (const key of keys) {
    inner.key = key;
    if (key === '__proto__') throw unsupported('a property with this name', inner);
    out.push(new Token(Type.string, key));
    append(out, (value as Record<string, unknown>)[key], inner);
  }
}

function number(value: number): Token {
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) return new Token(Type.float, value);
  return new Token(value < 0 ? Type.negint : Type.uint, value);
}

/** Always a bignum, so that it arrives as a bigint whatever its size. */
function appendBigint(out: Token[], value: bigint): void {
  const hex = (value < 0n ? -1n - value : value).toString(16);
  out.push(
    new Token(Type.tag, value < 0n ? TAG.negativeBigint : TAG.bigint),
    new Token(Type.bytes, fromHex(hex.length % 2 ? `0${hex}` : hex)),
  );
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
