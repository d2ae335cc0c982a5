const MAX_TEXT = 2_000;
const MAX_DEPTH = 6;
const MAX_ENTRIES = 50;

/** A value as a developer would write it, at most 2,000 characters. */
export function show(value: unknown): string {
  try {
    return cut(text(value, 0));
  } catch {
    // a property that throws: the call itself says so
    return '…';
  }
}

/** What a plain client would send or get as JSON. */
export function json(value: unknown): string {
  try {
    return cut(JSON.stringify(plain(value, 0)) ?? 'null');
  } catch {
    return '…';
  }
}

/** `insufficient_funds: Not enough money.` */
export function showError(error: unknown): string {
  const { code, name, message } = Object(error) as { code?: unknown; name?: unknown; message?: unknown };
  const what = typeof code === 'string' ? code : typeof name === 'string' ? name : 'Error';
  return cut(`${what}: ${typeof message === 'string' ? message : String(error)}`);
}

/** At most 2,000 characters. */
export function cut(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

function text(value: unknown, depth: number): string {
  if (typeof value === 'string') return JSON.stringify(cut(value));
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value !== 'object' || value === null) return String(value);
  const special = named(value);
  if (special) return special;
  if (depth >= MAX_DEPTH) return '…';
  const inside = (one: unknown): string => text(one, depth + 1);
  if (Array.isArray(value)) return `[${some(value, inside)}]`;
  if (value instanceof Map) return `Map {${some([...value], ([key, one]) => `${inside(key)} => ${inside(one)}`)}}`;
  if (value instanceof Set) return `Set {${some([...value], inside)}}`;
  const entries = some(Object.entries(value), ([key, one]) => `${key}: ${inside(one)}`);
  return entries ? `{ ${entries} }` : '{}';
}

function plain(value: unknown, depth: number): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'string') return cut(value);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  const special = named(value);
  if (special) return special;
  if (depth >= MAX_DEPTH) return '…';
  if (value instanceof Map) return plain(Object.fromEntries(value), depth);
  const list = value instanceof Set ? [...value] : value;
  if (Array.isArray(list)) return list.slice(0, MAX_ENTRIES).map((one) => plain(one, depth + 1));
  const entries = Object.entries(list).slice(0, MAX_ENTRIES);
  return Object.fromEntries(entries.map(([key, one]) => [key, plain(one, depth + 1)]));
}

/** What has a short name of its own: dates, bytes, files, streams. */
function named(value: object): string | undefined {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength})`;
  const { name, size } = value as { name?: unknown; size?: unknown };
  if (isBlob(value))
    return `${typeof name === 'string' ? `File ${JSON.stringify(name)}` : 'Blob'} (${size ?? '?'} bytes)`;
  if ('getReader' in value) return 'ReadableStream';
  return Symbol.asyncIterator in value ? 'AsyncIterable' : undefined;
}

function isBlob(value: object): boolean {
  return 'type' in value && 'size' in value && ('arrayBuffer' in value || 'blob' in value);
}

function some<T>(list: readonly T[], each: (one: T) => string): string {
  const shown = list.slice(0, MAX_ENTRIES).map(each);
  return [...shown, ...(list.length > MAX_ENTRIES ? [`… ${list.length - MAX_ENTRIES} more`] : [])].join(', ');
}
