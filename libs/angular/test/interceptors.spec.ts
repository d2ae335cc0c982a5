// @vitest-environment jsdom
import './support.js';
import {
  HttpContext,
  HttpErrorResponse,
  type HttpInterceptorFn,
  HttpResponse,
  provideHttpClient,
  withFetch as withFetchBackend,
  withInterceptors,
} from '@angular/common/http';
import { Injector } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  injectRemote,
  provideSealwire,
  RemoteError,
  remoteStream,
  SEALED_REQUEST,
  sealwireStreams,
  withModule,
} from '@sealwire/angular';
import { EMPTY, filter, map, of, retry, tap, throwError } from 'rxjs';
import { beforeEach, describe, expect, it, type MockInstance, onTestFinished, vi } from 'vitest';
import { eventually } from './eventually.js';
import { Payments, Public, Rates, secureKeys, serverKey, startServer } from './server.js';

let warn: MockInstance<typeof console.warn>;
beforeEach(() => {
  warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  return () => warn.mockRestore();
});

/** An application that has these interceptors, with a short time for its calls. */
async function connect(interceptors: HttpInterceptorFn[], overFetch = false) {
  const server = await startServer();
  const features = overFetch ? [withFetchBackend()] : [];
  TestBed.configureTestingModule({
    providers: [
      provideHttpClient(withInterceptors(interceptors), ...features),
      provideSealwire(
        { url: server.url, serverKey, timeout: 2_000 },
        withModule(Payments, { secureKey: secureKeys[0] }),
      ),
    ],
  });
  const remote = TestBed.runInInjectionContext(() => injectRemote(Payments));
  const call = () => remote.balance({ account: 'a' }).catch((error: unknown) => error);
  return { ...server, call };
}

const answers =
  (change: (body: unknown) => unknown): HttpInterceptorFn =>
  (request, next) =>
    next(request).pipe(
      map((event) => (event instanceof HttpResponse ? event.clone({ body: change(event.body) }) : event)),
    );

const kinds = {
  request: 'replaced the body of a sealed request of module "payments"',
  answer: 'altered the body of an answer of module "payments"',
  cache: 'answered from a cache, or in the place of the server, of module "payments"',
};
const told = () => warn.mock.calls.map(([text]) => String(text));

describe('a development build tells of an interceptor that', () => {
  it.each<[string, keyof typeof kinds, HttpInterceptorFn]>([
    ['asks for JSON', 'answer', (request, next) => next(request.clone({ responseType: 'json' }))],
    ['parses answers', 'answer', answers((body) => ({ parsed: String(body) }))],
    ['makes text of answers', 'answer', answers(() => 'text')],
    ['drops answers', 'answer', answers(() => ({}))],
    ['cuts answers', 'answer', answers((body) => (body as ArrayBuffer).slice(0, -1))],
    ['wraps requests', 'request', (request, next) => next(request.clone({ body: { data: request.body } }))],
    [
      'cuts requests',
      'request',
      (request, next) => next(request.clone({ body: (request.body as ArrayBuffer).slice(1) })),
    ],
    ['answers itself', 'cache', () => of(new HttpResponse({ status: 200, body: new ArrayBuffer(8) }))],
  ])('%s, once', async (_, kind, interceptor) => {
    const { call } = await connect([interceptor]);
    expect(await call()).toBeInstanceOf(RemoteError);
    await call();
    expect(told()).toEqual([expect.stringContaining(kinds[kind])]);
    expect(told()[0]).toContain('SEALED_REQUEST');
  });

  it('caches by the URL', async () => {
    const cache = new Map<string, HttpResponse<unknown>>();
    const caching: HttpInterceptorFn = (request, next) => {
      const found = cache.get(request.url);
      return found
        ? of(found.clone())
        : next(request).pipe(tap((event) => event instanceof HttpResponse && cache.set(request.url, event)));
    };
    const { call } = await connect([caching]);
    expect(await call()).toBeInstanceOf(RemoteError);
    expect(told()).toEqual([expect.stringContaining(kinds.cache)]);
  });

  it('does one thing to one module and another to the next: each kind once for the whole application', async () => {
    const { call } = await connect([
      (request, next) => next(request.url.endsWith('public') ? request.clone({ body: 'text' }) : request),
      answers(() => 'text'),
    ]);
    await call();
    const rate = () =>
      TestBed.inject(Public)
        .rate('CHF')
        .catch(() => {});
    await Promise.all([rate(), rate()]);
    const request = kinds.request.replace('payments', 'public');
    expect(told()).toEqual([expect.stringContaining(kinds.answer), expect.stringContaining(request)]);
  });

  it.each<[keyof typeof kinds, HttpInterceptorFn]>([
    ['request', (request, next) => next(request.clone({ body: 'text' }))],
    ['answer', answers(() => new ArrayBuffer(8))],
  ])('stands before sealwireStreams and alters the %s', async (kind, interceptor) => {
    const { call } = await connect([interceptor, sealwireStreams]);
    await call();
    expect(told()).toEqual([expect.stringContaining(kinds[kind])]);
  });
});

it('a development build tells of a service worker that caches', async () => {
  const { call } = await connect([], true);
  const real = globalThis.fetch;
  let kept: Promise<ArrayBuffer> | undefined;
  vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
    const response = await real(url, init);
    kept ??= response.arrayBuffer();
    return new Response((await kept).slice(), response);
  });
  onTestFinished(() => void vi.unstubAllGlobals());
  expect(await call()).toBeInstanceOf(RemoteError);
  expect(told()).toEqual([expect.stringContaining(kinds.cache)]);
});

describe('nothing is told of interceptors that', () => {
  let lost = 0;
  it.each<[string, HttpInterceptorFn[]]>([
    ['set headers', [(request, next) => next(request.clone({ setHeaders: { authorization: 'Bearer x' } }))]],
    ['leave sealed requests alone', [(request, next) => (request.context.get(SEALED_REQUEST) ? next(request) : of())]],
    ['put another context in place', [(request, next) => next(request.clone({ context: new HttpContext() }))]],
    ['copy answers', [answers((body) => (body as ArrayBuffer).slice())]],
    [
      'retry',
      [
        (request, next) => next(request).pipe(retry(2)),
        // a network that loses every second answer
        (request, next) =>
          next(request).pipe(
            tap((event) => {
              if (
                event instanceof HttpResponse &&
                request.context.get(SEALED_REQUEST)?.frame === 'call' &&
                lost++ % 2 === 0
              )
                throw new HttpErrorResponse({ status: 0 });
            }),
          ),
      ],
    ],
    [
      'send twice',
      [
        (request, next) =>
          next(request).pipe(
            tap((event) => event instanceof HttpResponse && next(request).subscribe({ error: () => {} })),
          ),
      ],
    ],
    ['watch, before sealwireStreams', [(request, next) => next(request).pipe(tap(() => {})), sealwireStreams]],
  ])('%s', async (_, interceptors) => {
    const { call } = await connect(interceptors);
    for (let i = 0; i < 3; i++) expect(await call()).toBe(100n);
    expect(told()).toEqual([]);
  });

  it.each([
    ['without a word', undefined],
    ['with a text', 'Log in first.'],
    ['with an object', { message: 'Log in first.' }],
  ])('refuse a request without sending it, %s', async (_, error) => {
    const { call } = await connect([() => throwError(() => new HttpErrorResponse({ status: 401, error }))]);
    expect(await call()).toBeInstanceOf(RemoteError);
    expect(told()).toEqual([]);
  });

  it.each<[string, HttpInterceptorFn]>([
    ['swallow a request', () => EMPTY],
    ['swallow an answer', (request, next) => next(request).pipe(filter((event) => !(event instanceof HttpResponse)))],
  ])('%s, and the call says so', async (_, interceptor) => {
    const { call } = await connect([interceptor]);
    expect(await call()).toMatchObject({
      message: expect.stringContaining('an interceptor ended the request without'),
    });
  });
});

describe.each([
  ['XMLHttpRequest', []],
  ['fetch', [withFetchBackend()]],
])('a stream through HttpClient on %s', (_, features) => {
  it.each([
    ['is told of sealwireStreams if it is not there', [], 1],
    ['passes without a word if it is', [sealwireStreams], 0],
  ])('%s', async (_, interceptors, times) => {
    const { url, rates } = await startServer();
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(withInterceptors(interceptors), ...features),
        provideSealwire({ url, serverKey }, withModule(Rates)),
      ],
    });
    const injector = TestBed.inject(Injector);
    const [one, two] = ['CHF', 'EUR'].map((currency) =>
      remoteStream(Rates, (functions) => functions.watch(currency), { injector }),
    );
    TestBed.tick();
    await eventually(() => rates.news.observed).toBe(true);
    if (times === 0) await eventually(() => [one?.status(), two?.status()]).toEqual(['open', 'open']);
    else await eventually(told).toHaveLength(1);
    expect(told()).toEqual(
      Array.from({ length: times }, () =>
        expect.stringMatching(/of module "rates" .* sealwireStreams .* withInterceptors/),
      ),
    );
    for (const stream of [one, two]) stream?.stop();
  });
});
