import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Message {
  readonly contentType: string;
  readonly body: Buffer;
}

/** One request and its answer, as a proxy that ends TLS sees them. */
export interface Exchange {
  readonly path: string;
  readonly sent: Message;
  readonly status: number;
  readonly received: Message;
  readonly milliseconds: number;
}

export interface RecordingProxy {
  readonly url: string;
  /** what passed since the last look */
  take(): Exchange[];
  /** what an attacker in the proxy's place can do: send any bytes to the server */
  send(path: string, message: Message): Promise<Exchange>;
  close(): void;
}

/** A proxy between client and server that passes everything on and keeps a copy. */
export async function startRecordingProxy(target: string): Promise<RecordingProxy> {
  let exchanges: Exchange[] = [];
  const server = createServer(async (incoming, outgoing) => {
    try {
      const exchange = await forward(target, `${incoming.url}`, await readMessage(incoming));
      exchanges.push(exchange);
      outgoing.writeHead(exchange.status, { 'content-type': exchange.received.contentType });
      outgoing.end(exchange.received.body);
    } catch {
      outgoing.writeHead(502).end();
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    take() {
      const taken = exchanges;
      exchanges = [];
      return taken;
    },
    send: (path, message) => forward(target, path, message),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function forward(target: string, path: string, sent: Message): Promise<Exchange> {
  const started = performance.now();
  const outgoing = request(new URL(path, target), {
    method: 'POST',
    headers: { 'content-type': sent.contentType, 'content-length': sent.body.length },
  });
  outgoing.end(sent.body);
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  const received = await readMessage(answer);
  return { path, sent, status: answer.statusCode ?? 0, received, milliseconds: performance.now() - started };
}

async function readMessage(message: IncomingMessage): Promise<Message> {
  return {
    contentType: message.headers['content-type'] ?? '',
    body: Buffer.concat(await message.toArray()),
  };
}
