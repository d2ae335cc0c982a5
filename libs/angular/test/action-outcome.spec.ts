// @vitest-environment jsdom
import './support.js';
import { type HttpInterceptorFn, provideHttpClient, withInterceptors } from '@angular/common/http';
import { Injector, signal } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  provideSealwire,
  type RemoteActionOptions,
  remoteAction,
  remoteModule,
  sealwireStreams,
  withModule,
} from '@sealwire/angular';
import { NEVER } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { eventually } from './eventually.js';
import { Payments, Rates, secureKeys, serverKey, startServer } from './server.js';

const UNSENT = { code: 'closed', message: 'Nothing was sent: the run was given up.' };

/** An action that waits on the server for 'wait', and cannot send a function. */
async function connect(options: RemoteActionOptions<unknown>) {
  const { url, rates } = await startServer();
  TestBed.configureTestingModule({
    providers: [provideHttpClient(withInterceptors([sealwireStreams])), provideSealwire({ url, serverKey })],
  });
  const injector = TestBed.inject(Injector);
  const action = remoteAction(
    Rates,
    (functions) =>
      (what: unknown): Promise<unknown> =>
        what === 'wait' ? functions.review() : functions.size(what as Uint8Array),
    { injector, ...options },
  );
  const shown = () => [action.status(), action.outcomeUnknown(), action.args()];
  /** Waits until the server waits. */
  const begin = async () => {
    const done = action.runAsync('wait').catch((error: unknown) => error);
    await eventually(() => rates.news.observed).toBe(true);
    return { done };
  };
  return { action, shown, begin, unsendable: () => action.runAsync(() => {}) };
}

describe('a run that may have happened', () => {
  it('is not hidden by one that waited for it and was given up with it', async () => {
    const { action, shown, begin } = await connect({ whilePending: 'queue' });
    const { done } = await begin();
    const second = action.runAsync('wait');
    action.cancel();
    expect(shown()).toEqual(['error', true, ['wait']]);
    expect(await done).toMatchObject({ code: 'outcome_unknown', functionName: 'review' });
    await expect(second).rejects.toMatchObject(UNSENT);
    expect(shown()).toEqual(['error', true, ['wait']]);
    expect(action.error()).toBe(await done);
  });

  it.each(['ignore', 'queue', 'parallel'] as const)(
    'is hidden by a later one only once that is sent (%s)',
    async (whilePending) => {
      const { action, shown, begin, unsendable } = await connect({ whilePending });
      const { done } = await begin();
      action.cancel();
      await done;
      await expect(unsendable()).rejects.toMatchObject({ code: 'unsupported_value' });
      expect(shown()).toEqual(['error', true, ['wait']]);
      expect(await action.runAsync(Uint8Array.of(1))).toBe(1);
      expect(shown()).toEqual(['resolved', false, [Uint8Array.of(1)]]);
      await expect(unsendable()).rejects.toMatchObject({ code: 'unsupported_value' });
      expect(shown()).toMatchObject(['error', false, [expect.any(Function)]]);
    },
  );

  it('shows in place of one beside it that was not sent', async () => {
    const { action, shown, begin, unsendable } = await connect({ whilePending: 'parallel' });
    const { done } = await begin();
    await expect(unsendable()).rejects.toMatchObject({ code: 'unsupported_value' });
    expect(shown()).toMatchObject(['error', false, [expect.any(Function)]]);
    action.cancel();
    await done;
    expect(shown()).toEqual(['error', true, ['wait']]);
  });

  it('is shown no more after reset()', async () => {
    const { action, shown, begin, unsendable } = await connect({ whilePending: 'parallel' });
    const { done } = await begin();
    action.reset();
    action.cancel();
    await done;
    expect(shown()).toEqual(['idle', false, undefined]);
    await expect(unsendable()).rejects.toMatchObject({ code: 'unsupported_value' });
    expect(shown()).toMatchObject(['error', false, [expect.any(Function)]]);
  });

  it('is shown to no other user', async () => {
    const { url, payments } = await startServer();
    const key = signal<string>(secureKeys[0]);
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        provideSealwire({ url, serverKey }, withModule(Payments, { secureKey: () => key() })),
      ],
    });
    const own = { injector: TestBed.inject(Injector), whilePending: 'parallel' } as const;
    const transfer = remoteAction(Payments, (functions) => functions.transfer, own);
    await transfer.runAsync('a', 'b', 1n);
    const lost = transfer.runAsync('a', 'b', 1n).catch((error: unknown) => error);
    transfer.cancel();
    expect(await lost).toMatchObject({ code: 'outcome_unknown' });
    expect([transfer.outcomeUnknown(), payments.runs]).toEqual([true, 1]);
    key.set(secureKeys[1]);
    await expect(transfer.runAsync((() => {}) as never, 'b', 1n)).rejects.toMatchObject({ code: 'unsupported_value' });
    expect([transfer.outcomeUnknown(), transfer.error()?.code]).toEqual([false, 'unsupported_value']);
  });
});

describe('cancel()', () => {
  it('says that nothing was sent if no frame with the call has left', async () => {
    const { action } = await connect({});
    const done = action.runAsync('wait');
    action.cancel();
    expect([action.status(), action.error(), action.outcomeUnknown()]).toMatchObject(['error', UNSENT, false]);
    await expect(done).rejects.toBe(action.error());
  });

  it('says that the outcome is unknown of a call without encryption, of which nobody knows whether it has left', async () => {
    const silent: HttpInterceptorFn = () => NEVER;
    TestBed.configureTestingModule({
      providers: [provideHttpClient(withInterceptors([silent])), provideSealwire({ url: '/remote', keySize: 0 })],
    });
    const Plain = remoteModule<{ pay(): void }>('plain');
    const pay = remoteAction(Plain, (plain) => plain.pay, { injector: TestBed.inject(Injector) });
    const done = pay.runAsync();
    pay.cancel();
    await expect(done).rejects.toMatchObject({ code: 'outcome_unknown', functionName: 'pay' });
  });
});
