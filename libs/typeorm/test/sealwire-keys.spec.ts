import { Global, type INestApplication, Injectable, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { getDataSourceToken } from '@nestjs/typeorm';
import { type KeyPair, parseSecureKey, parseServerPublicKey, toHex } from '@sealwire/core';
import { KeyStore, RemoteFunction, RemoteFunctions, SealwireModule, SealwireSessions } from '@sealwire/nest';
import { SealwireKeys, typeOrmStore } from '@sealwire/typeorm';
import type { DataSource } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { only, PeerClient, serverKeyText, urlOf } from '../../nest/test/support.js';
import { run } from '../src/cli/index.js';
import { emptyTables, kek, nextKek, openPglite, openPostgres, type TestDatabase } from './support.js';

const inAnHour = () => new Date(Date.now() + 3_600_000);

@RemoteFunctions('payments')
@Injectable()
class Functions {
  @RemoteFunction()
  add(a: number, b: number): number {
    return a + b;
  }
}

/** What an application's own operator tool would be: it injects the service. */
@Injectable()
class Operator {
  constructor(readonly keys: SealwireKeys) {}
}

async function startServer(dataSource: DataSource, options: { kek?: string; serverKey?: string } = {}) {
  const token = getDataSourceToken();
  @Global()
  @Module({ providers: [{ provide: token, useValue: dataSource }], exports: [token] })
  class DatabaseModule {}
  const store = typeOrmStore({ kek: options.kek ?? kek, allowFsyncOff: true });
  const module = await Test.createTestingModule({
    imports: [
      DatabaseModule,
      SealwireModule.forRoot({
        store,
        handshakeRate: false,
        ...(options.serverKey && { serverKey: options.serverKey }),
      }),
      SealwireModule.forFeature({ path: 'payments', requireSecureKey: true }),
    ],
    providers: [Functions, Operator],
  }).compile();
  const app = module.createNestApplication();
  app.useLogger(false);
  await app.listen(0, '127.0.0.1');
  return app;
}

describe.each([
  ['PGlite', openPglite],
  ['PostgreSQL', openPostgres],
])('keys of a running server on %s', (_name, open) => {
  let database: TestDatabase;
  let app: INestApplication;
  let keys: SealwireKeys;
  let secureKey: string;
  let pinned: Uint8Array;

  beforeAll(async () => {
    database = await open();
  });
  afterAll(() => database?.close());
  beforeEach(async () => {
    await emptyTables(database.dataSource);
    app = await startServer(database.dataSource);
    keys = app.get(Operator).keys;
    secureKey = await keys.addSecureKey('payments');
    pinned = (await newest()).publicKey;
  });
  afterEach(() => app?.close());

  async function newest(): Promise<KeyPair> {
    const [pair] = await app.get(KeyStore, { strict: false }).serverKeys();
    if (!pair) throw new Error('no server key');
    return pair;
  }

  function client(server = pinned, secure = secureKey): PeerClient {
    const config = {
      modulePath: 'payments',
      keySize: 32,
      serverKey: server,
      secureKey: parseSecureKey(secure),
    } as const;
    return new PeerClient(urlOf(app), config);
  }

  /** Each time by a new handshake. */
  async function sum(server?: Uint8Array, secure?: string): Promise<unknown> {
    return client(server, secure)
      .connect([{ name: 'add', args: [1, 2] }])
      .then(only, (error: Error) => error.message);
  }

  /** What was to be good for an hour is so no more. */
  async function anHourPasses(): Promise<void> {
    await database.dataSource.query('UPDATE sealwire_key SET valid_until = now() WHERE valid_until IS NOT NULL');
  }

  it('takes a new server key up without a restart, the old pin good until its time', async () => {
    expect(await sum()).toBe(3);
    const next = parseServerPublicKey(await keys.rotateServerKey({ validUntil: inAnHour() }));
    await expect.poll(() => sum(next)).toBe(3);
    expect(await sum(pinned)).toBe(3);
    await anHourPasses();
    await expect.poll(() => sum(pinned)).toBe('handshake_failed');
    expect(await sum(next)).toBe(3);
  });

  it('takes a new SecureKey up; with the old one its sessions end at its time', async () => {
    const old = client();
    await old.connect();
    const next = await keys.rotateSecureKey('payments', { validUntil: inAnHour() });
    const other = client(pinned, next);
    await other.connect();
    expect(await sum(pinned, secureKey)).toBe(3);
    expect(only(await old.call('add', 1, 2))).toBe(3);
    await anHourPasses();
    await expect
      .poll(async () => only(await old.call('add', 1, 2)), { timeout: 5_000 })
      .toEqual({ status: 'session_ended' });
    await expect.poll(() => sum(pinned, secureKey)).toBe('handshake_failed');
    expect(only(await other.call('add', 1, 2))).toBe(3);
    // one that was opened in the key's last second ends a second later
    const keyId = toHex(parseSecureKey(secureKey).keyId);
    await expect.poll(() => app.get(SealwireSessions).count({ keyId }), { timeout: 5_000 }).toBe(0);
  });

  it('refuses a revoked SecureKey and ends its sessions, also one whose handshake was under way', async () => {
    const live = client();
    await live.connect();
    const late = client();
    await late.steps1and2();
    expect(await app.get(SealwireSessions).revokeSecureKey(toHex(parseSecureKey(secureKey).keyId))).toBe(1);
    expect(only(await live.call('add', 1, 2))).toEqual({ status: 'session_ended' });
    // this server may know the key for a second more: what comes of it ends, too
    const started = await late.connect().catch((error: Error) => error.message);
    if (started === undefined) {
      const ended = async () => only(await late.call('add', 1, 2));
      await expect.poll(ended, { timeout: 5_000 }).toEqual({ status: 'session_ended' });
    }
    await expect.poll(() => sum()).toBe('handshake_failed');
    expect(await keys.list()).toMatchObject([{ kind: 'secure', validUntil: expect.any(Date) }, { kind: 'server' }]);
  });

  it('chooses sessions as the command line does', async () => {
    const sessions = app.get(SealwireSessions);
    await client().connect();
    const keyId = toHex(parseSecureKey(secureKey).keyId);
    await expect(sessions.list({ keyId, module: 'other' })).rejects.toThrow('not by several of these');
    expect(await sessions.revokeModule('other')).toBe(0);
    expect(await sessions.count({ module: 'payments' })).toBe(1);
    expect(await sessions.revokeModule('payments')).toBe(1);
    expect(await sessions.list({ keyId })).toEqual([]);
  });

  it('lists keys without their secrets', async () => {
    const until = inAnHour();
    await keys.rotateServerKey({ validUntil: until });
    const listed = await keys.list();
    const keyId = toHex(parseSecureKey(secureKey).keyId);
    expect(listed).toEqual([
      { kind: 'secure', id: keyId, module: 'payments', created: expect.any(Date), validUntil: undefined },
      { kind: 'server', id: expect.any(String), module: undefined, created: expect.any(Date), validUntil: undefined },
      { kind: 'server', id: expect.any(String), module: undefined, created: expect.any(Date), validUntil: until },
    ]);
    expect(new Set(listed.map(({ id }) => id)).size).toBe(3);
  });

  it('brings all keys under a new key-encryption key', async () => {
    await app.close();
    app = await startServer(database.dataSource, { kek: `${nextKek},${kek}` });
    expect(await sum()).toBe(3);
    expect(await app.get(Operator).keys.rewrap()).toMatchObject({ unreadable: 0 });
    await app.close();
    app = await startServer(database.dataSource, { kek: nextKek });
    expect(await sum()).toBe(3);
  });

  it('refuses what would not take effect', async () => {
    await expect(keys.rotateServerKey({ validUntil: new Date('soon') })).rejects.toThrow(
      'validUntil is no valid time.',
    );
    await expect(keys.rotateServerKey({} as never)).rejects.toThrow('Give the Date until which the old keys stay good');
    const named = keys.rotateSecureKey('payments', { validUntil: inAnHour(), keyId: 'first' });
    await expect(named).rejects.toThrow('keyId is hexadecimal text, as list() gives it');
    await expect(keys.rotateSecureKey('payments', { validUntil: inAnHour(), keyId: '00' })).rejects.toThrow(
      'no such SecureKey',
    );
    await app.close();
    app = await startServer(database.dataSource, { serverKey: serverKeyText });
    const configured = app.get(Operator).keys.rotateServerKey({ validUntil: inAnHour() });
    await expect(configured).rejects.toThrow('The serverKey of SealwireModule.forRoot() is rotated there.');
  });

  it.runIf(_name === 'PostgreSQL')('obeys the command line', async () => {
    const sealwire = async (line: string) => {
      const out: string[] = [];
      const env = { DATABASE_URL: database.url, SEALWIRE_KEK: kek };
      const output = { out: (text: string) => out.push(text), error: (text: string) => out.push(text) };
      const code = await run([...line.split(' '), '--json'], env, output);
      expect([code, ...out]).toEqual([0, expect.any(String)]);
      return JSON.parse(out.join());
    };
    const validUntil = inAnHour().toISOString();
    const server = parseServerPublicKey(
      (await sealwire(`rotate server-key --valid-until ${validUntil}`)).serverPublicKey,
    );
    await expect.poll(() => sum(server)).toBe(3);
    const added = await sealwire('keys add --module payments');
    expect(await sum(server, added.secureKey)).toBe(3);
    const rotated = await sealwire(
      `rotate secure-key --module payments --key ${added.keyId} --valid-until ${validUntil}`,
    );
    expect(await sum(server, rotated.secureKey)).toBe(3);
    const live = client(server, added.secureKey);
    await live.connect();
    const listed = await sealwire('keys list');
    expect(listed.map(({ kind }: { kind: string }) => kind)).toEqual([
      'secure',
      'secure',
      'secure',
      'server',
      'server',
    ]);
    expect(await sealwire(`revoke --key ${added.keyId}`)).toEqual({ revoked: 2, keyRefused: true, everywhere: true });
    expect(only(await live.call('add', 1, 2))).toEqual({ status: 'session_ended' });
    await expect.poll(() => sum(server, added.secureKey)).toBe('handshake_failed');
    expect(await sum(server, rotated.secureKey)).toBe(3);
  });
});
