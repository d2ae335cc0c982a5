import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestProject } from 'vitest/node';
import { PostgresServer, removeAbandonedServers } from './postgres-server.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Answers with the admin URL of the PostgreSQL server, which the first request starts. */
    postgresBroker: string;
  }
}

/** A run that touches no database starts none: workers ask this broker, and the first question starts the server. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  removeAbandonedServers();
  let server: Promise<PostgresServer> | undefined;
  const broker = createServer((_request, response) => {
    server ??= PostgresServer.start();
    server.then(
      ({ url }) => response.end(url),
      (error: unknown) => response.writeHead(500).end(error instanceof Error ? error.message : String(error)),
    );
  });
  await new Promise<void>((listening) => broker.listen(0, '127.0.0.1', listening));
  project.provide('postgresBroker', `http://127.0.0.1:${(broker.address() as AddressInfo).port}`);

  return async () => {
    broker.close();
    broker.closeAllConnections();
    await (await server?.catch(() => undefined))?.stop();
  };
}
