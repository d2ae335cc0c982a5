import 'reflect-metadata';
import { Test } from '@nestjs/testing';
import { RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { expect, it } from 'vitest';
import { secureKeyText, serverKeyText } from './support.js';

async function start({
  root = {},
  feature = {},
  fn = {},
}: {
  root?: object;
  feature?: object;
  fn?: object;
}): Promise<unknown> {
  @RemoteFunctions('payments')
  class Functions {
    @RemoteFunction(fn)
    pay(): void {}
  }
  return Test.createTestingModule({
    imports: [
      SealwireModule.forRoot({ serverKey: serverKeyText, ...root }),
      SealwireModule.forFeature({ path: 'payments', secureKeys: [secureKeyText], ...feature }),
    ],
    providers: [Functions],
  })
    .compile()
    .then((module) => module.createNestApplication({ logger: false }).init());
}

it.each([
  ['an exactlyOnce that is written otherwise', { fn: { exactlyonce: true } }, 'did you mean `exactlyOnce`'],
  ['a sealedOnly that is written otherwise', { fn: { sealedonly: true } }, 'did you mean `sealedOnly`'],
  ["the text 'false'", { fn: { idempotent: 'false' } }, 'idempotent is true or false'],
  [
    'an empty variable that would take clients without a SecureKey',
    { feature: { requireSecureKey: '' } },
    'requireSecureKey',
  ],
  ['an empty variable that would take plaintext', { feature: { forceEncryption: '' } }, 'forceEncryption'],
  ['null in place of true', { feature: { forceEncryption: null } }, 'forceEncryption'],
  [
    'a SecureKey that is required where nothing is encrypted',
    { feature: { encryptionKey: 0, secureKeys: [], requireSecureKey: true } },
    'encryptionKey 0 means no encryption',
  ],
  ['a rate that is a number', { root: { handshakeRate: 50 } }, 'handshakeRate is false or { perSecond, burst }'],
  ['a rate of text', { root: { handshakeRate: { perSecond: '5', burst: 5 } } }, 'handshakeRate is false or'],
  [
    'a rate without an end',
    { root: { handshakeRateTotal: { perSecond: 1, burst: Infinity } } },
    'handshakeRateTotal is',
  ],
  ['a cache of no size', { root: { resultCache: { entries: -1 } } }, 'entries'],
  ['a cache that is nothing', { root: { resultCache: null } }, 'resultCache was given no options object'],
  ['a server key that is nothing', { root: { serverKey: null } }, 'serverKey: a key is text, got null'],
  ['a server key that is a number', { root: { serverKey: 5 } }, 'serverKey: a key is text, got number'],
  ['an empty list of server keys', { root: { serverKey: [] } }, 'serverKey has no key: leave it out, or give one'],
  ['a store that is nothing', { root: { store: null } }, 'store is what typeOrmStore() returns'],
  ['a store without providers', { root: { store: {} } }, 'store is what typeOrmStore() returns'],
  ["an isGlobal of the text 'false'", { root: { isGlobal: 'false' } }, 'isGlobal is true or false'],
  ['an isGlobal that JSON has not', { root: { isGlobal: 1n } }, 'isGlobal is true or false, got 1n'],
  ['a limit of text', { root: { maxBody: '131072' } }, "maxBody is a whole number above 0, got '131072'"],
  ['a time that no timer has', { root: { abandonAfter: 2 ** 31 } }, 'abandonAfter is at most 2147483647 milliseconds'],
  ['a time without an end', { root: { storeTimeout: Number.MAX_SAFE_INTEGER } }, 'storeTimeout is at most 2147483647'],
  ['a path without a prototype', { root: { path: Object.create(null) } }, 'path is the first part of the route'],
  ['a name that is none', { fn: { name: 5 } }, 'name is text of at most 128 characters'],
  ['a name that no client sends', { fn: { name: 'x'.repeat(129) } }, 'name is text of at most 128 characters'],
])('the start is refused for %s', async (_, options, sentence) => {
  await expect(start(options)).rejects.toThrow(sentence);
});

it('the start is not refused without', () => expect(start({})).resolves.toBeDefined());

it('forRoot() takes no options, and refuses what are none', () => {
  expect(SealwireModule.forRoot()).toMatchObject({ module: SealwireModule, global: true });
  for (const wrong of [null, 5, 'remote', [], () => ({})]) {
    expect(() => SealwireModule.forRoot(wrong as never), String(wrong)).toThrow(
      expect.objectContaining({
        code: 'bad_configuration',
        message: expect.stringMatching(/^SealwireModule.forRoot\(\)(: its options must be| was given no options) /),
      }),
    );
  }
});
