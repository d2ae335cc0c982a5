// @vitest-environment jsdom
import './support.js';
import { provideHttpClient, withInterceptors } from '@angular/common/http';
import { ApplicationRef, Injector, signal } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { provideSealwire, remoteResource, remoteStream, sealwireStreams } from '@sealwire/angular';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { cutAt } from './cut.js';
import { eventually } from './eventually.js';
import { Rates, serverKey, startServer } from './server.js';

async function connect() {
  const server = await startServer();
  TestBed.configureTestingModule({
    providers: [
      provideHttpClient(withInterceptors([sealwireStreams])),
      provideSealwire({ url: server.url, serverKey }),
    ],
  });
  const injector = TestBed.inject(Injector);
  const watch = (currency: () => string | undefined) =>
    remoteStream(
      Rates,
      (rates) => {
        const name = currency();
        return name === undefined ? undefined : rates.watch(name);
      },
      { injector },
    );
  // the session is there, so that what follows are messages
  await TestBed.inject(Rates).size(Uint8Array.of(1));
  server.seen.length = 0;
  return { ...server, injector, watch };
}

describe('streams that begin in one turn', () => {
  it('share one connection, and each is stopped, restarted and changed by itself', async () => {
    const { watch, rates, kinds } = await connect();
    const name = signal('EUR');
    const currencies = ['CHF', 'USD', 'GBP', 'SEK', 'NOK', 'JPY'];
    const streams = [watch(name), ...currencies.map((currency) => watch(() => currency))];
    TestBed.tick();
    await eventually(() => streams.map(({ status }) => status())).toEqual(streams.map(() => 'open'));
    expect(kinds()).toEqual(['call']);
    await TestBed.inject(ApplicationRef).whenStable();
    rates.news.next(1);
    await eventually(() => streams.map(({ value }) => value())).toEqual(['EUR 1', ...currencies.map((c) => `${c} 1`)]);
    const [first, second, third, ...others] = streams;
    second?.stop();
    third?.restart();
    name.set('DKK');
    TestBed.tick();
    await eventually(() => [first?.status(), third?.status()]).toEqual(['open', 'open']);
    // one brings the two that begin anew, and one tells the server which three it reads no more
    await eventually(() => kinds()).toEqual(Array(3).fill('call'));
    rates.news.next(2);
    await eventually(() => [first, third, ...others].map((stream) => stream?.items().at(-1))).toEqual(
      ['DKK', 'USD', ...currencies.slice(2)].map((currency) => `${currency} 2`),
    );
    expect([second?.status(), second?.items(), first?.items()]).toEqual(['ended', ['CHF 1'], ['DKK 2']]);
    for (const stream of streams) stream.stop();
    await eventually(() => rates.news.observed).toBe(false);
    expect(streams.map(({ status }) => status())).toEqual(streams.map(() => 'ended'));
  });

  it('leave the others alone if they are refused, bring something else, cannot be sent, or are stopped at once', async () => {
    const { watch, rates, injector, kinds } = await connect();
    const open = watch(() => 'CHF');
    const refused = remoteStream(Rates, (functions) => functions.refused(), { injector });
    const other = remoteStream(Rates, (functions) => functions.size(Uint8Array.of(1)) as never, { injector });
    const unsendable = remoteStream(Rates, (functions) => functions.watch((() => {}) as never), { injector });
    const stopped = watch(() => 'USD');
    TestBed.tick();
    stopped.stop();
    await eventually(() => open.status()).toBe('open');
    await eventually(() => [refused, other].map(({ error }) => error()?.code)).toEqual([
      'refused',
      'bad_configuration',
    ]);
    expect([unsendable.status(), stopped.status(), stopped.error()]).toEqual(['error', 'ended', undefined]);
    expect(kinds()).toEqual(['call']);
    rates.news.next(1);
    await eventually(() => open.value()).toBe('CHF 1');
  });

  it('hold no connection if they are stopped before they have begun', async () => {
    const { rates, injector } = await connect();
    const [ended, late] = [
      remoteStream(Rates, (functions) => functions.count(2), { injector }),
      remoteStream(Rates, (functions) => functions.later(), { injector }),
    ];
    TestBed.tick();
    await eventually(() => [ended.status(), rates.gate.observed]).toEqual(['ended', true]);
    let listeners = 0;
    const subscribe = rates.news.subscribe.bind(rates.news);
    vi.spyOn(rates.news, 'subscribe').mockImplementation((...args: unknown[]) => {
      listeners++;
      return subscribe(...(args as Parameters<typeof subscribe>));
    });
    late.stop();
    rates.gate.next();
    // a collection of garbage would end it too, later
    await expect.poll(() => [listeners, rates.news.observed], { interval: 5, timeout: 5_000 }).toEqual([1, false]);
    expect([late.status(), ended.items()]).toEqual(['ended', [1, 2]]);
  });

  it('are resumed each from where it was, when their connection is cut', async () => {
    const { injector } = await connect();
    const real = globalThis.fetch;
    let requests = 0;
    vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
      const response = await real(url, init);
      return ++requests === 1 ? new Response(response.body?.pipeThrough(cutAt(100_000)), response) : response;
    });
    onTestFinished(() => void vi.unstubAllGlobals());
    const [one, two] = [20_000, 30_000].map((to) =>
      remoteStream(Rates, (functions) => functions.count(to), { injector, keep: 1 }),
    );
    TestBed.tick();
    await eventually(() => [one?.status(), two?.status()]).toEqual(['ended', 'ended']);
    expect([one?.count(), one?.value(), two?.count(), two?.value(), requests]).toEqual([
      20_000, 20_000, 30_000, 30_000, 2,
    ]);
  });

  it('travel apart from the reads of that turn, which wait for the end of no stream', async () => {
    const { watch, injector, kinds } = await connect();
    const open = watch(() => 'CHF');
    const size = remoteResource(Rates, (rates) => rates.size(Uint8Array.of(1, 2)), { injector });
    TestBed.tick();
    await eventually(() => [open.status(), size.value()]).toEqual(['open', 2]);
    expect(kinds()).toEqual(['call', 'call']);
  });
});
