import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { createRemote, fetchTransport, type TransportRequest } from '@sealwire/client';
import { expect, it, onTestFinished, vi } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import type { Api } from './support/remote.js';

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/remote/payments`;
}

async function listenSealed(server: PeerServer, seen: Record<string, unknown>[] = []): Promise<string> {
  return listen(async (request, response) => {
    seen.push(request.headers);
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const answer = await server.handle({
      body: new Uint8Array(Buffer.concat(parts)),
      contentType: request.headers['content-type'] ?? '',
    });
    response.writeHead(answer.status, { 'content-type': answer.contentType }).end(answer.body);
  });
}

/** Where nobody listens. */
async function closedPort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return `http://127.0.0.1:${port}/remote/payments`;
}

/** Looks like a result, and is none. */
function resultFrame(length: number): Buffer {
  const frame = Buffer.alloc(length);
  frame.set([0x12, 1]);
  return frame;
}

const request = (url: string): TransportRequest => ({
  url,
  body: new Uint8Array(3),
  contentType: 'application/vnd.sealwire',
  signal: new AbortController().signal,
});

it('calls over HTTP, with the headers of the caller', async () => {
  const server = new PeerServer();
  const seen: Record<string, unknown>[] = [];
  const url = await listenSealed(server, seen);
  const { serverKeyText: serverKey, secureKeyText: secureKey } = server;
  const remote = createRemote<Api>({ url, serverKey, secureKey, headers: () => ({ 'x-tenant': 'north' }) });
  expect(await remote.add(1, 2)).toBe(3);
  expect(await remote.add(3, 4)).toBe(7);
  expect(seen).toHaveLength(3);
  for (const headers of seen) {
    expect(headers).toMatchObject({ 'x-tenant': 'north', 'content-type': 'application/vnd.sealwire' });
  }
});

it('looks for an answer in the socket once more if its timer fires late', async () => {
  const server = new PeerServer();
  const url = await listenSealed(server);
  const { serverKeyText: serverKey, secureKeyText: secureKey } = server;
  const remote = createRemote<Api>({ url, serverKey, secureKey });
  await remote.add(0, 0);
  const call = remote.$call({ timeout: 150 }).add(1, 2);
  // as after sleep: the loop comes to its timers before it comes to its sockets
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);
  expect(await call).toBe(3);
});

it.each([
  ['announced', (length: number) => ({ 'content-length': String(length) })],
  ['not announced', () => ({})],
])('cuts off a response that is too long, %s', async (_name, headers) => {
  const url = await listen((_request, response) => {
    response.writeHead(200, headers(200_000)).end(resultFrame(200_000));
  });
  const plain = { ...request(url), contentType: 'application/cbor' };
  const { body } = await fetchTransport({ maxResponse: 200_000 }).send(plain);
  expect(body).toHaveLength(200_000);
  await expect(fetchTransport({ maxResponse: 199_999 }).send(plain)).rejects.toMatchObject({
    code: 'too_large',
  });
});

it('reads 4 KiB of what is no frame, and a frame whatever its status and type', async () => {
  let closed = 0;
  const url = await listen((incoming, response) => {
    response.on('close', () => closed++);
    const body = incoming.headers['x-body'] === 'frame' ? resultFrame(60_000) : Buffer.alloc(8_000_000, 'x');
    response.writeHead(502, { 'content-type': 'text/html' }).end(body);
  });
  const page = await fetchTransport().send(request(url));
  expect(page.body).toHaveLength(4096);
  await vi.waitFor(() => expect(closed).toBe(1));
  const frame = await fetchTransport().send({ ...request(url), headers: { 'x-body': 'frame' } });
  expect(frame).toMatchObject({ status: 502, body: new Uint8Array(resultFrame(60_000)) });
});

it('reads a body in very many small parts into one buffer', async () => {
  const parts = 60_000;
  const url = await listen((_request, response) => {
    response.writeHead(200);
    response.write(resultFrame(2));
    for (let i = 0; i < parts; i++) response.write('x');
    response.end();
  });
  expect((await fetchTransport().send(request(url))).body).toHaveLength(parts + 2);
});

it('asks for no content encoding', async () => {
  let asked: unknown;
  const url = await listen((incoming, response) => {
    asked = incoming.headers['accept-encoding'];
    response.end();
  });
  await fetchTransport().send(request(url));
  expect(asked).toBe('identity');
});

it('counts the bytes that a compressed response unfolds to', async () => {
  const url = await listen((_request, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(resultFrame(10_000_000)));
  });
  await expect(fetchTransport({ maxResponse: 1_000_000 }).send(request(url))).rejects.toMatchObject({
    code: 'too_large',
  });
});

it('gives the options of fetch to each request, and keepalive as long as the bodies under way are small enough', async () => {
  const seen: RequestInit[] = [];
  const answers: (() => void)[] = [];
  const fetched = (_url: unknown, init: RequestInit) => {
    seen.push(init);
    return new Promise<Response>((resolve) => answers.push(() => resolve(new Response(''))));
  };
  const options = {
    credentials: 'include',
    priority: 'high',
    mode: 'cors',
    referrerPolicy: 'no-referrer',
  } as const;
  const transport = fetchTransport({ ...options, keepalive: true, fetch: fetched as never });
  const send = (length: number) => transport.send({ ...request('http://a.test/b'), body: new Uint8Array(length) });
  const sent = [send(40_000), send(20_001), send(20_000), send(1)];
  expect(seen.map(({ keepalive }) => keepalive ?? false)).toEqual([true, false, true, false]);
  expect(seen[1]).toMatchObject(options);
  for (const answer of answers.splice(0)) answer();
  await Promise.all(sent);
  void send(60_000);
  void fetchTransport({ fetch: fetched as never }).send(request('http://a.test/b'));
  expect(seen.slice(4).map(({ keepalive }) => keepalive ?? false)).toEqual([true, false]);
  for (const answer of answers) answer();
});

it('names both possibilities if a browser does not tell a server that is not there from a refusal by CORS', async () => {
  vi.stubGlobal('location', { href: 'https://app.test/page', origin: 'https://app.test' });
  onTestFinished(() => void vi.unstubAllGlobals());
  const transport = fetchTransport({ fetch: () => Promise.reject(new TypeError('Failed to fetch')) });
  const said = (url: string) => transport.send(request(url)).catch((error: Error) => error.message);
  expect(await said('http://api.test/remote')).toBe(
    'http://api.test gave no answer (Failed to fetch); no server is there, or something on the way or in the browser blocks it (an extension, connect-src of the page), ' +
      'or its CORS rules refuse https://app.test: they must allow POST with the header content-type, and answer every status, ' +
      'or the browser refuses http: from a page of https:.',
  );
  expect(await said('https://app.test/remote')).toBe(
    'https://app.test gave no answer (Failed to fetch); no server is there, or something on the way or in the browser blocks it (an extension, connect-src of the page).',
  );
});

it('reads Retry-After and follows no redirect', async () => {
  let requests = 0;
  const url = await listen((_request, response) => {
    requests++;
    response.writeHead(503, { 'retry-after': '7', 'content-type': 'text/plain' }).end('later');
  });
  expect(await fetchTransport().send(request(url))).toMatchObject({
    status: 503,
    retryAfter: 7,
    contentType: 'text/plain',
  });
  const redirecting = await listen((_request, response) => {
    response.writeHead(307, { location: url }).end();
  });
  expect(await fetchTransport().send(request(redirecting))).toMatchObject({ status: 307, location: url });
  expect(requests).toBe(1);
});

it('lets the process end after its calls, without $close', async () => {
  const server = new PeerServer();
  const url = await listenSealed(server);
  const script = `
    import { createRemote } from '@sealwire/client';
    const remote = createRemote(${JSON.stringify({ url, serverKey: server.serverKeyText, secureKey: server.secureKeyText })});
    console.log(await remote.add(1, 2), await remote.add(3, 4));
    const late = createRemote({ url: ${JSON.stringify(await closedPort())}, secureKey: '${server.secureKeyText}', timeout: 200 });
    console.log(await late.add(1, 2).catch((error) => error.code));
    console.log(Math.round(performance.now()));
    process.on('exit', () => console.log('left after', Math.round(performance.now())));
  `;
  const root = new URL('../../../', import.meta.url);
  const child = spawn(process.execPath, ['--import', '@oxc-node/core/register', '--input-type=module', '-e', script], {
    cwd: root,
  });
  onTestFinished(() => {
    child.kill();
  });
  let out = '';
  let errors = '';
  child.stdout.on('data', (data) => {
    out += data;
  });
  child.stderr.on('data', (data) => {
    errors += data;
  });
  const [code] = await once(child, 'exit');
  expect(errors).toBe('');
  expect(code).toBe(0);
  const [sums, unreachable, called, left] = out.split('\n');
  expect([sums, unreachable]).toEqual(['3 7', 'unreachable']);
  expect(Number(left?.replace('left after ', '')) - Number(called)).toBeLessThan(1_000);
});
