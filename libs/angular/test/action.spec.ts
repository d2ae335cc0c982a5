// @vitest-environment jsdom
import './support.js';
import { Component, ErrorHandler, Injector } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { type RemoteAction, type RemoteActionOptions, remoteAction, remoteModule } from '@sealwire/angular';
import { provideSealwireTesting, SealwireTestingController } from '@sealwire/angular/testing';
import { describe, expect, expectTypeOf, it, onTestFinished, vi } from 'vitest';
import { Payments } from './server.js';

type Receipt = { readonly receipt: string; readonly at: Date };
const receipt = (name: string): Receipt => ({ receipt: name, at: new Date(0) });

function setUp(options: RemoteActionOptions<Receipt> = {}) {
  TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
  const injector = TestBed.inject(Injector);
  const transfer = remoteAction(Payments, (payments) => payments.transfer, { injector, ...options });
  return { transfer, sealwire: TestBed.inject(SealwireTestingController) };
}

describe('remoteAction', () => {
  it('runs when told to, with typed arguments, and shows how it goes', async () => {
    const { transfer, sealwire } = setUp();
    sealwire.expectNone(Payments);
    expect([transfer.status(), transfer.isPending(), transfer.hasValue()]).toEqual(['idle', false, false]);
    const done = transfer.runAsync('a', 'b', 5n);
    expect([transfer.status(), transfer.isPending(), transfer.args()]).toEqual(['loading', true, ['a', 'b', 5n]]);
    sealwire.expectOne(Payments, 'transfer').flush(receipt('one'));
    expect(await done).toEqual(receipt('one'));
    expect([transfer.status(), transfer.isPending(), transfer.hasValue()]).toEqual(['resolved', false, true]);
    expect(transfer.value()).toEqual(receipt('one'));
    transfer.reset();
    expect([transfer.status(), transfer.args(), transfer.value()]).toEqual(['idle', undefined, undefined]);
  });

  it('shows the error, throws it nowhere from run(), and tells an unknown outcome apart', async () => {
    const { transfer, sealwire } = setUp();
    transfer.run('a', 'b', 500n);
    sealwire.expectOne(Payments, 'transfer').error('insufficient_funds', 'Not enough money.', { missing: 5n });
    await settled();
    expect(transfer.error()).toMatchObject({ code: 'insufficient_funds', details: { missing: 5n } });
    expect([transfer.status(), transfer.outcomeUnknown(), transfer.hasValue()]).toEqual(['error', false, false]);
    expect(() => transfer.value()).toThrow('Not enough money.');
    transfer.run('a', 'b', 5n);
    sealwire.expectOne(Payments, 'transfer').outcomeUnknown();
    await settled();
    expect(transfer.outcomeUnknown()).toBe(true);
  });

  it('ignores a second run while one is under way, so that a second click pays nothing twice', async () => {
    const { transfer, sealwire } = setUp();
    transfer.run('a', 'b', 5n);
    transfer.run('a', 'b', 5n);
    await expect(transfer.runAsync('a', 'b', 5n)).rejects.toMatchObject({ code: 'busy', retryable: true });
    sealwire.expectOne(Payments, 'transfer').flush(receipt('one'));
    await settled();
    expect(transfer.value()).toEqual(receipt('one'));
    sealwire.verify();
  });

  it('queues a second run if it should, also after an error', async () => {
    const { transfer, sealwire } = setUp({ whilePending: 'queue' });
    transfer.run('a', 'b', 1n);
    transfer.run('a', 'b', 2n);
    sealwire.expectOne(Payments, 'transfer').error('refused');
    await settled();
    await settled();
    expect(transfer.isPending()).toBe(true);
    const second = sealwire.expectOne(Payments, 'transfer');
    expect(second.args).toEqual(['a', 'b', 2n]);
    second.flush(receipt('two'));
    await settled();
    expect([transfer.isPending(), transfer.value()]).toEqual([false, receipt('two')]);
  });

  it('runs in parallel if it should, and shows the last one started', async () => {
    const { transfer, sealwire } = setUp({ whilePending: 'parallel' });
    transfer.run('a', 'b', 1n);
    transfer.run('a', 'b', 2n);
    const [first, second] = sealwire.match(Payments, 'transfer');
    second?.flush(receipt('two'));
    await settled();
    expect(transfer.isPending()).toBe(true);
    first?.flush(receipt('one'));
    await settled();
    expect([transfer.isPending(), transfer.value()]).toEqual([false, receipt('two')]);
  });

  it('gives up what is under way and what waits for it, and says that the first may have run', async () => {
    const { transfer, sealwire } = setUp({ whilePending: 'queue' });
    transfer.cancel();
    const first = transfer.runAsync('a', 'b', 1n);
    const second = transfer.runAsync('a', 'b', 2n);
    const call = sealwire.expectOne(Payments, 'transfer');
    transfer.cancel();
    await expect(first).rejects.toMatchObject({ name: 'OutcomeUnknownError', code: 'outcome_unknown' });
    await expect(second).rejects.toMatchObject({
      code: 'closed',
      message: expect.stringContaining('Nothing was sent'),
    });
    expect([call.cancelled, transfer.isPending()]).toEqual([true, false]);
    sealwire.expectNone(Payments);
    transfer.run('a', 'b', 3n);
    sealwire.expectOne(Payments, 'transfer');
    transfer.cancel();
    await settled();
    expect([transfer.status(), transfer.outcomeUnknown()]).toEqual(['error', true]);
    transfer.run('a', 'b', 4n);
    sealwire.expectOne(Payments, 'transfer').flush(receipt('four'));
    await settled();
    expect(transfer.value()).toEqual(receipt('four'));
  });

  it('calls back, and hands what a callback throws to the ErrorHandler', async () => {
    const onError = vi.fn();
    const thrown = new Error('in a callback');
    const { transfer, sealwire } = setUp({
      onError,
      onSuccess: () => {
        throw thrown;
      },
    });
    const handle = vi.spyOn(TestBed.inject(ErrorHandler), 'handleError').mockImplementation(() => {});
    transfer.run('a', 'b', 1n);
    sealwire.expectOne(Payments, 'transfer').flush(receipt('one'));
    await settled();
    expect(handle.mock.calls).toEqual([[thrown]]);
    expect(transfer.status()).toBe('resolved');
    transfer.run('a', 'b', 1n);
    sealwire.expectOne(Payments, 'transfer').error('refused');
    await settled();
    expect(onError).toHaveBeenCalledWith(expect.objectContaining({ code: 'refused' }));
  });

  it('ends once, whatever an ErrorHandler makes of what a callback threw', async () => {
    const { transfer, sealwire } = setUp({
      onSuccess: () => {
        throw new Error('in a callback');
      },
    });
    const rethrown = vi.fn();
    vi.stubGlobal('queueMicrotask', (run: () => void) => void Promise.resolve().then(run).catch(rethrown));
    onTestFinished(() => void vi.unstubAllGlobals());
    vi.spyOn(TestBed.inject(ErrorHandler), 'handleError').mockImplementation((error) => {
      throw error;
    });
    const done = transfer.runAsync('a', 'b', 1n);
    sealwire.expectOne(Payments, 'transfer').flush(receipt('one'));
    expect(await done).toEqual(receipt('one'));
    await settled();
    expect(rethrown).toHaveBeenCalledOnce();
    expect([transfer.status(), transfer.isPending()]).toEqual(['resolved', false]);
    transfer.run('a', 'b', 2n);
    expect(transfer.isPending()).toBe(true);
    await expect(transfer.runAsync('a', 'b', 2n)).rejects.toMatchObject({ code: 'busy' });
    sealwire.expectOne(Payments, 'transfer').error('refused');
    await settled();
  });

  it('has the type of what its function returns, undefined among it', () => {
    TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
    const injector = TestBed.inject(Injector);
    const Users = remoteModule<{ find(id: string): string | undefined; touch(): void; name(): string }>('users');
    const find = remoteAction(Users, (users) => users.find, { injector });
    expectTypeOf(find.runAsync).returns.toEqualTypeOf<Promise<string | undefined>>();
    expectTypeOf(find.value()).toEqualTypeOf<string | undefined>();
    if (find.hasValue()) expectTypeOf(find.value()).toEqualTypeOf<string>();
    const touch = remoteAction(Users, (users) => users.touch, { injector });
    expectTypeOf(touch.runAsync).returns.toEqualTypeOf<Promise<void>>();
    const name: RemoteAction<[], string | undefined> = remoteAction(Users, (users) => users.name, { injector });
    expectTypeOf(name.runAsync).returns.toEqualTypeOf<Promise<string>>();
  });

  it('goes on when its component ends', async () => {
    const paid = vi.fn();
    @Component({ selector: 'app-pay', template: '' })
    class Pay {
      readonly transfer = remoteAction(Payments, (payments) => payments.transfer, { onSuccess: paid });
    }
    TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
    const fixture = TestBed.createComponent(Pay);
    fixture.componentInstance.transfer.run('a', 'b', 1n);
    fixture.destroy();
    const call = TestBed.inject(SealwireTestingController).expectOne(Payments, 'transfer');
    expect(call.cancelled).toBe(false);
    call.flush(receipt('one'));
    await settled();
    expect(paid).toHaveBeenCalledWith(receipt('one'));
  });
});

it('runs again right after cancel(), and after reset() once the run under way has ended', async () => {
  const { transfer, sealwire } = setUp();
  const first = transfer.runAsync('a', 'b', 1n);
  transfer.cancel();
  expect(transfer.isPending()).toBe(false);
  const second = transfer.runAsync('a', 'b', 2n);
  expect(transfer.isPending()).toBe(true);
  await expect(first).rejects.toMatchObject({ code: 'outcome_unknown', functionName: 'transfer' });
  transfer.reset();
  await expect(transfer.runAsync('a', 'b', 3n)).rejects.toMatchObject({ code: 'busy' });
  sealwire.expectOne(Payments, 'transfer').flush(receipt('two'));
  expect(await second).toEqual(receipt('two'));
  expect([transfer.status(), transfer.isPending()]).toEqual(['idle', false]);
  const third = transfer.runAsync('a', 'b', 3n);
  sealwire.expectOne(Payments, 'transfer').flush(receipt('three'));
  await third;
  expect(transfer.value()).toEqual(receipt('three'));
});

/** Everything that was answered has gone through its promises. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve));
}
