/** Runs in the page: an Angular application without a component. */
import '@angular/compiler';
import { provideHttpClient, withFetch, withInterceptors } from '@angular/common/http';
import { provideZonelessChangeDetection, signal } from '@angular/core';
import { createApplication } from '@angular/platform-browser';
import {
  provideSealwire,
  remoteModule,
  sealwireStreams,
  withFetch as withFetchOfSealwire,
  withHttpClient,
  withModule,
  withSessionPersistence,
} from '@sealwire/angular';
import type { ThingsController } from './things.js';

const Things = remoteModule<ThingsController>('things');

/** The remote of an application whose frames travel through HttpClient, that is XMLHttpRequest or, by its own `withFetch`, `fetch`. */
export async function throughHttpClient(
  serverKey: string,
  backend: 'XMLHttpRequest' | 'fetch',
  { url = '/remote', streams = true } = {},
) {
  const { injector } = await createApplication({
    providers: [
      provideZonelessChangeDetection(),
      provideHttpClient(
        ...(backend === 'fetch' ? [withFetch()] : []),
        withInterceptors(streams ? [sealwireStreams] : []),
      ),
      provideSealwire({ url, serverKey }, withHttpClient()),
    ],
  });
  return injector.get(Things);
}

/** The remote of an application that keeps its session, and the signal of its SecureKey. */
export async function keptSession(serverKey: string, secureKey: string) {
  const key = signal<string | undefined>(secureKey);
  const application = await createApplication({
    providers: [
      provideZonelessChangeDetection(),
      provideSealwire(
        { url: '/remote', serverKey },
        withFetchOfSealwire(),
        withModule(Things, { secureKey: () => key() }),
        withSessionPersistence(),
      ),
    ],
  });
  const remote = application.injector.get(Things);
  application.tick();
  return {
    remote,
    /** The user logs out. */
    logOut(): void {
      key.set(undefined);
      application.tick();
    },
  };
}

Object.assign(globalThis, { throughHttpClient, keptSession });
