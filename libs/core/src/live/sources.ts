import { LIMITS, SIZE } from '../limits.js';
import { isIterable, kindOf, type Replace, Unsendable } from '../payload/cbor.js';
import { RemoteFile } from './remote-file.js';

/** How a stream is read: item by item, as bytes, or as a file. */
export type StreamKind = 'items' | 'bytes' | 'file';

/** What stands in tag 27 behind kind and number; of a file also {@link FileInfo}. */
export interface StreamInfo {
  /** a call may go on with it where it was cut; its items are `[position, item]` then */
  readonly resumable?: true;
  /** of bytes: names their state; only the same version is gone on with */
  readonly version?: string;
  /** of bytes: where in the whole they begin */
  readonly offset?: number;
  readonly name?: string;
  readonly type?: string;
  readonly size?: number;
  readonly modified?: Date;
}

/** What a property of the info is, and where it may stand. */
const PROPERTIES: Readonly<Record<keyof StreamInfo, { in: readonly StreamKind[]; is(value: unknown): boolean }>> = {
  resumable: { in: ['items', 'bytes', 'file'], is: (value) => value === true },
  version: { in: ['bytes', 'file'], is: isText },
  offset: { in: ['bytes', 'file'], is: isCount },
  name: { in: ['file'], is: isText },
  type: { in: ['file'], is: isText },
  size: { in: ['file'], is: isCount },
  modified: { in: ['file'], is: (value) => value instanceof Date },
};

/** The first property of a stream's description that no reader takes, or that is missing; undefined if there is none. */
export function wrongIn(kind: StreamKind, info: StreamInfo): string | undefined {
  for (const [name, value] of Object.entries(info)) {
    const property = Object.hasOwn(PROPERTIES, name) ? PROPERTIES[name as keyof StreamInfo] : undefined;
    if (!property?.in.includes(kind) || !property.is(value)) return name;
  }
  if (kind !== 'file') return undefined;
  return (['name', 'type'] as const).find((name) => info[name] === undefined);
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value.length <= LIMITS.streamText;
}

export function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Node's streams, as far as they are read here. */
interface ReadableLike extends AsyncIterable<unknown> {
  readonly readableObjectMode?: boolean;
  pipe(target: never): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  listeners(event: 'error'): unknown[];
  destroy(error?: Error): unknown;
}

/** Values that are sent as streams. */
export type StreamLike = AsyncIterable<unknown> | ReadableStream | ReadableLike | Blob | RemoteFile;

/**
 * A stream whose kind and description are stated, not found out.
 *
 * @example
 * const report = new StreamSource('file', new Blob(['a;b']), { name: 'report.csv', type: 'text/csv' });
 * encodeOutcome({ ok: true, value: report }, streams);
 */
export class StreamSource {
  constructor(
    readonly kind: StreamKind,
    readonly source: StreamLike,
    readonly info: StreamInfo = {},
  ) {}
}

/** What one source is read through. */
interface SourceReader {
  next(): Promise<{ readonly done?: boolean | undefined; readonly value?: unknown }>;
  /** the source is not read any more; asked once at most, and never after its end */
  close(reason: unknown): unknown;
}

/** A stream of a message that is sent. */
export interface Outgoing {
  readonly source: StreamSource;
  readonly resumable: boolean;
  reader: SourceReader | undefined;
  /** ended, failed or closed */
  over: boolean;
}

/**
 * What a value is sent as, undefined if it is no stream.
 * @example
 * sourceOf(new Blob(['a']))?.kind; // file
 */
export function sourceOf(value: object): StreamSource | undefined {
  if (value instanceof StreamSource) return value;
  if (value instanceof RemoteFile) {
    const { name, type, size, modified } = value;
    return new StreamSource('file', value, { name, type, ...defined({ size, modified }) });
  }
  if (isBlob(value)) return new StreamSource('file', value, fileInfo(value));
  if (isWebStream(value)) return new StreamSource('bytes', value);
  if (isReadable(value)) return new StreamSource(value.readableObjectMode ? 'items' : 'bytes', value);
  return isIterable(value) ? new StreamSource('items', value) : undefined;
}

function fileInfo(blob: Blob): StreamInfo {
  const { name = '', lastModified } = blob as { name?: string; lastModified?: number };
  const modified = lastModified === undefined ? undefined : new Date(lastModified);
  return { name, type: blob.type, size: blob.size, ...defined({ modified }) };
}

function defined<T extends object>(properties: T): { [name in keyof T]?: NonNullable<T[name]> } {
  return Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== undefined)) as T as never;
}

/** It may come from another realm or be a ponyfill. */
function isBlob(value: object): value is Blob {
  return 'slice' in value && ['Blob', 'File'].includes(kindOf(value));
}

function isWebStream(value: object): value is ReadableStream {
  return 'getReader' in value && typeof value.getReader === 'function';
}

function isReadable(value: object): value is ReadableLike {
  return 'pipe' in value && typeof value.pipe === 'function' && 'destroy' in value && isIterable(value);
}

/**
 * Whether a value is sent as a stream.
 * @example
 * isStream(new Blob(['a'])); // true
 */
export function isStream(value: unknown): boolean {
  return typeof value === 'object' && value !== null && sourceOf(value) !== undefined;
}

/**
 * The streams in the values of one message.
 *
 * @example
 * const found = new FoundStreams();
 * const payload = encodeCalls([{ name: 'keep', args: [new Blob(['a;b'])] }], found);
 * const streams = new OutgoingStreams(found);
 */
export class FoundStreams {
  /** @internal */
  readonly streams: Outgoing[] = [];
  /** where the source of a stream is read and closed, such as an async context */
  scope: (<T>(stream: number, work: () => T) => T) | undefined;
  /** told of a source that failed while it was closed, which no reader learns of */
  onCloseFailed: ((error: unknown, stream: number) => void) | undefined;

  /** @param taken sources in other messages that can be read once: none of them is found again, and those found here come to them */
  constructor(private readonly taken?: Set<object>) {}

  /**
   * Hook of the encoders: a value that is a stream is remembered, and its reference travels. It is made when it is asked for: a
   * function that is assigned to a property goes to V8's old generation, and would hold what it knows there.
   */
  get replace(): Replace {
    return (value) => this.announce(value, false);
  }

  /** How many streams were found. */
  get size(): number {
    return this.streams.length;
  }

  /** All its streams are Blobs or Files, which can be read again. */
  get repeatable(): boolean {
    return this.streams.every(({ source }) => isBlob(source.source));
  }

  /** Bytes of the streams that tell their size. */
  get knownBytes(): number {
    return this.streams.reduce((total, { source }) => total + (source.info.size ?? 0), 0);
  }

  /** Forgets the streams from that one on, for what held them was not sent. */
  drop(from: number, reason: unknown): void {
    // closed by its number
    for (const stream of this.streams.slice(from)) this.close(stream, reason);
    this.streams.splice(from);
  }

  protected announce(value: object, resumable: boolean): readonly unknown[] | undefined {
    const source = sourceOf(value);
    if (!source) return undefined;
    hold(source.source);
    if (this.size >= LIMITS.streams) throw new Unsendable(`more than ${LIMITS.streams} streams in one message`);
    const isOnce = !isBlob(source.source);
    if (isOnce && (this.taken?.has(source.source) || this.holds(source.source))) {
      throw new Unsendable('a stream that the message has already');
    }
    const wrong = wrongIn(source.kind, source.info);
    if (wrong) throw new Unsendable(`a ${source.kind} with such a ${wrong}`);
    if (isOnce) this.taken?.add(source.source);
    const k = this.streams.push({ source, resumable, reader: undefined, over: false }) - 1;
    if (resumable) return [source.kind, k, { ...source.info, resumable }];
    return source.kind === 'items' ? [source.kind, k] : [source.kind, k, source.info];
  }

  /** Whether it is among its streams. */
  holds(source: StreamLike): boolean {
    return this.streams.some((stream) => stream.source.source === source);
  }

  protected close(stream: Outgoing, reason: unknown): void {
    if (stream.over) return;
    stream.over = true;
    const k = this.streams.indexOf(stream);
    attempted(
      () => this.inScope(k, () => (stream.reader ? stream.reader.close(reason) : abandon(stream.source, reason))),
      (error) => error === reason || this.onCloseFailed?.(error, k),
    );
  }

  protected inScope<T>(stream: number, work: () => T): T {
    return this.scope ? this.scope(stream, work) : work();
  }
}

/**
 * Keeps a source that fails before it is read from ending the process; whoever reads it then meets its error.
 * @example
 * import { createReadStream } from 'node:fs';
 *
 * const source = hold(createReadStream('missing.log'));
 */
export function hold<T extends object>(source: T): T {
  if (isReadable(source) && !source.listeners('error').includes(ignore)) source.on('error', ignore);
  return source;
}

function ignore(): void {}

/**
 * Closes a source that nobody is going to read.
 * @example
 * import { createReadStream } from 'node:fs';
 *
 * letGo(new StreamSource('bytes', createReadStream('unread.log')), new Error('not wanted'));
 */
export function letGo(source: StreamSource, reason: unknown): void {
  hold(source.source);
  attempted(() => abandon(source, reason), ignore);
}

function attempted(close: () => unknown, failed: (error: unknown) => unknown): void {
  const closing = async () => close();
  closing().catch(failed);
}

/** A source that was never read is let go. */
function abandon({ source }: StreamSource, reason: unknown): unknown {
  if (source instanceof RemoteFile) return source.stream().cancel(reason);
  if (isBlob(source)) return undefined;
  if (isWebStream(source)) return source.cancel(reason);
  if (isReadable(source)) return source.destroy();
  // a generator, or what was read ahead of one; another iterable holds nothing yet
  return 'return' in source && typeof source.return === 'function' ? source.return() : undefined;
}

export function readerOf({ source }: StreamSource): SourceReader {
  if (source instanceof RemoteFile) return webReader(source.stream());
  if (isBlob(source)) return blobReader(source);
  if (isWebStream(source)) return webReader(source);
  const iterator = source[Symbol.asyncIterator]();
  return {
    next: () => iterator.next(),
    close: (reason) => (isReadable(source) ? source.destroy(asError(reason)) : iterator.return?.()),
  };
}

function asError(reason: unknown): Error | undefined {
  return reason instanceof Error ? reason : undefined;
}

function webReader(stream: ReadableStream): SourceReader {
  const reader = stream.getReader();
  // one that failed already says so again
  return { next: () => reader.read(), close: (reason) => reader.cancel(reason).catch(ignore) };
}

/** Read slice by slice, each as long as what a few pieces hold of it: a browser pays for each as much as for its bytes. */
function blobReader(blob: Blob): SourceReader {
  const length = 2 * (LIMITS.pieceBody - SIZE.unitHead);
  let at = 0;
  return {
    async next() {
      if (at >= blob.size) return { done: true };
      const slice = blob.slice(at, at + length);
      at += length;
      return { value: new Uint8Array(await slice.arrayBuffer()) };
    },
    close: () => undefined,
  };
}
