import 'reflect-metadata';
import { createReadStream } from 'node:fs';
import { Test } from '@nestjs/testing';
import { remoteFile, SealwireModule, SealwireSessions } from '@sealwire/nest';
import { RESOLVED_OPTIONS } from '@sealwire/nest/ports';
import { afterAll, describe, expect, it } from 'vitest';
import { polluted } from '../../../test/support/polluted.js';
import { paymentsClient, publicClient, startApplication } from './application.js';
import { only, post, serverKeyText, urlOf } from './support.js';

const JSON_TYPE = { 'content-type': 'application/json' };

describe('what another script put on Object.prototype', () => {
  const started: { close(): Promise<void> }[] = [];
  afterAll(() => Promise.all(started.map((app) => app.close())));

  async function start() {
    const app = await startApplication();
    started.push(app);
    return app;
  }

  it.each([
    [
      'of forRoot()',
      { servePublicKey: true, peerLock: 'ip', sessionCalls: 1, maxWaitingBytes: 1, refusedMetadata: ['a'] },
    ],
    ['of forFeature()', { forceEncryption: false, requireSecureKey: false, requirePinnedKey: true, maxSessions: 1 }],
    ['of @RemoteFunction()', { idempotent: true, exactlyOnce: true, sealedOnly: true, resumable: true, maxUpload: 1 }],
  ])('is no option %s', async (_, names) => {
    const clean = await start();
    const app = await polluted(names, start);
    expect(app.get(RESOLVED_OPTIONS)).toEqual(clean.get(RESOLVED_OPTIONS));
    await polluted(names, async () => {
      expect((await fetch(urlOf(app))).status).toBe(404);
      const add = JSON.stringify({ calls: [{ name: 'add', args: [1, 1] }] });
      expect((await post(urlOf(app), add, JSON_TYPE)).code).toBe('encryption_required');
      const rate = JSON.stringify({ calls: [{ name: 'nothing' }] });
      const open = await post(urlOf(app, '/remote/public'), rate, JSON_TYPE);
      expect(JSON.parse(Buffer.from(open.body).toString()).outcomes).toEqual([{ ok: true, value: null }]);
      for (const client of [paymentsClient(app), paymentsClient(app)]) {
        await client.connect();
        expect(only(await client.send(client.frame([{ name: 'add', args: [1, 2] }])))).toBe(3);
      }
    });
    expect(await app.get(SealwireSessions).count()).toBe(2);
  });

  it('is no option of forRootAsync() and forFeatureAsync(), and brings a store no modules', async () => {
    class Evil {}
    const names = { useFactory: () => ({ servePublicKey: true, path: 'evil' }), imports: [Evil], isGlobal: false };
    class Options {
      create() {
        return { serverKey: serverKeyText };
      }
    }
    class Feature {
      create() {
        return { path: 'payments' };
      }
    }
    const testing = await polluted(names, async () => {
      const root = SealwireModule.forRootAsync({ useClass: Options });
      const feature = SealwireModule.forFeatureAsync({ useClass: Feature });
      return { root, feature };
    });
    expect(testing.root.global).toBe(true);
    expect(testing.root.imports).not.toContain(Evil);
    expect(testing.feature.imports ?? []).not.toContain(Evil);
    const tokens = [testing.root, testing.feature].flatMap(({ providers = [] }) => providers);
    for (const useClass of [Options, Feature])
      expect(tokens).toEqual(expect.arrayContaining([expect.objectContaining({ useClass })]));
  });

  it('completes no rate', async () => {
    const imports = [SealwireModule.forRoot({ handshakeRate: { perSecond: 5 } as never })];
    const compile = () => Test.createTestingModule({ imports }).compile();
    await expect(polluted({ burst: 5 }, compile)).rejects.toThrow('handshakeRate is false or { perSecond, burst }');
  });

  it('chooses no sessions', async () => {
    const app = await start();
    const client = publicClient(app);
    await client.connect();
    await paymentsClient(app).connect();
    const sessions = app.get(SealwireSessions);
    const names = { id: '0'.repeat(32), keyId: '0'.repeat(16), module: 'public', after: 'f'.repeat(32), limit: 0 };
    await polluted(names, async () => {
      expect(await sessions.count()).toBe(2);
      expect(await sessions.list()).toHaveLength(2);
      expect(await sessions.revokeAll()).toBe(2);
    });
    await expect(sessions.count({ modul: 'public' } as never)).rejects.toThrow('did you mean `module`?');
  });

  it('is no property of a stream', async () => {
    const names = { offset: 5, version: 'evil', size: 7, modified: new Date(0) };
    const file = await polluted(names, () => remoteFile(createReadStream('package.json'), { name: 'a', type: '' }));
    await polluted(names, () => expect({ ...Reflect.get(file, 'info') }).toEqual({ name: 'a', type: '' }));
    await polluted(names, () => expect(Reflect.get(file, 'info').offset).toBe(undefined));
  });
});
