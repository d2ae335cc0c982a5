import { once } from 'node:events';
import { createServer, Agent as HttpAgent, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { type BodyReader, fetchTransport, type Transport, type TransportRequest } from '@sealwire/client';
import { httpTransport } from '@sealwire/client/http';
import { undiciTransport } from '@sealwire/client/undici';
import { Agent, fetch as undiciFetch } from 'undici';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { streamBody } from '../../../test/support/stream-body.js';
import { certificate } from './support/certificate.js';
import { BREAKING, listenTls, onTheWay } from './support/tls.js';

async function listen(listener: RequestListener): Promise<{ url: string; server: Server }> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/remote/payments?a=1`, server };
}

/** Where nobody listens. */
async function closedPort(): Promise<string> {
  const { server, url } = await listen(() => {});
  server.close();
  await once(server, 'close');
  return url;
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

/** Looks like a result, and is none; with flags of 3 it looks like a live one. */
function resultFrame(length: number, flags = 0): Buffer {
  const frame = Buffer.alloc(length);
  frame.set([0x12, 1, flags]);
  return frame;
}

function request(url: string, over: Partial<TransportRequest> = {}): TransportRequest {
  const { signal } = new AbortController();
  return { url, body: new Uint8Array(3), contentType: 'application/vnd.sealwire', signal, ...over };
}

/** Bytes that are counted when they are asked for. */
function counted(chunks: number, length = 65_536) {
  const seen = { asked: 0, cancelled: false };
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        // fetch reads a source that never waits for as long as there is any
        await new Promise((resolve) => setImmediate(resolve));
        if (seen.asked === chunks) controller.close();
        else controller.enqueue(new Uint8Array(length).fill(seen.asked++));
      },
      cancel() {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { seen, stream: streamBody(stream) };
}

/** All parts as one. */
async function rest(reader: BodyReader): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done || !value) return Buffer.concat(parts);
    parts.push(value);
  }
}

type Make = (options?: { maxResponse?: number }) => Transport;
const TRANSPORTS: [string, Make][] = [
  ['fetchTransport', fetchTransport],
  ['httpTransport', httpTransport],
  ['undiciTransport', undiciTransport],
];

describe.each(TRANSPORTS)('%s', (name, make) => {
  it('posts bytes with their type and the headers of the caller, and reads the answer', async () => {
    let seen: Record<string, unknown> = {};
    const { url } = await listen(async (incoming, response) => {
      const { method, headers, url: path } = incoming;
      seen = { method, path, body: [...(await bodyOf(incoming))], ...headers };
      response.writeHead(418, { 'content-type': 'text/plain', 'x-one': 'two' }).end('a teapot');
    });
    const answer = await make().send(request(url, { body: Uint8Array.of(1, 2, 3), headers: { 'X-Tenant': 'north' } }));
    expect(seen).toMatchObject({ method: 'POST', path: '/remote/payments?a=1', body: [1, 2, 3] });
    expect(seen).toMatchObject({ 'x-tenant': 'north', 'content-type': 'application/vnd.sealwire' });
    expect(seen).toMatchObject({ 'content-length': '3', 'accept-encoding': 'identity' });
    expect(answer).toMatchObject({ status: 418, contentType: 'text/plain' });
    expect(Buffer.from(answer.body as Uint8Array).toString()).toBe('a teapot');
    expect(Object.fromEntries(answer.headers ?? [])).toMatchObject({ 'x-one': 'two' });
  });

  it('reads Retry-After, and follows no redirect', async () => {
    let requests = 0;
    const { url } = await listen((_, response) => {
      requests++;
      response.writeHead(503, { 'retry-after': '7' }).end();
    });
    expect(await make().send(request(url))).toMatchObject({ status: 503, retryAfter: 7, contentType: '' });
    const { url: redirecting } = await listen((_, response) => response.writeHead(307, { location: url }).end());
    expect(await make().send(request(redirecting))).toMatchObject({ status: 307, location: url });
    expect(requests).toBe(1);
  });

  it.each([
    ['announced', { 'content-length': '200000' }],
    ['not announced', {}],
  ])('cuts off a response that is too long, %s', async (_, headers) => {
    const { url } = await listen((_incoming, response) => response.writeHead(200, headers).end(resultFrame(200_000)));
    const plain = request(url, { contentType: 'application/cbor' });
    const { body } = await make({ maxResponse: 200_000 }).send(plain);
    expect(body).toHaveLength(200_000);
    await expect(make({ maxResponse: 199_999 }).send(plain)).rejects.toMatchObject({ code: 'too_large' });
  });

  it.each([
    ['a result of one piece', [0x12, 1, 0], 65_567],
    ['an answer to step 1 or 3', [4, 1, 0], 1_187_840],
  ])('reads no more of %s than such a frame can have', async (_what, head, most) => {
    const { url } = await listen((_incoming, response) => {
      const part = Buffer.alloc(65_536);
      const write = (): void => {
        if (response.destroyed) return;
        if (response.write(part)) setImmediate(write);
        else response.once('drain', write);
      };
      response.on('close', closed).writeHead(200).write(Buffer.from(head));
      write();
    });
    const closed = vi.fn();
    await expect(make().send(request(url))).rejects.toMatchObject({
      code: 'too_large',
      message: `The answer is longer than the ${most} bytes of a frame of its kind.`,
    });
    await vi.waitFor(() => expect(closed).toHaveBeenCalledOnce());
  });

  it('reads the beginning of a result of several pieces, which has to open first', async () => {
    const { url } = await listen((_, response) =>
      response.end(Buffer.concat([resultFrame(12, 1), Buffer.alloc(200_000)])),
    );
    const reader = (await make({ maxResponse: 10 }).send(request(url))).body as BodyReader;
    expect((await rest(reader)).length).toBe(200_012);
  });

  it('reads 4 KiB of what is no frame and closes the connection, and a frame whatever its status', async () => {
    let closed = 0;
    const { url } = await listen((incoming, response) => {
      incoming.socket.on('close', () => closed++);
      const body = incoming.headers['x-body'] === 'frame' ? resultFrame(60_000) : Buffer.alloc(8_000_000, 'x');
      response.writeHead(502, { 'content-type': 'text/html' }).end(body);
    });
    expect((await make().send(request(url))).body).toHaveLength(4096);
    await vi.waitFor(() => expect(closed).toBe(1));
    const frame = await make().send(request(url, { headers: { 'x-body': 'frame' } }));
    expect(Buffer.compare(frame.body as Uint8Array, resultFrame(60_000))).toBe(0);
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ])('unfolds what a proxy compressed with %s, and counts it then', async (encoding, compress) => {
    const { url } = await listen((_, response) =>
      response.writeHead(200, { 'content-encoding': encoding }).end(compress(resultFrame(1_000_000))),
    );
    const plain = request(url, { contentType: 'application/cbor' });
    expect((await make().send(plain)).body).toHaveLength(1_000_000);
    await expect(make({ maxResponse: 999_999 }).send(plain)).rejects.toMatchObject({ code: 'too_large' });
  });

  it.each(['constructor', '__proto__'])(
    'takes %s for no encoding, and closes the connection of an answer that is no frame',
    async (encoding) => {
      const closed = vi.fn();
      const { url } = await listen((_, response) => {
        response.on('close', closed).writeHead(502, { 'content-encoding': encoding }).write(Buffer.alloc(8_000, 'x'));
      });
      expect((await make().send(request(url))).body).toHaveLength(4096);
      await vi.waitFor(() => expect(closed).toHaveBeenCalledOnce());
    },
  );

  it('hands over a live result as it arrives', async () => {
    let more = (): void => {};
    const { url } = await listen((_, response) => {
      response.writeHead(200).write(resultFrame(20, 3));
      more = () => response.end('and more');
    });
    const { body } = await make().send(request(url));
    const reader = body as BodyReader;
    expect(Buffer.from((await reader.read()).value ?? [])).toEqual(resultFrame(20, 3));
    const next = reader.read();
    more();
    expect(Buffer.from((await next).value ?? []).toString()).toBe('and more');
    expect((await reader.read()).done).toBe(true);
  });

  it('reads no further than it is asked to', async () => {
    let sent = 0;
    const { url } = await listen((_, response) => {
      response.writeHead(200).write(resultFrame(100, 3));
      const part = Buffer.alloc(65_536);
      const write = (): void => {
        if (sent++ === 400) response.end();
        else if (response.write(part)) write();
        else response.once('drain', write);
      };
      write();
    });
    const reader = (await make().send(request(url))).body as BodyReader;
    await vi.waitFor(() => expect(sent).toBeGreaterThan(2));
    let before = -1;
    await vi.waitFor(
      () => {
        const same = before === sent;
        before = sent;
        if (!same) throw new Error('it still flows');
      },
      { interval: 300, timeout: 10_000 },
    );
    expect(sent).toBeLessThan(300);
    expect((await rest(reader)).length).toBe(400 * 65_536 + 100);
  });

  it('rejects what waits for a live result that is cut', async () => {
    const { url } = await listen((_, response) => {
      response.writeHead(200).write(resultFrame(20, 3), () => response.destroy());
    });
    const reader = (await make().send(request(url))).body as BodyReader;
    await expect(rest(reader)).rejects.toThrow();
  });

  it('closes the connection of a live result that nobody reads, or that is aborted', async () => {
    let closed = 0;
    const { url } = await listen((_, response) => {
      response.on('close', () => closed++);
      response.writeHead(200).write(resultFrame(20, 3));
    });
    await ((await make().send(request(url))).body as BodyReader).cancel();
    await vi.waitFor(() => expect(closed).toBe(1));
    const controller = new AbortController();
    const reader = (await make().send(request(url, { signal: controller.signal }))).body as BodyReader;
    await reader.read();
    const reading = reader.read();
    const reason = new Error('given up');
    controller.abort(reason);
    await expect(reading).rejects.toBe(reason);
    await vi.waitFor(() => expect(closed).toBe(2));
  });

  it('is aborted at once: before it begins, and while it waits', async () => {
    let requests = 0;
    let closed = 0;
    const { url } = await listen((incoming) => {
      requests++;
      incoming.socket.on('close', () => closed++);
    });
    const reason = new Error('given up');
    await expect(make().send(request(url, { signal: AbortSignal.abort(reason) }))).rejects.toBe(reason);
    const controller = new AbortController();
    const sending = make().send(request(url, { signal: controller.signal }));
    await vi.waitFor(() => expect(requests).toBe(1));
    controller.abort(reason);
    await expect(sending).rejects.toBe(reason);
    await vi.waitFor(() => expect(closed).toBe(1));
    expect(requests).toBe(1);
  });

  it('sends a stream as fast as the server takes it', async () => {
    const { seen, stream } = counted(400);
    let read = (): void => {};
    const { url } = await listen(async (incoming, response) => {
      await new Promise<void>((resolve) => {
        read = resolve;
      });
      response.end(String((await bodyOf(incoming)).length));
    });
    expect(make().requestStreams).toBe(true);
    const sending = make().send(request(url, { body: stream }));
    let before = -1;
    await vi.waitFor(
      () => {
        const same = before === seen.asked && before > 0;
        before = seen.asked;
        if (!same) throw new Error('it still flows');
      },
      { interval: 300, timeout: 10_000 },
    );
    expect(seen.asked).toBeLessThan(300);
    read();
    expect(Buffer.from((await sending).body as Uint8Array).toString()).toBe(String(400 * 65_536));
  });

  it('sends a Blob', async () => {
    const { url } = await listen(async (incoming, response) => {
      response.end(String((await bodyOf(incoming)).length));
    });
    const { body } = await make().send(request(url, { body: new Blob([new Uint8Array(300_000)]) }));
    expect(Buffer.from(body as Uint8Array).toString()).toBe('300000');
  });

  it('breaks a request whose stream fails, and one whose call is aborted; its source is cancelled then', async () => {
    const ends: boolean[] = [];
    let arrived = (): void => {};
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const { url } = await listen((incoming) => {
      incoming.on('close', () => ends.push(incoming.complete));
      incoming.on('error', () => {});
      incoming.resume();
      arrived();
    });
    const failing = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new Uint8Array(100_000)),
      pull: async (controller) => {
        await arrival;
        controller.error(new Error('no more'));
      },
    });
    await expect(make().send(request(url, { body: streamBody(failing) }))).rejects.toThrow();
    await vi.waitFor(() => expect(ends).toEqual([false]));
    const controller = new AbortController();
    const { seen, stream } = counted(Number.POSITIVE_INFINITY);
    const sending = make().send(request(url, { body: stream, signal: controller.signal }));
    await vi.waitFor(() => expect(seen.asked).toBeGreaterThan(10));
    controller.abort(new Error('given up'));
    await expect(sending).rejects.toThrow('given up');
    await vi.waitFor(() => expect(ends).toEqual([false, false]));
    // Node's fetch leaves it as it is
    if (name !== 'fetchTransport') await vi.waitFor(() => expect(seen.cancelled).toBe(true));
  });

  it('tells that nothing was reached', async () => {
    await expect(make().send(request(await closedPort()))).rejects.toMatchObject({ code: 'unreachable' });
    const nowhere = request('http://nowhere.invalid/remote/payments');
    await expect(make().send(nowhere)).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('does not take a lost answer for an unreachable server, on a new connection and on one that was kept', async () => {
    let requests = 0;
    const { url } = await listen((incoming, response) => {
      if (++requests === 2) response.end('fine');
      else incoming.socket.destroy();
    });
    const transport = make();
    const codeOf = () =>
      transport.send(request(url)).then(
        ({ status }) => status,
        (error) => String(error.code),
      );
    expect(['unreachable', 'bad_configuration']).not.toContain(await codeOf());
    expect(await codeOf()).toBe(200);
    expect(['unreachable', 'bad_configuration']).not.toContain(await codeOf());
    expect(requests).toBe(3);
  });

  it('takes no other protocol for an answer, and does not wait for one', async () => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => {});
      const switching = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';
      socket.once('data', () => socket.write(switching));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    await expect(make().send(request(`http://127.0.0.1:${port}/remote/payments`))).rejects.toMatchObject({
      code: 'bad_frame',
      message: expect.stringContaining('gave no whole answer'),
    });
  });

  it('uses connections again', async () => {
    const sockets = new Set<unknown>();
    const { url } = await listen((incoming, response) => {
      sockets.add(incoming.socket);
      response.end(resultFrame(10));
    });
    const transport = make();
    for (let i = 0; i < 10; i++) await transport.send(request(url));
    expect(sockets.size).toBeLessThanOrEqual(2);
  });

  it('refuses a header that no request may have', async () => {
    const sending = make().send(request('http://127.0.0.1:9/x', { headers: { authorization: 'Bearer a\nb' } }));
    await expect(sending).rejects.toMatchObject({ code: 'bad_configuration' });
    const naming = make().send(request('http://127.0.0.1:9/x', { headers: { 'a b': 'c' } }));
    await expect(naming).rejects.toMatchObject({ code: 'bad_configuration' });
  });

  it('refuses a URL that it can never reach, and an option that it has not', () => {
    for (const url of ['/remote/payments', 'ftp://localhost/x', 'http://user:password@localhost/x']) {
      expect(() => make().check?.(url)).toThrow(expect.objectContaining({ code: 'bad_configuration' }));
    }
    expect(() => make({ retries: 3 } as never)).toThrow(`${name}: unknown option \`retries\``);
    expect(() => make(null as never)).toThrow(`${name}: its options must be an object.`);
  });

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '5', null, 2 ** 60])(
    'refuses a maxResponse of %s',
    (value) => {
      expect(() => make({ maxResponse: value as never })).toThrow(
        expect.objectContaining({
          code: 'bad_configuration',
          message: `${name}: maxResponse must be a number of bytes above 0, without a fraction.`,
        }),
      );
    },
  );
});

describe('over TLS', () => {
  const fine: RequestListener = (_, response) => response.end(resultFrame(10));

  it.each(TRANSPORTS)('%s refuses a certificate that nobody vouches for', async (_, make) => {
    const sending = make().send(request(await listenTls(fine)));
    await expect(sending).rejects.toMatchObject({ code: 'bad_configuration' });
  });

  it.each<[string, () => Transport]>([
    ['httpTransport with ca', () => httpTransport({ ca: certificate.cert })],
    ['httpTransport with an agent', () => httpTransport({ agent: new HttpsAgent({ ca: certificate.cert }) })],
    ['undiciTransport', () => undiciTransport({ dispatcher: new Agent({ connect: { ca: certificate.cert } }) })],
  ])('%s takes the authority that it is given', async (_, make) => {
    const url = await listenTls(fine);
    const transport = make();
    transport.check?.(url);
    for (let i = 0; i < 2; i++) expect(await transport.send(request(url))).toMatchObject({ status: 200 });
  });

  const trusting = () => new Agent({ connect: { ca: certificate.cert } });
  const TRUSTING: [string, () => Transport][] = [
    ['fetchTransport', () => fetchTransport({ fetch: undiciFetchOf(trusting()) })],
    ['httpTransport', () => httpTransport({ agent: new HttpsAgent({ ca: certificate.cert, keepAlive: true }) })],
    ['undiciTransport', () => undiciTransport({ dispatcher: trusting() })],
  ];

  function undiciFetchOf(dispatcher: Agent): typeof fetch {
    return ((url: string, init: object) => undiciFetch(url, { ...init, dispatcher })) as never;
  }

  const codeOf = (sending: Promise<unknown>): Promise<string | undefined> =>
    sending.then(
      () => undefined,
      ({ code }) => String(code),
    );
  const CERTAIN = ['unreachable', 'bad_configuration'];

  describe.each(TRUSTING)('%s', (_, make) => {
    it.each(BREAKING)('does not take %s behind its request for a sign that nothing left', async (_what, bytes) => {
      let isHonest = true;
      let requests = 0;
      const { url, inject } = await onTheWay(
        await listenTls((_incoming, response) => {
          requests++;
          if (isHonest) response.end('fine');
          else inject(bytes);
        }),
      );
      const transport = make();
      await transport.send(request(url));
      isHonest = false;
      // on the connection that was kept, and on a new one
      for (const one of [transport, make()]) expect(CERTAIN).not.toContain(await codeOf(one.send(request(url))));
      expect(requests).toBe(3);
    });

    it('does not take a server that refuses its certificate after the handshake for one that got nothing', async () => {
      const options = { requestCert: true, ca: certificate.cert, minVersion: 'TLSv1.3' } as const;
      const url = await listenTls(fine, options);
      expect(CERTAIN).not.toContain(await codeOf(make().send(request(url))));
    });
  });

  it.each(TRANSPORTS)('%s tells that a server speaks no TLS', async (name, make) => {
    const { url } = await listen((_, response) => response.end());
    await expect(make().send(request(url.replace('http:', 'https:')))).rejects.toMatchObject({
      // the others do not say whether the connection stood
      code: name === 'httpTransport' ? 'bad_configuration' : 'bad_frame',
      message: expect.stringContaining('speaks no TLS: write http:// in `url`'),
    });
  });

  it.each(TRANSPORTS)('%s tells that a server which closes before TLS stands was not reached', async (name, make) => {
    const server = createTcpServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/remote/payments`;
    const code = await make()
      .send(request(url))
      .then(String, (error) => error.code);
    // the others do not say whether it stood
    if (name === 'httpTransport') expect(code).toBe('unreachable');
    else expect(code).not.toBe('bad_configuration');
  });
});

describe('httpTransport', () => {
  it('tells how many bytes of a stream were written, and never more', async () => {
    const { stream } = counted(100);
    const { url } = await listen(async (incoming, response) => response.end(String((await bodyOf(incoming)).length)));
    const told: number[] = [];
    expect(httpTransport().uploadProgress).toBe(true);
    await httpTransport().send(request(url, { body: stream, onUpload: (bytes) => told.push(bytes) }));
    expect(told).toEqual(Array.from({ length: 100 }, (_, i) => (i + 1) * 65_536));
  });

  it('takes an agent, which keeps its connections', async () => {
    const agent = new HttpAgent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    const sockets = new Set<unknown>();
    const { url } = await listen((incoming, response) => {
      sockets.add(incoming.socket);
      response.end(resultFrame(10));
    });
    const transport = httpTransport({ agent });
    await Promise.all(Array.from({ length: 5 }, () => transport.send(request(url))));
    expect(sockets.size).toBe(1);
    expect(Object.values(agent.freeSockets).flat()).toHaveLength(1);
  });

  it.each(['Content-Length', 'transfer-encoding', 'Connection', 'upgrade', 'expect'])(
    'refuses a header %s, which says how the body is sent',
    async (name) => {
      const sending = httpTransport().send(request('http://127.0.0.1:9/x', { headers: { [name]: '1' } }));
      await expect(sending).rejects.toMatchObject({ code: 'bad_configuration' });
    },
  );

  it('refuses what does not fit the URL', () => {
    const refused = expect.objectContaining({ code: 'bad_configuration' });
    expect(() => httpTransport({ ca: certificate.cert }).check?.('http://localhost/x')).toThrow(refused);
    expect(() => httpTransport({ agent: new HttpAgent() }).check?.('https://localhost/x')).toThrow(refused);
    expect(() => httpTransport({ agent: new HttpsAgent() }).check?.('http://localhost/x')).toThrow(refused);
    expect(() => undiciTransport({ dispatcher: new Agent(), connections: 1 })).toThrow(refused);
  });

  it('reaches an address of IPv6', async () => {
    const server = createServer((_, response) => response.end(resultFrame(10))).listen(0, '::1');
    const listening = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    onTestFinished(() => void server.close());
    if (!listening) return;
    const url = `http://[::1]:${(server.address() as AddressInfo).port}/remote/payments`;
    expect(await httpTransport().send(request(url))).toMatchObject({ status: 200 });
  });
});

it.each<[string, () => Transport]>([
  ['httpTransport: agent', () => httpTransport({ agent: {} as never })],
  ['httpTransport: agent', () => httpTransport({ agent: false as never })],
  ['httpTransport: ca', () => httpTransport({ ca: 'authority.pem' })],
  ['httpTransport: ca', () => httpTransport({ ca: [] })],
  ['httpTransport: ca', () => httpTransport({ ca: [certificate.cert, 5 as never] })],
  ['undiciTransport: dispatcher', () => undiciTransport({ dispatcher: 'http://proxy.test' as never })],
  ['undiciTransport: dispatcher', () => undiciTransport({ dispatcher: null as never })],
  ['undiciTransport: connections', () => undiciTransport({ connections: 0 })],
  ['undiciTransport: connections', () => undiciTransport({ connections: '2' as never })],
  ['fetchTransport: fetch', () => fetchTransport({ fetch: {} as never })],
  ['fetchTransport: credentials', () => fetchTransport({ credentials: 'all' as never })],
])('%s is refused if it is none', (said, make) => {
  const message = expect.stringMatching(`^${said} must be `);
  expect(make).toThrow(expect.objectContaining({ code: 'bad_configuration', message }));
});

it('undiciTransport opens no more connections than it is allowed to', async () => {
  const sockets = new Set<unknown>();
  const { url } = await listen((incoming, response) => {
    sockets.add(incoming.socket);
    response.end(resultFrame(10));
  });
  const transport = undiciTransport({ connections: 2 });
  await Promise.all(Array.from({ length: 10 }, () => transport.send(request(url))));
  expect(sockets.size).toBe(2);
});
