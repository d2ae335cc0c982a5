import 'reflect-metadata';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ArgumentsHost, Catch, ConflictException, type ExceptionFilter } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { parseSecureKey, SealwireError } from '@sealwire/core';
import { type Injected, RemoteFunction, RemoteFunctions, RemoteTransaction, SealwireModule } from '@sealwire/nest';
import { sealwireMigrations, typeOrmStore } from '@sealwire/typeorm';
import type { EntityManager } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { privatePostgres } from '../../../test/support/private-postgres.js';
import { only, PeerClient, secureKeyText, serverKey, serverKeyText, urlOf } from '../../nest/test/support.js';
import {
  connect,
  type Instance,
  kek,
  limits,
  newSession,
  openPglite,
  openPostgres,
  primitives,
  startInstance,
  type TestDatabase,
} from './support.js';

const outcome = new Uint8Array(20).fill(5);
const done = async () => ({ outcome, rollback: false });
const call = () => ({
  ...{ module: 'payments', session: undefined, claimed: undefined, name: 'pay' },
  ...{ callId: primitives.random(16), digest: primitives.random(32) },
});

describe('a server that only reads', () => {
  const asks: [string, (instance: Instance) => Promise<unknown>][] = [
    ['a new session', ({ sessions }) => sessions.create(newSession(), limits)],
    ['a tick', ({ sessions }) => sessions.refresh()],
    ['a ping', ({ directory }) => directory.ping()],
    ['an exactlyOnce call', ({ exactlyOnce }) => exactlyOnce.run(call(), done)],
  ];

  it.each(asks)('is busy for %s, which leaves no connection to it', async (_, ask) => {
    const { url, dataSource, close } = await openPostgres();
    onTestFinished(close);
    const source = await connect(url);
    onTestFinished(() => source.destroy());
    const instance = await startInstance(source);
    onTestFinished(() => instance.sessions.stop());
    const readOnly = (value: string) =>
      dataSource.query(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET default_transaction_read_only = ${value}`);
    await readOnly('on');
    await dataSource.query(
      'SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    );
    const asked = () =>
      ask(instance).then(
        () => 'well',
        (error) => error,
      );
    await expect.poll(asked).toMatchObject({ code: 'busy', cause: { code: '25006' } });
    // connections that are open stay as they are
    await readOnly('off');
    await expect.poll(asked).toBe('well');
  });

  it('may be a standby, until it is promoted', async () => {
    const postgres = await privatePostgres();
    onTestFinished(() => postgres.end());
    const source = await connect(postgres.url);
    onTestFinished(() => source.destroy());
    for (const Tables of sealwireMigrations) await new Tables().up(source.createQueryRunner());
    const instance = await startInstance(source, { ledger: 'postgres' });
    onTestFinished(() => instance.sessions.stop());
    const serializable = await connect(postgres.url, { isolationLevel: 'SERIALIZABLE' });
    onTestFinished(() => serializable.destroy());
    const strict = await startInstance(serializable);
    onTestFinished(() => strict.sessions.stop());
    const [{ data }] = await source.query(`SELECT current_setting('data_directory') AS data`);
    await postgres.stop();
    await writeFile(join(data, 'standby.signal'), '');
    await postgres.start();
    let runs = 0;
    const run = () => {
      runs += 1;
      return done();
    };
    const all: (() => Promise<unknown>)[] = [
      ...asks.map(
        ([, ask]) =>
          () =>
            ask(instance),
      ),
      () => instance.exactlyOnce.run(call(), run),
      () => strict.exactlyOnce.run(call(), done),
      () => instance.keys.currentCookieKey(),
      () => instance.keys.cookieKey(primitives.random(4)),
    ];
    const states = (expected: unknown) =>
      Promise.all(
        all.map((ask) =>
          expect
            .poll(() =>
              ask().then(
                () => 'well',
                (error) => error,
              ),
            )
            .toEqual(expected),
        ),
      );
    await states(
      expect.objectContaining({
        code: 'busy',
        cause: expect.objectContaining({ code: expect.stringMatching(/^(25006|55000|0A000)$/) }),
      }),
    );
    expect(runs).toBe(0);
    await source.query('SELECT pg_promote()');
    await states('well');
    expect(runs).toBe(1);
  });
});

describe.each([
  ['PGlite', openPglite],
  ['PostgreSQL', openPostgres],
] as const)('errors of an exactlyOnce function on %s', (name, open) => {
  let database: TestDatabase;
  let instance: Instance;

  beforeAll(async () => {
    database = await open();
    instance = await startInstance(database.dataSource, { exclusiveDatabase: name === 'PGlite' });
  });
  afterAll(async () => {
    await instance?.sessions.stop();
    await database?.close();
  });

  it.each(['SET TRANSACTION READ ONLY', `CREATE SEQUENCE s; SELECT currval('s')`])(
    'that are its own: %s',
    async (statements) => {
      let runs = 0;
      const refused = instance.exactlyOnce.run(call(), async (manager) => {
        runs += 1;
        for (const statement of statements.split('; ')) await (manager as EntityManager).query(statement);
        await (manager as EntityManager).query('CREATE TABLE later (id integer)');
        return done();
      });
      await expect(refused).rejects.toMatchObject({ code: expect.stringMatching(/^(25006|55000)$/) });
      expect(runs).toBe(1);
      expect(await instance.exactlyOnce.run(call(), done)).toEqual(outcome);
    },
  );

  it("that are the store's, whatever a filter answers to them", async () => {
    const one = call();
    const filtered = { outcome: Uint8Array.of(9), rollback: true, thrown: new SealwireError('busy') };
    await expect(instance.exactlyOnce.run(one, async () => filtered)).rejects.toMatchObject({ code: 'busy' });
    expect(await instance.exactlyOnce.run(one, done)).toEqual(outcome);
  });
});

/** Says 500 of all but what it knows, as many applications do. */
@Catch()
class CatchAll implements ExceptionFilter {
  catch(error: { readonly code?: string }, host: ArgumentsHost): void {
    const taken = error.code === '23505';
    const known = taken ? new ConflictException('That is taken.') : error;
    const status = known instanceof ConflictException ? known.getStatus() : 500;
    const body = { statusCode: status, message: taken ? 'That is taken.' : 'Something went wrong.' };
    host.switchToHttp().getResponse().status(status).json(body);
  }
}

let runs = 0;

@RemoteFunctions('payments')
class Payments {
  /** Fails in this way the first time that it runs. */
  @RemoteFunction({ exactlyOnce: true })
  async pay(state: string, own: boolean, @RemoteTransaction() transaction: Injected<EntityManager>): Promise<string> {
    runs += 1;
    await transaction.query('INSERT INTO payment VALUES ($1)', [state]);
    const failing = runs === 1 ? transaction.query(`DO $$ BEGIN RAISE SQLSTATE '${state}'; END $$`) : undefined;
    await failing?.catch((error) => {
      throw own ? new ConflictException('own') : error;
    });
    return 'paid';
  }

  @RemoteFunction({ exactlyOnce: true })
  async lose(@RemoteTransaction() transaction: Injected<EntityManager>): Promise<void> {
    await transaction.query('SELECT pg_terminate_backend(pg_backend_pid())');
  }
}

describe('with a filter that answers every error', () => {
  const start = async () => {
    const { dataSource, close } = await openPostgres();
    onTestFinished(close);
    await dataSource.query('CREATE TABLE payment (state text)');
    const module = await Test.createTestingModule({
      imports: [
        TypeOrmModule.forRootAsync({ useFactory: () => ({}), dataSourceFactory: async () => dataSource }),
        SealwireModule.forRoot({ serverKey: serverKeyText, store: typeOrmStore({ kek, allowFsyncOff: true }) }),
        SealwireModule.forFeature({ path: 'payments', secureKeys: [secureKeyText] }),
      ],
      controllers: [Payments],
      providers: [{ provide: APP_FILTER, useClass: CatchAll }],
    }).compile();
    const app = module.createNestApplication();
    app.useLogger(false);
    await app.listen(0);
    onTestFinished(() => app.close());
    const client = new PeerClient(urlOf(app), {
      ...{ modulePath: 'payments', keySize: 32 },
      ...{ serverKey: serverKey.publicKey, secureKey: parseSecureKey(secureKeyText) },
    });
    await client.connect();
    runs = 0;
    return {
      call: async (...args: [name: string, ...unknown[]]) => only(await client.call(...args)),
      rows: async () => {
        const counts =
          'SELECT (SELECT count(*)::int FROM payment) AS paid, (SELECT count(*)::int FROM sealwire_outcome) AS kept';
        return (await dataSource.query(counts))[0];
      },
    };
  };

  it.each(['40P01', '40001'])('a function is run again after %s', async (state) => {
    const { call, rows } = await start();
    expect(await call('pay', state, false)).toBe('paid');
    expect(runs).toBe(2);
    expect(await rows()).toEqual({ paid: 1, kept: 1 });
  });

  it.each(['55P03', '57014', '53200'])('nothing is kept of a function that is cut off by %s', async (state) => {
    const { call, rows } = await start();
    expect(await call('pay', state, false)).toMatchObject({ code: 'unavailable' });
    expect(await rows()).toEqual({ paid: 0, kept: 0 });
  });

  it('nothing is kept of a function that loses its connection', async () => {
    const { call, rows } = await start();
    expect(await call('lose')).toMatchObject({ code: 'unavailable' });
    expect(await rows()).toEqual({ paid: 0, kept: 0 });
  });

  it.each([
    ['23505', false, 'conflict'],
    ['22012', false, 'internal'],
    ['40P01', true, 'conflict'],
    ['55P03', true, 'conflict'],
  ])('an answer to %s (own: %s) is kept: %s', async (state, own, code) => {
    const { call, rows } = await start();
    expect(await call('pay', state, own)).toMatchObject({ code });
    expect(runs).toBe(1);
    expect(await rows()).toEqual({ paid: 0, kept: 1 });
  });
});
