import 'zone.js/node';
import '@angular/compiler';
import '@angular/platform-server/init';
import { AsyncPipe } from '@angular/common';
import { provideHttpClient } from '@angular/common/http';
import { Component, ErrorHandler, InjectionToken, inject, provideZoneChangeDetection } from '@angular/core';
import { type BootstrapContext, bootstrapApplication } from '@angular/platform-browser';
import { provideServerRendering, renderApplication } from '@angular/platform-server';
import {
  injectRemote,
  provideSealwire,
  remote$,
  remoteResource,
  remoteStream,
  type ServerCalls,
  withModule,
  withServerCalls,
} from '@sealwire/angular';
import { decodeValue } from '@sealwire/client';
import { tap } from 'rxjs';
import { expect, it, vi } from 'vitest';
import { Payments, Public, Rates, secureKeys, serverKey, startServer } from './server.js';

@Component({
  selector: 'app-root',
  template: `{{ rate.status() }}|{{ rate.hasValue() ? rate.value() : rate.error()?.code }}|{{ items.status() }}|{{ called }}`,
})
class App {
  readonly rate = remoteResource(Public, (functions) => functions.rate('CHF'));
  readonly items = remoteStream(Rates, (functions) => functions.count(3));
  called = 'nothing';

  constructor() {
    injectRemote(Public)
      .rate('EUR')
      .then(
        (rate) => (this.called = rate),
        (error: Error) => (this.called = error.name),
      );
  }
}

/** The text of the page, as an application with zone.js renders it on HttpClient's XMLHttpRequest. */
async function render(calls?: ServerCalls) {
  const providers = [
    provideServerRendering(),
    provideZoneChangeDetection(),
    provideHttpClient(),
    provideSealwire({ serverKey }, ...(calls ? [withServerCalls(calls)] : [])),
  ];
  const html = await renderApplication(
    (context: BootstrapContext) => bootstrapApplication(App, { providers }, context),
    {
      document: '<html><body><app-root></app-root></body></html>',
      url: 'http://127.0.0.1/',
      allowedHosts: ['127.0.0.1'],
    },
  );
  return { html, text: /<app-root[^>]*>([^<]*)</.exec(html)?.[1] };
}

it('renders values with zone.js, and waits for calls but for no timer of the client', async () => {
  const { url } = await startServer();
  const began = performance.now();
  const { html, text } = await render({ url, transfer: true });
  expect(text).toBe('resolved|CHF 2|idle|EUR 2');
  expect(html).toContain('"sealwire ');
  expect(performance.now() - began).toBeLessThan(5_000);
});

it('renders at once with zone.js if nothing may be called', async () => {
  expect((await render()).text).toBe('idle||idle|PolicyError');
});

it('renders the error of a server that is not there', async () => {
  const { text } = await render({ url: 'http://127.0.0.1:1/remote' });
  expect(text).toBe('error|unreachable|idle|RemoteError');
});

it('ends with what to do about an address that leads nowhere', async () => {
  await expect(render({ url: '/remote' })).rejects.toThrow(/"\/remote".*withServerCalls\(\{ url:/);
});

it('renders observables at once and without an error if nothing may be called, as it does resources', async () => {
  const handleError = vi.fn();
  @Component({ selector: 'app-root', imports: [AsyncPipe], template: `{{ rate | async }}|{{ ended }}` })
  class Observed {
    ended = 'no';
    readonly rate = remote$(Public)
      .rate('CHF')
      .pipe(tap({ complete: () => (this.ended = 'ended') }));
  }
  const providers = [
    provideServerRendering(),
    provideZoneChangeDetection(),
    provideHttpClient(),
    { provide: ErrorHandler, useValue: { handleError } },
    provideSealwire({ serverKey }),
  ];
  const html = await renderApplication(
    (context: BootstrapContext) => bootstrapApplication(Observed, { providers }, context),
    {
      document: '<html><body><app-root></app-root></body></html>',
      url: 'http://127.0.0.1/',
      allowedHosts: ['127.0.0.1'],
    },
  );
  expect(/<app-root[^>]*>([^<]*)</.exec(html)?.[1]).toBe('|ended');
  expect(handleError).not.toHaveBeenCalled();
});

const NAME = new InjectionToken<string>('name');

@Component({ selector: 'app-root', template: `{{ rate.value() }}|{{ balance.value() }}` })
class Personal {
  readonly #name = inject(NAME);
  readonly rate = remoteResource(Public, (functions) => functions.rate(this.#name));
  readonly balance = remoteResource(Payments, (payments) => payments.balance({ account: this.#name }));
}

it('renders two pages at once, each with its own sessions and values, none of which is read as HTML, and no secret', async () => {
  const { url, seen } = await startServer();
  const names = ['Ada', 'Bob'].map((name) => `${name}</script><script>alert(1)</script><!--\u2028]]>`);
  const pages = await Promise.all(
    names.map((name, i) => {
      const providers = [
        provideServerRendering(),
        provideZoneChangeDetection(),
        provideHttpClient(),
        { provide: NAME, useValue: name },
        provideSealwire(
          { serverKey, metadata: { authorization: `Bearer token of ${name}` } },
          withServerCalls({ url, transfer: true }),
          withModule(Payments, { secureKey: secureKeys[i] }),
        ),
      ];
      return renderApplication((context: BootstrapContext) => bootstrapApplication(Personal, { providers }, context), {
        document: '<html><body><app-root></app-root></body></html>',
        url: 'http://127.0.0.1/',
        allowedHosts: ['127.0.0.1'],
      });
    }),
  );
  // two modules of two pages
  expect(seen.filter(({ kind }) => kind === 'start')).toHaveLength(4);
  for (const [i, html] of pages.entries()) {
    const [, state = ''] = /<script id="ng-state"[^>]*>(.*?)<\/script>/s.exec(html) ?? [];
    const texts: string[] = Object.entries(JSON.parse(state)).flatMap(([key, value]) =>
      key.startsWith('sealwire ') ? (value as string[]) : [],
    );
    const values = texts.map((text) => decodeValue(Buffer.from(text, 'base64')));
    expect(values.map(String).sort()).toEqual(['0', `${names[i]} 2`].sort());
    const all = html + values.join();
    expect(html).not.toMatch(/<script>alert|<!--\u2028/);
    for (const secret of ['Bearer', 'swk1', String(names[1 - i]).slice(0, 3)]) expect(all).not.toContain(secret);
  }
});
