import 'reflect-metadata';
import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { type Call, callIdentity, frameDigest, parseSecureKey } from '@sealwire/core';
import {
  type Injected,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteSession,
  RemoteTransaction,
  SealwireModule,
} from '@sealwire/nest';
import { typeOrmStore } from '@sealwire/typeorm';
import type { DataSource, EntityManager } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { only, PeerClient, post, secureKeyText, serverKey, serverKeyText, urlOf } from '../../nest/test/support.js';
import { kek, openPglite, openPostgres, primitives, type TestDatabase } from './support.js';

/** Calls that wait until there are so many. */
const crowd = { size: 1, waiting: [] as (() => void)[], last: Promise.resolve() };

function together(): Promise<void> {
  return new Promise((resolve) => {
    crowd.waiting.push(resolve);
    if (crowd.waiting.length === crowd.size) for (const go of crowd.waiting.splice(0)) go();
  });
}

@RemoteFunctions('payments')
class Payments {
  @RemoteFunction({ exactlyOnce: true })
  async pay(who: string, @RemoteTransaction() transaction: Injected<EntityManager>): Promise<string> {
    await transaction.query('INSERT INTO payment VALUES ($1)', [who]);
    return `paid ${who}`;
  }

  @RemoteFunction({ exactlyOnce: true })
  async unencodable(@RemoteTransaction() transaction: Injected<EntityManager>): Promise<unknown> {
    await transaction.query('INSERT INTO payment VALUES ($1)', ['unencodable']);
    return () => 1;
  }

  @RemoteFunction({ exactlyOnce: true })
  async remember(
    who: string,
    @RemoteTransaction() transaction: Injected<EntityManager>,
    @RemoteSession() session: Injected<RemoteSession>,
  ): Promise<unknown> {
    const before = await session.get('who');
    await together();
    await transaction.query('INSERT INTO payment VALUES ($1)', [who]);
    await session.set('who', who);
    await session.set('also', who);
    if (who === 'nobody') throw new RemoteFunctionError('nobody', 'Nobody is there.');
    return [before, await session.get('who')];
  }

  @RemoteFunction({ exactlyOnce: true })
  async rename(who: string, @RemoteSession() session: Injected<RemoteSession>): Promise<void> {
    await session.set('who', who);
    await together();
    await together();
  }

  @RemoteFunction({ idempotent: true })
  async who(@RemoteSession() session: Injected<RemoteSession>): Promise<unknown> {
    return [await session.get('who'), await session.get('also')];
  }

  @RemoteFunction()
  async increment(@RemoteSession() session: Injected<RemoteSession>): Promise<number> {
    const n = ((await session.get<number>('n')) ?? 0) + 1;
    await together();
    // one after the other, each after all have read
    const written = crowd.last.then(() => session.set('n', n));
    crowd.last = written.catch(() => undefined);
    await written;
    return n;
  }
}

describe.each([
  ['PGlite', openPglite, 'memory'],
  ['PostgreSQL, numbers in memory', openPostgres, 'memory'],
  ['PostgreSQL, numbers shared', openPostgres, 'postgres'],
] as const)('calls on %s', (_name, open, ledger) => {
  let database: TestDatabase;
  let app: INestApplication;
  let client: PeerClient;

  const connected = async () => {
    const config = {
      modulePath: 'payments',
      keySize: 32,
      serverKey: serverKey.publicKey,
      secureKey: parseSecureKey(secureKeyText),
    } as const;
    const one = new PeerClient(urlOf(app), config);
    await one.connect();
    return one;
  };
  const payments = async (): Promise<string[]> => {
    const rows: { who: string }[] = await database.dataSource.query('SELECT who FROM payment ORDER BY who');
    return rows.map(({ who }) => who);
  };

  beforeAll(async () => {
    database = await open();
    const { dataSource }: { dataSource: DataSource } = database;
    await dataSource.query('CREATE TABLE payment (who text)');
    const exclusiveDatabase = database.url === '';
    const module = await Test.createTestingModule({
      imports: [
        TypeOrmModule.forRootAsync({ useFactory: () => ({}), dataSourceFactory: async () => dataSource }),
        SealwireModule.forRoot({
          serverKey: serverKeyText,
          handshakeRate: false,
          // forgets a result as soon as the next one is there
          resultCache: { entries: 1 },
          store: typeOrmStore({ kek, ledger, exclusiveDatabase, allowFsyncOff: true }),
        }),
        SealwireModule.forFeature({ path: 'payments', secureKeys: [secureKeyText] }),
      ],
      controllers: [Payments],
    }).compile();
    app = module.createNestApplication();
    app.useLogger(false);
    await app.listen(0);
  });
  afterAll(async () => {
    await app?.close();
    await database?.close();
  });
  beforeEach(async () => {
    crowd.size = 1;
    crowd.waiting.length = 0;
    await database.dataSource.query('DELETE FROM payment');
    client = await connected();
  });

  it('give two copies of one client an outcome each', async () => {
    const number = client.next();
    const pay = (who: string): Call => ({ name: 'pay', args: [who] });
    expect(only(await client.send(client.frame([pay('alice')], number)))).toBe('paid alice');
    for (let i = 0; i < 4; i++) await client.call('who');
    const copied = client.frame([pay('bob')], number);
    expect(await client.send(copied)).toEqual({ status: ledger === 'memory' ? 'result_gone' : 'number_conflict' });
    const { secrets, terms } = client.session;
    const callId = callIdentity(primitives, secrets.renewal, { number, digest: frameDigest(primitives, copied) }, 0);
    const again = client.frame([{ ...pay('bob'), resend: { callId, incarnation: terms.incarnation } }]);
    expect(only(await client.send(again))).toBe('paid bob');
    expect(await payments()).toEqual(['alice', 'bob']);
  });

  it('say of a number that another frame took that it never ran', async () => {
    const number = client.next();
    const sent = client.frame([{ name: 'pay', args: ['alice'] }], number);
    await client.send(sent);
    const copied = client.frame([{ name: 'pay', args: ['bob'] }], number);
    const next = new PeerClient(client.url, client.config);
    await next.steps1and2();
    const { sessionId, secrets } = client.session;
    const numbers = [sent, copied].map((frame) => ({ number, digest: frameDigest(primitives, frame) }));
    const renewal = { sessionId, key: secrets.renewal, numbers };
    // an instance writes what came of a number after it has answered
    await vi.waitFor(async () => {
      expect(await database.dataSource.query("SELECT 1 FROM sealwire_accepted WHERE state = 'running'")).toEqual([]);
    });
    next.step4((await post(client.url, next.step3([], [renewal]))).body);
    expect(next.session.renewalAnswers[0]).toMatchObject([{ known: 'result' }, { known: 'never_ran' }]);
  });

  it('take back what they wrote where their result cannot be sent', async () => {
    expect(only(await client.call('unencodable'))).toMatchObject({ code: 'internal' });
    expect(await payments()).toEqual([]);
  });

  it('keep session data in the transaction', async () => {
    expect(only(await client.call('remember', 'alice'))).toEqual([undefined, 'alice']);
    expect(only(await client.call('who'))).toEqual(['alice', 'alice']);
    expect(only(await client.call('remember', 'nobody'))).toMatchObject({ code: 'nobody' });
    expect(only(await client.call('who'))).toEqual(['alice', 'alice']);
    expect(await payments()).toEqual(['alice']);
  });

  it.skipIf(open === openPglite)('lock no session while they run, whatever they set', async () => {
    crowd.size = 2;
    const renaming = client.call('rename', 'bob');
    await together();
    // another instance, say
    await database.dataSource.query("UPDATE sealwire_session SET data = '{}', data_version = data_version + 1");
    await together();
    expect(only(await renaming)).toMatchObject({ code: 'session_conflict' });
  });

  it('lose no update of session data to another call of the same message', async () => {
    crowd.size = 3;
    const reply = await client.send(client.frame(Array.from({ length: 3 }, () => ({ name: 'increment', args: [] }))));
    if (!('outcomes' in reply)) throw new Error(JSON.stringify(reply));
    const results = reply.outcomes.map((outcome) => (outcome.ok ? outcome.value : outcome.code));
    expect(results.sort()).toEqual([1, 'session_conflict', 'session_conflict']);
    crowd.size = 1;
    expect(only(await client.call('increment'))).toBe(2);
  });

  // PGlite has one connection, and so one transaction at a time
  it.skipIf(open === openPglite)(
    'that set the same data at the same time leave one, and the effects of one',
    async () => {
      crowd.size = 2;
      const frames = ['alice', 'bob'].map((who) => client.frame([{ name: 'remember', args: [who] }]));
      const results = await Promise.all(frames.map((frame) => client.send(frame).then(only)));
      expect(results.filter((result) => Array.isArray(result))).toHaveLength(1);
      expect(results).toContainEqual(expect.objectContaining({ code: 'session_conflict' }));
      expect(await payments()).toHaveLength(1);
    },
  );
});
