import '@angular/compiler';
import '@angular/platform-server/init';
import { provideHttpClient, withFetch, withInterceptors } from '@angular/common/http';
import { type BootstrapContext, bootstrapApplication } from '@angular/platform-browser';
import { provideServerRendering, renderApplication } from '@angular/platform-server';
import { provideSealwire, sealwireStreams, withModule, withServerCalls } from '@sealwire/angular';
import { App, Payments } from './app.js';

/** The text of the page, with calls to a server that is not there (`fetch` itself refuses port 1) or without calls. */
async function render(calls: boolean): Promise<string | undefined> {
  const allowed = calls ? [withServerCalls({ url: 'http://127.0.0.1:2/remote', transfer: true })] : [];
  const providers = [
    provideServerRendering(),
    provideHttpClient(withFetch(), withInterceptors([sealwireStreams])),
    provideSealwire({ dangerouslyAllowAnyServer: true }, withModule(Payments), ...allowed),
  ];
  const html = await renderApplication(
    (context: BootstrapContext) => bootstrapApplication(App, { providers }, context),
    {
      document: '<html><body><app-root></app-root></body></html>',
      url: 'http://127.0.0.1/',
      allowedHosts: ['127.0.0.1'],
    },
  );
  const [, page] = /<app-root[^>]*>(.*?)<\/app-root>/s.exec(html) ?? [];
  return page
    ?.replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

const pages = [await render(false), await render(true)];
const expected = ['idle Pay idle idle', 'unreachable Pay idle idle'];
if (pages.join('|') !== expected.join('|')) throw new Error(`The pages read ${JSON.stringify(pages)}.`);
console.log('ok Angular 22 rendered a page without calls, and one of a server that is not there');
