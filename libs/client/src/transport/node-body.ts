import type { ClientRequest } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, constants as zlib } from 'node:zlib';
import type { StreamBody } from './stream-body.js';
import type { TransportRequest } from './transport.js';

/** Bytes that may wait in a request before its source does: the next piece is made while one is on its way. */
const AHEAD = 524_288;

/** Sends a body as fast as the connection takes it. */
export async function pump(
  body: Blob | StreamBody,
  sending: ClientRequest,
  onUpload: TransportRequest['onUpload'],
): Promise<void> {
  let go = (): void => {};
  let written = 0;
  const told = (length: number) => (error?: Error | null) => {
    written += length;
    if (!error) onUpload?.(written);
  };
  const write = (parts: readonly Uint8Array[]): void | Promise<void> => {
    // whoever hears of its end cancels the body
    if (sending.destroyed) return new Promise(() => {});
    let more = true;
    // one chunk of HTTP for all of them
    if (parts.length > 1) sending.cork();
    for (const part of parts) more = sending.write(part, onUpload && told(part.length));
    if (parts.length > 1) sending.uncork();
    if (more || sending.writableLength < AHEAD) return undefined;
    return new Promise<void>((resolve) => {
      go = resolve;
    });
  };
  sending.on('drain', () => go());
  sending.once('close', () => {
    go();
    if (!(body instanceof Blob)) body.cancel();
  });
  try {
    if (!(body instanceof Blob)) await body.pipe(write);
    else
      for await (const part of body.stream() as unknown as AsyncIterable<Uint8Array>) {
        if (sending.destroyed) return;
        await write([part]);
      }
    if (!sending.destroyed) sending.end();
  } catch (error) {
    sending.destroy(error as Error);
  }
}

const FLUSH = { flush: zlib.Z_SYNC_FLUSH, finishFlush: zlib.Z_SYNC_FLUSH };
/** A proxy names one of them: an object would also give what it inherits. */
const DECODERS: ReadonlyMap<string, () => Duplex> = new Map([
  ['gzip', () => createGunzip(FLUSH)],
  ['x-gzip', () => createGunzip(FLUSH)],
  ['deflate', () => createInflate(FLUSH)],
  [
    'br',
    () => createBrotliDecompress({ flush: zlib.BROTLI_OPERATION_FLUSH, finishFlush: zlib.BROTLI_OPERATION_FLUSH }),
  ],
]);

/** None was asked for, but a proxy may compress nevertheless. */
export function decoded(body: Readable, encoding: string): Readable {
  const decoder = DECODERS.get(encoding.trim().toLowerCase())?.();
  if (!decoder) return body;
  body.on('error', (error) => decoder.destroy(error));
  decoder.once('close', () => body.destroy());
  return body.pipe(decoder);
}
