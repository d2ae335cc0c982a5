/** Runs in the page: an Angular application without a component. */
import '@angular/compiler';
import { provideHttpClient, withInterceptors } from '@angular/common/http';
import { provideZonelessChangeDetection } from '@angular/core';
import { createApplication } from '@angular/platform-browser';
import { provideSealwire, remoteModule, sealwireStreams, withHttpClient } from '@sealwire/angular';
import type { ThingsController } from './things.js';

const Things = remoteModule<ThingsController>('things');

/** The remote of an application whose frames travel through HttpClient, that is XMLHttpRequest. */
export async function throughHttpClient(serverKey: string) {
  const { injector } = await createApplication({
    providers: [
      provideZonelessChangeDetection(),
      provideHttpClient(withInterceptors([sealwireStreams])),
      provideSealwire({ url: '/remote', serverKey }, withHttpClient()),
    ],
  });
  return injector.get(Things);
}

Object.assign(globalThis, { throughHttpClient });
