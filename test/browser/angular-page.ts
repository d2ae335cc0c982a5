/** Runs in the page: an Angular application without a component. */
import '@angular/compiler';
import { provideHttpClient, withFetch, withInterceptors } from '@angular/common/http';
import { provideZonelessChangeDetection } from '@angular/core';
import { createApplication } from '@angular/platform-browser';
import { provideSealwire, remoteModule, sealwireStreams, withHttpClient } from '@sealwire/angular';
import type { ThingsController } from './things.js';

const Things = remoteModule<ThingsController>('things');

/** The remote of an application whose frames travel through HttpClient, that is XMLHttpRequest or, by its own `withFetch`, `fetch`. */
export async function throughHttpClient(serverKey: string, backend: 'XMLHttpRequest' | 'fetch') {
  const { injector } = await createApplication({
    providers: [
      provideZonelessChangeDetection(),
      provideHttpClient(...(backend === 'fetch' ? [withFetch()] : []), withInterceptors([sealwireStreams])),
      provideSealwire({ url: '/remote', serverKey }, withHttpClient()),
    ],
  });
  return injector.get(Things);
}

Object.assign(globalThis, { throughHttpClient });
