import { Logger } from '@nestjs/common';
import { parseSecureKey, parseServerPublicKey, toHex } from '@sealwire/core';
import { createTypeOrmStore } from '@sealwire/typeorm';
import type { DataSource } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  connect,
  emptyTables,
  kek,
  nextKek,
  openPostgres,
  openSession,
  primitives,
  startInstance,
  type TestDatabase,
} from './support.js';

const HOUR = 3_600_000;

describe('the key store', () => {
  let database: TestDatabase;
  let second: DataSource;
  const here = () => createTypeOrmStore(database.dataSource, { kek }).keys;
  const there = () => createTypeOrmStore(second, { kek }).keys;

  beforeAll(async () => {
    database = await openPostgres();
    second = await connect(database.url);
  });
  afterAll(async () => {
    await second?.destroy();
    await database?.close();
  });
  beforeEach(() => emptyTables(database.dataSource));

  it('makes one first server key, whoever asks first', async () => {
    for (let round = 0; round < 5; round++) {
      await emptyTables(database.dataSource);
      const [one, two] = await Promise.all([here().serverKeys(), there().serverKeys()]);
      expect(one).toHaveLength(1);
      expect(two).toEqual(one);
    }
  });

  it('rotates the server key, the old one good until its time', async () => {
    const keys = here();
    const [first] = await keys.serverKeys();
    const text = await keys.rotateServerKey({ validUntil: new Date(Date.now() + HOUR) });
    const both = await keys.serverKeys();
    expect(both[0]?.publicKey).toEqual(parseServerPublicKey(text));
    expect(both[1]).toEqual(first);
    await database.dataSource.query(`UPDATE sealwire_key SET valid_until = now() WHERE valid_until IS NOT NULL`);
    expect(await there().serverKeys()).toEqual([both[0]]);
  });

  it('answers others while it is asked about keys that nobody has', async () => {
    const keys = here();
    const pairs = await keys.serverKeys();
    const holder = database.dataSource.createQueryRunner();
    await holder.startTransaction();
    await holder.query('LOCK TABLE sealwire_cookie_key IN ACCESS EXCLUSIVE MODE');
    const invented = Array.from({ length: 5_000 }, () => keys.cookieKey(primitives.random(4)));
    expect(await keys.serverKeys()).toEqual(pairs);
    await holder.rollbackTransaction();
    await holder.release();
    expect(new Set(await Promise.all(invented))).toEqual(new Set([undefined]));
  });

  it('refuses a server key under another name', async () => {
    await here().serverKeys();
    await database.dataSource.query(`UPDATE sealwire_key SET id = '\\x00000000' WHERE kind = 'server'`);
    await expect(there().serverKeys()).rejects.toMatchObject({ code: 'open_failed' });
  });

  it('keeps SecureKeys by module and rotates them', async () => {
    const old = { keyId: primitives.random(8), secret: primitives.random(32) };
    await here().addSecureKey('payments', old);
    expect(await there().secureKey('payments', old.keyId)).toEqual(old.secret);
    expect(await there().secureKey('public', old.keyId)).toBeUndefined();
    expect(await there().secureKey('payments', primitives.random(8))).toBeUndefined();
    const all = there();
    const asked = [primitives.random(8), old.keyId, primitives.random(8), old.keyId];
    const secrets = await Promise.all(asked.map((id) => all.secureKey('payments', id)));
    expect(secrets).toEqual([undefined, old.secret, undefined, old.secret]);
    await expect(here().addSecureKey('payments', old)).rejects.toThrow();

    const text = await here().rotateSecureKey('payments', {
      validUntil: new Date(Date.now() + HOUR),
      keyId: old.keyId,
    });
    const fresh = parseSecureKey(text);
    const keys = there();
    expect(await keys.secureKey('payments', fresh.keyId)).toEqual(fresh.secret);
    expect(await keys.secureKey('payments', old.keyId)).toEqual(old.secret);
    await database.dataSource.query(`UPDATE sealwire_key SET valid_until = now() WHERE valid_until IS NOT NULL`);
    expect(await there().secureKey('payments', old.keyId)).toBeUndefined();
    expect(await there().secureKey('payments', fresh.keyId)).toEqual(fresh.secret);
    const unknown = { validUntil: new Date(), keyId: primitives.random(8) };
    await expect(here().rotateSecureKey('payments', unknown)).rejects.toMatchObject({ code: 'bad_key' });
  });

  it('shares cookie keys for six minutes, seals with one for five', async () => {
    const [one, two] = await Promise.all([here().currentCookieKey(), there().currentCookieKey()]);
    expect(two).toEqual(one);
    expect(await there().cookieKey(one.id)).toEqual(one);
    const age = (seconds: number) =>
      database.dataSource.query(
        `UPDATE sealwire_cookie_key SET created_at = now() - $1 * interval '1 second' WHERE id = $2`,
        [seconds, one.id],
      );
    await age(299);
    expect(await there().currentCookieKey()).toEqual(one);
    await age(301);
    const next = await here().currentCookieKey();
    expect(next.id).not.toEqual(one.id);
    expect(await there().cookieKey(one.id)).toEqual(one);
    await age(361);
    expect(await there().cookieKey(one.id)).toBeUndefined();
    await database.dataSource.query(`UPDATE sealwire_cookie_key SET created_at = created_at - interval '301 seconds'`);
    const third = await there().currentCookieKey();
    expect([toHex(one.id), toHex(next.id)]).not.toContain(toHex(third.id));
  });

  it('seals with a cookie key that it can open, while instances have different key-encryption keys', async () => {
    const under = (texts: string) => createTypeOrmStore(database.dataSource, { kek: texts }).keys;
    const ahead = await under(`${nextKek},${kek}`).currentCookieKey();
    const behind = await under(kek).currentCookieKey();
    expect(behind.id).not.toEqual(ahead.id);
    const restarted = await under(nextKek).currentCookieKey();
    expect(restarted).toEqual(ahead);
    expect(await under(kek).currentCookieKey()).toEqual(behind);
    expect(await under(`${nextKek},${kek}`).currentCookieKey()).toEqual(behind);
    expect(await database.dataSource.query('SELECT 1 FROM sealwire_cookie_key')).toHaveLength(2);
  });

  it('writes no key that the servers cannot open', async () => {
    const server = await startInstance(database.dataSource);
    const pairs = await server.keys.serverKeys();
    await server.keys.addSecureKey('payments');
    const { keys } = createTypeOrmStore(second, { kek: nextKek });
    const before = await keys.list();
    const validUntil = new Date(Date.now() + HOUR);
    const sentence = /The servers do not use this SEALWIRE_KEK: .* under 07070707/;
    await expect(keys.rotateServerKey({ validUntil })).rejects.toThrow(sentence);
    await expect(keys.addSecureKey('payments')).rejects.toThrow(sentence);
    await expect(keys.rotateSecureKey('payments', { validUntil })).rejects.toThrow(sentence);
    // it opens all rows of the servers, but they could not open what it wraps
    const ahead = createTypeOrmStore(second, { kek: `${nextKek},${kek}` }).keys;
    const lacking = 'one that runs does not hold its first key 08080808';
    await expect(ahead.rotateServerKey({ validUntil })).rejects.toThrow(lacking);
    await expect(ahead.addSecureKey('payments')).rejects.toThrow(lacking);
    await expect(ahead.rotateSecureKey('payments', { validUntil })).rejects.toThrow(lacking);
    expect(await keys.list()).toEqual(before);
    expect(await server.keys.serverKeys()).toEqual(pairs);
    await server.sessions.stop();
    const changing = await startInstance(database.dataSource, { kek: `${kek},${nextKek}` });
    await ahead.addSecureKey('payments');
    await changing.sessions.stop();
  });

  it('names the row where one was altered, at the start of a server and before a key is written', async () => {
    await (await startInstance(database.dataSource)).sessions.stop();
    await database.dataSource.query(
      'UPDATE sealwire_key SET wrapped = set_byte(wrapped, 30, 1 # get_byte(wrapped, 30))',
    );
    const altered = {
      code: 'open_failed',
      message: expect.stringMatching(/^sealwire_key \(incarnation 00\) .*backup/),
    };
    await expect(startInstance(database.dataSource)).rejects.toMatchObject(altered);
    await expect(here().addSecureKey('payments')).rejects.toMatchObject(altered);
    await expect(createTypeOrmStore(second, { kek: nextKek }).keys.addSecureKey('payments')).rejects.toThrow(
      'wrapped their keys under 07070707, which it does not hold',
    );
  });

  it('never forgets that a module had a SecureKey, so that the end of the last one opens it to nobody', async () => {
    const store = createTypeOrmStore(database.dataSource, { kek });
    const { keyId } = parseSecureKey(await store.keys.addSecureKey('payments'));
    const last = parseSecureKey(await store.keys.addSecureKey('payments'));
    await store.keys.addSecureKey('public');
    await store.keys.serverKeys();
    await store.keys.rotateServerKey({ validUntil: new Date() });
    for (const id of [keyId, last.keyId]) expect(await store.keys.revokeSecureKey(id)).toBe(true);
    const there = async () => [await store.keys.hasSecureKeys('payments'), (await store.keys.list()).length];
    expect(await there()).toEqual([true, 5]);
    await database.dataSource.query(`UPDATE sealwire_key SET valid_until = now() - interval '2 days'
      WHERE valid_until IS NOT NULL`);
    for (let i = 0; i < 2; i++) {
      await store.directory.purge();
      expect(await there()).toEqual([true, 3]);
    }
    expect(await store.keys.hasSecureKeys('other')).toBe(false);
    expect(await store.keys.secureKey('payments', last.keyId)).toBeUndefined();
  });

  it("tells the time of a server key by the database's clock, and the same after it was read", async () => {
    const [made] = await here().serverKeys();
    const [read] = await there().serverKeys();
    const [{ now }] = await database.dataSource.query(
      'SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now',
    );
    expect(read).toEqual(made);
    expect(made!.created).toBeLessThanOrEqual(now);
    expect(made!.created).toBeGreaterThan(now - 60_000);
  });

  it('says why it rotates no SecureKey that has an end already', async () => {
    const until = new Date(Date.now() + HOUR);
    const { keyId } = parseSecureKey(await here().addSecureKey('payments'));
    await here().rotateSecureKey('payments', { keyId, validUntil: until });
    const before = await here().list();
    const again = here().rotateSecureKey('payments', { keyId, validUntil: until });
    const name = `In module 'payments' SecureKey ${toHex(keyId)}`;
    await expect(again).rejects.toThrow(`${name} already ends by ${until.toISOString()}; nothing was changed`);
    expect(await here().list()).toEqual(before);
    await here().revokeSecureKey(keyId);
    await expect(here().rotateSecureKey('payments', { keyId, validUntil: until })).rejects.toThrow(`${name} ended by `);
  });

  it('leaves out a server key that does not open, and says so once', async () => {
    const keys = here();
    const [first] = await keys.serverKeys();
    await database.dataSource.query(
      `INSERT INTO sealwire_key (kind, module, id, wrapped) VALUES ('server', '', '\\xabcd', '\\x0102')`,
    );
    const told = vi.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
    expect(await keys.serverKeys()).toEqual([first]);
    expect(await keys.serverKeys()).toEqual([first]);
    expect(told.mock.calls).toEqual([[expect.stringMatching(/^Server key abcd does not open and is left out/)]]);
    told.mockRestore();
  });

  it('ends sessions of keys that are ended by a clock that is behind', async () => {
    const server = await startInstance(database.dataSource);
    const { keyId } = parseSecureKey(await server.keys.addSecureKey('payments'));
    await openSession(server, { keyId });
    await server.sessions.refresh();
    await server.keys.rotateSecureKey('payments', { validUntil: new Date(Date.now() - HOUR) });
    await server.keys.rotateServerKey({ validUntil: new Date(Date.now() - HOUR) });
    await expect.poll(() => server.directory.count({ keyId })).toBe(0);
    const recent = `SELECT 1 FROM sealwire_key WHERE valid_until > now() - interval '1 minute'`;
    expect(await database.dataSource.query(recent)).not.toEqual([]);
    await server.sessions.stop();
  });

  it('rotates no SecureKey of a module that has none', async () => {
    const rotated = here().rotateSecureKey('paymnets', { validUntil: new Date(Date.now() + HOUR) });
    await expect(rotated).rejects.toThrow("Module 'paymnets' has no SecureKey to rotate");
    expect(await here().list()).toEqual([]);
  });

  it('keeps cookie keys in a table that is in no log', async () => {
    const [{ relpersistence }] = await database.dataSource.query(
      `SELECT relpersistence FROM pg_class WHERE relname = 'sealwire_cookie_key'`,
    );
    expect(relpersistence).toBe('u');
  });
});
