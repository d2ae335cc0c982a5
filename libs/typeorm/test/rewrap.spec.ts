import { createServer, connect as dial, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connectTypeOrmStore, createTypeOrmStore } from '@sealwire/typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Database } from '../src/connection/index.js';
import { KeyEncryption, rewrap } from '../src/keys/index.js';
import {
  emptyTables,
  kek,
  nextKek,
  openPostgres,
  openSession,
  primitives,
  startInstance,
  type TestDatabase,
} from './support.js';

const both = `${nextKek},${kek}`;

type Query = Database['query'];

interface Plan {
  readonly Plans?: readonly Plan[];
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Rows Removed by Filter'?: number;
}

/** Rows of tables that a statement looked at. */
function rowsRead(plan: Plan): number {
  const own = plan['Relation Name'] ? plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0) : 0;
  return (plan.Plans ?? []).reduce((sum, part) => sum + rowsRead(part), own);
}

describe('bringing rows under another key-encryption key', () => {
  let database: TestDatabase;
  const query = (statement: string, parameters?: unknown[]) => database.dataSource.query(statement, parameters);

  beforeAll(async () => {
    database = await openPostgres();
  });
  afterAll(() => database?.close());
  beforeEach(() => emptyTables(database.dataSource));

  /** The database, that many milliseconds away. */
  async function farAway(milliseconds: number): Promise<{ url: string; close(): void }> {
    const { hostname, port } = new URL(database.url);
    const sockets = new Set<Socket>();
    const server = createServer((near) => {
      const far = dial(Number(port), hostname);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(from);
        from.setNoDelay(true);
        from.on('data', (data) => void delay(milliseconds / 2).then(() => to.writable && to.write(data)));
        from.on('close', () => to.destroy()).on('error', () => undefined);
      }
    });
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    const url = new URL(database.url);
    url.port = String((server.address() as { port: number }).port);
    const close = () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    };
    return { url: url.href, close };
  }

  it('takes a statement for hundreds of rows, for the database may be far away', async () => {
    const instance = await startInstance(database.dataSource);
    for (let i = 0; i < 30; i++) await Promise.all(Array.from({ length: 20 }, () => openSession(instance)));
    await instance.sessions.stop();
    const far = await farAway(14);
    const store = await connectTypeOrmStore(far.url, { kek: both });
    expect(await store.rewrap()).toEqual({ rewrapped: 601, unreadable: 0 });
    await store.close();
    far.close();
    const [{ old }] = await query(
      `SELECT count(*)::int AS old FROM sealwire_session WHERE substr(renewal, 1, 4) <> '\\x08080808' OR substr(first_key, 1, 4) <> '\\x08080808'`,
    );
    expect(old).toBe(0);
  });

  it('takes cookie keys along: a handshake that is under way ends under the new key alone', async () => {
    const { id, random } = await createTypeOrmStore(database.dataSource, { kek }).keys.currentCookieKey();
    expect(await createTypeOrmStore(database.dataSource, { kek: both }).rewrap()).toEqual({
      rewrapped: 1,
      unreadable: 0,
    });
    const { keys } = createTypeOrmStore(database.dataSource, { kek: nextKek });
    expect((await keys.cookieKey(id))?.random).toEqual(random);
  });

  it('takes outcomes of any size, few at a time', async () => {
    const before = await startInstance(database.dataSource);
    const outcome = new Uint8Array(700_000).fill(5);
    const calls = Array.from({ length: 5 }, () => ({
      ...{ module: 'm', session: undefined, claimed: undefined, name: 'f' },
      ...{ callId: primitives.random(16), digest: primitives.random(32) },
    }));
    for (const call of calls) await before.exactlyOnce.run(call, async () => ({ outcome, rollback: false }));
    await before.sessions.stop();
    expect(await createTypeOrmStore(database.dataSource, { kek: both }).rewrap()).toEqual({
      rewrapped: 6,
      unreadable: 0,
    });
    const after = await startInstance(database.dataSource, { kek: nextKek });
    for (const call of calls) {
      const again = after.exactlyOnce.run(call, () => Promise.reject(new Error('ran again')));
      expect(Buffer.from(outcome).equals(await again)).toBe(true);
    }
    await after.sessions.stop();
  });

  /** The database; `read` hears of every statement that looks for rows, after it ran. */
  function heard(read: (query: Query, statement: string, parameters?: unknown[]) => Promise<void>): Database {
    const real = new Database(database.dataSource, false);
    const through = (query: Query): Query => {
      return async (statement, parameters) => {
        const rows = await query<never>(statement, parameters);
        if (/^SELECT .* ORDER BY /s.test(statement)) await read(query, statement, parameters);
        return rows;
      };
    };
    const transaction: Database['transaction'] = (work) => real.transaction((query) => work(through(query)));
    return Object.assign(Object.create(real), { query: through(real.query), transaction });
  }

  it('looks at few rows in each statement, however many are done', async () => {
    const instance = await startInstance(database.dataSource, { kek: `${kek},${nextKek}` });
    const call = {
      ...{ module: 'orders', session: undefined, claimed: undefined, name: 'f' },
      ...{ callId: primitives.random(16), digest: primitives.random(32) },
    };
    await instance.exactlyOnce.run(call, async () => ({ outcome: Uint8Array.of(1), rollback: false }));
    await query(`INSERT INTO sealwire_outcome (module, call, binding, outcome)
      SELECT 'orders', sha256(n::text::bytea), '', '\\x08080808' FROM generate_series(1, 5000) n`);
    await query('ANALYZE sealwire_outcome');
    const read: number[] = [];
    const explained = heard(async (query, statement, parameters) => {
      const [row] = await query<{ 'QUERY PLAN': { Plan: Plan }[] }>(
        `EXPLAIN (ANALYZE, FORMAT JSON) ${statement}`,
        parameters,
      );
      read.push(rowsRead(row!['QUERY PLAN'][0]!.Plan));
    });
    const keys = new KeyEncryption(primitives, both);
    expect(await rewrap(explained, keys)).toEqual({ rewrapped: 2, unreadable: 0 });
    expect(read.length).toBeGreaterThan(0);
    expect(Math.max(...read)).toBe(1_000);
    expect(await rewrap(explained, keys)).toEqual({ rewrapped: 0, unreadable: 0 });
    expect(Math.max(...read)).toBe(1_000);
    await instance.sessions.stop();
  });

  it('refuses to wrap rows under a key that a running server does not hold', async () => {
    const instance = await startInstance(database.dataSource);
    const sentence = 'one that runs does not hold its first key 08080808';
    await expect(createTypeOrmStore(database.dataSource, { kek: both }).rewrap()).rejects.toThrow(sentence);
    await instance.sessions.stop();
    expect(await createTypeOrmStore(database.dataSource, { kek: both }).rewrap()).toMatchObject({ rewrapped: 1 });
  });

  it('leaves a row that a server wrote meanwhile', async () => {
    const instance = await startInstance(database.dataSource, { kek: `${kek},${nextKek}` });
    const sessions = [await openSession(instance), await openSession(instance)];
    const [first] = sessions;
    const secrets = { clientToServer: primitives.random(32), serverToClient: primitives.random(32) };
    let writes = 0;
    const meanwhile = heard(async (_query, statement) => {
      if (statement.includes('sealwire_session') && writes++ === 0)
        await instance.sessions.advanceEpoch(first!.id, 1, secrets);
    });
    const result = await rewrap(meanwhile, new KeyEncryption(primitives, both));
    expect(result).toEqual({ rewrapped: 2, unreadable: 0 });
    await instance.sessions.stop();
    const other = await startInstance(database.dataSource, { kek: both });
    expect(await other.sessions.takeLane(first!.id, true)).toMatchObject({ epoch: 1, secrets });
    expect(await other.rewrap()).toEqual({ rewrapped: 1, unreadable: 0 });
    await other.sessions.stop();
  });
});
