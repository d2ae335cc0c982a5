import { provideHttpClient, withInterceptors } from '@angular/common/http';
import type { EnvironmentProviders } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  injectRemote,
  provideSealwire,
  type SealwireFeature,
  sealwireStreams,
  withFetch,
  withHttpClient,
  withModule,
} from '@sealwire/angular';
import { WireAttacks, WireRecorder, withInspector } from '@sealwire/angular/inspector';
import { Payments, Rates, secureKeys, serverKey, startServer } from './server.js';

/** Both ways that frames travel. */
export const transports: [string, SealwireFeature<'transport'>, EnvironmentProviders][] = [
  ['fetch', withFetch(), provideHttpClient()],
  ['HttpClient', withHttpClient(), provideHttpClient(withInterceptors([sealwireStreams]))],
];

/** An application whose calls are recorded, and its server. */
export async function connect(
  feature: SealwireFeature<'transport'> = withFetch(),
  http: EnvironmentProviders = provideHttpClient(),
) {
  const server = await startServer();
  TestBed.configureTestingModule({
    providers: [
      http,
      provideSealwire(
        { url: server.url, serverKey },
        withModule(Payments, { secureKey: secureKeys[0] }),
        feature,
        withInspector(),
      ),
    ],
  });
  const [payments, rates] = TestBed.runInInjectionContext(() => [injectRemote(Payments), injectRemote(Rates)] as const);
  return {
    ...server,
    controller: server.payments,
    payments,
    rates,
    recorder: TestBed.inject(WireRecorder),
    attacks: TestBed.inject(WireAttacks),
  };
}
