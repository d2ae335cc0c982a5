import { randomBytes } from 'node:crypto';
import type { INestApplication } from '@nestjs/common';
import { Logger } from '@nestjs/common';
import { generateKeyText, parseSecureKey, toHex } from '@sealwire/core';
import {
  KeyStore,
  SealwireEvents,
  type SealwireOptions,
  SealwireSessions,
  type SealwireStore,
  SessionData,
  SessionDirectory,
  SessionStore,
} from '@sealwire/nest';
import { afterEach, expect, it, vi } from 'vitest';
import { MemoryKeyStore, MemoryStore } from '../src/sessions/index.js';
import { paymentsClient, publicClient, startApplication } from './application.js';
import { only, PeerClient, post, primitives, secureKeyText, serverKey, urlOf } from './support.js';

const apps: INestApplication[] = [];

/** What an instance sees of a store that it shares: the lane is the first one's until that closes it. */
function shareOf(store: MemoryStore): MemoryStore {
  const own = { start: async () => undefined, stop: async () => undefined, takeLane: async () => 'busy' };
  return Object.assign(Object.create(store), own);
}

function storeOf(sessions: MemoryStore, keys: KeyStore): SealwireStore {
  return {
    providers: [
      { provide: SessionStore, useValue: sessions },
      { provide: SessionDirectory, useValue: sessions },
      { provide: SessionData, useValue: sessions },
      { provide: KeyStore, useValue: keys },
    ],
  };
}

async function start(store: SealwireStore, options: SealwireOptions = {}): Promise<INestApplication> {
  const app = await startApplication({ options: { ...options, store } as SealwireOptions });
  apps.push(app);
  return app;
}

async function two(options: SealwireOptions = {}) {
  const [store, keys] = [new MemoryStore(primitives), new MemoryKeyStore(primitives)];
  const share = shareOf(store);
  const one = await start(storeOf(store, keys), options);
  const other = await start(storeOf(share, keys), options);
  const client = paymentsClient(one);
  await client.connect();
  return { one, other, share, client };
}

afterEach(async () => {
  vi.restoreAllMocks();
  for (const app of apps.splice(0)) await app.close();
});

it('a frame that does not open moves no lane, however often it comes to another instance', async () => {
  const { other, share, client } = await two();
  const [find, takeLane] = [vi.spyOn(share, 'find'), vi.spyOn(share, 'takeLane')];
  const forged = client.frame([{ name: 'add', args: [1] }]);
  forged[forged.length - 1]! ^= 1;
  for (let i = 0; i < 10; i++) expect((await post(urlOf(other), forged)).code).toBe('bad_frame');
  expect(find).toHaveBeenCalledTimes(1);
  expect(takeLane).not.toHaveBeenCalled();
  expect(only(await client.call('add', 1))).toBe(1);
  // a true one asks for the lane
  expect((await post(urlOf(other), client.frame([{ name: 'add', args: [1] }]))).code).toBe('busy');
  expect(takeLane).toHaveBeenCalled();
});

it('a frame from another address than the session is locked to moves none either', async () => {
  const { other, share, client } = await two({ peerLock: 'ip' });
  vi.spyOn(share, 'find').mockImplementation(async (id) => {
    const found = await MemoryStore.prototype.find.call(share, id);
    return found && { ...found, peer: '10.0.0.1' };
  });
  const takeLane = vi.spyOn(share, 'takeLane');
  const frame = client.frame([{ name: 'add', args: [1] }]);
  expect((await post(urlOf(other), frame)).code).toBe('session_unknown');
  expect(takeLane).not.toHaveBeenCalled();
});

it('another instance answers for an ended session under its seal, from the one record', async () => {
  const { one, other, client } = await two();
  const frame = client.frame([{ name: 'add', args: [1] }]);
  await app(one).revoke(toHex(client.session.sessionId));
  expect(client.open(frame, (await post(urlOf(other), frame)).body)).toEqual({ status: 'session_ended' });
});

it('says once that another process began a handshake, where sessions are in memory', async () => {
  const one = await start(storeOf(new MemoryStore(primitives), new MemoryKeyStore(primitives)));
  const store = new MemoryStore(primitives);
  const other = await start(storeOf(store, new MemoryKeyStore(primitives)));
  const warned = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
  const told = () => warned.mock.calls.filter(([line]) => String(line).includes('another process began')).length;
  const finish = async () => {
    const client = paymentsClient(one);
    await client.steps1and2();
    expect((await post(urlOf(other), client.step3())).code).toBe('handshake_failed');
  };
  await finish();
  expect(told()).toBe(0);
  vi.spyOn(store, 'age').mockReturnValue(71_000);
  await finish();
  await finish();
  expect(told()).toBe(1);
});

it('once a store holds a SecureKey of a module, clients without one are refused', async () => {
  const keys: KeyStore = new MemoryKeyStore(primitives);
  const secureKey = parseSecureKey(generateKeyText('swk1', primitives));
  let there = false;
  keys.hasSecureKeys = async (module) => there && module === 'public';
  keys.secureKey = async (_module, id) => (toHex(id) === toHex(secureKey.keyId) ? secureKey.secret : undefined);
  const server = await start(storeOf(new MemoryStore(primitives), keys));
  await publicClient(server).connect();
  there = true;
  const now = performance.now();
  vi.spyOn(performance, 'now').mockImplementation(() => now + 2_000);
  const refused = vi.fn();
  server.get(SealwireEvents).on('handshakeRefused', refused);
  await expect(publicClient(server).connect()).rejects.toThrow('handshake_failed');
  expect(refused.mock.calls[0]?.[0].reason).toBe('the client has no SecureKey');
  const url = urlOf(server, '/remote/public');
  const holder = new PeerClient(url, { modulePath: 'public', keySize: 32, serverKey: serverKey.publicKey, secureKey });
  await holder.connect();
  expect(only(await holder.call('secret'))).toBe('sealed');
});

it('refuses clients without a SecureKey when the last one of the options is taken out', async () => {
  const server = await startApplication({ payments: { secureKeys: [] } });
  apps.push(server);
  const url = urlOf(server);
  const keyless = new PeerClient(url, { modulePath: 'payments', keySize: 32, serverKey: serverKey.publicKey });
  await expect(keyless.connect()).rejects.toThrow('handshake_failed');
  const open = await startApplication({ payments: { secureKeys: [], requireSecureKey: false } });
  apps.push(open);
  await new PeerClient(urlOf(open), keyless.config).connect();
});

it('seals cookies with a new server key of the store as soon as every instance can know it, not before', async () => {
  const store = new MemoryStore(primitives);
  const pair = () => ({ ...primitives.x25519KeyPair(primitives.random(32)), created: 0 });
  const older = pair();
  const newer = pair();
  const shared: KeyStore = new MemoryKeyStore(primitives);
  const [one, other, last] = await Promise.all(
    [[newer, older], [older], [newer]].map((pairs) => {
      const keys: KeyStore = Object.assign(Object.create(shared), { serverKeys: async () => pairs });
      return start(storeOf(shareOf(store), keys), { serverKey: undefined } as never);
    }),
  );
  const finished = async (at: INestApplication) => {
    const config = { modulePath: 'payments', keySize: 32, serverKey: older.publicKey } as const;
    const client = new PeerClient(urlOf(one!), { ...config, secureKey: parseSecureKey(secureKeyText) });
    await client.connect([], [], urlOf(at));
  };
  const now = performance.now();
  const clock = vi.spyOn(performance, 'now').mockReturnValue(now);
  newer.created = store.now();
  await finished(other!);
  await expect(finished(last!)).rejects.toThrow('handshake_failed');
  clock.mockReturnValue(now + 5_000);
  await finished(last!);
  await expect(finished(other!)).rejects.toThrow('handshake_failed');
  await finished(one!);
});

it('asks its store alike for SecureKeys that are there, configured, or nowhere', async () => {
  const keys = new MemoryKeyStore(primitives);
  keys.hasSecureKeys = async () => true;
  const asked = vi.spyOn(keys, 'secureKey');
  const server = await start(storeOf(new MemoryStore(primitives), keys));
  const { config } = paymentsClient(server);
  const unknown = { keyId: new Uint8Array(randomBytes(8)), secret: new Uint8Array(32) };
  for (const secureKey of [config.secureKey!, unknown, config.secureKey!, unknown]) {
    asked.mockClear();
    await post(urlOf(server), new PeerClient(urlOf(server), { ...config, secureKey }).start().frame);
    expect(asked).toHaveBeenCalledExactlyOnceWith('payments', secureKey.keyId);
  }
});

function app(server: INestApplication): SealwireSessions {
  return server.get(SealwireSessions);
}
