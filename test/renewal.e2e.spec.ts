import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { createRemote, fetchTransport } from '@sealwire/client';
import { FRAME_TYPE, formatKeyText, generateKeyText, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import {
  type Progress,
  RemoteFunction,
  RemoteFunctions,
  RemoteProgress,
  SealwireEvents,
  SealwireModule,
  SealwireSessions,
} from '@sealwire/nest';
import { sealwireEntities, sealwireMigrations, typeOrmStore } from '@sealwire/typeorm';
import { describe, expect, it, onTestFinished } from 'vitest';
import { freshDatabase } from './support/postgres.js';

type Kind = 'in memory' | 'in PostgreSQL, guard memory' | 'in PostgreSQL, guard postgres';

const privateKey = generateKeyText('sws1', nodePrimitives);
const secureKey = generateKeyText('swk1', nodePrimitives);
const kek = generateKeyText('swe1', nodePrimitives);
const serverKey = formatKeyText('swp1', parseServerPrivateKey(privateKey, nodePrimitives).publicKey);

class Latch {
  readonly runs: string[] = [];
  open: () => void = () => undefined;
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}
let latch = new Latch();

@RemoteFunctions('m')
@Controller()
class Functions {
  @RemoteFunction()
  quick(reference: string): string {
    latch.runs.push(reference);
    return reference;
  }

  /** Its result is longer than what step 4 may bring. */
  @RemoteFunction()
  long(reference: string): string {
    latch.runs.push(reference);
    return reference.repeat(1_500_000);
  }

  @RemoteFunction()
  async held(reference: string): Promise<string> {
    latch.runs.push(reference);
    await latch.opened;
    return reference;
  }

  /** Its result is live. */
  @RemoteFunction()
  reporting(@RemoteProgress() progress: Progress, reference: string): Promise<string> {
    progress('begun');
    return this.held(reference);
  }
}

async function serve(kind: Kind, url = '') {
  const guard = kind === 'in PostgreSQL, guard postgres' ? 'postgres' : 'memory';
  const stored = kind !== 'in memory';
  const typeOrm = () =>
    TypeOrmModule.forRoot({
      type: 'postgres',
      url,
      entities: [...sealwireEntities],
      migrations: [...sealwireMigrations],
      migrationsRun: true,
    });
  const module = await Test.createTestingModule({
    imports: [
      ...(stored ? [typeOrm()] : []),
      SealwireModule.forRoot({
        serverKey: privateKey,
        handshakeRate: false,
        ...(stored ? { store: typeOrmStore({ kek, ledger: guard, allowFsyncOff: true }) } : {}),
      }),
      SealwireModule.forFeature({ path: 'm', secureKeys: [secureKey] }),
    ],
    controllers: [Functions],
  }).compile();
  const app = module.createNestApplication({ logger: ['error'] });
  onTestFinished(() => app.close());
  await app.listen(0, '127.0.0.1');
  return { app, url: `${await app.getUrl()}/remote/m` };
}

/** A remote behind a proxy that forges, loses and routes what it is told to. */
function connect(first: string) {
  const way = { url: first, forge: 0, late: 0, lose: new AbortController() };
  const throughWay = async (_: unknown, init?: RequestInit): Promise<Response> => {
    const body = init?.body as Uint8Array;
    if (way.late > 0 && body[0] === FRAME_TYPE.call) {
      way.late--;
      way.forge++;
      await (await fetch(way.url, init)).arrayBuffer();
    }
    if (way.forge > 0 && body[0] === FRAME_TYPE.call) {
      way.forge--;
      const problem = JSON.stringify({ status: 409, code: 'session_unknown' });
      return new Response(problem, { status: 409, headers: { 'content-type': 'application/problem+json' } });
    }
    const signal = AbortSignal.any([way.lose.signal, ...(init?.signal ? [init.signal] : [])]);
    return fetch(way.url, { ...init, signal });
  };
  const remote = createRemote<Record<'quick' | 'long' | 'held' | 'reporting', (reference: string) => Promise<string>>>({
    url: first,
    serverKey,
    secureKey,
    transport: fetchTransport({ fetch: throughWay as typeof fetch }),
  });
  onTestFinished(() => remote.$close());
  const opened: string[] = [];
  remote.$events.on('opened', ({ sessionId }) => opened.push(sessionId));
  return { remote, way, opened };
}

async function database(): Promise<string> {
  const { url, drop } = await freshDatabase();
  onTestFinished(drop);
  return url;
}

describe.each<Kind>(['in memory', 'in PostgreSQL, guard memory', 'in PostgreSQL, guard postgres'])(
  'a session %s',
  (kind) => {
    async function world() {
      latch = new Latch();
      const server = await serve(kind, kind === 'in memory' ? '' : await database());
      const client = connect(server.url);
      await client.remote.quick('first');
      await client.remote.quick('second');
      return { ...server, ...client };
    }

    it('that was revoked is renewed unseen for the next call, which never ran', async () => {
      const { app, remote, opened } = await world();
      expect(await app.get(SealwireSessions).revokeAll()).toBe(1);
      expect(await remote.quick('next')).toBe('next');
      expect(latch.runs).toEqual(['first', 'second', 'next']);
      expect(opened).toHaveLength(2);
    });

    it('that is renewed after the answer of a call was lost brings it, although step 4 has no room for it', async () => {
      const { remote, way, opened } = await world();
      way.late = 1;
      // a record in PostgreSQL keeps no result so long
      if (kind.endsWith('guard postgres'))
        await expect(remote.long('x')).rejects.toMatchObject({ code: 'result_gone' });
      else expect(await remote.long('x')).toHaveLength(1_500_000);
      expect(latch.runs).toEqual(['first', 'second', 'x']);
      expect(opened).toHaveLength(2);
    });

    it('that is revoked while calls run lets them end; all wait for one handshake', async () => {
      const { app, remote, opened } = await world();
      const references = Array.from({ length: 20 }, (_, i) => `held ${i}`);
      const held = Promise.all(references.map((reference) => remote.held(reference)));
      await expect.poll(() => latch.runs.length).toBe(22);
      await app.get(SealwireSessions).revokeAll();
      const more = ['a', 'b', 'c'];
      expect(await Promise.all(more.map((reference) => remote.quick(reference)))).toEqual(more);
      latch.open();
      expect(await held).toEqual(references);
      expect(latch.runs).toHaveLength(25);
      expect(opened).toHaveLength(2);
    });

    it('lets a forged session_unknown cost a running call nothing, nor the one that it was told of', async () => {
      const { remote, way } = await world();
      const held = remote.held('held');
      await expect.poll(() => latch.runs.length).toBe(3);
      way.forge = 1;
      expect(await remote.quick('forged')).toBe('forged');
      latch.open();
      expect(await held).toBe('held');
      expect(latch.runs).toEqual(['first', 'second', 'held', 'forged']);
    });

    it.each(['held', 'reporting'] as const)(
      'that was renewed still tells the result of a call, %s, whose connection broke',
      async (name) => {
        const { remote, way } = await world();
        const held = remote[name]('held');
        await expect.poll(() => latch.runs.length).toBe(3);
        way.forge = 1;
        await remote.quick('forged');
        const broken = way.lose;
        way.lose = new AbortController();
        broken.abort();
        latch.open();
        expect(await held).toBe('held');
        expect(latch.runs.filter((reference) => reference === 'held')).toHaveLength(1);
      },
    );
  },
);

it('a session that is renewed at one replica lets its call on another end', async () => {
  latch = new Latch();
  const url = await database();
  const one = await serve('in PostgreSQL, guard postgres', url);
  const other = await serve('in PostgreSQL, guard postgres', url);
  const { remote, way } = connect(one.url);
  await remote.quick('first');
  way.url = other.url;
  const held = remote.held('held');
  await expect.poll(() => latch.runs.length).toBe(2);
  way.url = one.url;
  way.forge = 1;
  expect(await remote.quick('forged')).toBe('forged');
  latch.open();
  expect(await held).toBe('held');
  expect(latch.runs).toEqual(['first', 'held', 'forged']);
});

it('a session that ends is told of on every instance, once, also where it never was', async () => {
  latch = new Latch();
  const url = await database();
  const one = await serve('in PostgreSQL, guard memory', url);
  const other = await serve('in PostgreSQL, guard memory', url);
  const told = [one, other].map(({ app }) => {
    const events: object[] = [];
    app.get(SealwireEvents).on('closed', (event) => events.push(event));
    return events;
  });
  const { remote, opened } = connect(one.url);
  await remote.quick('first');
  await one.app.get(SealwireSessions).revokeAll();
  const closed = { sessionId: opened[0], module: 'm', reason: 'revoked' };
  await expect.poll(() => told).toEqual([[closed], [closed]]);
  // the next ends are told after all earlier ones
  await remote.quick('second');
  await one.app.get(SealwireSessions).revokeAll();
  await expect.poll(() => told.map((events) => events.length)).toEqual([2, 2]);
});
