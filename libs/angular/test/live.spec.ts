// @vitest-environment jsdom
import './support.js';
import { Blob as NodeBlob, File as NodeFile } from 'node:buffer';
import {
  type HttpInterceptorFn,
  provideHttpClient,
  withFetch as withFetchBackend,
  withInterceptors,
} from '@angular/common/http';
import { type EnvironmentProviders, effect, Injector } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  injectRemote,
  provideSealwire,
  RemoteError,
  remoteAction,
  remoteStream,
  type SealwireFeature,
  sealwireStreams,
  withFetch,
} from '@sealwire/angular';
import { withInspector } from '@sealwire/angular/inspector';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { cutAt } from './cut.js';
import { eventually } from './eventually.js';
import { Rates, serverKey, startServer } from './server.js';

async function connect(http: EnvironmentProviders, features: SealwireFeature[] = []) {
  const server = await startServer();
  TestBed.configureTestingModule({
    providers: [http, provideSealwire({ url: server.url, serverKey }, ...features)],
  });
  const injector = TestBed.inject(Injector);
  return { ...server, injector, remote: TestBed.runInInjectionContext(() => injectRemote(Rates)) };
}

const bearer: HttpInterceptorFn = (request, next) => next(request.clone({ setHeaders: { authorization: 'Bearer x' } }));

describe.each<[string, () => EnvironmentProviders, () => SealwireFeature<'transport'>[]]>([
  ['HttpClient and sealwireStreams', () => provideHttpClient(withInterceptors([bearer, sealwireStreams])), () => []],
  ['fetch', () => provideHttpClient(), () => [withFetch()]],
])('over %s', (name, http, features) => {
  it('items show as they come, and the source ends with the stream', async () => {
    const { injector, rates, seen } = await connect(http(), features());
    const stream = remoteStream(Rates, (functions) => functions.watch('CHF'), { injector });
    TestBed.tick();
    await eventually(() => [stream.status(), rates.news.observed]).toEqual(['open', true]);
    rates.news.next(1);
    await eventually(() => stream.value()).toBe('CHF 1');
    rates.news.next(2);
    await eventually(() => stream.items()).toEqual(['CHF 1', 'CHF 2']);
    stream.stop();
    await eventually(() => rates.news.observed).toBe(false);
    if (name !== 'fetch')
      expect(new Set(seen.map(({ headers }) => headers.authorization))).toEqual(new Set(['Bearer x']));
  });

  it('ordinary calls and their refusals pass as before', async () => {
    const { remote, app } = await connect(http(), features());
    const seen: number[] = [];
    for await (const item of await remote.count(3)) seen.push(item);
    expect(seen).toEqual([1, 2, 3]);
    await app.close();
    await expect(remote.$call({ timeout: 500 }).count(1)).rejects.toBeInstanceOf(RemoteError);
  });
});

it('a stream that was cut goes on where it was, and says so meanwhile', async () => {
  const { injector, remote } = await connect(provideHttpClient(withInterceptors([sealwireStreams])));
  const real = globalThis.fetch;
  let isCut = false;
  vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
    const response = await real(url, init);
    const reader = response.body?.getReader();
    let bytes = 0;
    let isLost = false;
    const body = new ReadableStream({
      async pull(controller) {
        if (isLost) return controller.error(new TypeError('connection lost'));
        const { done, value } = (await reader?.read()) ?? { done: true };
        if (done || !value) return controller.close();
        bytes += value.length;
        isLost = !isCut && bytes > 100_000;
        isCut ||= isLost;
        controller.enqueue(isLost ? value.subarray(0, -1_000) : value);
      },
    });
    return new Response(body, response);
  });
  try {
    const stream = remoteStream(Rates, (functions) => functions.count(30_000), { injector, keep: 1 });
    const states: string[] = [];
    TestBed.tick();
    remote.$events.on('resuming', () => states.push(stream.status()));
    remote.$events.on('streamResumed', () => states.push(stream.status()));
    await eventually(() => stream.status()).toBe('ended');
    expect([stream.count(), stream.value(), states]).toEqual([30_000, 30_000, ['resuming', 'open']]);
  } finally {
    vi.unstubAllGlobals();
  }
});

it('says of each of two streams of one function how that one is', async () => {
  const { injector, remote } = await connect(provideHttpClient(withInterceptors([sealwireStreams])));
  await remote.size(Uint8Array.of(1));
  const real = globalThis.fetch;
  const held: (() => void)[] = [];
  let requests = 0;
  vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
    // the first is not answered yet, the second is cut in its middle
    const request = ++requests;
    if (request !== 2) await new Promise<void>((resolve) => held.push(resolve));
    const response = await real(url, init);
    return request === 2 ? new Response(response.body?.pipeThrough(cutAt(100_000)), response) : response;
  });
  try {
    const one = remoteStream(Rates, (functions) => functions.count(7), { injector });
    TestBed.tick();
    await eventually(() => requests).toBe(1);
    const two = remoteStream(Rates, (functions) => functions.count(30_000), { injector, keep: 1 });
    TestBed.tick();
    await eventually(() => held.length).toBe(2);
    expect([one.status(), two.status()]).toEqual(['loading', 'resuming']);
    held[1]?.();
    await eventually(() => [two.status(), two.count()]).toEqual(['ended', 30_000]);
    expect(one.status()).toBe('loading');
    held[0]?.();
    await eventually(() => [one.status(), one.count()]).toEqual(['ended', 7]);
  } finally {
    vi.unstubAllGlobals();
  }
});

describe('progress of an action', () => {
  it('counts the bytes of a file that goes up, and shows what the function reports', async () => {
    // jsdom's own can neither be read nor be sent by Node's fetch, and its XMLHttpRequest sends no other
    vi.stubGlobal('Blob', NodeBlob);
    vi.stubGlobal('XMLHttpRequest', undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    const { injector } = await connect(provideHttpClient(withFetchBackend(), withInterceptors([sealwireStreams])));
    const measure = remoteAction(Rates, (rates) => rates.measure, { injector, progress: true });
    const reported: unknown[] = [];
    TestBed.runInInjectionContext(() => effect(() => reported.push(measure.progress()?.value)));
    const done = measure.runAsync(new NodeFile([new Uint8Array(300_000)], 'plan.pdf') as unknown as Blob);
    expect(await done).toBe('plan.pdf 300000');
    TestBed.tick();
    expect(measure.progress()?.up).toBeGreaterThan(300_000);
    expect(measure.progress()?.down).toBeGreaterThan(0);
    measure.reset();
    expect(measure.progress()).toBeUndefined();
  });

  it.each([
    ['by default', []],
    ["with Angular's own withFetch(), which tells nothing of it", [withFetchBackend()]],
  ])('hears from XMLHttpRequest how much has left, %s', async (_, backend) => {
    const warn = vi.spyOn(console, 'warn');
    const sent = vi.spyOn(XMLHttpRequest.prototype, 'send');
    onTestFinished(() => void vi.restoreAllMocks());
    const { remote } = await connect(provideHttpClient(...backend, withInterceptors([bearer, sealwireStreams])));
    const up: number[] = [];
    await remote.$call({ onProgress: (progress) => up.push(progress.up) }).size(new Uint8Array(900_000));
    expect(up.length).toBeGreaterThan(1);
    expect(up.at(-1)).toBeGreaterThan(900_000);
    expect(sent).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls).toEqual([]);
  });

  it('is told with the inspector too', async () => {
    const http = provideHttpClient(withInterceptors([sealwireStreams]));
    const { injector, remote } = await connect(http, [withInspector()]);
    await remote.size(Uint8Array.of(1));
    const size = remoteAction(Rates, (rates) => rates.size, { injector, progress: true });
    await size.runAsync(Uint8Array.of(1));
    expect(size.progress()?.down).toBeGreaterThan(0);
  });

  it.each([
    ['by default', []],
    ["with Angular's own withFetch()", [withFetchBackend()]],
  ])('shows what a function reports before its result is there, %s', async (_, backend) => {
    const http = provideHttpClient(...backend, withInterceptors([bearer, sealwireStreams]));
    const { injector, rates } = await connect(http);
    const review = remoteAction(Rates, (functions) => functions.review, { injector, progress: true });
    expect(review.progress()).toBeUndefined();
    const done = review.runAsync();
    expect(review.progress()).toEqual({ up: 0, down: 0 });
    await eventually(() => [review.progress()?.value, rates.news.observed]).toEqual(['begun', true]);
    expect(review.isPending()).toBe(true);
    rates.news.next(1);
    expect(await done).toBe('EUR 1');
    // bytes that came since have no report of their own
    expect(review.progress()).toMatchObject({ value: 'begun', down: expect.any(Number) });
    review.run();
    expect(review.progress()).toEqual({ up: 0, down: 0 });
  });

  it('without sealwireStreams over `fetch` all bytes count when the answer is there', async () => {
    const { remote } = await connect(provideHttpClient(withFetchBackend()));
    const up: number[] = [];
    await remote.$call({ onProgress: (progress) => up.push(progress.up) }).size(new Uint8Array(900_000));
    expect(new Set(up).size).toBe(1);
    expect(up.at(-1)).toBeGreaterThan(900_000);
  });
});
