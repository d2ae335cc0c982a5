import 'reflect-metadata';
import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { generateKeyText } from '@sealwire/core';
import { RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { typeOrmStore } from '@sealwire/typeorm';
import pg from 'pg';
import type { DataSource } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PeerClient, type SealedCall } from '../../../test/support/peer/client.js';
import { connect, kek, openPostgres, primitives, type TestDatabase } from './support.js';

const secureKey = generateKeyText('swk1', primitives);

@RemoteFunctions('m')
class Echo {
  @RemoteFunction()
  echo(value: unknown): unknown {
    return value;
  }
}

/** Two instances, numbers in memory: a session belongs to one of them. */
describe('frames that whoever saw a session id can make', () => {
  let database: TestDatabase;
  let source: DataSource;
  const instances: { app: INestApplication; url: string }[] = [];

  async function serve(dataSource: DataSource): Promise<void> {
    const module = await Test.createTestingModule({
      imports: [
        TypeOrmModule.forRootAsync({ useFactory: () => ({}), dataSourceFactory: async () => dataSource }),
        SealwireModule.forRoot({ handshakeRate: false, store: typeOrmStore({ kek, allowFsyncOff: true }) }),
        SealwireModule.forFeature({ path: 'm', secureKeys: [secureKey] }),
      ],
      controllers: [Echo],
    }).compile();
    const app = module.createNestApplication();
    app.useLogger(false);
    await app.listen(0, '127.0.0.1');
    instances.push({ app, url: await app.getUrl() });
  }

  beforeAll(async () => {
    database = await openPostgres();
    source = await connect(database.url);
    await serve(database.dataSource);
    await serve(source);
  });
  afterAll(async () => {
    for (const { app } of instances) await app.close();
    await database?.close();
  });

  const open = () => PeerClient.open({ url: instances[0]!.url, module: 'm', secureKey });
  const altered = (sealed: SealedCall, at: number): SealedCall => {
    const frame = sealed.frame.slice();
    frame[at] = (frame[at] ?? 0) ^ 1;
    return { ...sealed, frame };
  };
  const row = async (id: Uint8Array) => {
    const rows = await database.dataSource.query(
      'SELECT lane::float8 AS lane, owner, release_wanted AS wanted FROM sealwire_session WHERE id = $1',
      [Buffer.from(id)],
    );
    return rows[0];
  };

  it('move no lane to the instance that they reach, and cost no honest call', async () => {
    const session = await open();
    expect(await session.value('echo', 'before')).toBe('before');
    const before = await row(session.session.sessionId);
    for (let i = 0; i < 20; i++) {
      const sealed = session.seal({ name: 'echo', args: [i] });
      const forged = altered(sealed, sealed.frame.length - 1);
      for (const { url } of instances) expect(await session.deliver(forged, url)).toMatchObject({ kind: 'outer' });
      expect(await session.settle(sealed)).toEqual({ kind: 'sealed', reply: { outcomes: [{ ok: true, value: i }] } });
    }
    expect(await row(session.session.sessionId)).toEqual(before);
    expect(before.wanted).toBe(false);
  });

  it('cost no statement where the id is one that no server made', async () => {
    const session = await open();
    const real = pg.Client.prototype.query;
    const asked: unknown[] = [];
    const spy = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
      this: pg.Client,
      ...args: unknown[]
    ) {
      asked.push(args[1]);
      return Reflect.apply(real, this, args);
    } as never);
    const sealed = session.seal({ name: 'echo', args: ['made up'] });
    const ids = Array.from({ length: 100 }, (_, i) => altered(sealed, 4 + (i % 16)));
    const answers = await Promise.all(ids.map((forged) => session.deliver(forged)));
    const named = asked.filter((parameters) => Array.isArray(parameters) && Array.isArray(parameters[0]));
    spy.mockRestore();
    expect(answers.map((answer) => answer.kind === 'outer' && answer.code)).toEqual(Array(100).fill('session_unknown'));
    const made = ids.map(({ frame }) => Buffer.from(frame.subarray(4, 20)).toString('hex'));
    const looked = named.flatMap((parameters) =>
      (parameters as unknown[][])[0]!.map((id) => (id instanceof Uint8Array ? Buffer.from(id).toString('hex') : '')),
    );
    expect(looked.filter((id) => made.includes(id))).toEqual([]);
    expect(await session.value('echo', 'after')).toBe('after');
  });
});
