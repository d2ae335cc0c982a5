// @vitest-environment jsdom
import './support.js';
import { provideHttpClient } from '@angular/common/http';
import type { EnvironmentProviders } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { type SealwireFeature, withFetch } from '@sealwire/angular';
import { type AttackKind, WireAttacks } from '@sealwire/angular/inspector';
import { describe, expect, it } from 'vitest';
import { eventually } from './eventually.js';
import { connect, transports } from './inspected.js';
import { RatesController } from './server.js';

/** An application with open sessions whose calls a proxy may attack. */
async function attacked(feature: SealwireFeature<'transport'>, http: EnvironmentProviders) {
  const made = await connect(feature, http);
  const { payments, rates, controller } = made;
  await payments.balance({ account: 'a' });
  await rates.size(new Uint8Array(1));
  await payments.balance({ account: 'a' });
  const { runs } = controller;
  return {
    ...made,
    remote: payments,
    /** of functions since the session opened */
    ran: () => controller.runs - runs,
  };
}

type Single = Exclude<AttackKind, 'replay' | 'swap-answers' | 'cut-stream'>;

describe.each(transports)('a proxy on %s', (_name, feature, http) => {
  it.each<[Single, RegExp]>([
    ['flip-request', /^The proxy flipped one bit of the request\. It got back HTTP 400 bad_frame/],
    ['flip-answer', /^The proxy flipped one bit of the answer \(HTTP 200, 92 bytes of ciphertext\)/],
    ['lose-answer', /threw the answer \(HTTP 200, 92 bytes of ciphertext\) away/],
    ['forge-session-unknown', /wrote 409 session_unknown instead/],
    ['splice', /behind this header\. It got back HTTP 400 bad_frame/],
    ['wrong-module', /to another module\. It got back HTTP 409 session_unknown/],
  ])('%s: the call runs once, and the application has its value', async (kind, proxy) => {
    const { remote, attacks, ran, recorder, url } = await attacked(feature, http);
    const report = attacks.arm(kind, { url: `${url}/rates` });
    expect(attacks.armed()).toBe(kind);
    expect(await remote.transfer('a', 'b', 5n)).toEqual({ receipt: 'a-b', at: new Date(0) });
    expect(attacks.armed()).toBeUndefined();
    const { application, calls, exchanges, ...rest } = await report;
    expect(rest).toMatchObject({ kind, proxy: expect.stringMatching(proxy) });
    expect(application).toMatch(/^transfer gave \{ receipt: "a-b".* once \((1 request and a handshake|[23] requests)/);
    expect(calls.map(({ name, state }) => [name, state])).toEqual([['transfer', 'done']]);
    expect(exchanges.length).toBe(1);
    expect(recorder.exchanges().find(({ id }) => id === exchanges[0])?.tampering?.kind).toBe(kind);
    expect(ran()).toBe(1);
    expect(await remote.balance({ account: 'a' })).toBe(95n);
    expect(attacks.reports().map((one) => one.kind)).toEqual([kind]);
  });

  it.each<Single>(['flip-request', 'flip-answer', 'wrong-module'])('%s: reports that no answer came', async (kind) => {
    const { remote, attacks, app, url } = await attacked(feature, http);
    await app.close();
    const report = attacks.arm(kind, { url: `${url}/rates` });
    await expect(remote.$call({ timeout: 300 }).transfer('a', 'b', 5n)).rejects.toThrow();
    const { met, proxy, application, calls } = await report;
    expect([met, proxy]).toEqual([
      true,
      expect.stringMatching(/^The proxy got no answer to the call that met it: .+[^.]\.$/),
    ]);
    expect(application).toMatch(/^transfer failed with outcome_unknown/);
    expect(calls.map(({ name, state }) => [name, state])).toEqual([['transfer', 'failed']]);
  });

  it('swap-answers: reports that no answer came, to whichever call', async () => {
    const { remote, attacks, app } = await attacked(feature, http);
    await app.close();
    const report = attacks.arm('swap-answers');
    const how = remote.$call({ timeout: 300 });
    const both = await Promise.allSettled([how.balance({ account: 'a' }), how.balance({ account: 'b' })]);
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const { met, proxy, application } = await report;
    expect([met, proxy]).toEqual([true, expect.stringMatching(/^The proxy got no answer/)]);
    expect(application).toMatch(/^balance failed with/);
  });

  it('aim: means the calls that are begun there, and lets others pass', async () => {
    const { remote, attacks, ran } = await attacked(feature, http);
    const report = attacks.arm('lose-answer');
    const [mine, other] = [attacks.aim(() => remote.transfer('a', 'b', 5n)), remote.balance({ account: 'b' })];
    await other;
    await remote.balance({ account: 'b' });
    await mine;
    const { calls, met } = await report;
    expect([calls.map(({ name }) => name), met]).toEqual([['transfer'], true]);
    await attacks.aim(() => remote.transfer('a', 'b', 7n));
    await remote.balance({ account: 'b' });
    const before = ran();
    expect((await attacks.replay()).proxy).toContain('the answer of the first time, byte for byte');
    expect([ran(), await remote.balance({ account: 'a' })]).toEqual([before, 88n]);
    const nothing = attacks.arm('flip-answer');
    await attacks.aim(() => Promise.resolve());
    await remote.balance({ account: 'a' });
    attacks.reset();
    expect((await nothing).met).toBe(false);
  });

  it('swap-answers: each of two calls has its own value in the end', async () => {
    const { remote, attacks, ran, recorder } = await attacked(feature, http);
    const report = attacks.arm('swap-answers');
    const values = await Promise.all([remote.balance({ account: 'a' }), remote.balance({ account: 'b' })]);
    expect(values).toEqual([100n, 7n]);
    const { proxy, calls, exchanges } = await report;
    expect(proxy).toMatch(/^The proxy exchanged two sealed answers of 92 and 92 bytes/);
    expect(calls.map(({ outcome }) => outcome)).toEqual(['100n', '7n']);
    expect(exchanges.length).toBe(2);
    const swapped = recorder.exchanges().filter(({ tampering }) => tampering?.kind === 'swap-answers');
    expect(swapped.map(({ id }) => id)).toEqual(exchanges);
    expect(ran()).toBe(2);
  });

  it('replay: the server answers as it did, and runs nothing', async () => {
    const { remote, attacks, ran, recorder } = await attacked(feature, http);
    await remote.transfer('a', 'b', 5n);
    const { proxy, exchanges } = await attacks.replay();
    expect(proxy).toMatch(/got back HTTP 200, 92 bytes of ciphertext: the answer of the first time, byte for byte/);
    expect(ran()).toBe(1);
    expect(await remote.balance({ account: 'a' })).toBe(95n);
    const replayed = recorder.exchanges().find(({ id }) => id === exchanges[0]);
    const first = recorder.exchanges().find(({ calls, id }) => calls.length > 0 && id < (replayed?.id ?? 0));
    expect(replayed?.request.body.size).toBe(first && 116);
    expect(replayed?.attempt).toBe(2);
  });

  it('cut-stream: a resumable stream goes on, with no item twice and none missing', async () => {
    const { rates, attacks } = await attacked(feature, http);
    const report = attacks.arm('cut-stream', { after: 200 });
    // an answer that does not stream passes
    expect(await rates.size(new Uint8Array(3))).toBe(3);
    expect(attacks.armed()).toBe('cut-stream');
    const items: number[] = [];
    for await (const one of await rates.count(500)) items.push(one);
    expect(items).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
    const { proxy, calls } = await report;
    expect(proxy).toBe('The proxy closed the connection after 200 bytes of the stream.');
    expect(calls.map(({ name }) => name)).toEqual(['count']);
  });
});

it('cuts a stream that cannot go on: the application hears of it after what had arrived', async () => {
  const { attacks, recorder, rates: remote, app } = await attacked(withFetch(), provideHttpClient());
  const report = attacks.arm('cut-stream', { after: 400 });
  const items: string[] = [];
  const controller = app.get(RatesController);
  const reading = (async () => {
    for await (const one of await remote.watch('EUR')) {
      items.push(one);
      controller.news.next(items.length);
    }
  })();
  await eventually(() => controller.news.observed).toBe(true);
  controller.news.next(0);
  await expect(reading).rejects.toMatchObject({ code: 'stream_cut' });
  expect(items.length).toBeGreaterThan(0);
  const { application, calls, exchanges } = await report;
  const cut = recorder.exchanges().find(({ id }) => id === exchanges[0]);
  expect(cut).toMatchObject({ state: 'failed', tampering: { kind: 'cut-stream' } });
  expect(application).toMatch(/^watch failed with stream_cut/);
  expect(calls[0]).toMatchObject({ state: 'failed', items: items.length });
});

it('passes everything when nothing is armed any more', async () => {
  const { remote, attacks, recorder } = await attacked(withFetch(), provideHttpClient());
  const flip = attacks.arm('flip-request');
  const lose = attacks.arm('lose-answer');
  const nothing = {
    proxy: 'Nothing: the attack was disarmed before a call met it.',
    application: 'Nothing.',
    calls: [],
    exchanges: [],
  };
  expect(await flip).toMatchObject({ ...nothing, kind: 'flip-request' });
  attacks.reset();
  expect(await lose).toMatchObject({ ...nothing, kind: 'lose-answer' });
  expect(attacks.reports()).toEqual([]);
  recorder.clear();
  await remote.transfer('a', 'b', 5n);
  expect(recorder.exchanges().map(({ tampering }) => tampering)).toEqual([undefined]);
  expect(() => attacks.arm('wrong-module')).toThrow(
    expect.objectContaining({ code: 'bad_configuration', message: expect.stringContaining('needs the `url`') }),
  );
});

it('lets a call go on that waited for another one to swap answers with', async () => {
  const { remote, attacks, recorder } = await attacked(withFetch(), provideHttpClient());
  recorder.clear();
  const report = attacks.arm('swap-answers');
  const balance = remote.$call({ timeout: 3_000 }).balance({ account: 'a' });
  await eventually(() => recorder.exchanges().length).toBe(1);
  attacks.reset();
  expect(await balance).toBe(100n);
  expect((await report).proxy).toMatch(/disarmed/);
});

it('has nothing to replay before the first call', async () => {
  await expect(TestBed.inject(WireAttacks).replay()).rejects.toThrow('no call has passed');
});
