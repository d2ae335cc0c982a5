// @vitest-environment jsdom
import './support.js';
import { type HttpRequest, provideHttpClient, withInterceptors } from '@angular/common/http';
import { ApplicationRef, Injector, PLATFORM_ID, TransferState } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  injectConnection,
  injectRemote,
  provideSealwire,
  remote$,
  remoteAction,
  remoteResource,
  remoteStream,
  type SealwireConfig,
  sealwireStreams,
  withFetch,
  withModule,
  withServerCalls,
  withSessionPersistence,
  ɵBACKEND,
} from '@sealwire/angular';
import { WireAttacks, WireRecorder, withInspector } from '@sealwire/angular/inspector';
import { provideSealwireTesting, SealwireTestingController } from '@sealwire/angular/testing';
import type { RemoteOptions } from '@sealwire/client';
import { describe, expect, it, vi } from 'vitest';
import { polluted } from '../../../test/support/polluted.js';
import { Payments, Public, Rates, secureKeys, serverKey, startServer } from './server.js';

const settled = () => new Promise((resolve) => setTimeout(resolve));

function tested() {
  TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
  return { injector: TestBed.inject(Injector), sealwire: TestBed.inject(SealwireTestingController) };
}

describe('what another script put on Object.prototype', () => {
  it('is no option of remoteAction()', async () => {
    const { injector, sealwire } = tested();
    const onSuccess = vi.fn();
    const names = { whilePending: 'parallel', progress: true, timeout: 5, onSuccess, onError: onSuccess };
    const transfer = await polluted(names, async () => {
      const transfer = remoteAction(Payments, (payments) => payments.transfer, { injector });
      transfer.run('a', 'b', 5n);
      await expect(transfer.runAsync('a', 'b', 5n)).rejects.toMatchObject({ code: 'busy' });
      const call = sealwire.expectOne(Payments, 'transfer');
      call.progress({ up: 5 });
      call.flush({ receipt: 'one', at: new Date(0) });
      await settled();
      return transfer;
    });
    expect([transfer.status(), transfer.progress()]).toEqual(['resolved', undefined]);
    expect(onSuccess).not.toHaveBeenCalled();
  });

  it('is no option of remoteStream()', async () => {
    const { injector, sealwire } = tested();
    const stream = await polluted({ keep: 1 }, () =>
      remoteStream(Rates, (functions) => functions.watch('CHF'), { injector }),
    );
    const source = sealwire.expectOne(Rates, 'watch').stream();
    for (const item of ['1', '2', '3'] as never[]) source.next(item);
    await settled();
    expect(stream.items()).toEqual(['1', '2', '3']);
  });

  it('is no option of remoteResource()', async () => {
    const { injector } = tested();
    const stream = vi.fn();
    const names = { defaultValue: 5n, stream, batch: 'no' };
    const read = (account: string) =>
      remoteResource(Payments, (payments) => payments.balance({ account }), { injector });
    const [one, two] = await polluted(names, () => [read('a'), read('b')] as const);
    expect([one.value(), two.value()]).toEqual([undefined, undefined]);
    const sealwire = TestBed.inject(SealwireTestingController);
    const [first, second] = sealwire.match(Payments, 'balance');
    first?.flush(1n);
    second?.flush(2n);
    await settled();
    expect([one.value(), two.value()]).toEqual([1n, 2n]);
    expect(stream).not.toHaveBeenCalled();
  });

  it.each([
    ['injectRemote', injectRemote],
    ['remote$', remote$],
    ['injectConnection', injectConnection],
  ])('is no injector of %s()', async (_, asking) => {
    const { injector } = tested();
    await expect(polluted({ injector }, () => asking(Payments))).rejects.toThrow('within an injection context');
  });

  it('is no option of provideSealwire(), withModule() and withSessionPersistence()', async () => {
    const opened: RemoteOptions[] = [];
    const open = (_module: unknown, options: () => RemoteOptions) => {
      opened.push(options());
      return { $events: { on: () => () => {} }, $close: () => {} };
    };
    const names = {
      url: 'https://evil.example',
      secureKey: 'evil',
      keySize: 0,
      metadata: { authorization: 'evil' },
      onSession: () => {},
      slots: 0,
    };
    await polluted(names, () => {
      const kept = withSessionPersistence();
      TestBed.configureTestingModule({
        providers: [
          provideHttpClient(),
          provideSealwire({ serverKey }, withModule(Payments, { timeout: 5 }), withFetch(), kept),
          { provide: ɵBACKEND, useValue: { open, endOfTurn: () => {} } },
        ],
      });
      TestBed.inject(Payments);
      const [{ metadata, onSession, ...options } = {} as RemoteOptions] = opened;
      expect([metadata, onSession]).toEqual([undefined, undefined]);
      expect(Object.keys(options).sort()).toEqual([
        ...['modulePath', 'persistence', 'serverKey', 'timeout', 'transport', 'url'],
      ]);
      expect(options.url).toBe('/remote/payments');
    });
  });

  it('lets no server be trusted', async () => {
    TestBed.configureTestingModule({
      providers: [provideHttpClient(), provideSealwire({ url: 'http://127.0.0.1:1' })],
    });
    const names = { dangerouslyAllowAnyServer: true, serverKey };
    await expect(polluted(names, () => TestBed.inject(Public))).rejects.toThrow('anybody on the way could answer');
  });

  it('is no option of withServerCalls()', async () => {
    await expect(polluted({ url: '/evil' }, () => withServerCalls({} as never))).rejects.toThrow('needs the url');
    const { url } = await startServer();
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        { provide: PLATFORM_ID, useValue: 'server' },
        provideSealwire({ serverKey }, withFetch(), withServerCalls({ url })),
      ],
    });
    const injector = TestBed.inject(Injector);
    await polluted({ transfer: true }, () => injector.get(Public));
    const rate = remoteResource(Public, (functions) => functions.rate('CHF'), { injector });
    await TestBed.inject(ApplicationRef).whenStable();
    expect(rate.value()).toBe('CHF 2');
    expect(TestBed.inject(TransferState).toJson()).toBe('{}');
  });

  it('is no option of a request', async () => {
    const { url } = await startServer();
    const requests: HttpRequest<unknown>[] = [];
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(
          withInterceptors([
            (request, next) => {
              requests.push(request);
              return next(request);
            },
            sealwireStreams,
          ]),
        ),
        provideSealwire({ url, serverKey }),
      ],
    });
    const sent: unknown[][] = [];
    const real = globalThis.fetch;
    vi.stubGlobal('fetch', (target: string, init: RequestInit) => {
      sent.push([init.credentials, init.integrity, init.keepalive]);
      for (const name of Object.keys(names)) Reflect.deleteProperty(Object.prototype, name);
      return real(target, init);
    });
    const names = { withCredentials: true, credentials: 'include', integrity: 'evil', keepalive: true, timeout: 1 };
    const remote = TestBed.inject(Public);
    try {
      expect(await polluted(names, () => remote.rate('CHF'))).toBe('CHF 2');
    } finally {
      vi.unstubAllGlobals();
    }
    expect(sent[0]).toEqual([undefined, undefined, undefined]);
    const [{ withCredentials, timeout } = {} as HttpRequest<unknown>] = requests;
    expect([withCredentials, timeout]).toEqual([false, undefined]);
  });

  it('is no option of the inspector and its attacks', async () => {
    const { url } = await startServer();
    const onSent = vi.fn();
    await polluted({ keep: 0 }, () =>
      TestBed.configureTestingModule({
        providers: [
          provideHttpClient(),
          provideSealwire(
            { url, serverKey },
            withModule(Payments, { secureKey: secureKeys[0] }),
            withFetch(),
            withInspector(),
          ),
        ],
      }),
    );
    const remote = await polluted({ onSession: onSent }, () => TestBed.inject(Payments));
    await polluted({ onSent, onOpened: onSent, onSealed: onSent }, () => remote.balance({ account: 'a' }));
    expect(onSent).not.toHaveBeenCalled();
    expect(TestBed.inject(WireRecorder).calls()).toHaveLength(1);
    const attacks = TestBed.inject(WireAttacks);
    await expect(polluted({ url }, () => attacks.arm('wrong-module'))).rejects.toThrow('needs the `url`');
  });
});

describe('an option that does not exist', () => {
  const injector = undefined as unknown as Injector;
  const given = (options: object) => options as never;

  it.each<[string, () => unknown]>([
    [
      'remoteAction(): unknown option `whilePendin`; did you mean `whilePending`?',
      () => remoteAction(Payments, (p) => p.transfer, given({ injector, whilePendin: 'queue' })),
    ],
    [
      'remoteResource(): unknown option `bach`; did you mean `batch`?',
      () => remoteResource(Payments, (p) => p.balance({ account: 'a' }), given({ bach: false })),
    ],
    [
      'remoteStream(): unknown option `keeps`; did you mean `keep`?',
      () => remoteStream(Rates, (r) => r.count(1), given({ keeps: 5 })),
    ],
    ['injectRemote(): unknown option `scope`; it takes injector.', () => injectRemote(Payments, given({ scope: 1 }))],
    ['remote$(): unknown option `scope`; it takes injector.', () => remote$(Payments, given({ scope: 1 }))],
    [
      'injectConnection(): unknown option `scope`; it takes injector.',
      () => injectConnection(Payments, given({ scope: 1 })),
    ],
    [
      'withServerCalls(): unknown option `transfr`; did you mean `transfer`?',
      () => withServerCalls(given({ url: '/remote', transfr: true })),
    ],
    ['withInspector(): unknown option `kep`; did you mean `keep`?', () => withInspector(given({ kep: 5 }))],
    [
      'arm(): unknown option `afer`; did you mean `after`?',
      () => TestBed.inject(WireAttacks).arm('cut-stream', given({ afer: 5 })),
    ],
  ])('is refused: %s', (sentence, make) => {
    expect(make).toThrow(expect.objectContaining({ code: 'bad_configuration', message: sentence }));
  });

  it.each<[string, SealwireConfig, object]>([
    ['provideSealwire(): unknown option `serverkey`; did you mean `serverKey`?', given({ serverkey: serverKey }), {}],
    ['withModule(): unknown option `timout`; did you mean `timeout`?', { serverKey }, { timout: 5 }],
    ['withModule() takes an object of options.', { serverKey }, () => undefined],
  ])('is refused where the remote is injected: %s', (sentence, config, own) => {
    TestBed.configureTestingModule({
      providers: [provideHttpClient(), provideSealwire(config, withModule(Payments, own))],
    });
    const refusal = expect.objectContaining({ code: 'bad_configuration', message: sentence });
    expect(() => TestBed.inject(Payments)).toThrow(refusal);
  });
});

it('a value that an option does not take is refused', () => {
  const { injector } = tested();
  const action = (options: object) => remoteAction(Payments, (p) => p.transfer, { injector, ...options } as never);
  expect(() => action({ whilePending: 'queu' })).toThrow(
    'remoteAction(): whilePending is one of "ignore", "queue", "parallel".',
  );
  expect(() => action({ progress: 'false' })).toThrow('remoteAction(): progress is one of true, false.');
  expect(() => remoteResource(Payments, () => undefined, { injector, batch: 0 as never })).toThrow('batch is one of');
  expect(() => withServerCalls({ url: '/remote', transfer: 'false' as never })).toThrow('transfer is one of');
  expect(() => action({ whilePending: undefined })).not.toThrow();
});
