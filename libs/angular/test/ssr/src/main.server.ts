import { mergeApplicationConfig } from '@angular/core';
import { type BootstrapContext, bootstrapApplication } from '@angular/platform-browser';
import { provideServerRendering, RenderMode, withRoutes } from '@angular/ssr';
import { provideSealwire, withServerCalls } from '@sealwire/angular';
import { appConfig, sealwire } from './app.config.js';
import { App } from './app.js';

const { SEALWIRE_URL: url, SEALWIRE_TRANSFER: transfer } = process.env;
const config = mergeApplicationConfig(appConfig, {
  providers: [
    provideServerRendering(
      withRoutes([
        { path: 'prerendered', renderMode: RenderMode.Prerender },
        { path: '**', renderMode: RenderMode.Server },
      ]),
    ),
    // the address within the server's network stays out of the browser's bundle
    ...(url === undefined ? [] : [provideSealwire(sealwire, withServerCalls({ url, transfer: transfer === 'yes' }))]),
  ],
});

export default (context: BootstrapContext) => bootstrapApplication(App, config, context);
