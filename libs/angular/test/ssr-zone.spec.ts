import 'zone.js/node';
import '@angular/compiler';
import '@angular/platform-server/init';
import { provideHttpClient } from '@angular/common/http';
import { Component, provideZoneChangeDetection } from '@angular/core';
import { type BootstrapContext, bootstrapApplication } from '@angular/platform-browser';
import { provideServerRendering, renderApplication } from '@angular/platform-server';
import {
  injectRemote,
  provideSealwire,
  remoteResource,
  remoteStream,
  type ServerCalls,
  withServerCalls,
} from '@sealwire/angular';
import { expect, it } from 'vitest';
import { Public, Rates, serverKey, startServer } from './server.js';

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
