import 'reflect-metadata';
import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { callIdentity, frameDigest, parseCall } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import {
  type Injected,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteSignal,
  RemoteTransaction,
  SealwireModule,
  SealwireSessions,
} from '@sealwire/nest';
import { typeOrmStore } from '@sealwire/typeorm';
import type { DataSource, EntityManager } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { callLive, LiveCall, sendLive } from '../../nest/test/live-peer.js';
import { only, PeerClient, serverKey, serverKeyText, urlOf } from '../../nest/test/support.js';
import { connect, kek, openPglite, openPostgres, type TestDatabase } from './support.js';

let closed = 0;

@RemoteFunctions('live')
class Payments {
  @RemoteFunction({ exactlyOnce: true })
  async payAll(
    names: AsyncIterable<string>,
    @RemoteTransaction() transaction: Injected<EntityManager>,
    strict: boolean | string,
  ): Promise<number> {
    let paid = 0;
    try {
      for await (const who of names) {
        await transaction.query('INSERT INTO payment VALUES ($1)', [who]);
        paid += 1;
      }
    } catch (error) {
      if (typeof strict === 'string') throw new RemoteFunctionError(strict, 'All or nothing.');
      if (strict) throw error;
    }
    return paid;
  }

  @RemoteFunction({ exactlyOnce: true })
  async slow(
    @RemoteTransaction() transaction: Injected<EntityManager>,
    @RemoteSignal() signal: Injected<AbortSignal>,
    heed: boolean,
  ): Promise<string> {
    await transaction.query("INSERT INTO payment VALUES ('slow')");
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    if (heed) signal.throwIfAborted();
    return 'done';
  }

  @RemoteFunction({ exactlyOnce: true })
  async *streams(@RemoteTransaction() transaction: Injected<EntityManager>): AsyncGenerator<number> {
    await transaction.query("INSERT INTO payment VALUES ('streams')");
    yield 1;
  }

  @RemoteFunction()
  async *watch(): AsyncGenerator<number> {
    try {
      for (;;) {
        yield 1;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    } finally {
      closed += 1;
    }
  }
}

describe.each([
  ['PGlite', openPglite, 'memory'],
  ['PostgreSQL, numbers shared', openPostgres, 'postgres'],
] as const)('streams and exactlyOnce on %s', (_name, open, ledger) => {
  let database: TestDatabase;
  let client: PeerClient;
  const apps: INestApplication[] = [];

  const serve = async (dataSource: DataSource): Promise<INestApplication> => {
    const module = await Test.createTestingModule({
      imports: [
        TypeOrmModule.forRootAsync({ useFactory: () => ({}), dataSourceFactory: async () => dataSource }),
        SealwireModule.forRoot({
          serverKey: serverKeyText,
          handshakeRate: false,
          store: typeOrmStore({ kek, ledger, exclusiveDatabase: database.url === '', allowFsyncOff: true }),
        }),
        SealwireModule.forFeature({ path: 'live' }),
      ],
      controllers: [Payments],
    }).compile();
    const app = module.createNestApplication();
    app.useLogger(false);
    await app.listen(0);
    apps.push(app);
    return app;
  };
  const payments = async (): Promise<string[]> => {
    const rows: { who: string }[] = await database.dataSource.query('SELECT who FROM payment ORDER BY who');
    return rows.map(({ who }) => who);
  };
  const names = (...list: string[]) =>
    (async function* () {
      yield* list;
    })();

  beforeAll(async () => {
    database = await open();
    await database.dataSource.query('CREATE TABLE payment (who text)');
    await serve(database.dataSource);
  });
  afterAll(async () => {
    for (const app of apps.reverse()) await app.close();
    await database?.close();
  });
  beforeEach(async () => {
    await database.dataSource.query('DELETE FROM payment');
    const url = urlOf(apps[0] as INestApplication, '/remote/live');
    client = new PeerClient(url, { modulePath: 'live', keySize: 32, serverKey: serverKey.publicKey });
    await client.connect();
  });

  it('commits a stream that came to its end', async () => {
    const call = new LiveCall(client, [{ name: 'payAll', args: [names('ann', 'bob'), true] }]);
    await call.rest();
    expect(await call.value()).toBe(2);
    expect(await payments()).toEqual(['ann', 'bob']);
  });

  it.each([true, false])('rolls back one that did not, whether or not the function heeds it: %s', async (strict) => {
    const call = new LiveCall(client, [{ name: 'payAll', args: [names('ann'), strict] }]);
    call.unit(3, 0, Uint8Array.of(0x63, 0x61, 0x6e, 0x6e));
    call.piece(new Uint8Array(0), true);
    await expect(call.value()).rejects.toMatchObject({ code: 'stream_cut' });
    expect(await payments()).toEqual([]);
  });

  it.each([
    [true, { code: 'source_failed', message: 'Error: line 2' }],
    [false, { code: 'source_failed', message: 'Error: line 2' }],
    ['not_all', { code: 'not_all', message: 'All or nothing.' }],
  ])(
    'rolls back one whose source failed, and says why as the function or else the source does: %s',
    async (strict, says) => {
      const failing = (async function* () {
        yield 'ann';
        throw new Error('line 2');
      })();
      const call = new LiveCall(client, [{ name: 'payAll', args: [failing, strict] }]);
      await call.rest();
      await expect(call.value()).rejects.toMatchObject(says);
      expect(await payments()).toEqual([]);
    },
  );

  it('rolls back one whose connection was cut, says so, and runs it when it is sent again', async () => {
    const calls = [{ name: 'payAll', args: [names('ann')] }];
    const call = new LiveCall(client, calls);
    call.answer.catch(() => undefined);
    call.unit(3, 0, Uint8Array.of(0x63, 0x61, 0x6e, 0x6e));
    await vi.waitFor(async () => expect(call.request.socket?.writableLength).toBe(0));
    call.request.destroy();
    // header and first chunk ask what became of the number
    const ask = async () => client.open(call.first, (await sendLive(client, call.first)) as Uint8Array);
    await vi.waitFor(async () => {
      expect(await ask()).toMatchObject({ outcomes: [{ ok: false, code: 'unavailable' }] });
    });
    expect(await payments()).toEqual([]);
    const callId = callIdentity(
      nodePrimitives,
      client.secrets.renewal,
      { number: parseCall(call.first).number, digest: frameDigest(nodePrimitives, call.first) },
      0,
    );
    const resend = { callId, incarnation: client.session.terms.incarnation };
    const again = new LiveCall(client, [{ name: 'payAll', args: [names('ann')], resend }]);
    await again.rest();
    expect(await again.value()).toBe(1);
    expect(await payments()).toEqual(['ann']);
  });

  it('rolls back what its signal broke off, commits what goes on nevertheless, and keeps no outcome of the one', async () => {
    const call = async (heed: boolean) =>
      only(await client.send(client.frame([{ name: 'slow', args: [heed], deadline: 50 }])));
    expect(await call(true)).toMatchObject({ code: 'deadline' });
    expect(await payments()).toEqual([]);
    const [row] = await database.dataSource.query('SELECT count(*)::int AS count FROM sealwire_outcome');
    expect(await call(false)).toBe('done');
    expect(await payments()).toEqual(['slow']);
    const [after] = await database.dataSource.query('SELECT count(*)::int AS count FROM sealwire_outcome');
    expect(after.count).toBe(row.count + 1);
  });

  it('has no stream for a result, and rolls back', async () => {
    expect(only(await client.call('streams'))).toMatchObject({ code: 'internal' });
    expect(await payments()).toEqual([]);
  });

  it('ends streams within a second of a revocation here or at another instance', async () => {
    const other = database.url === '' ? apps[0] : await serve(await connect(database.url));
    closed = 0;
    const answer = await callLive(client, { name: 'watch', args: [] });
    await answer.value();
    const before = performance.now();
    await (other as INestApplication).get(SealwireSessions).revoke(client.id);
    await vi.waitFor(() => expect(closed).toBe(1), { timeout: 1_500, interval: 10 });
    expect(performance.now() - before).toBeLessThan(1_000);
  });
});
