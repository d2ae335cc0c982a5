// @vitest-environment jsdom
import './support.js';
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
import { describe, expect, it } from 'vitest';
import { eventually } from './eventually.js';
import { Payments, Rates, secureKeys, serverKey, startServer } from './server.js';

async function connect(
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

const transports: [string, SealwireFeature<'transport'>, EnvironmentProviders][] = [
  ['fetch', withFetch(), provideHttpClient()],
  ['HttpClient', withHttpClient(), provideHttpClient(withInterceptors([sealwireStreams]))],
];

describe.each(transports)('the recorder over %s', (_name, feature, http) => {
  it('finds each call in the bytes that carry it', async () => {
    const { payments, recorder } = await connect(feature, http);
    const [first] = await Promise.all([payments.balance({ account: 'a' }), payments.balance({ account: 'b' })]);
    expect(first).toBe(100n);
    await payments.transfer('a', 'b', 5n);
    await payments.$batch((r) => [r.balance({ account: 'a' }), r.balance({ account: 'b' })]);
    const calls = recorder.calls();
    expect(calls.map(({ name }) => name)).toEqual(['balance', 'balance', 'transfer', 'balance', 'balance']);
    expect(calls[2]).toMatchObject({
      module: 'payments',
      args: ['"a"', '"b"', '5n'],
      json: '["a","b","5"]',
      state: 'done',
      outcome: '{ receipt: "a-b", at: 1970-01-01T00:00:00.000Z }',
    });
    const ids = calls.map(({ id }) => id);
    const exchanges = recorder.exchanges();
    expect(exchanges.map(({ kind, calls }) => [kind, calls.map((id) => ids.indexOf(id))])).toEqual([
      ['start', []],
      ['finish', [0, 1]],
      ['call', [2]],
      ['call', [3, 4]],
    ]);
    const [handshake] = recorder.handshakes();
    expect(handshake).toMatchObject({ module: 'payments', sessionId: expect.stringMatching(/^[0-9a-f]{32}$/) });
    expect(exchanges.map((one) => one.handshake)).toEqual([handshake?.id, handshake?.id, undefined, undefined]);
  });
});
