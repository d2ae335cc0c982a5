import type { IncomingMessage } from 'node:http';
import { SealwireError } from '@sealwire/core';

/**
 * The bytes of a body; the limit comes before the bytes. A platform that is set up to read every body itself (a raw parser)
 * has them already.
 * @throws SealwireError `too_large`, `unsupported_media_type` for a content encoding, `bad_frame` for a body that breaks off
 */
export function readBody(request: IncomingMessage, parsed: unknown, limit: number): Uint8Array | Promise<Uint8Array> {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') throw new SealwireError('unsupported_media_type');
  if (Number(request.headers['content-length'] ?? 0) > limit) throw new SealwireError('too_large');
  if (parsed instanceof Uint8Array) {
    if (parsed.length > limit) throw new SealwireError('too_large');
    return plain(parsed);
  }
  return collect(request, limit);
}

function collect(request: IncomingMessage, limit: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    let ended = false;
    const onData = (chunk: Buffer): void => {
      length += chunk.length;
      if (length <= limit) {
        chunks.push(chunk);
        return;
      }
      request.off('data', onData).pause();
      reject(new SealwireError('too_large'));
    };
    request.on('data', onData);
    request.on('end', () => {
      const [only] = chunks;
      ended = true;
      resolve(plain(only && chunks.length === 1 ? only : Buffer.concat(chunks, length)));
    });
    // comes last in any case; an error is costly to make, so only where no end came before
    request.on('close', () => {
      if (!ended) reject(new SealwireError('bad_frame'));
    });
    if (request.destroyed || request.readableEnded) reject(new SealwireError('bad_frame'));
  });
}

/** A Buffer's `slice` is a view where core means a copy. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
