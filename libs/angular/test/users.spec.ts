// @vitest-environment jsdom
import './support.js';
import { provideHttpClient } from '@angular/common/http';
import { Injector, signal } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  injectConnection,
  provideSealwire,
  remoteAction,
  remoteModule,
  remoteResource,
  remoteStream,
  withFetch,
  withModule,
} from '@sealwire/angular';
import { WireAttacks, WireRecorder, withInspector } from '@sealwire/angular/inspector';
import { provideSealwireTesting, SealwireTestingController } from '@sealwire/angular/testing';
import { describe, expect, it } from 'vitest';
import { Payments, Public, secureKeys, serverKey, startServer } from './server.js';

const Rates = remoteModule<{ watch(currency: string): AsyncGenerator<number> }>('rates');
const key = signal<string | undefined>(undefined);
const receipt = (name: string) => ({ receipt: name, at: new Date(0) });

/** What was answered has gone through its promises; no effect runs before that. */
const settled = () => new Promise((resolve) => setTimeout(resolve));

function logIn() {
  key.set('swk1 of the first');
  const own = { secureKey: () => key() };
  TestBed.configureTestingModule({
    providers: [provideSealwireTesting(), provideSealwire({}, withModule(Payments, own), withModule(Rates, own))],
  });
  return { injector: TestBed.inject(Injector), sealwire: TestBed.inject(SealwireTestingController) };
}

describe.each([
  ['logs out', undefined],
  ['is followed by another one', 'swk1 of the second'],
])('a user who %s', (_, next) => {
  it('leaves no value, arguments, progress or error of an action', async () => {
    const { injector, sealwire } = logIn();
    const transfer = remoteAction(Payments, (payments) => payments.transfer, { injector, progress: true });
    const seen = () => [transfer.status(), transfer.hasValue(), transfer.args(), transfer.progress(), transfer.error()];
    const nothing = ['idle', false, undefined, undefined, undefined];
    transfer.run('a', 'b', 5n);
    const call = sealwire.expectOne(Payments, 'transfer');
    call.progress({ up: 5 });
    call.flush(receipt('one'));
    await settled();
    expect(seen()).toEqual(['resolved', true, ['a', 'b', 5n], { up: 5, down: 0 }, undefined]);
    key.set(next);
    expect([...seen(), transfer.value(), transfer.snapshot()]).toEqual([
      ...nothing,
      undefined,
      { status: 'idle', value: undefined },
    ]);
    key.set('swk1 of the first');
    transfer.run('a', 'b', 500n);
    sealwire.expectOne(Payments, 'transfer').error('insufficient_funds', 'Not enough money.', { balance: 95n });
    await settled();
    expect(transfer.error()?.details).toEqual({ balance: 95n });
    key.set(next);
    expect(seen()).toEqual(nothing);
  });

  it.each(['value', 'error'] as const)('does not show the %s that an action brings afterwards', async (kind) => {
    const { injector, sealwire } = logIn();
    const transfer = remoteAction(Payments, (payments) => payments.transfer, { injector, progress: true });
    transfer.run('a', 'b', 5n);
    const call = sealwire.expectOne(Payments, 'transfer');
    key.set(next);
    call.progress({ up: 5 });
    if (kind === 'value') call.flush(receipt('one'));
    else call.error('insufficient_funds', 'Not enough money.', { balance: 95n });
    await settled();
    expect([transfer.isPending(), transfer.args(), transfer.progress()]).toEqual([false, undefined, undefined]);
    expect(transfer.error()).toMatchObject({
      code: 'closed',
      message: 'Given up: the SecureKey changed before this run had ended.',
      details: undefined,
    });
  });

  it('tells a call that was under way why it ended', async () => {
    logIn();
    const call = TestBed.inject(Payments).balance({ account: 'a' });
    key.set(next);
    TestBed.tick();
    const message = 'Given up: the SecureKey changed before this call was answered; it may have run.';
    await expect(call).rejects.toMatchObject({ code: 'closed', message });
  });

  it('leaves no items of a stream, and none that come afterwards', async () => {
    const { injector, sealwire } = logIn();
    const rates = remoteStream(Rates, (functions) => functions.watch('CHF'), { injector });
    const seen = () => [rates.items(), rates.value(), rates.count(), rates.status()];
    const source = sealwire.expectOne(Rates, 'watch').stream();
    source.next(1);
    source.next(2);
    await settled();
    expect(seen()).toEqual([[1, 2], 2, 2, 'open']);
    key.set(next);
    expect(seen()).toEqual([[], undefined, 0, 'idle']);
    source.next(3);
    for (let i = 0; i < 20; i++) await Promise.resolve();
    expect(seen()).toEqual([[], undefined, 0, 'idle']);
    TestBed.tick();
    expect(source.cancelled).toBe(true);
  });

  it('leaves no value of a resource', async () => {
    const { injector, sealwire } = logIn();
    const balance = remoteResource(Payments, (payments) => payments.balance({ account: 'a' }), { injector });
    sealwire.expectOne(Payments, 'balance').flush(5n);
    await settled();
    expect(balance.value()).toBe(5n);
    key.set(next);
    expect(balance.value()).toBe(undefined);
  });
});

describe.each([
  ['logs out', undefined],
  ['is followed by another one', secureKeys[1]],
])('in the inspector a user who %s', (_, next) => {
  async function recorded() {
    const { url } = await startServer();
    key.set(secureKeys[0]);
    const own = withModule(Payments, { secureKey: () => key() });
    TestBed.configureTestingModule({
      providers: [provideHttpClient(), provideSealwire({ url, serverKey }, own, withFetch(), withInspector())],
    });
    const [recorder, attacks] = [TestBed.inject(WireRecorder), TestBed.inject(WireAttacks)];
    const seen = () =>
      [recorder.calls(), recorder.exchanges(), recorder.handshakes()].map((all) =>
        [...new Set(all.map(({ module }) => module))].sort(),
      );
    return { payments: TestBed.inject(Payments), recorder, attacks, seen };
  }

  it('leaves no message, no call and no report of an attack', async () => {
    const { payments, recorder, attacks, seen } = await recorded();
    await TestBed.inject(Public).rate('CHF');
    await payments.balance({ account: 'a' });
    const report = attacks.arm('flip-answer');
    await payments.balance({ account: 'a' });
    expect((await report).calls).toHaveLength(1);
    expect(seen()).toEqual(Array(3).fill(['payments', 'public']));
    expect(attacks.reports()).toHaveLength(1);
    key.set(next);
    expect(seen()).toEqual(Array(3).fill(['public']));
    expect(attacks.reports()).toEqual([]);
    await expect(attacks.replay()).rejects.toThrow('nothing to replay');
    TestBed.tick();
    key.set(secureKeys[0]);
    expect(seen()).toEqual(Array(3).fill(['public']));
    await payments.balance({ account: 'b' });
    expect(recorder.calls().map(({ args }) => args)).toEqual([['"CHF"'], ['{ account: "b" }']]);
  });

  it('leaves an attack reported that the call did not outlive, with nothing of it', async () => {
    const { payments, recorder, attacks } = await recorded();
    await payments.balance({ account: 'a' });
    const report = attacks.arm('flip-answer');
    const { between } = recorder;
    recorder.between = (passing) => {
      const answer = between?.(passing);
      key.set(next);
      TestBed.tick();
      return answer ?? Promise.reject(new Error('nobody stands between'));
    };
    await expect(payments.balance({ account: 'a' })).rejects.toMatchObject({ code: 'closed' });
    expect(await report).toMatchObject({ met: true, application: 'Nothing.', calls: [], exchanges: [] });
    expect(attacks.reports()).toEqual([]);
  });

  it('takes no room of what is kept', async () => {
    const { payments, recorder } = await recorded();
    recorder.limit = 2;
    await TestBed.inject(Public).rate('CHF');
    await payments.balance({ account: 'a' });
    key.set(next);
    await TestBed.inject(Public).rate('EUR');
    expect(recorder.calls().map(({ args }) => args)).toEqual([['"CHF"'], ['"EUR"']]);
  });

  it('leaves nothing of what is under way, nor of what is sent afterwards', async () => {
    const { payments, recorder, seen } = await recorded();
    await payments.balance({ account: 'a' });
    const { between } = recorder;
    recorder.between = (passing) => {
      expect(seen()).toEqual([['payments'], ['payments'], ['payments']]);
      key.set(next);
      const answer = between?.(passing) ?? Promise.reject(new Error('nobody stands between'));
      expect(seen()).toEqual([[], [], []]);
      return answer;
    };
    await expect(payments.balance({ account: 'a' })).rejects.toMatchObject({ code: 'closed' });
    expect(seen()).toEqual([[], [], []]);
  });
});

describe('the next user', () => {
  it('sees no session of the former one', async () => {
    const { url } = await startServer();
    key.set(secureKeys[0]);
    const own = { secureKey: () => key() };
    TestBed.configureTestingModule({
      providers: [provideHttpClient(), provideSealwire({ url, serverKey }, withModule(Payments, own))],
    });
    const injector = TestBed.inject(Injector);
    const connection = injectConnection(Payments, { injector });
    await TestBed.inject(Payments).balance({ account: 'a' });
    expect(connection().state).toBe('open');
    key.set(secureKeys[1]);
    expect(connection()).toEqual({ state: 'idle' });
    expect(TestBed.inject(Payments).$connection()).toEqual({ state: 'idle' });
  });
});
