// @vitest-environment jsdom
import 'zone.js';
import 'zone.js/testing';
import './support.js';
import { provideHttpClient, withInterceptors } from '@angular/common/http';
import {
  ApplicationRef,
  ChangeDetectionStrategy,
  Component,
  Injector,
  NgZone,
  provideZoneChangeDetection,
} from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  injectConnection,
  injectRemote,
  provideSealwire,
  remoteAction,
  remoteResource,
  remoteStream,
  sealwireStreams,
  withModule,
} from '@sealwire/angular';
import { expect, it } from 'vitest';
import { eventually } from './eventually.js';
import { Payments, Rates, secureKeys, serverKey, startServer } from './server.js';

@Component({
  selector: 'app-zoned',
  template: '{{ text }} {{ balance.value() }} {{ transfer.status() }} {{ connection().state }}',
  changeDetection: ChangeDetectionStrategy.Default,
})
class Zoned {
  text = 'nothing';
  readonly remote = injectRemote(Payments);
  readonly balance = remoteResource(Payments, (payments) => payments.balance({ account: 'a' }));
  readonly transfer = remoteAction(Payments, (payments) => payments.transfer, {
    onSuccess: () => this.balance.reload(),
  });
  readonly connection = injectConnection(Payments);

  load(): void {
    this.remote.balance({ account: 'b' }).then((value) => {
      this.text = `${value} ${NgZone.isInAngularZone()}`;
    });
  }
}

it('works with zone.js: values show, continuations run in the zone, and timers of the client keep nothing unstable', async () => {
  const { url } = await startServer();
  TestBed.configureTestingModule({
    providers: [
      provideZoneChangeDetection(),
      provideHttpClient(),
      provideSealwire({ url, serverKey }, withModule(Payments, { secureKey: secureKeys[0] })),
    ],
  });
  const fixture = TestBed.createComponent(Zoned);
  fixture.autoDetectChanges();
  const zone = TestBed.inject(NgZone);
  await fixture.whenStable();
  expect(fixture.nativeElement.textContent).toBe('nothing 100 idle open');
  zone.run(() => fixture.componentInstance.load());
  // a request of HttpClient is what the zone waits for, as for any other
  await fixture.whenStable();
  expect(fixture.nativeElement.textContent).toBe('7 true 100 idle open');
  zone.run(() => fixture.componentInstance.transfer.run('a', 'b', 5n));
  await fixture.componentInstance.transfer.runAsync('a', 'b', 5n).catch(() => {});
  await eventually(() => fixture.nativeElement.textContent).toBe('7 true 95 resolved open');
  const began = performance.now();
  await TestBed.inject(ApplicationRef).whenStable();
  expect(performance.now() - began).toBeLessThan(5_000);
  expect([zone.hasPendingMacrotasks, zone.hasPendingMicrotasks]).toEqual([false, false]);
});

it('shows the items of a stream with zone.js, and an open stream keeps nothing unstable', async () => {
  @Component({ selector: 'app-rates', template: '{{ rates.status() }} {{ rates.items().join() }}' })
  class RatesPage {
    readonly rates = remoteStream(Rates, (functions) => functions.watch('CHF'));
  }
  const { url, rates } = await startServer();
  TestBed.configureTestingModule({
    providers: [
      provideZoneChangeDetection(),
      provideHttpClient(withInterceptors([sealwireStreams])),
      provideSealwire({ url, serverKey }),
    ],
  });
  const fixture = TestBed.createComponent(RatesPage);
  fixture.autoDetectChanges();
  await eventually(() => [fixture.nativeElement.textContent, rates.news.observed]).toEqual(['open ', true]);
  await TestBed.inject(ApplicationRef).whenStable();
  rates.news.next(1);
  rates.news.next(2);
  await eventually(() => fixture.nativeElement.textContent).toBe('open CHF 1,CHF 2');
  await TestBed.inject(ApplicationRef).whenStable();
  fixture.destroy();
  await eventually(() => rates.news.observed).toBe(false);
});

it('runs in the zone what the application gave to be told something: listeners, progress and callbacks of actions', async () => {
  const { url } = await startServer();
  TestBed.configureTestingModule({
    providers: [
      provideZoneChangeDetection(),
      provideHttpClient(withInterceptors([sealwireStreams])),
      provideSealwire({ url, serverKey }, withModule(Payments, { secureKey: secureKeys[0] })),
    ],
  });
  const zones = new Map<string, boolean>();
  const note = (what: string) => (): void => void zones.set(what, NgZone.isInAngularZone());
  const injector = TestBed.inject(Injector);
  const callbacks = { onSuccess: note('onSuccess'), onError: note('onError') };
  const transfer = remoteAction(Payments, (payments) => payments.transfer, { injector, ...callbacks });
  const remote = TestBed.inject(Payments);
  const stop = remote.$events.on('opened', note('event before the session'));
  await remote.balance({ account: 'a' });
  await remote.$call({ onProgress: note('$call') }).balance({ account: 'a' });
  stop();
  remote.$events.on('closed', note('event'));
  await remote.$batch((payments) => [payments.balance({ account: 'a' })], { onProgress: note('$batch') });
  await transfer.runAsync('a', 'b', 5n);
  await transfer.runAsync('a', 'b', 500n).catch(() => {});
  remote.$close();
  expect(Object.fromEntries(zones)).toEqual({
    'event before the session': true,
    $call: true,
    $batch: true,
    onSuccess: true,
    onError: true,
    event: true,
  });
});
