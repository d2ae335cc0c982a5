import 'reflect-metadata';
import { Test } from '@nestjs/testing';
import { RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { expect, it } from 'vitest';
import { secureKeyText, serverKeyText } from './support.js';

function start({
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
  ['a cache of no size', { root: { resultCache: { entries: -1 } } }, 'entries'],
])('the start is refused for %s', async (_, options, sentence) => {
  await expect(start(options)).rejects.toThrow(sentence);
});

it('the start is not refused without', () => expect(start({})).resolves.toBeDefined());
