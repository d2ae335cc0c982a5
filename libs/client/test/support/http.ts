import { once } from 'node:events';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CONTENT_TYPE, frameType } from '@sealwire/core';
import { onTestFinished } from 'vitest';
import type { PeerServer } from '../../../../test/support/peer/server.js';
import type { Kind } from './remote.js';

export const PATH = '/remote/payments';

/** The address of a module on a server that answers so, until the test is over. */
export async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}${PATH}`;
}

/** One request that a {@link counted} server got. */
export interface Got {
  readonly kind: Kind;
  readonly frame: Uint8Array;
  readonly response: ServerResponse;
  /** the response was sent or the connection is gone */
  closed: boolean;
}

/** A peer behind real HTTP that counts the requests that are under way at once. */
export async function counted(peer: PeerServer, hold: (got: Got) => unknown = () => undefined) {
  const got: Got[] = [];
  const counts = { most: 0 };
  const open = (): Got[] => got.filter(({ closed }) => !closed);
  const url = await listen(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const body = new Uint8Array(Buffer.concat(parts));
    const contentType = request.headers['content-type'] ?? '';
    const one: Got = {
      kind: contentType === CONTENT_TYPE ? frameType(body) : undefined,
      frame: body,
      response,
      closed: false,
    };
    got.push(one);
    response.on('close', () => {
      one.closed = true;
    });
    // behind the closing of others that happened in the same turn
    setImmediate(() => {
      counts.most = Math.max(counts.most, open().length);
    });
    if (await hold(one)) return;
    const answer = await peer.handle({ body, contentType });
    response.writeHead(answer.status, { 'content-type': answer.contentType }).end(answer.body);
  });
  return { url, got, open, counts, keys: { serverKey: peer.serverKeyText, secureKey: peer.secureKeyText } };
}
