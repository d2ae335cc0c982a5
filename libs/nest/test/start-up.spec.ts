import 'reflect-metadata';
import {
  Body,
  type CanActivate,
  type DynamicModule,
  Injectable,
  Module,
  ParseIntPipe,
  type Provider,
  UseGuards,
} from '@nestjs/common';
import { LazyModuleLoader } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { type Call, generateKeyText, SealwireError } from '@sealwire/core';
import {
  ExactlyOnce,
  type Injected,
  KeyStore,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteTransaction,
  SealwireEvents,
  SealwireModule,
  type SealwireModuleOptions,
  type SealwireOptions,
  type SealwireStore,
  SessionData,
  SessionDirectory,
  SessionStore,
} from '@sealwire/nest';
import { text } from 'express';
import { afterEach, describe, expect, it } from 'vitest';
import { MemoryKeyStore, MemoryStore } from '../src/sessions/index.js';
import { Ledger, PublicFunctions } from './application.js';
import { only, PeerClient, post, primitives, secureKeyText, serverKey, serverKeyText, urlOf } from './support.js';

@RemoteFunctions('payments')
@Injectable()
class Plain {
  @RemoteFunction()
  one(): number {
    return 1;
  }
}

@RemoteFunctions('payments')
@Injectable()
class Late {
  @RemoteFunction()
  late(): number {
    return 1;
  }
}

@RemoteFunctions('payments')
@Injectable()
class SameName {
  @RemoteFunction({ name: 'one' })
  another(): number {
    return 1;
  }
}

@RemoteFunctions('nowhere')
@Injectable()
class Homeless {
  @RemoteFunction()
  one(): number {
    return 1;
  }
}

@Injectable()
class Undecorated {
  @RemoteFunction()
  one(): number {
    return 1;
  }
}

@RemoteFunctions('payments')
@Injectable()
class Once {
  @RemoteFunction({ exactlyOnce: true })
  transfer(amount: number, @RemoteTransaction() transaction: Injected<{ log: unknown[] }>): number {
    transaction.log.push(amount);
    if (amount === 0) throw new RemoteFunctionError('nothing_to_do', 'Nothing.');
    if (amount < 0) throw new Error('broken');
    return amount;
  }
}

@RemoteFunctions('payments')
@Injectable()
class Loose {
  @RemoteFunction({ idempotent: true })
  transfer(amount: number, @RemoteTransaction() transaction: Injected<{ log: unknown[] }>): void {
    transaction.log.push(amount);
  }
}

@Injectable()
class Closed implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@RemoteFunctions('payments')
@UseGuards(Closed)
@Injectable()
class Guarded {
  @RemoteFunction()
  one(): number {
    return 1;
  }
}

@RemoteFunctions('payments')
@Injectable()
class Piped {
  @RemoteFunction()
  one(@Body(ParseIntPipe) value: number): number {
    return value;
  }
}

async function start(
  providers: Provider[],
  options: SealwireOptions & { store?: SealwireStore } = {},
  features: (SealwireModuleOptions | DynamicModule)[] = [{ path: 'payments' }],
) {
  const imports = features.map((it) => ('module' in it ? it : SealwireModule.forFeature(it)));
  const module = await Test.createTestingModule({
    imports: [SealwireModule.forRoot({ serverKey: serverKeyText, ...options }), ...imports],
    providers,
  }).compile();
  const app = module.createNestApplication();
  app.useLogger(false);
  await app.init();
  return app;
}

describe('start-up refuses in one sentence', () => {
  const refused = async (sentence: RegExp, ...args: Parameters<typeof start>) => {
    await expect(start(...args)).rejects.toThrow(sentence);
  };

  it.each([
    [
      'two functions of one name',
      /SameName\.another and Plain\.one are both the remote function 'one'/,
      [Plain, SameName],
    ],
    ['a class of a module that is not given', /Homeless.*forFeature\(\{ path: 'nowhere' \}\)/, [Homeless]],
    ['a function outside any module', /Undecorated\.one.*no @RemoteFunctions/, [Undecorated]],
    [
      'exactlyOnce without transactions',
      /Once\.transfer is exactlyOnce, which needs a store with transactions/,
      [Once],
    ],
    [
      'a transaction where there is none',
      /Loose\.transfer has @RemoteTransaction\(\), so it must be exactlyOnce/,
      [Loose],
    ],
    [
      'a guard that Nest would drop',
      /Closed of Guarded\.one would not run/,
      [{ provide: 'other', useFactory: () => new Guarded() }],
    ],
    [
      'a pipe of a parameter that Nest would drop',
      /ParseIntPipe of Piped\.one would not run/,
      [{ provide: 'other', useFactory: () => new Piped() }],
    ],
  ] as [string, RegExp, Provider[]][])('%s', (_name, sentence, providers) => refused(sentence, providers));

  it.each(['then', '$batch', 'toString', 'ngOnDestroy', ''])("a function that no client can call: '%s'", (name) => {
    @RemoteFunctions('payments')
    @Injectable()
    class Unreachable {
      @RemoteFunction({ name })
      one(): void {}
    }
    return refused(/Unreachable\.one has the name '.*', which no client can call; rename it/, [Unreachable]);
  });

  it.each([
    ['a passphrase for a SecureKey', /Module 'payments': A SecureKey has the form swk1/, { secureKeys: ['secret'] }],
    [
      'a damaged SecureKey',
      /Module 'payments': This SecureKey is damaged/,
      { secureKeys: [`${secureKeyText.slice(0, -1)}_`] },
    ],
    ['a keySize of 24', /encryptionKey is 0, 16 or 32, got 24/, { encryptionKey: 24 as never }],
    ['force without encryption', /encryptionKey 0 means no encryption/, { encryptionKey: 0, forceEncryption: true }],
    ['keys without encryption', /encryptionKey 0 means no encryption/, { encryptionKey: 0, secureKeys: [] }],
    ['a path with a slash', /path of a module is made of/, { path: 'a/b' }],
    ['a limit of no bytes', /maxBody is a whole number above 0, got 0/, { maxBody: 0 }],
    ['a limit below that of a handshake', /maxBody is at least 131072 bytes.*got 131071/, { maxBody: 131_071 }],
    [
      'a SecureKey that is no list',
      /Module 'payments': secureKeys is an array/,
      { secureKeys: secureKeyText as never },
    ],
    [
      'an empty SecureKey',
      /secureKeys of the module 'payments': a key is empty; is its environment/,
      { secureKeys: [''] },
    ],
    [
      'an undefined SecureKey',
      /secureKeys of the module 'payments': a key is text, got undefined/,
      { secureKeys: [undefined as never] },
    ],
    [
      'SecureKeys that are undefined',
      /Module 'payments': secureKeys is undefined: is its environment variable set/,
      { secureKeys: undefined as never },
    ],
    [
      'a body that is never taken',
      /maxBody of the module 'payments' is 99999999 bytes, but all bodies together have 67108864: raise maxWaitingBytes/,
      { maxBody: 99_999_999 },
    ],
    [
      'an option with a typing error',
      /forFeature\(\): unknown option `secureKey`; did you mean `secureKeys`\?/,
      { secureKey: 'x' } as never,
    ],
    ['an option of nobody', /unknown option `colour`; it takes path, /, { colour: 'x' } as never],
  ] as [string, RegExp, Partial<SealwireModuleOptions>][])('%s', (_name, sentence, feature) =>
    refused(sentence, [], {}, [{ path: 'payments', ...feature }]),
  );

  it.each([
    ['a server key of another kind', /server private key has the form sws1/, { serverKey: secureKeyText }],
    ['a lifetime of days', /sessionLifetime is at most 43200/, { sessionLifetime: 86_400 }],
    ['an unknown peer lock', /peerLock is 'none', 'ip' or 'forwarded', got 'mac'/, { peerLock: 'mac' as never }],
    ['a limit below that of a handshake', /maxBody is at least 131072 bytes.*got 100/, { maxBody: 100 }],
    ['a body that is never taken', /maxBody is 1048576 bytes, but .*raise maxWaitingBytes/, { maxWaitingBytes: 9 }],
    ['a path with a space', /path is the first part of the route.*got 'a b'/, { path: 'a b' }],
    ['a path of a pattern', /path is the first part of the route.*got ':x'/, { path: ':x' }],
    ['a name of no header', /refusedMetadata is an array of header names/, { refusedMetadata: ['x user'] }],
    ['a timeout of text', /storeTimeout is a whole number above 0/, { storeTimeout: '5' as never }],
    ['an empty server key', /serverKey: a key is empty; is its environment variable set/, { serverKey: ' ' }],
    [
      'an unset server key without a store',
      /serverKey is undefined: is its environment variable set/,
      { serverKey: undefined as never },
    ],
    ['a key-encryption key without a store', /kek is given, but the sessions are kept in memory/, { kek: 'swe1.x.y' }],
    [
      'an option with a typing error',
      /forRoot\(\): unknown option `serverKeys`; did you mean `serverKey`\?/,
      { serverKeys: [] } as never,
    ],
    [
      'an option within an option',
      /resultCache: unknown option `byte`; did you mean `bytes`\?/,
      { resultCache: { byte: 1 } } as never,
    ],
  ] as [string, RegExp, SealwireOptions][])('%s', (_name, sentence, options) => refused(sentence, [], options));

  it('the same module twice', () =>
    refused(/module 'payments' is given twice/, [], {}, [{ path: 'payments' }, { path: 'payments' }]));

  it('one SecureKey for two modules', () => {
    const secureKeys = [secureKeyText];
    return refused(/modules 'a' and 'b' share a SecureKey/, [], {}, [
      { path: 'a', secureKeys },
      { path: 'b', secureKeys },
    ]);
  });
});

describe('start-up refuses in one sentence what Nest would let pass', () => {
  const compiled = (imports: Parameters<typeof Test.createTestingModule>[0]['imports']) =>
    Test.createTestingModule({ imports: imports ?? [] })
      .compile()
      .then((module) => module.createNestApplication({ logger: false }).init());
  const root = SealwireModule.forRoot({ serverKey: serverKeyText });
  const feature = SealwireModule.forFeature({ path: 'payments' });

  it('forFeature() without forRoot()', () =>
    expect(compiled([feature])).rejects.toThrow(/forFeature\(\) is imported, but SealwireModule.forRoot\(\) is not/));

  it('forRoot() twice', () =>
    expect(compiled([root, SealwireModule.forRoot({ serverKey: serverKeyText })])).rejects.toThrow(
      /forRoot\(\) is imported more than once/,
    ));

  it.each([
    ['alone', [SealwireModule]],
    ['beside forRoot()', [root, SealwireModule]],
  ])('SealwireModule without forRoot(), %s', (_name, imports) =>
    expect(compiled(imports)).rejects.toThrow(/SealwireModule is imported without forRoot\(\)/),
  );

  it.each([
    ['forRootAsync', [SealwireModule.forRootAsync({ useFactory: () => undefined as never })]],
    ['forFeatureAsync', [root, SealwireModule.forFeatureAsync({ useFactory: async () => undefined as never })]],
  ])('a factory without a result in %s()', (_name, imports) =>
    expect(compiled(imports)).rejects.toThrow(/was given no options object; a factory has to return one/),
  );

  it('a typing error that a factory returns, which would leave the module without its SecureKey', () =>
    expect(
      compiled([
        root,
        SealwireModule.forFeatureAsync({
          useFactory: () => ({ path: 'payments', securekeys: [secureKeyText] }) as never,
        }),
      ]),
    ).rejects.toThrow(/unknown option `securekeys`; did you mean `secureKeys`/));

  it('a module of functions that is loaded lazily', async () => {
    @Module({ imports: [SealwireModule.forFeature({ path: 'late' })] })
    class Late {}
    const app = await start([Plain]);
    await expect(app.get(LazyModuleLoader).load(() => Late)).rejects.toThrow(
      /forFeature\(\{ path: 'late' \}\) came after the start/,
    );
    await app.close();
  });
});

describe('functions in a module that is loaded lazily', () => {
  it('are told of in the log when somebody calls one', async () => {
    @Module({ providers: [Late] })
    class LateModule {}
    const app = await start([Plain]);
    const logged: unknown[] = [];
    app.useLogger({ log: () => undefined, warn: () => undefined, error: (...said: unknown[]) => logged.push(said[0]) });
    await app.listen(0, '127.0.0.1');
    await app.get(LazyModuleLoader).load(() => LateModule);
    const client = new PeerClient(urlOf(app), { modulePath: 'payments', keySize: 32, serverKey: serverKey.publicKey });
    for (let i = 0; i < 2; i++) {
      expect(only(await client.connect([{ name: 'late', args: [] }]))).toMatchObject({ code: 'function_unknown' });
    }
    expect(logged).toEqual([expect.stringMatching(/^Late came after the start, in a module that is loaded lazily/)]);
    await app.close();
  });
});

describe('a body parser that takes every content type', () => {
  it('fails calls with a sentence in the log that says what to change', async () => {
    const logged: unknown[] = [];
    const module = await Test.createTestingModule({
      imports: [SealwireModule.forRoot({ serverKey: serverKeyText }), SealwireModule.forFeature({ path: 'payments' })],
    }).compile();
    const eater = module.createNestApplication();
    eater.useLogger({
      log: () => undefined,
      warn: () => undefined,
      error: (...said: unknown[]) => logged.push(...said),
    });
    eater.use(text({ type: () => true }));
    await eater.listen(0, '127.0.0.1');
    expect((await post(urlOf(eater), new Uint8Array(100))).code).toBe('internal');
    expect(String(logged[0])).toMatch(/A body parser takes every content type; restrict it/);
    await eater.close();
  });
});

describe('configuration', () => {
  it('may come from factories', async () => {
    const module = await Test.createTestingModule({
      imports: [
        SealwireModule.forRootAsync({ useFactory: async () => ({ path: 'rpc', serverKey: serverKeyText }) }),
        SealwireModule.forFeatureAsync({ useFactory: async () => ({ path: 'public' }) }),
      ],
      providers: [PublicFunctions, Ledger],
    }).compile();
    const app = module.createNestApplication();
    await app.listen(0);
    const url = urlOf(app, '/rpc/public');
    const client = new PeerClient(url, { modulePath: 'public', keySize: 32, serverKey: serverKey.publicKey });
    expect(only(await client.connect([{ name: 'secret', args: [] }]))).toBe('sealed');
    await app.close();
  });

  it.each(['beside forFeature()', 'in a module that exports it'])('need not be global: %s', async (where) => {
    const root = SealwireModule.forRoot({ serverKey: serverKeyText, isGlobal: false });
    @Module({ imports: [root], exports: [root] })
    class Shared {}
    @Injectable()
    class Listener {
      constructor(readonly events: SealwireEvents) {}
    }
    @Module({
      imports: [where === 'beside forFeature()' ? root : Shared, SealwireModule.forFeature({ path: 'payments' })],
      providers: [Plain, Listener],
    })
    class Payments {}
    const module = await Test.createTestingModule({ imports: [Payments] }).compile();
    const app = module.createNestApplication({ logger: false });
    await app.listen(0);
    const client = new PeerClient(urlOf(app), { modulePath: 'payments', keySize: 32, serverKey: serverKey.publicKey });
    expect(only(await client.connect([{ name: 'one', args: [] }]))).toBe(1);
    await app.close();
  });

  it('keeps an old server key valid beside the new one', async () => {
    const newText = generateKeyText('sws1', primitives);
    const app = await start([Plain], { serverKey: [newText, serverKeyText] });
    await app.listen(0);
    const url = urlOf(app);
    const client = new PeerClient(url, { modulePath: 'payments', keySize: 32, serverKey: serverKey.publicKey });
    expect(only(await client.connect([{ name: 'one', args: [] }]))).toBe(1);
    expect(client.answered.serverOptions.pins).toHaveLength(2);
    await app.close();
  });
});

describe('exactly once', () => {
  const transactions: unknown[] = [];
  const outcomes = new Map<string, Uint8Array>();
  const fail = { with: undefined as Error | undefined };

  class FakeExactlyOnce extends ExactlyOnce {
    async run(...[call, work]: Parameters<ExactlyOnce['run']>): Promise<Uint8Array> {
      if (fail.with) throw fail.with;
      const id = Buffer.from(call.callId).toString('hex');
      const stored = outcomes.get(id);
      if (stored) return stored;
      const { outcome } = await work({ log: transactions });
      outcomes.set(id, outcome);
      return outcome;
    }
  }

  const store: SealwireStore = {
    providers: [
      { provide: SessionStore, useClass: MemoryStore },
      { provide: SessionDirectory, useExisting: SessionStore },
      { provide: SessionData, useExisting: SessionStore },
      { provide: KeyStore, useClass: MemoryKeyStore },
      { provide: ExactlyOnce, useClass: FakeExactlyOnce },
    ],
  };

  afterEach(() => {
    transactions.length = 0;
    outcomes.clear();
    fail.with = undefined;
  });

  it('runs in the transaction, and a resend gets the stored outcome', async () => {
    const app = await start([Once], { store });
    await app.listen(0);
    const client = new PeerClient(urlOf(app), { modulePath: 'payments', keySize: 32, serverKey: serverKey.publicKey });
    const transfer = (amount: number, resend?: Call['resend']): Call => ({
      name: 'transfer',
      args: [amount],
      ...(resend && { resend }),
    });
    expect(only(await client.connect([transfer(5)]))).toBe(5);
    expect(only(await client.send(client.frame([transfer(6)])))).toBe(6);
    expect(transactions).toEqual([5, 6]);
    const [first, second] = [...outcomes.keys()].map((id) => ({
      callId: new Uint8Array(Buffer.from(id, 'hex')),
      incarnation: client.session.terms.incarnation,
    }));
    expect(only(await client.send(client.frame([transfer(5, first)])))).toBe(5);
    expect(only(await client.send(client.frame([transfer(6, second)])))).toBe(6);
    expect(transactions).toEqual([5, 6]);

    expect(only(await client.send(client.frame([transfer(0)])))).toMatchObject({ code: 'nothing_to_do' });
    expect(outcomes.size).toBe(3);
    expect(only(await client.send(client.frame([transfer(-1)])))).toMatchObject({ code: 'internal' });
    expect(outcomes.size).toBe(3);
    fail.with = new SealwireError('busy');
    expect(only(await client.send(client.frame([transfer(1)])))).toMatchObject({ code: 'unavailable' });
    fail.with = new SealwireError('number_conflict');
    expect(only(await client.send(client.frame([transfer(1, first)])))).toMatchObject({ code: 'bad_request' });
    fail.with = new SealwireError('outcome_unknown');
    expect(only(await client.send(client.frame([transfer(1, first)])))).toMatchObject({ code: 'outcome_unknown' });
    await app.close();
  });

  it('takes no plaintext, whatever the module allows', async () => {
    const app = await start([Once], { store }, [{ path: 'payments', forceEncryption: false }]);
    await app.listen(0);
    const body = JSON.stringify({ calls: [{ name: 'transfer', args: [1] }] });
    const answer = await post(urlOf(app), body, { 'content-type': 'application/json' });
    expect(JSON.parse(Buffer.from(answer.body).toString()).outcomes[0].code).toBe('encryption_required');
    expect(transactions).toEqual([]);
    await app.close();
  });
});

it('an error of the application cannot claim what only the protocol may say', () => {
  expect(() => new RemoteFunctionError('outcome_unknown', 'x')).toThrow(TypeError);
});
