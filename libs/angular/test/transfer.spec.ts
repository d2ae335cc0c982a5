// @vitest-environment jsdom
import './support.js';
import { provideHttpClient } from '@angular/common/http';
import { ApplicationRef, Component, Injector, makeStateKey, PLATFORM_ID, signal, TransferState } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  provideSealwire,
  type RemoteResourceRef,
  remoteResource,
  type ServerCalls,
  withFetch,
  withModule,
  withServerCalls,
} from '@sealwire/angular';
import { expect, it } from 'vitest';
import { Payments, Public, secureKeys, serverKey, startServer } from './server.js';

type Resources = Record<string, RemoteResourceRef<unknown>>;

function open(platform: 'server' | 'browser', url: string, calls: Omit<ServerCalls, 'url'>, state = '{}') {
  TestBed.resetTestingModule();
  TestBed.configureTestingModule({
    providers: [
      provideHttpClient(),
      { provide: PLATFORM_ID, useValue: platform },
      provideSealwire(
        { url, serverKey },
        withFetch(),
        withServerCalls({ url, ...calls }),
        withModule(Payments, { secureKey: secureKeys[0] }),
      ),
    ],
  });
  const transfer = TestBed.inject(TransferState);
  for (const [key, value] of Object.entries(JSON.parse(state))) transfer.set(makeStateKey(key), value);
  return { transfer, injector: TestBed.inject(Injector), stable: () => TestBed.inject(ApplicationRef).whenStable() };
}

/** Loads on the server, and gives what a page would hold. */
async function render(
  resources: (injector: Injector) => Resources,
  calls: Omit<ServerCalls, 'url'> = { transfer: true },
) {
  const server = await startServer();
  const { transfer, injector, stable } = open('server', server.url, calls);
  const made = resources(injector);
  await stable();
  const statuses = Object.fromEntries(Object.entries(made).map(([name, resource]) => [name, resource.status()]));
  server.seen.length = 0;
  return { ...server, state: transfer.toJson(), statuses };
}

it('hands values over, which keep their types and cost the browser no call', async () => {
  const resources = (injector: Injector) => ({
    everything: remoteResource(Public, (functions) => functions.everything(), { injector }),
    nothing: remoteResource(Public, (functions) => functions.nothing(), { injector }),
    balance: remoteResource(Payments, (payments) => payments.balance({ account: 'a' }), { injector, defaultValue: 1n }),
  });
  const { url, state, seen } = await render(resources);
  expect(state).not.toContain('account');
  const { injector, stable, transfer } = open('browser', url, { transfer: true }, state);
  const { everything, nothing, balance } = resources(injector);
  // before anything ran
  expect([everything.status(), everything.isLoading(), everything.hasValue()]).toEqual(['resolved', false, true]);
  expect(everything.value()).toEqual({
    ...{ amount: 2n ** 70n, at: new Date(1_700_000_000_000), map: new Map([[1, new Date(1_700_000_000_000)]]) },
    ...{ set: new Set(['a']), bytes: Uint8Array.of(0, 255), no: undefined },
  });
  expect(everything.snapshot()).toEqual({ status: 'resolved', value: everything.value() });
  expect([nothing.status(), nothing.hasValue(), nothing.value(), nothing.error()]).toEqual([
    'resolved',
    false,
    undefined,
    undefined,
  ]);
  expect(balance.value()).toBe(100n);
  await stable();
  expect([everything.status(), nothing.status(), balance.value()]).toEqual(['resolved', 'resolved', 100n]);
  expect(seen).toEqual([]);
  expect(transfer.isEmpty).toBe(true);
});

it('loads by reload() and for other arguments as always, and uses each value once', async () => {
  const currency = signal('CHF');
  const rate = (injector: Injector) => remoteResource(Public, (functions) => functions.rate(currency()), { injector });
  // two components that make the same call
  const { url, state, seen } = await render((injector) => ({ first: rate(injector), second: rate(injector) }));
  const { injector, stable } = open('browser', url, {}, state);
  const [first, second, third] = [rate(injector), rate(injector), rate(injector)];
  expect([first.status(), second.status(), third.status()]).toEqual(['resolved', 'resolved', 'loading']);
  await stable();
  expect([first.value(), second.value(), third.value()]).toEqual(['CHF 2', 'CHF 2', 'CHF 2']);
  expect(seen).toHaveLength(2);
  expect(first.reload()).toBe(true);
  expect([first.status(), first.value()]).toEqual(['reloading', 'CHF 2']);
  await stable();
  expect(seen).toHaveLength(3);
  currency.set('EUR');
  expect([first.status(), first.value()]).toEqual(['loading', undefined]);
  await stable();
  expect(first.value()).toBe('EUR 2');
});

it.each(['5', 'null', '"abc"', '[]', '[null]', '[{}]', '["!!!"]', '{}'])(
  'calls if the page holds %s in place of a value',
  async (altered) => {
    const rate = (injector: Injector) => remoteResource(Public, (functions) => functions.rate('CHF'), { injector });
    const { url, state, seen } = await render((injector) => ({ rate: rate(injector) }));
    const [key] = Object.keys(JSON.parse(state));
    const { injector, stable } = open('browser', url, {}, `{${JSON.stringify(key)}: ${altered}}`);
    const shown = rate(injector);
    expect(shown.status()).toBe('loading');
    await stable();
    expect(shown.value()).toBe('CHF 2');
    expect(seen.length).toBeGreaterThan(0);
  },
);

it('calls for what is made after the application has started: whoever looks may have logged in meanwhile', async () => {
  const rate = (injector: Injector) => remoteResource(Public, (functions) => functions.rate('CHF'), { injector });
  const { url, state, seen } = await render((injector) => ({ first: rate(injector), second: rate(injector) }));
  const { injector, stable } = open('browser', url, {}, state);
  @Component({ selector: 'app-root', template: '{{ rate.value() }}' })
  class Root {
    readonly rate = rate(injector);
  }
  const host = document.body.appendChild(document.createElement('app-root'));
  TestBed.inject(ApplicationRef).bootstrap(Root, host);
  expect(host.textContent).toBe('CHF 2');
  await stable();
  // and whoever waited for the same moment before this test did
  await stable();
  expect(seen).toEqual([]);
  const later = rate(injector);
  expect(later.status()).toBe('loading');
  await stable();
  expect(later.value()).toBe('CHF 2');
  expect(seen.length).toBeGreaterThan(0);
});

it('can be written to, and given up, as any resource', async () => {
  const rate = (injector: Injector) => remoteResource(Public, (functions) => functions.rate('CHF'), { injector });
  const { url, state, seen } = await render((injector) => ({ first: rate(injector), second: rate(injector) }));
  const { injector, stable } = open('browser', url, {}, state);
  const [first, second] = [rate(injector), rate(injector)];
  first.update((value) => `${value}!`);
  second.value.update((value) => `${value}?`);
  expect([first.status(), first.value(), second.value()]).toEqual(['local', 'CHF 2!', 'CHF 2?']);
  first.value.set('x');
  second.asReadonly();
  second.destroy();
  await stable();
  expect([first.value(), second.status(), second.value()]).toEqual(['x', 'idle', undefined]);
  expect(seen).toEqual([]);
});

it.each(['file', 'bytes', 'items'] as const)('leaves %s, errors and calls that failed to the browser', async (kind) => {
  const { state, statuses } = await render((injector) => ({
    report: remoteResource(Public, (functions) => functions.report(kind), { injector }),
    error: remoteResource(Public, (functions) => functions.rate(''), { injector }),
  }));
  expect(statuses).toEqual({ report: 'resolved', error: 'error' });
  expect(state).toBe('{}');
});

it('hands nothing over unless it should', async () => {
  const rate = (injector: Injector) => ({
    rate: remoteResource(Public, (functions) => functions.rate('CHF'), { injector }),
  });
  for (const calls of [{}, { transfer: false }]) {
    const { state, statuses } = await render(rate, calls);
    expect([state, statuses]).toEqual(['{}', { rate: 'resolved' }]);
  }
});

it('calls if what came with the page is no value', async () => {
  const rate = (injector: Injector) => remoteResource(Public, (functions) => functions.rate('CHF'), { injector });
  const { url, state } = await render((injector) => ({ rate: rate(injector) }));
  for (const text of ['!', 'AAAA']) {
    const { injector, stable } = open(
      'browser',
      url,
      {},
      JSON.stringify({ [Object.keys(JSON.parse(state))[0] ?? '']: [text] }),
    );
    const resource = rate(injector);
    expect(resource.status()).toBe('loading');
    await stable();
    expect(resource.value()).toBe('CHF 2');
  }
});

it('refuses options that do not exist, and an address that leads nowhere on the server', () => {
  expect(() => withServerCalls({ url: '/remote', transfr: true } as never)).toThrow(
    'unknown option `transfr`; did you mean `transfer`?',
  );
  expect(() => withServerCalls({} as never)).toThrow('needs the url');
  expect(() => open('server', '/remote', {})).toThrow(
    expect.objectContaining({
      code: 'bad_configuration',
      message: expect.stringMatching(/"\/remote".*withServerCalls\(\{ url:/),
    }),
  );
  expect(() => open('browser', '/remote', {})).not.toThrow();
});
