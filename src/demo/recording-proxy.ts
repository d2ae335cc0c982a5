import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
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
  /** whether the answer broke off */
  readonly cut: boolean;
}

export interface RecordingProxy {
  readonly url: string;
  /** what passed since the last look */
  take(): Exchange[];
  /** breaks off every answer that is under way */
  cut(): void;
  /** what an attacker in the proxy's place can do: send any bytes to the server */
  send(path: string, message: Message): Promise<Exchange>;
  close(): void;
}

/** A proxy between client and server that passes each part on as it comes, and keeps a copy. */
export async function startRecordingProxy(target: string): Promise<RecordingProxy> {
  let exchanges: Exchange[] = [];
  const running = new Set<ServerResponse>();
  const server = createServer(async (incoming, outgoing) => {
    const gone = new AbortController();
    outgoing.on('close', () => {
      gone.abort();
      running.delete(outgoing);
    });
    running.add(outgoing);
    const pass = (answer: IncomingMessage, part: Buffer): boolean => {
      if (!outgoing.headersSent) {
        outgoing.writeHead(answer.statusCode ?? 502, { 'content-type': answer.headers['content-type'] });
      }
      outgoing.write(part);
      return !outgoing.destroyed;
    };
    try {
      const exchange = await forward(target, `${incoming.url}`, await readMessage(incoming), pass, gone.signal);
      exchanges.push(exchange);
      if (!exchange.cut) outgoing.end();
      else outgoing.destroy();
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
    cut() {
      for (const outgoing of running) outgoing.destroy();
    },
    send: (path, message) => forward(target, path, message),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** @param pass is given each part of the answer; false breaks it off */
async function forward(
  target: string,
  path: string,
  sent: Message,
  pass?: (answer: IncomingMessage, part: Buffer) => boolean,
  signal?: AbortSignal,
): Promise<Exchange> {
  const started = performance.now();
  const outgoing = request(new URL(path, target), {
    method: 'POST',
    headers: { 'content-type': sent.contentType, 'content-length': sent.body.length },
    ...(signal ? { signal } : {}),
  });
  outgoing.end(sent.body);
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  const parts: Buffer[] = [];
  try {
    for await (const part of answer) {
      parts.push(part);
      if (pass && !pass(answer, part)) break;
    }
  } catch {
    // cut by the server or given up by the client: what came is kept
  }
  const received = { contentType: answer.headers['content-type'] ?? '', body: Buffer.concat(parts) };
  const milliseconds = performance.now() - started;
  return { path, sent, status: answer.statusCode ?? 0, received, milliseconds, cut: !answer.complete };
}

async function readMessage(message: IncomingMessage): Promise<Message> {
  return {
    contentType: message.headers['content-type'] ?? '',
    body: Buffer.concat(await message.toArray()),
  };
}
