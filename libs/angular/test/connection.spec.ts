// @vitest-environment jsdom
import './support.js';
import { HttpErrorResponse, type HttpInterceptorFn, provideHttpClient, withInterceptors } from '@angular/common/http';
import {
  ApplicationRef,
  createEnvironmentInjector,
  EnvironmentInjector,
  effect,
  Injector,
  signal,
} from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  injectConnection,
  provideSealwire,
  remote$,
  remoteAction,
  remoteResource,
  remoteStream,
  withModule,
} from '@sealwire/angular';
import { provideSealwireTesting, SealwireTestingController } from '@sealwire/angular/testing';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it, vi } from 'vitest';
import { eventually } from './eventually.js';
import { Payments, Rates, secureKeys, serverKey, startServer } from './server.js';

describe('a SecureKey that comes and goes', () => {
  async function connect() {
    const server = await startServer();
    const key = signal<string | undefined>(undefined);
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        provideSealwire(
          { url: server.url, serverKey },
          withModule(Payments, () => ({ secureKey: () => key() })),
        ),
      ],
    });
    const application = TestBed.inject(ApplicationRef);
    return { ...server, key, remote: TestBed.inject(Payments), stable: () => application.whenStable() };
  }

  it('sends nothing without one, and calls with the one that is there', async () => {
    const { key, remote, seen } = await connect();
    await expect(remote.balance({ account: 'a' })).rejects.toMatchObject({ code: 'policy' });
    expect(seen).toEqual([]);
    key.set(secureKeys[0]);
    expect(await remote.balance({ account: 'a' })).toBe(100n);
    key.set(undefined);
    await expect(remote.balance({ account: 'a' })).rejects.toMatchObject({ code: 'policy' });
  });

  it('never lets a call of one user travel in the session of another', async () => {
    const { key, remote, kinds } = await connect();
    const sessions: string[] = [];
    remote.$events.on('opened', ({ sessionId }) => sessions.push(sessionId));
    key.set(secureKeys[0]);
    await remote.balance({ account: 'a' });
    key.set(secureKeys[1]);
    await remote.balance({ account: 'a' });
    await remote.balance({ account: 'a' });
    expect(kinds()).toEqual(['start', 'finish', 'start', 'finish', 'call']);
    expect(new Set(sessions).size).toBe(2);
  });

  it('lets no run that one user queued go out for the next', async () => {
    const { key, payments } = await connect();
    const injector = TestBed.inject(Injector);
    const queued = { injector, whilePending: 'queue' } as const;
    const transfer = remoteAction(Payments, (functions) => functions.transfer, queued);
    key.set(secureKeys[0]);
    const first = transfer.runAsync('a', 'b', 1n).catch((error: unknown) => error);
    const second = transfer.runAsync('a', 'b', 2n);
    key.set(secureKeys[1]);
    TestBed.tick();
    expect(await first).toMatchObject({ code: 'closed' });
    await expect(second).rejects.toMatchObject({
      code: 'closed',
      message: expect.stringContaining('the SecureKey changed'),
    });
    expect([payments.runs, transfer.isPending(), transfer.error()?.code]).toEqual([0, false, 'closed']);
    expect(await transfer.runAsync('a', 'b', 3n)).toMatchObject({ receipt: 'a-b' });
  });

  it('closes the session at the log-out, with no call needed to notice it', async () => {
    const { key, remote, stable } = await connect();
    const closed = vi.fn();
    remote.$events.on('closed', closed);
    key.set(secureKeys[0]);
    await remote.balance({ account: 'a' });
    key.set(undefined);
    await stable();
    expect(closed).toHaveBeenCalledOnce();
    expect(remote.$connection()).toEqual({ state: 'idle' });
  });

  it('keeps resources idle without one, empties them at the log-out, and loads at the next log-in', async () => {
    const { key, stable } = await connect();
    const injector = TestBed.inject(Injector);
    const balance = remoteResource(Payments, (payments) => payments.balance({ account: 'a' }), { injector });
    await stable();
    expect([balance.status(), balance.value()]).toEqual(['idle', undefined]);
    key.set(secureKeys[0]);
    await stable();
    expect([balance.status(), balance.value()]).toEqual(['resolved', 100n]);
    key.set(undefined);
    await stable();
    expect([balance.status(), balance.value()]).toEqual(['idle', undefined]);
    key.set(secureKeys[1]);
    await stable();
    expect([balance.status(), balance.value()]).toEqual(['resolved', 100n]);
  });

  it('rejects calls under way at the log-out, and loads resources and streams of the next user', async () => {
    const { key, remote, seen, stable } = await connect();
    const injector = TestBed.inject(Injector);
    key.set(secureKeys[0]);
    await remote.balance({ account: 'a' });
    const action = remoteAction(Payments, (payments) => payments.transfer, { injector });
    const under = remote.balance({ account: 'a' });
    action.run('a', 'b', 1n);
    const balance = remoteResource(Payments, (payments) => payments.balance({ account: 'b' }), { injector });
    TestBed.tick();
    expect(balance.status()).toBe('loading');
    seen.length = 0;
    key.set(secureKeys[1]);
    TestBed.tick();
    await expect(under).rejects.toMatchObject({ name: 'RemoteError', code: 'closed' });
    await stable();
    expect([action.status(), action.error()?.code]).toEqual(['error', 'closed']);
    expect([balance.status(), balance.error()]).toEqual(['resolved', undefined]);
  });

  it('keeps a stream idle without one, and begins it anew with the next', async () => {
    const { key, stable } = await connect();
    const injector = TestBed.inject(Injector);
    const lines = remoteStream(Payments, (payments) => payments.lines(2), { injector });
    await stable();
    expect(lines.status()).toBe('idle');
    for (const secureKey of secureKeys) {
      key.set(secureKey);
      await eventually(() => [lines.status(), lines.items()]).toEqual(['ended', [1, 2]]);
      key.set(undefined);
      await eventually(() => [lines.status(), lines.items()]).toEqual(['idle', []]);
    }
  });

  it('rejects a call with a text that is no key', async () => {
    const { key, remote } = await connect();
    key.set('correct horse battery staple');
    await expect(remote.balance({ account: 'a' })).rejects.toMatchObject({ name: 'RemoteError', code: 'bad_key' });
  });
});

describe('injectConnection', () => {
  it('follows the remote through loss and return of the network', async () => {
    const { url } = await startServer();
    let isOffline = false;
    const network: HttpInterceptorFn = (request, next) => {
      if (isOffline) throw new HttpErrorResponse({ status: 0 });
      return next(request);
    };
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(withInterceptors([network])),
        provideSealwire({ url, serverKey }, withModule(Payments, { secureKey: secureKeys[0] })),
      ],
    });
    const connection = TestBed.runInInjectionContext(() => injectConnection(Payments));
    const states: string[] = [];
    TestBed.runInInjectionContext(() => {
      effect(() => {
        states.push(connection().state);
        isOffline = false;
      });
    });
    TestBed.tick();
    const remote = TestBed.inject(Payments);
    await remote.balance({ account: 'a' });
    TestBed.tick();
    isOffline = true;
    await remote.balance({ account: 'a' });
    TestBed.tick();
    expect(states.filter((state, i) => state !== states[i - 1])).toEqual([
      'idle',
      'connecting',
      'open',
      'waiting',
      'open',
    ]);
  });
});

describe('a remote', () => {
  it('belongs to the injector that has it by withModule(), and closes with it', async () => {
    const { url, kinds } = await startServer();
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        provideSealwire({ url, serverKey }, withModule(Payments, { secureKey: secureKeys[0] })),
      ],
    });
    const parent = TestBed.inject(EnvironmentInjector);
    const route = createEnvironmentInjector(
      [provideSealwire({ url, serverKey }, withModule(Payments, { secureKey: secureKeys[1] }))],
      parent,
    );
    const remote = route.get(Payments);
    expect(route.get(Payments)).toBe(remote);
    expect(parent.get(Payments)).not.toBe(remote);
    await remote.balance({ account: 'a' });
    route.destroy();
    await expect(remote.balance({ account: 'a' })).rejects.toMatchObject({ code: 'closed' });
    expect(await parent.get(Payments).balance({ account: 'a' })).toBe(100n);
    expect(kinds()).toEqual(['start', 'finish', 'start', 'finish']);
  });
});

describe('several withModule() of a module', () => {
  const wrong = { url: 'http://127.0.0.1:1/remote', secureKey: secureKeys[1] };

  it('count as other providers do: the last one, if they came by several provideSealwire()', async () => {
    const { url } = await startServer();
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        provideSealwire({ url, serverKey }, withModule(Payments, wrong), withModule(Rates)),
        provideSealwire({ url, serverKey }, withModule(Payments, { secureKey: secureKeys[0] })),
      ],
    });
    expect(await TestBed.inject(Payments).balance({ account: 'a' })).toBe(100n);
  });

  it('are refused in one provideSealwire()', () => {
    expect(() => provideSealwire({}, withModule(Rates), withModule(Payments), withModule(Payments, wrong))).toThrow(
      expect.objectContaining({
        code: 'bad_configuration',
        message: 'provideSealwire() takes one withModule() of each module: "payments" has two.',
      }),
    );
  });
});

describe('remote$', () => {
  it('calls once for each subscription, and gives the call up at its end', async () => {
    TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
    const sealwire = TestBed.inject(SealwireTestingController);
    const payments$ = TestBed.runInInjectionContext(() => remote$(Payments));
    const balance$ = payments$.balance({ account: 'a' });
    sealwire.expectNone(Payments);
    const value = firstValueFrom(balance$);
    sealwire.expectOne(Payments, 'balance').flush(5n);
    expect(await value).toBe(5n);
    const failed = firstValueFrom(balance$);
    sealwire.expectOne(Payments, 'balance').error('refused');
    await expect(failed).rejects.toMatchObject({ code: 'refused' });
    const subscription = balance$.subscribe();
    const call = sealwire.expectOne(Payments, 'balance');
    subscription.unsubscribe();
    expect(call.cancelled).toBe(true);
  });
});
