// @vitest-environment jsdom
import './support.js';
import { provideHttpClient } from '@angular/common/http';
import { ApplicationRef, Component, Injector, PLATFORM_ID, signal } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { isRemoteError, provideSealwire, remoteResource, withModule, withServerCalls } from '@sealwire/angular';
import { provideSealwireTesting, SealwireTestingController } from '@sealwire/angular/testing';
import { describe, expect, it } from 'vitest';
import { Payments, Public, secureKeys, serverKey, startServer } from './server.js';

const account = signal<string | undefined>('a');

@Component({
  selector: 'app-account',
  template: `
    @if (balance.hasValue()) { <b>{{ balance.value() }}</b> }
    @else if (balance.error(); as error) { <i>{{ error.code }}: {{ error.message }}</i> }
    @else { {{ balance.status() }} }`,
})
class AccountPage {
  readonly balance = remoteResource(Payments, (payments) => {
    const id = account();
    return id === undefined ? undefined : payments.balance({ account: id });
  });
  readonly rate = remoteResource(Public, (functions) => functions.rate('CHF'), { defaultValue: '' });
}

function setUp() {
  account.set('a');
  TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
  const fixture = TestBed.createComponent(AccountPage);
  const page: HTMLElement = fixture.nativeElement;
  const sealwire = TestBed.inject(SealwireTestingController);
  sealwire.expectOne(Public, 'rate').flush('CHF 2');
  return { fixture, sealwire, page, text: () => page.textContent?.trim() };
}

describe('remoteResource', () => {
  it('loads, shows, and loads again when a signal that its call read changes', async () => {
    const { fixture, sealwire, text } = setUp();
    const call = sealwire.expectOne(Payments, 'balance');
    expect(call.args).toEqual([{ account: 'a' }]);
    expect(text()).toBe('loading');
    call.flush(5n);
    await fixture.whenStable();
    expect(text()).toBe('5');
    account.set('b');
    expect(sealwire.expectOne(Payments, 'balance').args).toEqual([{ account: 'b' }]);
  });

  it('gives the call under way up when its input changes, and is idle without a call', async () => {
    const { fixture, sealwire, text } = setUp();
    const first = sealwire.expectOne(Payments, 'balance');
    account.set('b');
    const second = sealwire.expectOne(Payments, 'balance');
    expect([first.cancelled, second.cancelled]).toEqual([true, false]);
    account.set(undefined);
    await fixture.whenStable();
    expect(second.cancelled).toBe(true);
    expect(text()).toBe('idle');
    sealwire.verify();
  });

  it('shows a RemoteError as it is and recovers by reload()', async () => {
    const { fixture, sealwire, text } = setUp();
    sealwire.expectOne(Payments, 'balance').error('no_such_account', 'There is no account a.');
    await fixture.whenStable();
    expect(text()).toBe('no_such_account: There is no account a.');
    const { balance } = fixture.componentInstance;
    expect(isRemoteError(balance.error(), 'no_such_account')).toBe(true);
    expect(balance.reload()).toBe(true);
    sealwire.expectOne(Payments, 'balance').flush(1n);
    await fixture.whenStable();
    expect(text()).toBe('1');
  });

  it('has its default value until there is another', async () => {
    const { fixture } = setUp();
    const { rate } = fixture.componentInstance;
    expect(rate.value()).toBe('');
    TestBed.inject(SealwireTestingController).expectOne(Payments, 'balance').flush(1n);
    await fixture.whenStable();
    expect(rate.value()).toBe('CHF 2');
  });

  it('is given up with its component', () => {
    const { fixture, sealwire } = setUp();
    const call = sealwire.expectOne(Payments, 'balance');
    fixture.destroy();
    expect(call.cancelled).toBe(true);
  });

  it('refuses to be made outside an injection context', () => {
    expect(() => remoteResource(Payments, (payments) => payments.balance({ account: 'a' }))).toThrow(/NG0203/);
  });
});

describe('reads of one turn', () => {
  async function connect() {
    const server = await startServer();
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        provideSealwire({ url: server.url, serverKey }, withModule(Payments, { secureKey: secureKeys[0] })),
      ],
    });
    return server;
  }
  const read = (account: string, options = {}) =>
    remoteResource(Payments, (payments) => payments.balance({ account }), {
      injector: TestBed.inject(Injector),
      ...options,
    });

  it('travel inside the handshake, then as one message, each with its own outcome', async () => {
    const { kinds, seen } = await connect();
    const resources = [read('a'), read('b'), read('c')];
    await TestBed.inject(ApplicationRef).whenStable();
    expect(resources.map(({ value }) => value())).toEqual([100n, 7n, 0n]);
    expect(kinds()).toEqual(['start', 'finish']);
    seen.length = 0;
    for (const resource of resources) resource.reload();
    await TestBed.inject(ApplicationRef).whenStable();
    expect(kinds()).toEqual(['call']);
  });

  it('travel apart if one says so, or waits for another time', async () => {
    const { kinds, seen } = await connect();
    const resources = [read('a'), read('b', { batch: false }), read('c', { timeout: 10_000 })];
    await TestBed.inject(ApplicationRef).whenStable();
    seen.length = 0;
    for (const resource of resources) resource.reload();
    await TestBed.inject(ApplicationRef).whenStable();
    expect(kinds()).toEqual(['call', 'call', 'call']);
  });
});

describe('on the server', () => {
  async function render(isAllowed: boolean) {
    const { url } = await startServer();
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        { provide: PLATFORM_ID, useValue: 'server' },
        provideSealwire({ serverKey }, ...(isAllowed ? [withServerCalls({ url })] : [])),
      ],
    });
    const injector = TestBed.inject(Injector);
    const rate = remoteResource(Public, (functions) => functions.rate('CHF'), { injector });
    await TestBed.inject(ApplicationRef).whenStable();
    return { rate, remote: TestBed.inject(Public) };
  }

  it('resources stay idle and calls are refused, for a relative URL leads nowhere there', async () => {
    const { rate, remote } = await render(false);
    expect(rate.status()).toBe('idle');
    await expect(remote.rate('CHF')).rejects.toMatchObject({
      name: 'PolicyError',
      message: expect.stringContaining('withServerCalls'),
    });
  });

  it('withServerCalls() lets them run, and the page waits for them', async () => {
    const { rate } = await render(true);
    expect(rate.value()).toBe('CHF 2');
  });
});
