import type { ClientRequest } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, constants as zlib } from 'node:zlib';
import type { TransportRequest } from './transport.js';

/** Bytes that may wait in a request before its source does: the next piece is made while one is on its way. */
const AHEAD = 524_288;

/** Sends a stream as fast as the connection takes it. */
export async function pump(
  body: ReadableStream<Uint8Array>,
  sending: ClientRequest,
  onUpload: TransportRequest['onUpload'],
): Promise<void> {
  const reader = body.getReader();
  let go = (): void => {};
  let written = 0;
  const told = (length: number) => (error?: Error | null) => {
    written += length;
    if (!error) onUpload?.(written);
  };
  sending.on('drain', () => go());
  sending.once('close', () => {
    go();
    reader.cancel().catch(() => {});
  });
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (sending.destroyed) return;
      if (done) break;
      if (sending.write(value, onUpload && told(value.length)) || sending.writableLength < AHEAD) continue;
      await new Promise<void>((resolve) => {
        go = resolve;
      });
    }
    sending.end();
  } catch (error) {
    sending.destroy(error as Error);
  }
}

const FLUSH = { flush: zlib.Z_SYNC_FLUSH, finishFlush: zlib.Z_SYNC_FLUSH };
const DECODERS: Readonly<Record<string, () => Duplex>> = {
  gzip: () => createGunzip(FLUSH),
  'x-gzip': () => createGunzip(FLUSH),
  deflate: () => createInflate(FLUSH),
  br: () => createBrotliDecompress({ flush: zlib.BROTLI_OPERATION_FLUSH, finishFlush: zlib.BROTLI_OPERATION_FLUSH }),
};

/** None was asked for, but a proxy may compress nevertheless. */
export function decoded(body: Readable, encoding: string): Readable {
  const decoder = DECODERS[encoding.trim().toLowerCase()]?.();
  if (!decoder) return body;
  body.on('error', (error) => decoder.destroy(error));
  decoder.once('close', () => body.destroy());
  return body.pipe(decoder);
}
