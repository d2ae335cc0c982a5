import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { openAes, sealAes } from '../aes.js';

const KEY = Buffer.from(process.env.BENCH_RAW_KEY ?? '', 'hex');

/** `node-json`: the least that a server can do. `node-aes`: the same with AES-256-GCM around both bodies, and nothing else. */
export async function start(kind: string): Promise<Server> {
  const { type, open, seal } = CODECS[kind] ?? {};
  if (!type || !open || !seal) throw new Error(`there is no server '${kind}'`);
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const value: unknown = JSON.parse(open(Buffer.concat(chunks)).toString('utf8'));
      const answer = seal(Buffer.from(JSON.stringify(value)));
      response.writeHead(200, { 'content-type': type, 'content-length': answer.length });
      response.end(answer);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

interface Codec {
  readonly type: string;
  open(body: Buffer): Buffer;
  seal(body: Buffer): Buffer;
}

const CODECS: Readonly<Record<string, Codec>> = {
  'node-json': { type: 'application/json', open: (body) => body, seal: (body) => body },
  'node-aes': {
    type: 'application/octet-stream',
    open: (body) => openAes(KEY, body),
    seal: (body) => sealAes(KEY, body),
  },
};
