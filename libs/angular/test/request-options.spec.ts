// @vitest-environment jsdom
import './support.js';
import { HttpErrorResponse, type HttpInterceptorFn, provideHttpClient, withInterceptors } from '@angular/common/http';
import { Injector } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { provideSealwire, remoteStream, sealwireStreams } from '@sealwire/angular';
import { tap } from 'rxjs';
import { expect, it, onTestFinished, vi } from 'vitest';
import { eventually } from './eventually.js';
import { Rates, serverKey, startServer } from './server.js';

async function connect(interceptor: HttpInterceptorFn) {
  const server = await startServer();
  TestBed.configureTestingModule({
    providers: [
      provideHttpClient(withInterceptors([interceptor, sealwireStreams])),
      provideSealwire({ url: server.url, serverKey }),
    ],
  });
  const real = globalThis.fetch;
  const fetching = vi.fn(real);
  vi.stubGlobal('fetch', fetching);
  onTestFinished(() => void vi.unstubAllGlobals());
  return { ...server, fetching, real, remote: TestBed.inject(Rates), injector: TestBed.inject(Injector) };
}

it('what an interceptor sets on a request reaches fetch', async () => {
  const set = {
    credentials: 'include',
    keepalive: true,
    cache: 'no-store',
    mode: 'cors',
    priority: 'high',
    referrer: 'about:client',
    referrerPolicy: 'no-referrer',
  } as const;
  const { remote, fetching } = await connect((request, next) => next(request.clone(set)));
  expect(await remote.size(Uint8Array.of(1))).toBe(1);
  for (const [, init] of fetching.mock.calls) expect(init).toMatchObject(set);
});

it('so does what the answer must be, which no sealed answer is', async () => {
  const integrity = `sha256-${btoa('of other bytes'.padEnd(32))}`;
  const { remote, fetching } = await connect((request, next) => next(request.clone({ integrity })));
  await expect(remote.$call({ timeout: 500 }).size(Uint8Array.of(1))).rejects.toMatchObject({ code: 'unreachable' });
  expect(fetching.mock.calls[0]?.[1]).toMatchObject({ integrity });
});

it('a timeout counts until the answer begins, and a stream goes on behind it', async () => {
  const lost: unknown[] = [];
  const { injector, remote, rates, fetching, real } = await connect((request, next) =>
    next(request.clone({ timeout: 400 })).pipe(
      tap({ error: (error) => lost.push(error instanceof HttpErrorResponse && [error.status, error.error.name]) }),
    ),
  );
  const stream = remoteStream(Rates, (functions) => functions.watch('CHF'), { injector });
  TestBed.tick();
  await eventually(() => [stream.status(), rates.news.observed]).toEqual(['open', true]);
  // nobody answers what comes now
  fetching.mockImplementationOnce(
    (_, init) => new Promise((_, reject) => init?.signal?.addEventListener('abort', () => reject(init.signal?.reason))),
  );
  fetching.mockImplementation(real);
  expect(await remote.size(Uint8Array.of(1))).toBe(1);
  expect(lost).toEqual([[0, 'TimeoutError']]);
  // its own 400 ms began earlier
  rates.news.next(1);
  await eventually(() => [stream.status(), stream.value()]).toEqual(['open', 'CHF 1']);
});
