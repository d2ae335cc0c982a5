// @vitest-environment jsdom
import './support.js';
import { provideHttpClient } from '@angular/common/http';
import { ApplicationRef, ErrorHandler, effect, Injector, PLATFORM_ID, resource, signal } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { provideSealwire, remoteAction, remoteResource, remoteStream, withModule } from '@sealwire/angular';
import { describe, expect, it, vi } from 'vitest';
import { eventually } from './eventually.js';
import { Payments, secureKeys, serverKey, startServer } from './server.js';

const noStorage = new ReferenceError('localStorage is not defined');
const told = {
  name: 'RemoteError',
  code: 'bad_configuration',
  message: expect.stringContaining('secureKey() of withModule() threw'),
  cause: noStorage,
};

/** An application whose `secureKey` throws what it is given in place of a key. */
async function connect(first: string | Error = noStorage, platform = 'browser') {
  const server = await startServer();
  const now = signal<string | Error>(first);
  const secureKey = vi.fn(() => {
    const key = now();
    if (key instanceof Error) throw key;
    return key;
  });
  const handleError = vi.fn();
  TestBed.configureTestingModule({
    providers: [
      provideHttpClient(),
      { provide: PLATFORM_ID, useValue: platform },
      { provide: ErrorHandler, useValue: { handleError } },
      provideSealwire({ url: server.url, serverKey }, withModule(Payments, { secureKey })),
    ],
  });
  const application = TestBed.inject(ApplicationRef);
  const injector = TestBed.inject(Injector);
  return { ...server, now, secureKey, handleError, injector, stable: () => application.whenStable() };
}

describe('a secureKey() that throws', () => {
  it('rejects calls with a sentence and its cause, and keeps nothing pending', async () => {
    const { seen, stable } = await connect();
    const remote = TestBed.inject(Payments);
    const calls = [
      remote.balance({ account: 'a' }),
      remote.$call({ timeout: 500 }).balance({ account: 'a' }),
      remote.$batch((payments) => [payments.balance({ account: 'a' })]),
    ];
    await Promise.all(calls.map((call) => expect(call).rejects.toMatchObject(told)));
    expect(remote.$connection()).toEqual({ state: 'idle' });
    await remote.$prewarm();
    await stable();
    expect(seen).toEqual([]);
  });

  it('leaves an action idle that runs again', async () => {
    const { now, injector, stable } = await connect();
    const transfer = remoteAction(Payments, (payments) => payments.transfer, { injector });
    expect(transfer.status()).toBe('idle');
    transfer.run('a', 'b', 5n);
    await stable();
    expect([transfer.status(), transfer.isPending(), transfer.error()]).toMatchObject(['error', false, told]);
    now.set(secureKeys[0]);
    expect((await transfer.runAsync('a', 'b', 5n)).receipt).toBe('a-b');
  });

  it('shows as the error of resources and streams, which load when there is a key', async () => {
    const { now, injector, stable } = await connect();
    const balance = remoteResource(Payments, (payments) => payments.balance({ account: 'a' }), { injector });
    const lines = remoteStream(Payments, (payments) => payments.lines(2), { injector });
    await stable();
    expect([balance.status(), balance.error()]).toMatchObject(['error', told]);
    expect([lines.status(), lines.error()]).toMatchObject(['error', told]);
    now.set(secureKeys[0]);
    await stable();
    expect(balance.value()).toBe(100n);
    await eventually(() => lines.items()).toEqual([1, 2]);
  });

  it('is told to the ErrorHandler once, and keeps no effect from running', async () => {
    const { now, handleError, injector } = await connect(secureKeys[0]);
    const ran = vi.fn();
    TestBed.inject(Payments);
    effect(() => ran(now()), { injector });
    now.set(noStorage);
    TestBed.tick();
    expect(ran).toHaveBeenCalledWith(noStorage);
    expect(handleError.mock.calls).toEqual([[expect.objectContaining(told)]]);
  });

  it('ends the session of the key before', async () => {
    const { now, kinds } = await connect(secureKeys[0]);
    const remote = TestBed.inject(Payments);
    const closed = vi.fn();
    remote.$events.on('closed', closed);
    await remote.balance({ account: 'a' });
    const under = remote.balance({ account: 'a' });
    now.set(noStorage);
    TestBed.tick();
    expect(closed).toHaveBeenCalledOnce();
    await expect(under).rejects.toMatchObject({ code: 'closed' });
    await expect(remote.balance({ account: 'a' })).rejects.toMatchObject(told);
    now.set(secureKeys[0]);
    await remote.balance({ account: 'a' });
    expect(kinds().filter((kind) => kind === 'start')).toHaveLength(2);
  });

  it('asks again when it may be another key, and what is the same key changes nothing', async () => {
    const { now, secureKey, handleError, injector, payments, kinds, stable } = await connect(new Error('not yet'));
    const balance = remoteResource(Payments, (payments) => payments.balance({ account: 'a' }), { injector });
    await stable();
    now.set(noStorage);
    await stable();
    expect([balance.error()?.cause, handleError.mock.calls.length]).toEqual([noStorage, 2]);
    const device = signal(0);
    secureKey.mockImplementation(() => secureKeys[device() < 2 ? 0 : 1]);
    now.set('');
    await stable();
    for (const next of [1, 2]) {
      device.set(next);
      await stable();
      expect([kinds().filter((kind) => kind === 'start').length, payments.runs]).toEqual([next, next]);
    }
    expect(balance.value()).toBe(100n);
  });

  it('may be one that reads a resource, whose value() throws in its error state', async () => {
    const server = await startServer();
    let load = (): Promise<string> => Promise.reject(new Error('The log-in is down.'));
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        { provide: ErrorHandler, useValue: { handleError: () => {} } },
        provideSealwire(
          { url: server.url, serverKey },
          withModule(Payments, () => ({ secureKey: () => key.value() })),
        ),
      ],
    });
    const injector = TestBed.inject(Injector);
    const key = resource({ loader: () => load(), injector });
    const balance = remoteResource(Payments, (payments) => payments.balance({ account: 'a' }), { injector });
    await TestBed.inject(ApplicationRef).whenStable();
    expect([key.status(), balance.status(), balance.error()?.code]).toEqual(['error', 'error', 'bad_configuration']);
    load = async () => secureKeys[0];
    key.reload();
    await eventually(() => balance.hasValue() && balance.value()).toBe(100n);
  });

  it('is not asked at all where nothing is called on the server', async () => {
    const { secureKey, handleError, injector, stable } = await connect(noStorage, 'server');
    const remote = TestBed.inject(Payments);
    const balance = remoteResource(Payments, (payments) => payments.balance({ account: 'a' }), { injector });
    await expect(remote.balance({ account: 'a' })).rejects.toMatchObject({ name: 'PolicyError' });
    await stable();
    expect(balance.status()).toBe('idle');
    expect([secureKey.mock.calls, handleError.mock.calls]).toEqual([[], []]);
  });
});

describe('a function that describes a call and throws', () => {
  const mistake = new TypeError('nobody is logged in');
  const wrong = (what: string) => ({
    code: 'bad_configuration',
    message: expect.stringContaining(`The function that ${what} was given threw`),
    cause: mistake,
  });

  it('shows as the error of its resource or stream, and is told to the ErrorHandler', async () => {
    const { handleError, injector, seen, stable } = await connect(secureKeys[0]);
    const user = signal<string | undefined>('a');
    const account = (): string => {
      const id = user();
      if (id === undefined) throw mistake;
      return id;
    };
    const balance = remoteResource(Payments, (payments) => payments.balance({ account: account() }), { injector });
    const lines = remoteStream(Payments, (payments) => payments.lines(account().length), { injector });
    await stable();
    await eventually(() => lines.status()).toBe('ended');
    user.set(undefined);
    seen.length = 0;
    await stable();
    expect([balance.status(), balance.error()]).toMatchObject(['error', wrong('remoteResource()')]);
    expect([lines.status(), lines.error(), lines.items()]).toMatchObject(['error', wrong('remoteStream()'), []]);
    const handled = handleError.mock.calls.map(([error]) => error);
    expect(handled).toMatchObject([wrong('remoteResource()'), wrong('remoteStream()')]);
    expect(seen).toEqual([]);
    user.set('b');
    await stable();
    expect([balance.status(), balance.value()]).toEqual(['resolved', 7n]);
    await eventually(() => lines.items()).toEqual([1]);
  });

  it('is the error of a run, before it has called anything', async () => {
    const { handleError, injector, seen, payments } = await connect(secureKeys[0]);
    const pick = (): never => {
      throw mistake;
    };
    const early = remoteAction(Payments, pick, { injector });
    const late = remoteAction(Payments, () => async () => pick(), { injector });
    const missing = remoteAction(Payments, () => undefined as never, { injector });
    for (const action of [early, late]) {
      await expect(action.runAsync()).rejects.toMatchObject(wrong('remoteAction()'));
      expect([action.status(), action.outcomeUnknown()]).toEqual(['error', false]);
      expect(action.error()).toMatchObject(wrong('remoteAction()'));
    }
    await expect(missing.runAsync()).rejects.toMatchObject({ code: 'bad_configuration', cause: expect.any(TypeError) });
    expect(handleError).toHaveBeenCalledTimes(3);
    expect([seen, payments.runs]).toEqual([[], 0]);
    // what was thrown behind a call is no mistake of the description
    const behind = remoteAction(Payments, (remote) => (account: string) => remote.balance({ account }).then(pick), {
      injector,
    });
    await expect(behind.runAsync('a')).rejects.toMatchObject({ code: 'unreachable', cause: mistake });
    expect(handleError).toHaveBeenCalledTimes(3);
  });
});

describe('a function that describes a call and returns something else', () => {
  it.each<[string, (payments: { balance(of: { account: string }): never }) => unknown]>([
    ['the function, not called', (payments) => payments.balance],
    ['a promise', async (payments) => payments.balance({ account: 'a' })],
    ['an array', (payments) => [payments.balance({ account: 'a' })]],
    ['a copy', (payments) => ({ ...(payments.balance({ account: 'a' }) as object) })],
    ['null', () => null],
    ['text', () => 'balance'],
  ])('%s: says so, and sends nothing', async (_, description) => {
    const { handleError, injector, seen, stable } = await connect(secureKeys[0]);
    const balance = remoteResource(Payments, description as never, { injector });
    const lines = remoteStream(Payments, description as never, { injector });
    await stable();
    const wrong = (what: string) => ({
      code: 'bad_configuration',
      message: expect.stringContaining(`The function that ${what} was given must return the call itself`),
    });
    expect([balance.status(), balance.error()]).toMatchObject(['error', wrong('remoteResource()')]);
    expect([lines.status(), lines.error()]).toMatchObject(['error', wrong('remoteStream()')]);
    expect(handleError).toHaveBeenCalledTimes(2);
    expect(seen).toEqual([]);
  });
});
