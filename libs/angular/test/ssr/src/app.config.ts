import { provideHttpClient, withFetch, withInterceptors } from '@angular/common/http';
import type { ApplicationConfig } from '@angular/core';
import { provideClientHydration, withHttpTransferCacheOptions } from '@angular/platform-browser';
import { provideRouter } from '@angular/router';
import { provideSealwire, type SealwireConfig, sealwireStreams } from '@sealwire/angular';
import { Streams, Values } from './app.js';

/** Put in by the build. */
declare const SERVER_KEY: string;

export const sealwire: SealwireConfig = { url: '/remote', serverKey: SERVER_KEY };
export const appConfig: ApplicationConfig = {
  providers: [
    provideRouter([
      { path: 'prerendered', component: Values },
      { path: 'values', component: Values },
      { path: 'streams', component: Streams },
    ]),
    // which has nothing to do with sealed requests
    provideClientHydration(withHttpTransferCacheOptions({ includePostRequests: true })),
    provideHttpClient(withFetch(), withInterceptors([sealwireStreams])),
    provideSealwire(sealwire),
  ],
};
