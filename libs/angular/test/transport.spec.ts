// @vitest-environment jsdom
import './support.js';
import { Blob as NodeBlob } from 'node:buffer';

import {
  HttpErrorResponse,
  HttpEventType,
  type HttpInterceptorFn,
  provideHttpClient,
  withFetch as withFetchBackend,
  withInterceptors,
} from '@angular/common/http';
import type { EnvironmentProviders } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  injectRemote,
  isRemoteError,
  provideSealwire,
  SEALED_REQUEST,
  type SealedRequest,
  type SealwireFeature,
  withFetch,
  withHttpClient,
  withModule,
} from '@sealwire/angular';
import { map } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Payments, Public, secureKeys, serverKey, startServer } from './server.js';

async function connect(http: EnvironmentProviders, feature: SealwireFeature<'transport'>[]) {
  const server = await startServer();
  TestBed.configureTestingModule({
    providers: [
      http,
      provideSealwire({ url: server.url, serverKey }, withModule(Payments, { secureKey: secureKeys[0] }), ...feature),
    ],
  });
  return { ...server, remote: TestBed.runInInjectionContext(() => injectRemote(Payments)) };
}

describe.each<[string, EnvironmentProviders, SealwireFeature<'transport'>[]]>([
  ['HttpClient on XMLHttpRequest', provideHttpClient(), []],
  ['HttpClient on fetch', provideHttpClient(withFetchBackend()), [withHttpClient()]],
  ['fetch', provideHttpClient(), [withFetch()]],
])('over %s', (name, http, feature) => {
  it('calls functions of a real server and rejects with what they throw', async () => {
    const { remote } = await connect(http, feature);
    expect(await remote.balance({ account: 'a' })).toBe(100n);
    expect(await remote.transfer('a', 'b', 5n)).toEqual({ receipt: 'a-b', at: new Date(0) });
    const error = await remote.transfer('a', 'b', 500n).catch((thrown: unknown) => thrown);
    expect(isRemoteError(error, 'insufficient_funds')).toBe(true);
    expect(error).toMatchObject({ details: { balance: 95n } });
  });

  it('carries bodies of many sizes as they are', async () => {
    // jsdom's own is none for Node's fetch
    if (name === 'HttpClient on fetch') vi.stubGlobal('Blob', NodeBlob);
    onTestFinished(() => void vi.unstubAllGlobals());
    const { remote } = await connect(http, feature);
    for (const size of [0, 1, 1000, 200_000, 700_000]) {
      const bytes = new Uint8Array(size).map((_, i) => i * 7);
      expect(Buffer.from(await remote.echo(bytes)).equals(Buffer.from(bytes))).toBe(true);
    }
  });

  it('gives a call up when its signal says so', async () => {
    const { remote } = await connect(http, feature);
    await remote.balance({ account: 'a' });
    const stop = new AbortController();
    const call = remote.$call({ signal: stop.signal }).balance({ account: 'a' });
    stop.abort();
    await expect(call).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('says that no server was there', async () => {
    const { remote, app } = await connect(http, feature);
    await app.close();
    await expect(remote.balance({ account: 'a' })).rejects.toMatchObject({ code: 'unreachable', retryable: true });
  });
});

describe('interceptors of the application', () => {
  it('apply to sealed requests and see which they are', async () => {
    const sealed: (SealedRequest | undefined)[] = [];
    const bearer: HttpInterceptorFn = (request, next) => {
      sealed.push(request.context.get(SEALED_REQUEST));
      return next(request.clone({ setHeaders: { authorization: 'Bearer x' } }));
    };
    const { remote, seen, kinds } = await connect(provideHttpClient(withInterceptors([bearer])), []);
    await remote.balance({ account: 'a' });
    await remote.balance({ account: 'a' });
    expect(kinds()).toEqual(['start', 'finish', 'call']);
    expect(sealed).toEqual(kinds().map((frame) => ({ module: 'payments', frame, attempt: 0 })));
    expect(seen.map(({ headers }) => headers.authorization)).toEqual(['Bearer x', 'Bearer x', 'Bearer x']);
  });

  it('do not see requests of withFetch()', async () => {
    const spy = vi.fn<HttpInterceptorFn>((request, next) => next(request));
    const { remote } = await connect(provideHttpClient(withInterceptors([spy])), [withFetch()]);
    await remote.balance({ account: 'a' });
    expect(spy).not.toHaveBeenCalled();
  });

  it('count the sendings of the same bytes, and a lost answer runs nothing twice', async () => {
    const attempts: number[] = [];
    let lost = 1;
    const loss: HttpInterceptorFn = (request, next) => {
      const sealed = request.context.get(SEALED_REQUEST);
      if (sealed?.frame !== 'call') return next(request);
      attempts.push(sealed.attempt);
      return next(request).pipe(
        map((event) => {
          if (event.type === HttpEventType.Response && lost-- > 0) throw new HttpErrorResponse({ status: 0 });
          return event;
        }),
      );
    };
    const { remote, payments } = await connect(provideHttpClient(withInterceptors([loss])), []);
    await remote.balance({ account: 'a' });
    expect((await remote.transfer('a', 'b', 5n)).receipt).toBe('a-b');
    expect(attempts).toEqual([0, 1]);
    expect(payments.runs).toBe(2);
  });
});

describe('XSRF protection', () => {
  it('sends the token to the own server', async () => {
    const headers: (string | null)[] = [];
    const last: HttpInterceptorFn = (request, next) => {
      headers.push(request.headers.get('X-XSRF-TOKEN'));
      return next(request);
    };
    // biome-ignore lint/suspicious/noDocumentCookie: jsdom has no CookieStore
    document.cookie = 'XSRF-TOKEN=abc';
    TestBed.configureTestingModule({
      providers: [provideHttpClient(withInterceptors([last])), provideSealwire({ serverKey })],
    });
    await TestBed.inject(Public)
      .rate('CHF')
      .catch(() => {});
    expect(headers[0]).toBe('abc');
  });
});
