import { once } from 'node:events';
import type { Server } from 'node:http';
import { initTRPC } from '@trpc/server';
import { createHTTPServer } from '@trpc/server/adapters/standalone';

const t = initTRPC.create();
const router = t.router({
  echo: t.procedure.input((value: unknown) => value).mutation(({ input }) => input),
});
export type TrpcRouter = typeof router;

export async function start(): Promise<Server> {
  const server = createHTTPServer({ router }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server as Server;
}
