import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { TransportRequest } from '@sealwire/client';
import { isLive } from '@sealwire/core';
import type { LivePeerServer } from '../../../../test/support/peer/live-server.js';
import { streamBody } from '../../../../test/support/stream-body.js';
import { listen } from './http.js';

type Chunks = ReadableStreamDefaultReader<Uint8Array>;

/** A peer that streams, behind real HTTP in both directions at once. `cut` closes the newest connection. */
export async function liveHttp(server: LivePeerServer) {
  let newest: Socket | undefined;
  const url = await listen(async (request, response) => {
    newest = request.socket;
    const chunks = (Readable.toWeb(request) as ReadableStream<Uint8Array>).getReader();
    const body = await bodyOf(chunks);
    const answer = await server.answer({ contentType: request.headers['content-type'] ?? '', body });
    response.writeHead(answer.status, { 'content-type': answer.contentType });
    if (answer.body instanceof Uint8Array) return response.end(answer.body);
    for (;;) {
      const { done, value } = await answer.body.read();
      if (done) break;
      response.write(value);
    }
    return response.end();
  });
  return {
    url,
    cut: () => newest?.destroy(),
    keys: { serverKey: server.serverKeyText, secureKey: server.secureKeyText },
  };
}

/** Whole, or as it arrives if it is that of a call with streams. */
async function bodyOf(chunks: Chunks): Promise<TransportRequest['body']> {
  const { value: head = new Uint8Array(0) } = await chunks.read();
  const all = (async function* () {
    for (let next: Uint8Array | undefined = head; next; next = (await chunks.read()).value) yield new Uint8Array(next);
  })();
  if (head[0] === 0x11 && isLive(head)) return streamBody(ReadableStream.from(all) as ReadableStream<Uint8Array>);
  const parts: Uint8Array[] = [];
  for await (const part of all) parts.push(part);
  return new Uint8Array(Buffer.concat(parts));
}
