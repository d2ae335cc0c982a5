import { at, sourceOf } from '@sealwire/core';
import { At, hold } from '@sealwire/core/live';
import { isObservable, map } from 'rxjs';
import { streamIn } from './sources.js';

/*
 * class-transformer, which ValidationPipe uses, makes every object anew, by its `constructor` and from its properties. A stream
 * that was copied so would be empty, so the streams among arguments are kept whole here.
 * ClassSerializerInterceptor uses it too, and is given the items of a result's streams one by one.
 */

const kept = new WeakSet<object>();
/** Applications without uploads pay nothing. */
let any = false;

/** Keeps a stream whole: made anew by its `constructor` it is itself, and it has no methods of its own that a copy would call. */
export function keep<T extends object>(stream: T): T {
  any = true;
  kept.add(stream);
  function Kept(): T {
    return stream;
  }
  Object.defineProperty(stream, 'constructor', { value: Kept, configurable: true, writable: true });
  for (const [name, value] of Object.entries(stream)) {
    if (typeof value === 'function') Object.defineProperty(stream, name, { enumerable: false });
  }
  return stream;
}

/** Puts the streams of a sent value back into what pipes made of it, if they made a copy nevertheless. */
export function restoreKept(sent: unknown, received: unknown): void {
  if (!any || sent === received || !isObject(sent) || !isObject(received) || ArrayBuffer.isView(sent)) return;
  for (const [key, from] of Object.entries(sent)) {
    if (!isObject(from) || !Object.hasOwn(received, key)) continue;
    const to = received[key];
    if (!kept.has(from)) restoreKept(from, to);
    else if (to !== from && isCopy(from, to)) received[key] = from;
  }
}

function isCopy(from: object, to: unknown): boolean {
  if (!isObject(to) || kept.has(to)) return false;
  const prototype = Object.getPrototypeOf(to);
  return prototype === Object.prototype || prototype === null || prototype === Object.getPrototypeOf(from);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

type Change = (item: unknown) => unknown;

/** Whether a value is a stream, or an item of one with its position. */
export function isStreamed(value: object): boolean {
  return value instanceof At || streamIn(value) !== undefined;
}

/** A stream whose items are changed as they are read, or a changed item. Bytes and files stay as they are. */
export function mapped(value: object, change: Change): object {
  if (value instanceof At) return at(value.position, change(value.item)) as object;
  if (isObservable(value)) return value.pipe(map(change));
  const source = sourceOf(value);
  return source?.kind === 'items' ? new Mapped(source.source as AsyncIterable<unknown>, change) : value;
}

interface Source extends AsyncIterable<unknown> {
  destroy?(): unknown;
  return?(): unknown;
}

/** Nothing of the source is begun before the first item is asked for. */
class Mapped implements AsyncIterableIterator<unknown> {
  #iterator: AsyncIterator<unknown> | undefined;

  constructor(
    private readonly source: Source,
    private readonly change: Change,
  ) {
    hold(source);
  }

  async next(): Promise<IteratorResult<unknown, undefined>> {
    this.#iterator ??= this.source[Symbol.asyncIterator]();
    const { done, value } = await this.#iterator.next();
    if (done) return { done, value: undefined };
    try {
      return { done: false, value: this.change(value) };
    } catch (error) {
      await this.return();
      throw error;
    }
  }

  /** A stream of Node whose iterator has not begun is closed by nothing but `destroy()`. */
  async return(): Promise<IteratorResult<unknown, undefined>> {
    if (this.source.destroy) this.source.destroy();
    else await (this.#iterator ?? this.source).return?.();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** so that it is read in the context of its call, as the generator in it would be */
  get [Symbol.toStringTag](): string {
    return 'AsyncGenerator';
  }
}
