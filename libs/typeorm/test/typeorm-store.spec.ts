import type { Provider } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { getDataSourceToken } from '@nestjs/typeorm';
import {
  ExactlyOnce,
  KeyStore,
  NumberLedger,
  RESOLVED_OPTIONS,
  SessionData,
  SessionDirectory,
  SessionStore,
} from '@sealwire/nest/ports';
import { typeOrmStore } from '@sealwire/typeorm';
import { DataSource } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { kek } from './support.js';

const dataSource = new DataSource({ type: 'postgres', url: 'postgres://127.0.0.1:1/x' });

type Options = NonNullable<Parameters<typeof typeOrmStore>[0]>;

function compile(options: Options, source: unknown = dataSource, more: Provider[] = []) {
  const { providers } = typeOrmStore(options);
  const token = getDataSourceToken(options.dataSource);
  return Test.createTestingModule({
    providers: [{ provide: token, useValue: source }, ...providers, ...more],
  }).compile();
}

describe('typeOrmStore', () => {
  it('provides what a store provides, of one make', async () => {
    const module = await compile({ kek, ledger: 'postgres', dataSource: 'sessions' });
    expect(module.get(SessionStore)).toBeInstanceOf(SessionStore);
    expect(module.get(SessionDirectory)).toBeInstanceOf(SessionDirectory);
    expect(module.get(SessionData)).toBeInstanceOf(SessionData);
    expect(module.get(KeyStore)).toBeInstanceOf(KeyStore);
    expect(module.get(ExactlyOnce)).toBeInstanceOf(ExactlyOnce);
    expect(module.get(NumberLedger)).toMatchObject({ exclusive: false });
  });

  it('takes the key-encryption key of the server if it has no options', async () => {
    const resultCache = { entries: 1, bytes: 1, seconds: 1 };
    const server = { sessionLifetime: 43_200, resultCache, serverKeys: [], kek };
    const { providers } = typeOrmStore();
    const given = [{ provide: getDataSourceToken(), useValue: dataSource }, ...providers];
    const more = { provide: RESOLVED_OPTIONS, useValue: server };
    const module = await Test.createTestingModule({ providers: [...given, more] }).compile();
    expect(module.get(SessionStore)).toBeInstanceOf(SessionStore);
  });

  it('leaves the guard in memory to the server', async () => {
    const module = await compile({ kek });
    expect(() => module.get(NumberLedger)).toThrow();
  });

  it.each([
    [{ kek: undefined }, /SEALWIRE_KEK is missing/],
    [{ kek: 'secret' }, /key-encryption key has the form swe1/],
    [{ kek, ledger: 'redis' as 'memory' }, /ledger is 'memory' or 'postgres', got 'redis'/],
    [{ kek, tombstoneSeconds: 60 }, /tombstoneSeconds is 600 or more/],
    [{ kek, outcomeSeconds: Number.NaN }, /outcomeSeconds is 3600 or more/],
    [{ kek, tombstoneSeconds: '86400' as never }, /tombstoneSeconds is 600 or more/],
    [{ kek, outcomeSeconds: '604800' as never }, /outcomeSeconds is 3600 or more/],
    [{ kek, exclusiveDatabase: 'false' as never }, /exclusiveDatabase is true or false, got 'false'/],
    [{ kek, allowFsyncOff: '' as never }, /allowFsyncOff is true or false, got ''/],
  ])('refuses %o', async (options, sentence) => {
    await expect(compile(options)).rejects.toThrow(sentence);
  });

  it('refuses to forget outcomes while their sessions live', async () => {
    const resultCache = { entries: 1, bytes: 1, seconds: 1 };
    const server = (sessionLifetime = 43_200) => [
      { provide: RESOLVED_OPTIONS, useValue: { sessionLifetime, resultCache, serverKeys: [] } },
    ];
    const outcomeSeconds = 43_200;
    await expect(compile({ kek, outcomeSeconds }, dataSource, server())).rejects.toThrow(
      /outcomeSeconds is 46800 or more, got 43200: .*sessionLifetime/,
    );
    await compile({ kek, outcomeSeconds }, dataSource, server(39_600));
    await compile({ kek, outcomeSeconds });
  });

  it('refuses an option that it does not know, at once', () => {
    const mistyped = { kek, outcomesSeconds: 1_000_000 } as Options;
    expect(() => typeOrmStore(mistyped)).toThrow(/unknown option `outcomesSeconds`; did you mean `outcomeSeconds`\?/);
  });

  it('refuses another kind of database', async () => {
    await expect(compile({ kek }, { options: { type: 'sqlite' } })).rejects.toThrow(/type 'postgres'/);
  });
});
