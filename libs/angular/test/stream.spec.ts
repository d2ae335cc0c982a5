// @vitest-environment jsdom
import './support.js';
import { Component, Injector, signal } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { type RemoteStreamOptions, remote$, remoteModule, remoteStream } from '@sealwire/angular';
import { provideSealwireTesting, SealwireTestingController } from '@sealwire/angular/testing';
import { describe, expect, it } from 'vitest';

const Rates = remoteModule<{ watch(currency: string): AsyncGenerator<number>; once(): number }>('rates');
const currency = signal<string | undefined>('CHF');

function setUp(options: RemoteStreamOptions = {}) {
  currency.set('CHF');
  TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
  const injector = TestBed.inject(Injector);
  const rates = remoteStream(
    Rates,
    (functions) => {
      const name = currency();
      return name === undefined ? undefined : functions.watch(name);
    },
    { injector, ...options },
  );
  const sealwire = TestBed.inject(SealwireTestingController);
  return { rates, sealwire, call: () => sealwire.expectOne(Rates, 'watch') };
}

/** What was answered has gone through its promises. */
const settled = () => new Promise((resolve) => setTimeout(resolve));

describe('remoteStream', () => {
  it('shows items as they come, until the source ends', async () => {
    const { rates, call } = setUp();
    const watch = call();
    expect([watch.args, rates.status(), rates.value()]).toEqual([['CHF'], 'loading', undefined]);
    const source = watch.stream();
    await settled();
    expect(rates.status()).toBe('open');
    source.next(1);
    source.next(2);
    await settled();
    expect([rates.items(), rates.value(), rates.count(), rates.status()]).toEqual([[1, 2], 2, 2, 'open']);
    source.end();
    await settled();
    expect([rates.items(), rates.status()]).toEqual([[1, 2], 'ended']);
  });

  it('keeps the newest items if it should, and counts all', async () => {
    const { rates, call } = setUp({ keep: 3 });
    const source = call().stream();
    for (let i = 1; i <= 10; i++) source.next(i);
    await settled();
    expect([rates.items(), rates.count(), rates.value()]).toEqual([[8, 9, 10], 10, 10]);
    for (const keep of [0, -1, 1.5, Number.NaN]) {
      TestBed.resetTestingModule();
      expect(() => setUp({ keep })).toThrow(
        expect.objectContaining({ code: 'bad_configuration', message: expect.stringContaining('at least 1') }),
      );
    }
  });

  it('shows the error that ended it behind the items before, and begins anew by restart()', async () => {
    const { rates, call } = setUp();
    const source = call().stream();
    source.next(1);
    source.error('stream_cut', 'The connection was lost.');
    await settled();
    expect([rates.status(), rates.items(), rates.error()?.code]).toEqual(['error', [1], 'stream_cut']);
    rates.restart();
    call().stream().next(7);
    await settled();
    expect([rates.status(), rates.items(), rates.error()]).toEqual(['open', [7], undefined]);
  });

  it('gives the stream up when its input changes, and is idle without a call', async () => {
    const { rates, call } = setUp();
    const first = call().stream();
    first.next(1);
    await settled();
    currency.set('EUR');
    const second = call();
    expect([second.args, first.cancelled, rates.items()]).toEqual([['EUR'], true, []]);
    const source = second.stream();
    currency.set(undefined);
    TestBed.tick();
    expect([source.cancelled, rates.status()]).toEqual([true, 'idle']);
  });

  it('ends with its component, and by stop() with its items kept', async () => {
    const { rates, call } = setUp();
    const stopped = call().stream();
    stopped.next(1);
    await settled();
    rates.stop();
    expect([stopped.cancelled, rates.status(), rates.items()]).toEqual([true, 'ended', [1]]);
    @Component({ selector: 'app-rates', template: '' })
    class Page {
      readonly rates = remoteStream(Rates, (functions) => functions.watch('USD'));
    }
    const fixture = TestBed.createComponent(Page);
    const source = call().stream();
    fixture.destroy();
    expect(source.cancelled).toBe(true);
  });

  it('stays stopped if it was stopped before it began, until restart() or a changed signal', async () => {
    const { rates, sealwire, call } = setUp();
    rates.stop();
    sealwire.expectNone(Rates);
    expect(rates.status()).toBe('idle');
    rates.restart();
    rates.stop();
    sealwire.expectNone(Rates);
    rates.restart();
    call().stream().next(1);
    await settled();
    rates.stop();
    currency.set('EUR');
    expect(call().args).toEqual(['EUR']);
    expect(rates.status()).toBe('loading');
  });

  it('says so of a function that returned something else', async () => {
    const { rates, call } = setUp();
    call().flush(5 as never);
    await settled();
    expect(rates.error()).toMatchObject({ code: 'bad_configuration', message: '"watch" returned no stream of items.' });
  });
});

describe('remote$', () => {
  it('emits the items of a result that streams, and gives it up at the end of the subscription', async () => {
    TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
    const sealwire = TestBed.inject(SealwireTestingController);
    const seen: unknown[] = [];
    const subscription = TestBed.runInInjectionContext(() => remote$(Rates))
      .watch('CHF')
      .subscribe({ next: (rate) => seen.push(rate + 1), complete: () => seen.push('complete') });
    const source = sealwire.expectOne(Rates, 'watch').stream();
    source.next(1);
    source.next(2);
    await settled();
    expect(seen).toEqual([2, 3]);
    subscription.unsubscribe();
    expect(source.cancelled).toBe(true);
    await settled();
    expect(seen).toEqual([2, 3]);
  });
});
