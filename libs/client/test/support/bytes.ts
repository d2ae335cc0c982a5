import { StreamSource } from '@sealwire/core';

/** Bytes with the version and offset that a resuming call compares. */
export function remoteBytes(
  source: ReadableStream<Uint8Array>,
  info: { version?: string; offset?: number },
): StreamSource {
  return new StreamSource('bytes', source, info);
}
