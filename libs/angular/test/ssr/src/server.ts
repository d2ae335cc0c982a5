import { createReadStream, existsSync } from 'node:fs';
import { createServer, request as forward } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import {
  AngularNodeAppEngine,
  createNodeRequestHandler,
  isMainModule,
  writeResponseToNodeResponse,
} from '@angular/ssr/node';

const engine = new AngularNodeAppEngine({ allowedHosts: ['127.0.0.1'] });
const files = join(import.meta.dirname, '../browser');

/** Files of the build, the remote functions as a proxy would bring them, and rendered pages. */
export const reqHandler = createNodeRequestHandler(async (request, response) => {
  const path = new URL(request.url ?? '/', 'http://localhost').pathname;
  if (path.startsWith('/remote/')) {
    const { method, headers } = request;
    const onward = forward(new URL(path, process.env.BACKEND), { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    request.pipe(onward);
  } else if (path.endsWith('.js') && existsSync(join(files, path))) {
    response.writeHead(200, { 'content-type': 'text/javascript' });
    createReadStream(join(files, path)).pipe(response);
  } else {
    const page = await engine.handle(request).catch((error: Error) => new Response(error.message, { status: 500 }));
    if (page) await writeResponseToNodeResponse(page, response);
    else response.writeHead(404).end();
  }
});

if (isMainModule(import.meta.url)) {
  const server = createServer(reqHandler).listen(0, '127.0.0.1', () => {
    console.log(`port ${(server.address() as AddressInfo).port}`);
  });
}
