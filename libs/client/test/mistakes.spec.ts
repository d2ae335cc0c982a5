import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createTcpServer, type Server } from 'node:net';
import { createRemote, fetchTransport, type RemoteOptions } from '@sealwire/client';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { PeerServer, refused } from '../../../test/support/peer/server.js';
import { certificate } from './support/certificate.js';
import { type Api, connect, useFakeTimers } from './support/remote.js';

const server = new PeerServer();
const keys = { serverKey: server.serverKeyText, secureKey: server.secureKeyText };

async function listen(listening: Server): Promise<number> {
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  onTestFinished(() => {
    listening.close();
  });
  return (listening.address() as { port: number }).port;
}
const listenHttp = (answer: RequestListener) => listen(createServer(answer));

/** What the first call of a client ends with. */
async function firstCall(url: string, options: Partial<RemoteOptions> = {}) {
  const remote = createRemote<Api>({ url, ...keys, ...options });
  onTestFinished(() => remote.$close());
  const tries = vi.fn();
  remote.$events.on('retrying', tries);
  const began = performance.now();
  const error = await remote.add(1, 2).catch((e: unknown) => e);
  return { error: error as Error & { code: string }, tries: tries.mock.calls.length, ms: performance.now() - began };
}

describe('a cold client', () => {
  it('is told at once that nobody listens, with host and port', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as { port: number };
    closed.close();
    const { error, tries, ms } = await firstCall(`http://127.0.0.1:${port}/remote/payments`);
    expect(error).toMatchObject({ code: 'unreachable', retryable: true });
    expect(error.message).toContain(`Nothing answers at http://127.0.0.1:${port}; start the server or correct`);
    expect(error.message).toMatch(new RegExp(`connect ECONNREFUSED 127.0.0.1:${port}$`));
    expect(tries).toBe(1);
    expect(ms).toBeLessThan(2_000);
  });

  it('is told the deepest cause also for a name with two addresses', async () => {
    const { error } = await firstCall('http://localhost:59999/remote/payments');
    expect(error.message).toMatch(/ECONNREFUSED .*59999/);
  });

  it('is told that a host does not exist', async () => {
    const { error } = await firstCall('http://nowhere.invalid/remote/payments');
    expect(error).toMatchObject({ code: 'unreachable' });
    expect(error.message).toMatch(/nowhere\.invalid/);
  });

  it('is told of a wrong path within two tries', async () => {
    const port = await listenHttp((_request, response) => response.writeHead(404).end('Cannot POST /remot/payments'));
    const { error, tries } = await firstCall(`http://127.0.0.1:${port}/remot/payments`);
    expect(error).toMatchObject({ code: 'unreachable' });
    expect(error.message).toMatch(/HTTP 404/);
    expect(tries).toBe(1);
  });

  it.each([
    ['an HTML page of a proxy', 200, 'text/html; charset=utf-8', /HTTP 200 with an HTML page.*log-in page/],
    ['an HTML page of a gateway', 502, 'text/html', /HTTP 502 with an HTML page.*does not reach the server/],
    ['a path without a module', 404, 'application/json', /HTTP 404, .*check the path and the global prefix/],
    ['something else', 403, 'text/plain', /HTTP 403, .*check `url`/],
  ])('is told what to do about %s, within two tries', async (_name, status, type, sentence) => {
    let requests = 0;
    const port = await listenHttp((_request, response) => {
      requests++;
      response.writeHead(status, { 'content-type': type }).end('<!doctype html><title>Log in</title>');
    });
    const { error, tries } = await firstCall(`http://127.0.0.1:${port}/remote/payments`);
    expect(error).toMatchObject({ name: 'RemoteError', code: 'unreachable' });
    expect(error.message).toMatch(sentence);
    expect([requests, tries]).toEqual([2, 1]);
  });

  it.each([
    ['pin', { serverKey: new PeerServer().serverKeyText }],
    ['SecureKey', { secureKey: new PeerServer().secureKeyText }],
    ['module path', { modulePath: 'other' }],
  ])('is told at once of a wrong %s, and what to compare', async (_name, wrong) => {
    const kinds: unknown[] = [];
    const remote = connect(server, {
      ...wrong,
      network: (_request, next, kind) => {
        kinds.push(kind);
        return next();
      },
    });
    const error = await remote.add(1, 2).catch((e: unknown) => e);
    expect(error).toMatchObject({ name: 'RemoteError', code: 'handshake_failed' });
    expect((error as Error).message).toMatch(/Compare serverKey .* secureKey .* and modulePath/);
    expect(kinds.length).toBeLessThanOrEqual(2);
    expect(remote.$connection().state).toBe('refused');
  });

  it('is told of a redirect at once, and where it leads', async () => {
    const port = await listenHttp((_request, response) =>
      response.writeHead(301, { location: 'https://x.test/' }).end(),
    );
    const { error, tries } = await firstCall(`http://127.0.0.1:${port}/remote/payments`);
    expect(error).toMatchObject({ code: 'bad_configuration' });
    expect(error.message).toContain('https://x.test/');
    expect(tries).toBe(0);
  });

  it('is told of a certificate that is not good, at once', async () => {
    const port = await listen(createTlsServer(certificate, (_request, response) => response.end()));
    const { error, tries } = await firstCall(`https://127.0.0.1:${port}/remote/payments`);
    expect(error).toMatchObject({ code: 'bad_configuration' });
    expect(error.message).toMatch(/DEPTH_ZERO_SELF_SIGNED_CERT/);
    expect(error.message).toContain('NODE_EXTRA_CA_CERTS');
    expect(tries).toBe(0);
  });

  it('is told of https to a port that speaks http', async () => {
    const port = await listenHttp((_request, response) => response.end());
    const { error } = await firstCall(`https://127.0.0.1:${port}/remote/payments`);
    expect(error).toMatchObject({ code: 'bad_configuration' });
    expect(error.message).toContain(`https://127.0.0.1:${port} speaks no TLS: write http:// in \`url\``);
  });

  it('waits connectTimeout for an answer, twice', async () => {
    const port = await listen(createTcpServer(() => {}));
    const { error, ms } = await firstCall(`http://127.0.0.1:${port}/remote/payments`, { connectTimeout: 150 });
    expect(error).toMatchObject({ code: 'unreachable' });
    expect(error.message).toMatch(/No answer within 150 ms/);
    expect(ms).toBeGreaterThan(290);
    expect(ms).toBeLessThan(2_000);
  });

  it('ends the requests of step 1 that it does not need any more', async () => {
    let open = 0;
    let held = 0;
    const port = await listenHttp(async (request, response) => {
      open++;
      response.on('close', () => open--);
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part);
      if (held++ === 0) return;
      const body = new Uint8Array(Buffer.concat(parts));
      const answer = await server.handle({ body, contentType: request.headers['content-type'] ?? '' });
      response.writeHead(answer.status, { 'content-type': answer.contentType }).end(answer.body);
    });
    const remote = createRemote<Api>({ url: `http://127.0.0.1:${port}/remote/payments`, ...keys, connectTimeout: 100 });
    expect(await remote.add(1, 2)).toBe(3);
    await vi.waitFor(() => expect(open).toBe(0));
  });

  it('waits for its server if it is told to', async () => {
    useFakeTimers();
    const late = new PeerServer();
    let up = false;
    const remote = connect(late, {
      waitForServer: true,
      network: (_request, next) => (up ? next() : Promise.reject(new Error('connection refused'))),
    });
    const call = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(15_000);
    up = true;
    await vi.advanceTimersByTimeAsync(6_000);
    expect(await call).toBe(3);
  });

  it('waits for a server that is busy', async () => {
    useFakeTimers();
    const late = new PeerServer();
    let left = 4;
    const remote = connect(late, { network: (_request, next) => (left-- > 0 ? refused('busy') : next()) });
    const call = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await call).toBe(3);
  });
});

it('a warm client keeps trying', async () => {
  useFakeTimers();
  const away = new PeerServer();
  let up = true;
  const remote = connect(away, {
    network: (_request, next) => (up ? next() : Promise.reject(new Error('connection refused'))),
  });
  await remote.add(0, 0);
  for (const session of away.sessions.values()) session.ended = true;
  await remote.add(0, 0);
  up = false;
  const call = remote.add(1, 2);
  await vi.advanceTimersByTimeAsync(15_000);
  up = true;
  await vi.advanceTimersByTimeAsync(6_000);
  expect(await call).toBe(3);
});

it('tells of refused handshakes', async () => {
  const refusals = vi.fn();
  const remote = connect(server, { modulePath: 'other' });
  remote.$events.on('refused', refusals);
  await remote.add(1, 2).catch(() => {});
  expect(refusals).toHaveBeenCalledExactlyOnceWith({
    code: 'handshake_failed',
    cause: expect.objectContaining({ code: 'handshake_failed' }),
  });
});

describe('options', () => {
  const url = 'http://localhost/remote/payments';

  it.each([
    [
      'createRemote',
      () => createRemote({ url, secureKeys: 'x' } as never),
      /createRemote: unknown option `secureKeys`; did you mean `secureKey`\?/,
    ],
    ['fetchTransport', () => fetchTransport({ maxRespons: 1 } as never), /`maxRespons`; did you mean `maxResponse`\?/],
    [
      '$call',
      () => createRemote<Api>({ url, ...keys }).$call({ timout: 1 } as never),
      /`timout`; did you mean `timeout`\?/,
    ],
    [
      'something else',
      () => createRemote({ url, ...keys, retries: 3 } as never),
      /unknown option `retries`; it takes url, /,
    ],
  ])('that nothing reads are refused: %s', (_name, open, message) => {
    expect(open).toThrow(
      expect.objectContaining({ code: 'bad_configuration', message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ['a credentials mode', { credentials: 'yes' }, /credentials must be one of omit, same-origin, include/],
    ['a keepalive', { keepalive: 'yes' }, /keepalive must be one of true, false/],
    ['a priority', { priority: 1 }, /priority must be one of high, low, auto/],
    ['a mode', { mode: 'no-cors' }, /mode must be one of cors, same-origin/],
    ['a referrer policy', { referrerPolicy: 'none' }, /referrerPolicy must be one of no-referrer, /],
    ['maxResponse', { maxResponse: 0 }, /maxResponse must be a number of bytes above 0/],
    ['fetch', { fetch: true }, /fetch must be a function/],
  ])('refuse %s that there is not', (_name, wrong, message) => {
    expect(() => fetchTransport(wrong as never)).toThrow(
      expect.objectContaining({ code: 'bad_configuration', message: expect.stringMatching(message) }),
    );
  });

  it.each([undefined, { send: async () => refused('busy') }])(
    'refuse a relative URL at once, where no page is (%#)',
    (transport) => {
      const options = { url: '/remote/payments', ...keys, ...(transport ? { transport } : {}) };
      expect(() => createRemote(options)).toThrow(
        expect.objectContaining({
          code: 'bad_configuration',
          message: expect.stringContaining('give the whole address'),
        }),
      );
    },
  );

  it.each([
    ['page', { document: { baseURI: 'https://app.test/base/' } }, 'https://app.test/remote/payments'],
    [
      'worker',
      { location: { href: 'https://app.test/x/worker.js', origin: 'https://app.test' } },
      'https://app.test/remote/payments',
    ],
  ])('take a relative URL in a %s', async (_name, globals, address) => {
    for (const [name, value] of Object.entries(globals)) vi.stubGlobal(name, value);
    onTestFinished(() => void vi.unstubAllGlobals());
    const fetched = vi.fn(async () => new Response(''));
    const transport = fetchTransport({ fetch: fetched as never });
    const remote = createRemote<Api>({ url: '/remote/payments', ...keys, transport });
    await remote.add(1, 2).catch(() => {});
    expect(fetched).toHaveBeenCalledWith(address, expect.anything());
    vi.stubGlobal('location', { href: 'about:blank', origin: 'null' });
    vi.stubGlobal('document', undefined);
    expect(() => createRemote({ url: '/remote/payments', ...keys })).toThrow(/give the whole address/);
  });

  it.each([
    ['relative', '/remote/payments'],
    ['not a URL', 'http://:80/remote/payments'],
    ['of another scheme', 'ws://localhost/remote/payments'],
    ['without a module', 'https://example.com'],
    ['with a broken escape', 'https://example.com/%zz'],
  ])('refuse a URL that is %s', (_name, wrong) => {
    expect(() => createRemote({ url: wrong, ...keys })).toThrow(expect.objectContaining({ code: 'bad_configuration' }));
  });

  it('refuse a connectTimeout of no time', () => {
    expect(() => createRemote({ url, ...keys, connectTimeout: 0 })).toThrow(/connectTimeout/);
    expect(() => createRemote({ url, ...keys, timeout: '5' as never })).toThrow(/timeout must be a number/);
  });

  it.each<[string, readonly unknown[]]>([
    ['serverKey', [null, [], '', 5]],
    ['secureKey', [null, '', 5]],
    ['keySize', [null, '32', 8, Number.NaN]],
    ['modulePath', [null, '', 5, ['payments']]],
    ['timeout', [null, '5', 0, -1, Number.NaN]],
    ['connectTimeout', [null, '5', 0, -1, Number.NaN]],
    ['waitForServer', [null, 'false', 1]],
    ['transport', [null, 'fetch', {}]],
    ['headers', [null, 'a: b', new Headers({ a: 'b' }), new Map([['a', 'b']]), ['a']]],
    ['metadata', [null, 'a: b', new Headers({ a: 'b' }), new Map([['a', 'b']]), ['a']]],
    ['refresh', [null, {}]],
    ['onSession', [null, {}]],
    ['persistence', [null, true, {}]],
    ['primitives', [null, {}, true]],
    ['dangerouslyAllowAnyServer', [null, 'yes', 1]],
  ])('say of a wrong %s what it must be', (name, wrong) => {
    for (const value of wrong) {
      expect(() => createRemote({ url, ...keys, [name]: value }), String(value)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^bad_(configuration|key)$/) }),
      );
    }
  });

  it.each<[string, readonly unknown[]]>([
    ['signal', [null, 'now', new AbortController()]],
    ['timeout', [null, '5', 0]],
    ['onProgress', [null, {}]],
    ['metadata', [null, 'a: b', new Headers({ a: 'b' })]],
  ])('of a call say of a wrong %s what it must be', (name, wrong) => {
    const remote = createRemote<Api>({ url, ...keys });
    for (const value of wrong) {
      expect(() => remote.$call({ [name]: value }), String(value)).toThrow(
        expect.objectContaining({ code: 'bad_configuration', message: expect.stringContaining(`${name} must be`) }),
      );
    }
  });

  it.each([undefined, null, 5, 'http://localhost/remote/payments', []])('are an object, not %o', async (wrong) => {
    const refusal = (what: string) =>
      expect.objectContaining({ code: 'bad_configuration', message: `${what}: its options must be an object.` });
    expect(() => createRemote(wrong as never)).toThrow(refusal('createRemote'));
    const remote = createRemote<Api>({ url, ...keys });
    expect(() => remote.$call(wrong as never)).toThrow(refusal('$call'));
    if (wrong !== undefined) await expect(remote.$batch(() => [], wrong as never)).rejects.toEqual(refusal('$batch'));
  });

  it('never lose metadata that a function gives in another form', async () => {
    const metadata = () => new Headers({ authorization: 'Bearer x' }) as never;
    const remote = connect(server, { metadata });
    await expect(remote.add(1, 2)).rejects.toMatchObject({ code: 'metadata_failed' });
  });
});
