import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer } from 'node:net';
import { gzipSync } from 'node:zlib';
import { createRemote, fetchTransport, type Transport } from '@sealwire/client';
import { httpTransport } from '@sealwire/client/http';
import { undiciTransport } from '@sealwire/client/undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import { listen, PATH } from './support/http.js';
import type { Api } from './support/remote.js';

const TRANSPORTS: [string, () => Transport][] = [
  ['httpTransport', httpTransport],
  ['fetchTransport', fetchTransport],
  ['undiciTransport', undiciTransport],
];

/** A first call, the state after it, and how often something was sent. */
async function firstCall(url: string, peer: PeerServer, transport: Transport) {
  const keys = { serverKey: peer.serverKeyText, secureKey: peer.secureKeyText };
  const remote = createRemote<Api>({ url, ...keys, transport, connectTimeout: 500, timeout: 20_000 });
  onTestFinished(() => remote.$close());
  let tries = 1;
  remote.$events.on('retrying', () => tries++);
  const said = await remote.add(1, 2).catch((error: unknown) => error);
  return { said, tries, state: remote.$connection().state };
}

/** Answers without a server behind it. */
const answers =
  (status: number, headers: Record<string, string> = {}, body: string | Buffer = '<title>Log in</title>') =>
  (request: IncomingMessage, response: ServerResponse): void => {
    request.resume();
    response.writeHead(status, headers).end(body);
  };

/** A proxy that changes what the server answers. */
function changing(peer: PeerServer, change: (body: Buffer, response: ServerResponse) => void): RequestListener {
  return async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const body = new Uint8Array(Buffer.concat(parts));
    const answer = await peer.handle({ body, contentType: request.headers['content-type'] ?? '' });
    change(Buffer.from(answer.body), response);
  };
}

const html = { 'content-type': 'text/html' };
const own = { 'content-type': 'application/vnd.sealwire' };

const ALONE: [string, RequestListener, RegExp][] = [
  ['401', answers(401, { ...html, 'www-authenticate': 'Basic' }), /HTTP 401 .*wants a log-in/],
  ['403', answers(403, html), /HTTP 403 .*refuses these requests, so check `url`/],
  ['413', answers(413, html), /HTTP 413 .*raise its limit/],
  ['431', answers(431), /HTTP 431,.*headers are too long/],
  ['502', answers(502, html), /HTTP 502 .*does not reach the server/],
  ['511 of a captive portal', answers(511, html), /HTTP 511 .*this network wants a log-in first/],
  ['200 without a body', answers(200, {}, ''), /HTTP 200, .*check `url`/],
  ['a page that says it is a frame', answers(200, own), /HTTP 200, .*check `url`/],
  [
    'what is not gzip, said to be it',
    answers(200, { ...own, 'content-encoding': 'gzip' }),
    /no whole answer.*check `url`/,
  ],
  ['another protocol', ({ socket }) => void socket.end('SSH-2.0-OpenSSH\r\n'), /no whole answer.*check `url`/],
  ['a connection that closes', ({ socket }) => void socket.destroy(), /no whole answer.*check `url`/],
  [
    'an answer that is cut',
    (request, response) => {
      request.resume();
      response
        .writeHead(200, { ...own, 'content-length': '900' })
        .write(Buffer.from([0x14, 1, 0]), () => response.destroy());
    },
    /no whole answer.*check `url`/,
  ],
];

const CHANGED: [string, (body: Buffer, response: ServerResponse) => void, RegExp][] = [
  [
    'mangles bytes',
    (body, response) => response.end(body.toString('utf8')),
    /does not open: .*changes, cuts or caches/,
  ],
  ['cuts bodies', (body, response) => response.end(body.subarray(0, 200)), /does not open: .*changes, cuts or caches/],
  ['adds a script', (body, response) => response.end(`${body}<script>`), /does not open: .*changes, cuts or caches/],
  [
    'compresses and does not say so',
    (body, response) => response.end(gzipSync(body)),
    /HTTP 200, .*what stands before/,
  ],
];

describe.each(TRANSPORTS)('%s says within two tries what to do about', (_, make) => {
  it.each(ALONE)('%s', async (_, listener, sentence) => {
    const { said, tries, state } = await firstCall(await listen(listener), new PeerServer(), make());
    expect(said).toMatchObject({ name: 'RemoteError', code: 'unreachable', message: expect.stringMatching(sentence) });
    expect(tries).toBeLessThanOrEqual(2);
    expect(state).toBe('idle');
  });

  it.each(CHANGED)('a proxy that %s', async (_, change, sentence) => {
    const peer = new PeerServer();
    const { said, tries, state } = await firstCall(await listen(changing(peer, change)), peer, make());
    expect(said).toMatchObject({ name: 'RemoteError', code: 'unreachable', message: expect.stringMatching(sentence) });
    expect(tries).toBeLessThanOrEqual(2);
    expect(state).toBe('idle');
  });

  it('a proxy that strips the content type of requests', async () => {
    const peer = new PeerServer();
    const url = await listen(async (request, response) => {
      delete request.headers['content-type'];
      changing(peer, (body) => response.writeHead(400, { 'content-type': 'application/problem+json' }).end(body))(
        request,
        response,
      );
    });
    const { said, tries } = await firstCall(url, peer, make());
    expect(said).toMatchObject({
      message: expect.stringMatching(/bad_frame\. .*changed or cut .*, or its content type/),
    });
    expect(tries).toBeLessThanOrEqual(2);
  });

  it('the log-in of a proxy (407), which fetch tells as a failed request', async () => {
    const { said, tries } = await firstCall(await listen(answers(407, html)), new PeerServer(), make());
    expect(said).toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/HTTP 407 .*proxy wants a log-in|no whole answer \(.+\): check `url`/),
    });
    expect(tries).toBeLessThanOrEqual(2);
  });

  it('a redirect to a log-in, after one try', async () => {
    const listener = answers(302, { location: 'https://login.example.com/' });
    const { said, tries } = await firstCall(await listen(listener), new PeerServer(), make());
    expect(said).toMatchObject({ code: 'bad_configuration', message: expect.stringContaining('login.example.com') });
    expect(tries).toBe(1);
  });

  it('a black hole', async () => {
    const server = createServer((socket) => onTestFinished(() => void socket.destroy())).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as { port: number };
    const { said, tries, state } = await firstCall(`http://127.0.0.1:${port}${PATH}`, new PeerServer(), make());
    expect(said).toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/No answer within 500 ms: .*drops/),
    });
    expect(tries).toBeLessThanOrEqual(2);
    expect(state).toBe('idle');
  });

  it.each([
    [
      'loses the type and changes the status',
      (body: Buffer, response: ServerResponse) => response.writeHead(500).end(body),
    ],
    [
      'compresses answers and says so',
      (body: Buffer, response: ServerResponse) => response.setHeader('content-encoding', 'gzip').end(gzipSync(body)),
    ],
  ])('nothing: a proxy that %s does no harm', async (_, change) => {
    const peer = new PeerServer();
    const { said, state } = await firstCall(await listen(changing(peer, change)), peer, make());
    expect({ said, state }).toEqual({ said: 3, state: 'open' });
  });
});

it.each([
  ['spaces around it', (url: string) => ` ${url} \n`],
  ['a fragment', (url: string) => `${url}#here`],
  ['backslashes', (url: string) => url.replace('/remote/', '\\remote\\')],
  ['dots', (url: string) => url.replace('/remote/', '/other/../remote/./')],
])('a URL with %s names the same module', async (_, change) => {
  const peer = new PeerServer();
  const url = await listen(changing(peer, (body, response) => response.end(body)));
  expect((await firstCall(change(url), peer, httpTransport())).said).toBe(3);
});

it('fetch names the URL whose port it refuses', async () => {
  const { said } = await firstCall('http://127.0.0.1:6000/remote/payments', new PeerServer(), fetchTransport());
  expect(said).toMatchObject({
    code: 'bad_configuration',
    message: expect.stringMatching(/no such port as that of http/),
  });
});
