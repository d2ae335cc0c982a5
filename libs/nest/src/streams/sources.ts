import { AsyncResource } from 'node:async_hooks';
import type { Readable } from 'node:stream';
import type { StreamableFile } from '@nestjs/common';
import {
  type FileInfo,
  LIMITS,
  ownOptions,
  type RemoteFile,
  type StreamLike,
  StreamSource,
  sourceOf,
} from '@sealwire/core';
import { BegunStream, hold, letGo, type OutgoingStreams } from '@sealwire/core/live';
import { isObservable } from 'rxjs';
import { withoutUndefined } from '../option-checks.js';
import { inContext } from './generators.js';
import { Observed } from './observed.js';

const STATE = ['version', 'offset'] satisfies (keyof ByteState)[];
const INFO = [...STATE, 'name', 'type', 'size', 'modified'] satisfies (keyof (FileInfo & ByteState))[];

/** A source of bytes. */
export type ByteSource = Readable | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array> | Blob | RemoteFile;

/** For bytes of a `resumable` function. */
export interface ByteState {
  /** names the state of the bytes; a stream that was cut goes on with the same version only, else it ends as `stream_changed` */
  readonly version?: string;
  /** offset in the whole at which the source begins, 0 by default */
  readonly offset?: number;
}

/**
 * Bytes as a function returns them, with what resuming needs.
 *
 * @example
 * import { createReadStream } from 'node:fs';
 *
 * @RemoteFunctions('logs')
 * export class LogsController {
 *   @RemoteFunction({ resumable: true })
 *   today(@RemoteResume() resume: Injected<Resume | undefined>): ReadableStream<Uint8Array> {
 *     const offset = Number(resume?.position ?? 0);
 *     return remoteBytes(createReadStream('today.log', { start: offset }), { version: '1', offset });
 *   }
 * }
 */
export function remoteBytes(source: ByteSource, state: ByteState = {}): ReadableStream<Uint8Array> {
  return new StreamSource('bytes', hold(source) as StreamLike, withoutUndefined(ownOptions(state, STATE))) as never;
}

/**
 * A file as a function returns it; the caller gets a `RemoteFile`.
 *
 * @param info `name`, `type` (a media type) and, if known, `size` in bytes and `modified`
 * @example
 * import { createReadStream } from 'node:fs';
 *
 * @RemoteFunctions('statements')
 * export class StatementsController {
 *   @RemoteFunction()
 *   statement(): RemoteFile {
 *     return remoteFile(createReadStream('statement.pdf'), { name: 'statement.pdf', type: 'application/pdf' });
 *   }
 * }
 */
export function remoteFile(source: ByteSource, info: FileInfo & ByteState): RemoteFile {
  return new StreamSource('file', hold(source) as StreamLike, withoutUndefined(ownOptions(info, INFO))) as never;
}

/** What a value is streamed from; undefined for every other value. Nothing is subscribed to or read. */
export function streamIn(value: object): object | undefined {
  const prototype = Object.getPrototypeOf(value);
  if (Symbol.asyncIterator in value) {
    if (typeof value[Symbol.asyncIterator] === 'function') return value;
    // most objects of a result
  } else if (prototype === Object.prototype || prototype === null) return undefined;
  if (isObservable(value) || isStreamableFile(value)) return value;
  return sourceOf(value) && value;
}

/** As core's encoders take it. @param stream of {@link streamIn} */
export function asSource(stream: object): object {
  if (isObservable(stream)) return new Observed(stream);
  return isStreamableFile(stream) ? fileOf(stream) : stream;
}

/**
 * Keeps the streams in a value that waits before it is encoded from ending the process: a stream of Node that fails, as that of a file
 * that is not there does at once, throws its error if nobody listens. `toJSON()` of an object is not called before it is encoded.
 */
export function holdStreams(value: unknown): void {
  eachStream(value, ({ source }) => hold(source));
}

/** Closes the streams in a value that is not sent. @param besides those that are sent nevertheless */
export function letGoStreams(value: unknown, reason: unknown, besides?: Pick<OutgoingStreams, 'holds'>): void {
  eachStream(value, (source) => besides?.holds(source.source) || letGo(source, reason));
}

/** Of an Observable nothing is open before it is subscribed to. */
function eachStream(value: unknown, visit: (source: StreamSource) => void): void {
  const seen = new Set<object>();
  const look = (value: unknown, depth: number): void => {
    if (typeof value !== 'object' || value === null || depth > LIMITS.cborDepth) return;
    if (seen.size >= LIMITS.payloadItems || seen.has(value)) return;
    seen.add(value);
    try {
      if (Array.isArray(value) || value instanceof Set) for (const part of value) look(part, depth + 1);
      else if (value instanceof Map) for (const part of [...value].flat(1)) look(part, depth + 1);
      else if (ArrayBuffer.isView(value) || value instanceof Date) return;
      else if (!streamIn(value)) for (const name of Object.keys(value)) look(partOf(value, name), depth + 1);
      else if (!isObservable(value)) visit(sourceOf(asSource(value)) as StreamSource);
    } catch {
      // the encoder meets it too, and tells
    }
  };
  look(value, 0);
}

function partOf(value: object, name: string): unknown {
  try {
    return value[name as never];
  } catch {
    return undefined;
  }
}

/** The same in the async context of this moment, whenever it is read. */
export function sourceInContext(stream: object): object {
  const source = asSource(stream);
  if (source instanceof BegunStream) return source;
  // an object whose iterator is a generator, which is made when it is read
  if (!(Symbol.asyncIterator in source) || 'next' in source || 'pipe' in source || 'getReader' in source) {
    return inContext(source) as object;
  }
  const context = new AsyncResource('SealwireStream');
  const iterate = (source as AsyncIterable<unknown>)[Symbol.asyncIterator].bind(source);
  return {
    [Symbol.asyncIterator]: () => context.runInAsyncScope(() => inContext(iterate()) as AsyncIterator<unknown>),
  };
}

/** By its methods: an application may have another copy of Nest. */
function isStreamableFile(value: object): value is StreamableFile {
  return 'getStream' in value && typeof value.getStream === 'function' && 'getHeaders' in value;
}

function fileOf(file: StreamableFile): StreamSource {
  const { type = '', disposition, length } = file.getHeaders();
  const text = [disposition].flat().join(';');
  const [, encoded] = /filename\*\s*=\s*UTF-8''([^;]+)/i.exec(text) ?? [];
  const [, quoted, bare] = /filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))/i.exec(text) ?? [];
  const name = encoded === undefined ? (quoted?.replaceAll(/\\(.)/g, '$1') ?? bare ?? '') : decoded(encoded);
  return new StreamSource('file', file.getStream(), withoutUndefined({ name, type, size: length }));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
