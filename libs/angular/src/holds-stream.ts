import { RemoteFile } from '@sealwire/client';

/** Of items; bytes are a ReadableStream, which has the method too. */
export function isStream<T>(value: unknown): value is AsyncIterable<T> {
  return (
    typeof value === 'object' && value !== null && Symbol.asyncIterator in value && !(value instanceof ReadableStream)
  );
}

/** Ends a stream that nobody reads; the others of its message go on. */
export function giveUp(value: unknown): void {
  if (isStream(value))
    value[Symbol.asyncIterator]()
      .return?.()
      .catch(() => {});
}

/** Whether something of a value may still be on its way: items, bytes or a file. */
export function holdsStream(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return false;
  if (isStream(value) || value instanceof ReadableStream || value instanceof RemoteFile) return true;
  const inside = value instanceof Map ? [...value].flat() : value instanceof Set ? [...value] : Object.values(value);
  return inside.some(holdsStream);
}
