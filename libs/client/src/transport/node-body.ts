import type { Duplex, Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, constants as zlib } from 'node:zlib';
import { CONTENT_TYPE, SealwireError } from '@sealwire/core';
import type { BodyReader } from './body.js';
import { readBody, type TransportRequest, type TransportResponse } from './transport.js';

/** Headers that say how a body is sent, which only its sender knows. */
const FRAMING: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Bytes that wait for a reader before the connection is read no further. */
const AHEAD = 65_536;

type Waiting = { resolve(read: { done: boolean; value?: Uint8Array }): void; reject(error: unknown): void };

/** Reads a stream of Node as it arrives. */
class NodeReader implements BodyReader {
  readonly #parts: Uint8Array[] = [];
  #bytes = 0;
  #waiting: Waiting | undefined;
  #ended = false;
  #error: unknown;

  constructor(private readonly stream: Readable) {
    stream.on('data', (part: Buffer) => this.#take(new Uint8Array(part.buffer, part.byteOffset, part.length)));
    stream.once('end', () => this.#end());
    stream.on('error', (error) => this.#end(error));
    stream.once('close', () => this.#end(new Error('The connection was closed before the end of the answer.')));
  }

  read(): Promise<{ done: boolean; value?: Uint8Array }> {
    const value = this.#parts.shift();
    if (value) {
      this.#bytes -= value.length;
      return Promise.resolve({ done: false, value });
    }
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#ended) return Promise.resolve({ done: true });
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (this.stream.isPaused()) this.stream.resume();
    });
  }

  async cancel(): Promise<void> {
    this.stream.destroy();
  }

  #take(value: Uint8Array): void {
    const waiting = this.#waiting;
    if (waiting) {
      this.#waiting = undefined;
      waiting.resolve({ done: false, value });
      return;
    }
    this.#parts.push(value);
    this.#bytes += value.length;
    if (this.#bytes >= AHEAD) this.stream.pause();
  }

  #end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (error === undefined) waiting?.resolve({ done: true });
    else waiting?.reject(error);
  }
}

/** @throws SealwireError `bad_configuration` for headers that say how the body is sent */
export function headersOf({ headers, contentType, body }: TransportRequest): Record<string, string> {
  const all: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers ?? {})) {
    const lower = name.toLowerCase();
    if (FRAMING.has(lower)) throw misused(`headers: ${name} is set by whoever sends the body.`);
    all[lower] = value;
  }
  all['content-type'] = contentType;
  all['accept-encoding'] = 'identity';
  if (body instanceof Blob) all['content-length'] = String(body.size);
  return all;
}

export function misused(message: string): SealwireError {
  return new SealwireError('bad_configuration', message);
}

/** An answer as Node's clients give it: names of headers in lower case. */
interface NodeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Readable;
}

/** Reads an answer: whole, or the beginning of a live one. */
export async function answered(
  { status, headers, body }: NodeAnswer,
  { contentType }: TransportRequest,
  maxResponse: number,
): Promise<TransportResponse> {
  const text = (name: string) => [headers[name] ?? []].flat()[0];
  const retryAfter = Number(text('retry-after') ?? Number.NaN);
  const location = text('location');
  const encoding = text('content-encoding');
  return {
    status,
    contentType: text('content-type') ?? '',
    headers: Object.entries(headers).flatMap(([name, values]) =>
      [values ?? []].flat().map((value) => [name, value] as const),
    ),
    body: await readBody(
      new NodeReader(encoding === undefined ? body : decoded(body, encoding)),
      maxResponse,
      contentType === CONTENT_TYPE,
    ),
    ...(Number.isFinite(retryAfter) ? { retryAfter } : {}),
    ...(location === undefined ? {} : { location }),
  };
}

const FLUSH = { flush: zlib.Z_SYNC_FLUSH, finishFlush: zlib.Z_SYNC_FLUSH };
const DECODERS: Readonly<Record<string, () => Duplex>> = {
  gzip: () => createGunzip(FLUSH),
  'x-gzip': () => createGunzip(FLUSH),
  deflate: () => createInflate(FLUSH),
  br: () => createBrotliDecompress({ flush: zlib.BROTLI_OPERATION_FLUSH, finishFlush: zlib.BROTLI_OPERATION_FLUSH }),
};

/** None was asked for, but a proxy may compress nevertheless. */
function decoded(body: Readable, encoding: string): Readable {
  const decoder = DECODERS[encoding.trim().toLowerCase()]?.();
  if (!decoder) return body;
  body.on('error', (error) => decoder.destroy(error));
  decoder.once('close', () => body.destroy());
  return body.pipe(decoder);
}
