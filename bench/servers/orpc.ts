import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { os } from '@orpc/server';
import { RPCHandler } from '@orpc/server/node';

const handler = new RPCHandler({
  echo: os.input(anything()).handler(({ input }) => input),
});

export async function start(): Promise<Server> {
  const server = createServer(async (request, response) => {
    const { matched } = await handler.handle(request, response);
    if (!matched) response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** A Standard Schema that lets every value through. */
function anything() {
  return {
    '~standard': { version: 1 as const, vendor: 'bench', validate: (value: unknown) => ({ value }) },
  };
}
