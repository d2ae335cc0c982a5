import 'reflect-metadata';
import { getDataSourceToken } from '@nestjs/typeorm';
import { NumberLedger } from '@sealwire/nest/ports';
import { createTypeOrmStore, typeOrmStore } from '@sealwire/typeorm';
import { DataSource } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { polluted } from '../../../test/support/polluted.js';
import { run } from '../src/cli/index.js';
import { type Instance, kek, nextKek, openPglite, openSession, startInstance, type TestDatabase } from './support.js';

describe('what another script put on Object.prototype', () => {
  let database: TestDatabase;
  let instance: Instance;
  beforeAll(async () => {
    database = await openPglite();
    instance = await startInstance(database.dataSource, { exclusiveDatabase: true });
  });
  afterAll(async () => {
    await instance.close();
    await database.close();
  });

  it('is no option of the store', async () => {
    const names = { kek: nextKek, ledger: 'postgres', tombstoneSeconds: 1, outcomeSeconds: 1, dataSource: 'evil' };
    const dataSource = new DataSource({ type: 'postgres', url: 'postgres://127.0.0.1:1/x' });
    await polluted(names, () => {
      const { providers } = typeOrmStore({ kek });
      const [parts, ...others] = providers as readonly { provide: unknown; inject: unknown[] }[];
      expect(parts?.inject[0]).toBe(getDataSourceToken());
      expect(others.map(({ provide }) => provide)).not.toContain(NumberLedger);
      expect(createTypeOrmStore(dataSource, { kek }).ledger).toBe(undefined);
    });
    const noKek = (): unknown => createTypeOrmStore(dataSource, {});
    await expect(polluted({ kek: nextKek }, noKek)).rejects.toThrow('SEALWIRE_KEK is missing');
  });

  it('chooses no sessions and no keys', async () => {
    const { directory, admin } = instance;
    const { keyId } = await openSession(instance);
    await openSession(instance);
    await admin.addSecureKey('payments');
    const names = { id: new Uint8Array(16), keyId, module: 'none', after: 'ff', limit: 0 };
    const validUntil = new Date(Date.now() + 3_600_000);
    await polluted(names, async () => {
      expect(await directory.count({ all: true })).toBe(2);
      expect(await directory.list({ all: true }, { limit: 5 })).toHaveLength(2);
      await admin.rotateSecureKey('payments', { validUntil });
      expect(await directory.end({ all: true }, 'revoked')).toBe(2);
    });
    const given = { validUntil, keyid: '00' } as never;
    await expect(admin.rotateSecureKey('payments', given)).rejects.toThrow('did you mean `keyId`?');
  });

  it('gives the command line no database and no key', async () => {
    const said: string[] = [];
    const say = { out: (text: string) => said.push(text), error: (text: string) => said.push(text) };
    const names = { DATABASE_URL: 'postgres://127.0.0.1:1/x', SEALWIRE_KEK: kek, all: true };
    expect(await polluted(names, () => run(['revoke'], {}, say))).toBe(2);
    expect(await polluted(names, () => run(['sessions', 'count'], {}, say))).toBe(1);
    expect(said.join()).toContain('DATABASE_URL is missing');
  });
});
