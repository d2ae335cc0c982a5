import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { certificate } from './certificate.js';
import { PATH } from './http.js';

/** The address of a module behind TLS that nobody vouches for, until the test is over. */
export async function listenTls(listener: RequestListener, options: ServerOptions = {}): Promise<string> {
  const server = createTlsServer({ ...certificate, ...options }, listener).listen(0);
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `https://localhost:${(server.address() as AddressInfo).port}${PATH}`;
}

/** Somebody between a client and TLS, who has none of its keys. */
export async function onTheWay(target: string): Promise<{ url: string; inject(bytes: Uint8Array): void }> {
  const clients = new Set<Socket>();
  const way = createServer((client) => {
    const server = connect(Number(new URL(target).port), 'localhost');
    clients.add(client);
    client.once('close', () => clients.delete(client));
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on('data', (data) => to.write(data));
      from.on('error', () => {});
      from.on('close', () => to.destroy());
    }
  }).listen(0, 'localhost');
  await once(way, 'listening');
  onTestFinished(() => {
    for (const client of clients) client.destroy();
    way.close();
  });
  return {
    url: `https://localhost:${(way.address() as AddressInfo).port}${PATH}`,
    inject(bytes) {
      for (const client of clients) client.write(bytes);
    },
  };
}

/** What breaks TLS on a connection that stands. */
export const BREAKING: readonly [name: string, bytes: Buffer][] = [
  ['a record that does not open', Buffer.from([0x17, 3, 3, 0, 40, ...new Array(40).fill(9)])],
  ['what is no TLS', Buffer.from('HTTP/1.1 502 Bad Gateway\r\n\r\n')],
  ['a fatal alert', Buffer.from([0x15, 3, 3, 0, 2, 2, 40])],
];
