/*
 * class-transformer, which ValidationPipe uses, makes every object anew, by its `constructor` and from its properties. A stream
 * that was copied so would be empty, so the streams among arguments are kept whole here.
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
