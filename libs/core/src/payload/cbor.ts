import { SealwireError, thrownText } from '../errors.js';
import { LIMITS } from '../limits.js';

/** Tags of the IANA registry that a payload may hold (PROTOCOL.md section 5.5). */
export const TAG = { date: 1, bigint: 2, negativeBigint: 3, stream: 27, set: 258, map: 259 } as const;

/** How a value is written. */
export interface EncodeOptions {
  /**
   * Finds streams (`OutgoingStreams.replace`).
   * @default a stream cannot be sent
   */
  readonly replace?: Replace | undefined;
}

/**
 * Gives what stands in tag 27 for a value that is a stream, undefined for every other value. It is not asked for plain objects that
 * have no async iterator.
 */
export type Replace = (value: object) => readonly unknown[] | undefined;

/** A buffer in which a float becomes bytes and back. */
export const scratch = new DataView(new ArrayBuffer(8));

/** @returns bytes of a head with that integer */
export function headSize(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 0x100) return 2;
  if (argument < 0x1_0000) return 3;
  return argument < 0x1_0000_0000 ? 5 : 9;
}

/** The other numbers are floats. */
export function isInteger(value: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

/** @returns bytes of the shortest float that keeps the value */
export function floatSize(value: number): 2 | 4 | 8 {
  if (!Number.isFinite(value)) return 2;
  if (Math.fround(value) !== value) return 8;
  scratch.setFloat32(0, value);
  // half precision has 10 bits of fraction and counts in steps of 2^-24
  const half = (scratch.getUint16(2) & 0x1fff) === 0 && Math.abs(value) <= 65_504 && Number.isInteger(value * 2 ** 24);
  return half ? 2 : 4;
}

/** Leaves the shortest float that keeps the value at the start of {@link scratch}. @returns its bytes */
export function shortestFloat(value: number): 2 | 4 | 8 {
  const size = floatSize(value);
  if (size === 2) scratch.setUint16(0, halfBits(value));
  else if (size === 4) scratch.setFloat32(0, value);
  else scratch.setFloat64(0, value);
  return size;
}

/** The bits of a value that half precision keeps. */
function halfBits(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  // below the smallest normal number the fraction counts steps of 2^-24
  if (size < 2 ** -14) return sign | (size * 2 ** 24);
  scratch.setFloat32(0, size);
  return sign | ((scratch.getUint32(0) >>> 13) - (112 << 10));
}

type WriteText = (this: Uint8Array, text: string, offset: number) => number;
/** Node's own conversion costs half of the portable one, which needs a view of the buffer for each text. */
const { utf8Write } = (globalThis as { Buffer?: { prototype: { utf8Write?: WriteText } } }).Buffer?.prototype ?? {};
const encoder = new TextEncoder();

/** Writes UTF-8, a replacement mark for each lone surrogate. @returns bytes written */
export function writeText(buffer: Uint8Array, text: string, offset: number): number {
  return utf8Write ? utf8Write.call(buffer, text, offset) : encoder.encodeInto(text, buffer.subarray(offset)).written;
}

const DIGITS = /^\d{1,10}$/;

/**
 * Whether an engine hashes this key without a secret, so that a peer can choose many that fall into one bucket of a Map.
 * V8 does so with numbers and bigints, and older versions (CVE-2026-21717) with text that could be an index of an array.
 * All other text is hashed with a seed that Node draws at its start.
 */
function isNumeric(key: unknown): boolean {
  if (typeof key === 'string') return DIGITS.test(key);
  return typeof key === 'number' || typeof key === 'bigint';
}

/** Counts the keys of one map, or the items of one set. */
export class KeyCount {
  #numeric = 0;

  /** @returns what is wrong with the next key, undefined if nothing is */
  add(key: unknown): string | undefined {
    if (isNumeric(key) && ++this.#numeric > LIMITS.numericKeys) {
      return `more than ${LIMITS.numericKeys} numbers, bigints or texts of digits in one collection`;
    }
    return typeof key === 'string' ? keyFault(key) : undefined;
  }
}

/** @returns what is wrong with a text that is a key, undefined if nothing is */
export function keyFault(key: string): string | undefined {
  return key.length > LIMITS.keyText ? `a key of more than ${LIMITS.keyText} characters` : undefined;
}

/** The keys of one Map, or the items of one Set. */
export class Keys {
  private readonly count = new KeyCount();
  private readonly scalars = new Set<unknown>();

  /** The form in which the next key is sent. */
  next(key: unknown): unknown {
    const stand = typeof key === 'object' && key !== null ? standIn(key) : key;
    const fault = this.count.add(stand);
    if (fault) throw new Unsendable(fault);
    if (typeof stand === 'object' && stand !== null) return stand;
    // of -0 only a subclass or a toJSON() makes a key
    const scalar = stand === 0 ? 0 : stand;
    if (this.scalars.has(scalar)) throw new Unsendable('it falls together with another one');
    this.scalars.add(scalar);
    return scalar;
  }
}

/** Follows `toJSON`, which dates and bytes have too though they need none. */
export function standIn(value: object): unknown {
  let stand: unknown = value;
  for (let hops = 0; hops <= LIMITS.cborDepth; hops++) {
    if (typeof stand !== 'object' || stand === null || stand instanceof Date || ArrayBuffer.isView(stand)) return stand;
    if (!('toJSON' in stand) || typeof stand.toJSON !== 'function') return stand;
    stand = stand.toJSON();
  }
  throw new Unsendable('its toJSON() returns an object with toJSON() again and again');
}

/** Thrown inside the encoder, without the cost of a stack; each container on the way out adds where it stood. */
export class Unsendable {
  /** outermost first: a container, and the name or index of what is in it */
  readonly steps: { readonly holder: object; readonly place: string | number }[] = [];

  constructor(
    readonly reason: string,
    readonly cause?: unknown,
  ) {}

  /** Anything else than an Unsendable came from a getter, a toJSON() or an iterator. */
  static of(thrown: unknown): Unsendable {
    if (thrown instanceof Unsendable) return thrown;
    return new Unsendable(`reading it threw "${thrownText(thrown)}"`, thrown);
  }

  static below(thrown: unknown, holder: object, place: string | number): Unsendable {
    const failure = Unsendable.of(thrown);
    failure.steps.unshift({ holder, place });
    return failure;
  }
}

/**
 * A value that no payload can hold. Its code is `unsupported_value`.
 *
 * @example
 * try {
 *   encodeCalls([{ name: 'save', args: [{ lines: [() => 1] }] }]);
 * } catch (error) {
 *   if (error instanceof UnsupportedValueError) console.log(error.path, error.reason); // .lines[0] a function
 * }
 */
export class UnsupportedValueError extends SealwireError {
  /**
   * Its place in the value: `.lines[3]`, `.rates.get("EUR")`, `.keys[0]` for the first key of a Map, `.items[0]` for
   * the first item of a Set; empty for the value itself.
   */
  readonly path: string;
  /** such as `a function` */
  readonly reason: string;

  constructor(
    subject: string,
    thrown: unknown,
    /** index of the call in its batch */
    readonly call?: number,
    /** index of the argument in the call */
    readonly argument?: number,
  ) {
    const { steps, reason, cause } = Unsendable.of(thrown);
    const cycle = steps.findIndex(({ holder }, i) => steps.slice(0, i).some((outer) => outer.holder === holder));
    const path = (cycle < 0 ? steps : steps.slice(0, cycle)).map(step).join('');
    const why = cycle < 0 ? reason : 'a reference to what holds it';
    super('unsupported_value', `${subject}${path && `, at \`${path}\`,`} cannot be sent: ${why}.`, { cause });
    this.path = path;
    this.reason = why;
  }
}

/** A Map counts its keys and values in one row. */
function step({ holder, place }: Unsendable['steps'][number]): string {
  if (typeof place === 'string')
    return /^[\p{ID_Start}$_][\p{ID_Continue}$]{0,39}$/u.test(place) ? `.${place}` : `[${quoted(place)}]`;
  if (holder instanceof Set) return `.items[${place}]`;
  if (!(holder instanceof Map)) return `[${place}]`;
  const index = Math.floor(place / 2);
  if (place % 2 === 0) return `.keys[${index}]`;
  const key: unknown = [...holder.keys()][index];
  if (typeof key === 'string') return `.get(${quoted(key)})`;
  return typeof key === 'number' || typeof key === 'boolean' ? `.get(${key})` : `.values[${index}]`;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}...` : text);
}

/** By its tag, since a value may come from another realm (jest, node:vm, a page's frame). */
export function kindOf(value: object): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

export function isIterable(value: object): value is AsyncIterable<unknown> {
  return Symbol.asyncIterator in value && typeof value[Symbol.asyncIterator] === 'function';
}

/** What a typed array is, of whatever realm, whatever a program has put over it; undefined for every other value. */
const { get: typedArrayName } = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
) as { get(this: unknown): string | undefined };

export function isBytes(value: unknown, length?: number): value is Uint8Array {
  return (
    typedArrayName.call(value) === 'Uint8Array' && (length === undefined || (value as Uint8Array).byteLength === length)
  );
}
