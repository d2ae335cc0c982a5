import { parseSecureKey, parseServerPublicKey } from '@sealwire/core';
import { createTypeOrmStore } from '@sealwire/nest/typeorm';
import type { DataSource } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connect, emptyTables, kek, openPostgres, primitives, type TestDatabase } from './support.js';

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
    await there().currentCookieKey();
    const rows = await database.dataSource.query('SELECT id FROM sealwire_cookie_key');
    expect(rows).toHaveLength(2);
  });

  it('keeps cookie keys in a table that is in no log', async () => {
    const [{ relpersistence }] = await database.dataSource.query(
      `SELECT relpersistence FROM pg_class WHERE relname = 'sealwire_cookie_key'`,
    );
    expect(relpersistence).toBe('u');
  });
});
