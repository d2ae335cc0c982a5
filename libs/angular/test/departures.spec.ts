// @vitest-environment jsdom
import './support.js';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  HTTP_INTERCEPTORS,
  type HttpInterceptor,
  type HttpInterceptorFn,
  provideHttpClient,
  withFetch as withFetchBackend,
  withInterceptors,
  withInterceptorsFromDi,
  withRequestsMadeViaParent,
} from '@angular/common/http';
import { createEnvironmentInjector, EnvironmentInjector, Injector } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { provideSealwire, type RemoteModuleConfig, remoteStream, sealwireStreams, withModule } from '@sealwire/angular';
import { formatKeyText, generateKeyText, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { Subject, takeUntil, tap, timeout } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { eventually } from './eventually.js';
import { Payments, Rates, secureKeys, serverKey, startServer } from './server.js';

const nobody = 'http://127.0.0.1:1';
const otherServerKey = formatKeyText(
  'swp1',
  parseServerPrivateKey(generateKeyText('sws1', nodePrimitives), nodePrimitives).publicKey,
);

/** Sends requests to another server than the application configured. */
const rewriting =
  (url: string): HttpInterceptorFn =>
  (request, next) =>
    next(request.clone({ url: `${url}/payments` }));
const tracing: HttpInterceptorFn = (request, next) => next(request.clone({ setParams: { trace: '1' } }));

/** Servers that are none of ours. */
async function foreign(answer: RequestListener) {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close().closeAllConnections());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/remote`;
}

const cors = { 'access-control-allow-origin': '*', 'access-control-allow-headers': '*' };
const problem = { ...cors, 'content-type': 'application/problem+json' };

describe.each([
  ['XMLHttpRequest', [], []],
  ['fetch', [withFetchBackend()], []],
  ['XMLHttpRequest, with sealwireStreams', [], [sealwireStreams]],
  ['fetch, with sealwireStreams', [withFetchBackend()], [sealwireStreams]],
])('over %s', (_, backend, streams) => {
  const call = (config: RemoteModuleConfig, ...interceptors: HttpInterceptorFn[]) => {
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(...backend, withInterceptors([...interceptors, ...streams])),
        provideSealwire({ serverKey }, withModule(Payments, { secureKey: secureKeys[0], timeout: 2_000, ...config })),
      ],
    });
    return TestBed.inject(Payments).balance({ account: 'a' });
  };

  it.each([
    ['rewrites the address', (url: string) => [rewriting(url)]],
    ['sets parameters', (url: string) => [rewriting(url), tracing]],
  ])('an unsealed answer keeps its code where an interceptor %s', async (_, interceptors) => {
    const { url, seen } = await startServer();
    const config = { url: `${nobody}/remote`, serverKey: otherServerKey };
    await expect(call(config, ...interceptors(url))).rejects.toMatchObject({ code: 'handshake_failed' });
    expect(seen[0]?.url).toMatch(/^\/remote\/payments(\?trace=1)?$/);
  });

  it('a busy server is waited for where an interceptor sets parameters', async () => {
    let tries = 0;
    const url = await foreign((request, response) => {
      if (request.method === 'OPTIONS') return void response.writeHead(204, cors).end();
      tries++;
      response.writeHead(503, { ...problem, 'retry-after': '0' }).end('{"code":"busy"}');
    });
    await expect(call({ url }, tracing)).rejects.not.toMatchObject({ code: 'bad_configuration' });
    expect(tries).toBeGreaterThan(1);
  });

  it('a redirect is told, also where an interceptor sets parameters', async () => {
    const url = await foreign((request, response) => {
      if (request.method === 'OPTIONS') response.writeHead(204, cors).end();
      else if (request.url?.startsWith('/remote'))
        response.writeHead(303, { ...cors, location: '/elsewhere?trace=1' }).end();
      else response.writeHead(409, problem).end('{"code":"session_unknown"}');
    });
    await expect(call({ url }, tracing)).rejects.toMatchObject({
      code: 'bad_configuration',
      message: expect.stringContaining('elsewhere'),
    });
  });

  it('a request that nobody answers names the server that it left for', async () => {
    const url = await foreign((request) => request.socket.destroy());
    const left = { message: expect.stringContaining(new URL(url).origin) };
    await expect(call({ url: `${nobody}/remote` }, rewriting(url))).rejects.toMatchObject(left);
  });
});

it('an unsealed answer keeps its code where an interceptor of the parent rewrites the address', async () => {
  const { url } = await startServer();
  TestBed.configureTestingModule({
    providers: [provideHttpClient(withInterceptors([rewriting(url)]))],
  });
  const config = { url: `${nobody}/remote`, serverKey: otherServerKey };
  const route = createEnvironmentInjector(
    [
      provideHttpClient(withRequestsMadeViaParent(), withInterceptors([sealwireStreams])),
      provideSealwire(config, withModule(Payments, { secureKey: secureKeys[0] })),
    ],
    TestBed.inject(EnvironmentInjector),
  );
  await expect(route.get(Payments).balance({ account: 'a' })).rejects.toMatchObject({ code: 'handshake_failed' });
});

describe('sealwireStreams', () => {
  it('leaves no interceptor out, wherever it stands', async () => {
    class Bearer implements HttpInterceptor {
      intercept: HttpInterceptor['intercept'] = (request, next) =>
        next.handle(request.clone({ setHeaders: { authorization: 'Bearer x' } }));
    }
    const { url, rates, seen } = await startServer();
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(withInterceptors([sealwireStreams, tracing]), withInterceptorsFromDi()),
        { provide: HTTP_INTERCEPTORS, useClass: Bearer, multi: true },
        provideSealwire({ url, serverKey }),
      ],
    });
    const stream = remoteStream(Rates, (functions) => functions.watch('CHF'), { injector: TestBed.inject(Injector) });
    TestBed.tick();
    await eventually(() => [stream.status(), rates.news.observed]).toEqual(['open', true]);
    rates.news.next(1);
    await eventually(() => stream.value()).toBe('CHF 1');
    expect(seen.map((one) => [one.url, one.headers.authorization])).toEqual(
      seen.map(() => ['/remote/rates?trace=1', 'Bearer x']),
    );
    stream.stop();
    await eventually(() => rates.news.observed).toBe(false);
  });

  it('asks XMLHttpRequest once for an upload, also where that is the backend of another injector', async () => {
    const { url } = await startServer();
    TestBed.configureTestingModule({ providers: [provideHttpClient(), provideSealwire({ url, serverKey })] });
    expect(await TestBed.inject(Rates).size(Uint8Array.of(1))).toBe(1);
    const route = createEnvironmentInjector(
      [
        provideHttpClient(withFetchBackend(), withInterceptors([sealwireStreams])),
        provideSealwire({ url, serverKey }, withModule(Rates)),
      ],
      TestBed.inject(EnvironmentInjector),
    );
    const sent = vi.spyOn(XMLHttpRequest.prototype, 'send');
    onTestFinished(() => void vi.restoreAllMocks());
    const onProgress = () => {};
    expect(await route.get(Rates).$call({ onProgress }).size(new Uint8Array(900_000))).toBe(900_000);
    expect(sent).toHaveBeenCalledOnce();
  });

  /** An application whose requests nobody answers until the test does. */
  function connect(url: string, interceptor: HttpInterceptorFn) {
    const requests: { signal: AbortSignal; answer(response: Response): void }[] = [];
    vi.stubGlobal('fetch', (_: string, { signal }: { signal: AbortSignal }) => {
      return new Promise((answer) => requests.push({ signal, answer }));
    });
    onTestFinished(() => void vi.unstubAllGlobals());
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(withInterceptors([interceptor, sealwireStreams])),
        provideSealwire({ url, serverKey }, withModule(Payments, { secureKey: secureKeys[0] })),
      ],
    });
    return { requests, remote: TestBed.inject(Payments) };
  }

  it('gives a request up with the interceptor that does, and reads nothing of an answer that comes later', async () => {
    const enough = new Subject<void>();
    const { requests, remote } = connect(`${nobody}/remote`, (request, next) => next(request).pipe(takeUntil(enough)));
    const stop = new AbortController();
    const call = remote.$call({ signal: stop.signal }).balance({ account: 'a' });
    await eventually(() => requests.length).toBe(1);
    expect(requests[0]?.signal.aborted).toBe(false);
    enough.next();
    expect(requests[0]?.signal.aborted).toBe(true);
    const cancel = vi.fn();
    requests[0]?.answer(new Response(new ReadableStream({ cancel })));
    await eventually(() => cancel.mock.calls.length).toBe(1);
    stop.abort();
    await expect(call).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('keeps the answer of a request that ended with it, until the call is given up', async () => {
    const { requests, remote } = connect(`${nobody}/remote`, (request, next) =>
      next(request).pipe(
        timeout({ first: 20_000 }),
        tap(() => {}),
      ),
    );
    const stop = new AbortController();
    const call = remote.$call({ signal: stop.signal }).balance({ account: 'a' });
    await eventually(() => requests.length).toBe(1);
    const pulled = vi.fn();
    requests[0]?.answer(new Response(new ReadableStream({ pull: pulled }, { highWaterMark: 0 })));
    await eventually(() => pulled.mock.calls.length).toBe(1);
    expect(requests[0]?.signal.aborted).toBe(false);
    stop.abort();
    await expect(call).rejects.toMatchObject({ name: 'AbortError' });
    expect(requests[0]?.signal.aborted).toBe(true);
  });
});
