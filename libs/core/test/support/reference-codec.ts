import { fromHex, toHex } from '@sealwire/core';
import { encode, type TagDecoder, Token, Tokenizer, Type, tokensToObject } from 'cborg';
import { readU16, readU32, readU64 } from './bytes.js';

/** The rules of PROTOCOL.md section 5.5 once more, on a library: slow, for small payloads, and without limits of count. */
const TAG = { date: 1, bigint: 2, negativeBigint: 3, set: 258, map: 259 } as const;

/** @throws for anything that section 5.5 refuses: what is read must be written again with the same bytes. */
export function referenceDecode(bytes: Uint8Array): unknown {
  const data = new Uint8Array(bytes);
  const tokenizer = new StrictTokenizer(data, OPTIONS);
  const value: unknown = tokensToObject(tokenizer, OPTIONS);
  if (!tokenizer.done() || typeof value === 'symbol') return refuse();
  const again = referenceEncode(value);
  // JavaScript orders properties that are indexes, so that only the bytes may be compared, not their places
  return same(data, again) || (tokenizer.indexes && same(data.sort(), again.sort())) ? value : refuse();
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export function referenceEncode(value: unknown): Uint8Array {
  return new Uint8Array(encode(new Root(value), ENCODE_OPTIONS));
}

/** Hands the whole value to {@link append}: the library's own walk sorts keys, loses -0 and follows any depth. */
class Root {
  constructor(readonly value: unknown) {}
}

const ENCODE_OPTIONS = {
  typeEncoders: {
    Object: (root: Root) => {
      const out: Token[] = [];
      append(out, root.value);
      return out;
    },
  },
};

function append(out: Token[], value: unknown): void {
  if (typeof value === 'string') out.push(new Token(Type.string, value));
  else if (typeof value === 'number') out.push(number(value));
  else if (typeof value === 'boolean') out.push(new Token(value ? Type.true : Type.false, value));
  else if (value === undefined) out.push(new Token(Type.undefined, undefined));
  else if (value === null) out.push(new Token(Type.null, null));
  else if (typeof value === 'bigint') appendBigint(out, value);
  else if (value instanceof Uint8Array) out.push(new Token(Type.bytes, value));
  else if (Array.isArray(value)) appendAll(out, new Token(Type.array, value.length), value);
  else if (value instanceof Date) out.push(new Token(Type.tag, TAG.date), number(value.getTime() / 1000));
  else if (value instanceof Map) {
    out.push(new Token(Type.tag, TAG.map));
    appendAll(out, new Token(Type.map, value.size), [...value].flat(1));
  } else if (value instanceof Set) {
    out.push(new Token(Type.tag, TAG.set));
    appendAll(out, new Token(Type.array, value.size), [...value]);
  } else {
    const entries = Object.entries(value as object);
    appendAll(out, new Token(Type.map, entries.length), entries.flat(1));
  }
}

function appendAll(out: Token[], head: Token, items: readonly unknown[]): void {
  out.push(head);
  for (const item of items) append(out, item);
}

function number(value: number): Token {
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) return new Token(Type.float, value);
  return new Token(value < 0 ? Type.negint : Type.uint, value);
}

function appendBigint(out: Token[], value: bigint): void {
  const size = value < 0n ? -1n - value : value;
  const hex = size === 0n ? '' : size.toString(16);
  out.push(
    new Token(Type.tag, value < 0n ? TAG.negativeBigint : TAG.bigint),
    new Token(Type.bytes, fromHex(hex.length % 2 ? `0${hex}` : hex)),
  );
}

const TAGS: Record<number, TagDecoder> = {
  [TAG.date]: (content) => {
    const seconds = content();
    if (typeof seconds !== 'number') return refuse();
    // in two parts: for the farthest dates the product would round a millisecond away
    const whole = Math.trunc(seconds);
    return new Date(whole * 1000 + Math.round((seconds - whole) * 1000));
  },
  [TAG.bigint]: (content) => bigint(content()),
  [TAG.negativeBigint]: (content) => -1n - bigint(content()),
  [TAG.set]: (content) => {
    const items = content();
    if (!Array.isArray(items)) return refuse();
    return unique(new Set(items), items);
  },
  [TAG.map]: (content) => {
    const entries = content.entries();
    return unique(new Map(entries), entries);
  },
};

const OPTIONS = {
  allowIndefinite: false,
  allowUndefined: true,
  allowBigInt: true,
  rejectDuplicateMapKeys: true,
  tags: TAGS,
};

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const ASCII_LOOP = 32;
const EMPTY_BYTES = 0x40;

/**
 * The library's tokenizer follows any depth, believes any length, drops a byte-order mark and mends broken UTF-8. This one
 * keeps count of the open containers and refuses before the library recurses or collects anything.
 */
class StrictTokenizer extends Tokenizer {
  /** items still to come in each open container, outermost first */
  private readonly missing: number[] = [1];
  /** whether that container is an object, whose every other item is a key */
  private readonly isObject: boolean[] = [false];
  private afterMapTag = false;
  /** whether a property may be an index */
  indexes = false;

  override next(): Token {
    while (this.missing.at(-1) === 0) {
      this.missing.pop();
      this.isObject.pop();
    }
    const level = this.missing.length - 1;
    const missing = this.missing[level] ?? refuse();
    const token = this.item();
    // an object's items come in pairs, so a key is next while an even number is missing
    if (token.value === '__proto__' && this.isObject[level] && missing % 2 === 0) refuse();
    if (this.isObject[level] && missing % 2 === 0 && /^\d/.test(String(token.value))) this.indexes = true;
    this.missing[level] = missing - 1;
    const { major } = token.type;
    if (major >= Type.array.major && major <= Type.tag.major) this.open(token);
    this.afterMapTag = major === Type.tag.major && token.value === TAG.map;
    return token;
  }

  private item(): Token {
    const head = this.data[this._pos] ?? 0;
    if (head >>> 5 === Type.string.major) return this.text();
    if (head !== EMPTY_BYTES) return super.next();
    // the library hands out one and the same empty array, which would be one key of a Map
    this._pos++;
    return new Token(Type.bytes, new Uint8Array(0), 1);
  }

  private open(token: Token): void {
    const { major } = token.type;
    const items = major === Type.tag.major ? 1 : Number(token.value) * (major === Type.map.major ? 2 : 1);
    if (this.missing.length > 32 || items > this.data.length - this._pos) refuse();
    this.missing.push(items);
    this.isObject.push(major === Type.map.major && !this.afterMapTag);
  }

  private text(): Token {
    const { data, _pos: head } = this;
    const minor = (data[head] ?? 0) & 0x1f;
    let start = head + 1;
    let length = minor;
    if (minor === 24) length = data[start++] ?? 0;
    else if (minor === 25) [length, start] = [readU16(data, start), start + 2];
    else if (minor === 26) [length, start] = [readU32(data, start), start + 4];
    else if (minor === 27) [length, start] = [readU64(data, start), start + 8];
    else if (minor > 27) refuse();
    const end = start + length;
    if (end > data.length) refuse();
    this._pos = end;
    return new Token(Type.string, readText(data, start, end), end - head);
  }
}

function readText(data: Uint8Array, start: number, end: number): string {
  if (end - start >= ASCII_LOOP) return utf8.decode(data.subarray(start, end));
  let text = '';
  for (let i = start; i < end; i++) {
    const code = data[i] ?? 0;
    if (code >= 0x80) return utf8.decode(data.subarray(start, end));
    text += String.fromCharCode(code);
  }
  return text;
}

function bigint(bytes: unknown): bigint {
  if (!(bytes instanceof Uint8Array)) return refuse();
  // through hexadecimal text: adding byte by byte would take quadratic time
  return BigInt(`0x0${toHex(bytes)}`);
}

/** Items that fell together were duplicates. */
function unique<T extends Set<unknown> | Map<unknown, unknown>>(collection: T, items: readonly unknown[]): T {
  return collection.size === items.length ? collection : refuse();
}

function refuse(): never {
  throw new Error('refused');
}
