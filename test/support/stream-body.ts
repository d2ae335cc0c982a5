import { StreamBody } from '@sealwire/client';

/** The body of a request that brings what a stream does. */
export function streamBody(stream: ReadableStream<Uint8Array>): StreamBody {
  const reader = stream.getReader();
  const cancel = (reason?: unknown): void => {
    reader.cancel(reason).catch(() => undefined);
  };
  return new StreamBody(async (write) => {
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        await write([value]);
      }
    } catch (error) {
      cancel(error);
      throw error;
    }
  }, cancel);
}
