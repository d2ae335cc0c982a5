import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import type { DataSource, QueryRunner } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TcpProxy } from '../../../test/support/tcp-proxy.js';
import {
  breakOff,
  type DriverClient,
  depthOf,
  hear,
  isIdle,
  isLost,
  poolLike,
  poolOf,
  watchCommit,
} from '../src/quirks/index.js';
import { connect, openPglite, openPostgres, type TestDatabase } from './support.js';

describe('undocumented insides of TypeORM and pg', () => {
  let database: TestDatabase;
  let dataSource: DataSource;

  beforeAll(async () => {
    database = await openPostgres();
  });
  afterAll(() => database?.close());

  it('are touched in one folder', () => {
    const folder = new URL('../src/', import.meta.url);
    const inside = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
      (path) =>
        path.endsWith('.ts') &&
        /from '(typeorm|pg)\/|transactionDepth|readyForQuery|\.master\b/.test(
          readFileSync(new URL(path, folder), 'utf8'),
        ),
    );
    expect(inside).toEqual(['quirks/index.ts']);
  });

  it('keep the pool of pg as `driver.master` while the DataSource is initialized', async () => {
    dataSource = await connect(database.url);
    expect(poolOf(dataSource)).toBeInstanceOf(pg.Pool);
    expect(poolOf(dataSource)?.options.max).toBe(5);
    await dataSource.destroy();
    expect(poolOf(dataSource)).toBeUndefined();
  });

  it('make another pool from the options of one, with its hidden password', async () => {
    dataSource = await connect(database.url);
    const source = poolOf(dataSource)!;
    const pool = poolLike(source, { max: 2, statement_timeout: 1_234 });
    expect(pool).toBeInstanceOf(pg.Pool);
    expect(pool.options.max).toBe(2);
    expect(source.options.max).toBe(5);
    const client = await pool.connect();
    expect((await client.query(`SELECT current_setting('statement_timeout') AS time`)).rows).toEqual([
      { time: '1234ms' },
    ]);
    client.release();
    await pool.end();
    const { hostname, port, username, password, pathname } = new URL(database.url);
    const hidden = new pg.Pool({
      host: hostname,
      port: Number(port),
      user: username,
      password,
      database: pathname.slice(1),
    });
    const like = poolLike(hidden as never, {});
    const connected = await like.connect();
    connected.release();
    await like.end();
    await hidden.end();
    await dataSource.destroy();
  });

  it("tell whether a connection is idle, also PGlite's", async () => {
    const pglite = await openPglite();
    for (const source of [database.dataSource, pglite.dataSource]) {
      const runner = source.createQueryRunner();
      const client: DriverClient = await runner.connect();
      expect(isIdle(client)).toBe(true);
      const running = client.query('SELECT 1');
      expect(isIdle(client)).toBe(false);
      await running;
      expect(isIdle(client)).toBe(true);
      await client.query('BEGIN');
      expect(isIdle(client)).toBe(false);
      await client.query('SELECT 1 / 0').catch(() => undefined);
      expect(isIdle(client)).toBe(false);
      await client.query('ROLLBACK');
      expect(isIdle(client)).toBe(true);
      await runner.release();
    }
    await pglite.close();
  });

  it('count the transactions in a runner', async () => {
    const runner: QueryRunner = database.dataSource.createQueryRunner();
    expect(depthOf(runner)).toBe(0);
    await runner.startTransaction();
    await runner.startTransaction();
    expect(depthOf(runner)).toBe(2);
    await runner.rollbackTransaction();
    expect(depthOf(runner)).toBe(1);
    await runner.rollbackTransaction();
    await runner.release();
  });

  it('drop a connection that is said to be broken, with what hangs on it', async () => {
    dataSource = await connect(database.url);
    const pool = poolOf(dataSource)!;
    const runner = dataSource.createQueryRunner();
    const client: DriverClient = await runner.connect();
    const pid = (await client.query('SELECT pg_backend_pid() AS pid')).rows;
    const hanging = runner.query('SELECT pg_sleep(60)');
    breakOff(client, 'late');
    await expect(hanging).rejects.toThrow();
    expect(runner.isReleased).toBe(true);
    expect(await dataSource.query('SELECT pg_backend_pid() AS pid')).not.toEqual(pid);
    expect((pool as unknown as pg.Pool).totalCount).toBe(1);
    await dataSource.destroy();
  });

  it('listen to the errors of a connection from the moment that the pool hands it out', async () => {
    dataSource = await connect(database.url);
    const pool = poolOf(dataSource)!;
    hear(pool);
    hear(pool);
    expect(pool.listenerCount('acquire')).toBe(1);
    const client = await pool.connect();
    const listeners = client.listenerCount('error');
    expect(listeners).toBeGreaterThan(0);
    client.release();
    const again = await pool.connect();
    expect(again.listenerCount('error')).toBe(listeners);
    again.release();
    await dataSource.destroy();
  });

  it('tell what the first COMMIT did, and pass on all else as it is', async () => {
    const runner = database.dataSource.createQueryRunner();
    const client: DriverClient = await runner.connect();
    for (const [statement, committed] of [
      ['SELECT 1', true],
      ['SELECT 1 / 0', false],
    ] as const) {
      const { query } = client;
      const commit = watchCommit(client);
      await runner.startTransaction();
      const submitted = new pg.Query('SELECT 1');
      expect((client as unknown as pg.Client).query(submitted)).toBe(submitted);
      await runner.query(statement).catch(() => undefined);
      expect(commit.done).toBe(false);
      await runner.commitTransaction();
      expect(commit.done).toBe(committed);
      await runner.startTransaction();
      await runner.query(committed ? 'SELECT 1 / 0' : 'SELECT 1').catch(() => undefined);
      await runner.commitTransaction();
      expect(commit.done).toBe(committed);
      commit.leave();
      expect(client.query).toBe(query);
    }
    await runner.release();
  });

  describe('tell that a connection is lost', () => {
    const client = async (url: string, options: object = {}) => {
      const one = new pg.Client({ connectionString: url, ...options });
      one.on('error', () => undefined);
      await one.connect();
      return one;
    };
    const losses: [string, (proxy: TcpProxy) => Promise<unknown>][] = [
      [
        'in a statement',
        async ({ url }) => (await client(url)).query('SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)'),
      ],
      [
        'by the network, in a statement',
        async (proxy) => {
          const one = await client(proxy.url);
          const running = one.query('SELECT pg_sleep(60)');
          proxy.cut();
          return running;
        },
      ],
      [
        'by the network, before a statement',
        async (proxy) => {
          const one = await client(proxy.url);
          const gone = once(one, 'end');
          proxy.cut();
          await gone;
          return one.query('SELECT 1');
        },
      ],
      [
        'by its own side',
        async ({ url }) => {
          const one = await client(url);
          await one.end();
          return one.query('SELECT 1');
        },
      ],
      [
        'with an answer that comes too late',
        async ({ url }) => {
          const one = await client(url, { query_timeout: 50 });
          return one.query('SELECT pg_sleep(60)').finally(() => one.end());
        },
      ],
      [
        'that does not come about in time',
        (proxy) => {
          proxy.freeze();
          return client(proxy.url, { connectionTimeoutMillis: 50 });
        },
      ],
      [
        'that the pool cannot make in time',
        (proxy) => {
          proxy.freeze();
          return new pg.Pool({ connectionString: proxy.url, connectionTimeoutMillis: 50 }).connect();
        },
      ],
      [
        'that the pool does not have in time',
        async ({ url }) => {
          const pool = new pg.Pool({ connectionString: url, max: 1 });
          const one = await pool.connect();
          pool.options.connectionTimeoutMillis = 50;
          return pool.connect().finally(() => one.release(true));
        },
      ],
      [
        'that is refused',
        async (proxy) => {
          await proxy.close();
          return client(proxy.url);
        },
      ],
    ];

    it.each(losses)('%s', async (_, lose) => {
      const proxy = await TcpProxy.start(database.url);
      const error = await lose(proxy).catch((error) => error);
      const { code, message } = error as { code?: string; message?: string };
      expect({ lost: isLost(error) || code === '57P01', code, message }).toMatchObject({ lost: true });
      await proxy.close().catch(() => undefined);
    });

    it.each(['ER_DUP_ENTRY', 'EREQUEST'])('and not what another driver says: %s', (code) => {
      expect(isLost(Object.assign(new Error('Duplicate entry'), { code }))).toBe(false);
    });

    it.each<[string, unknown]>([
      ['SELECT 1 / 0', []],
      ['SELECT $1', 'no list'],
      ['SELECT $1::json', [{ n: 1n }]],
    ])('and not of what was asked: %s', async (statement, parameters) => {
      const one = await client(database.url);
      const error = await one.query(statement, parameters as unknown[]).catch((error) => error);
      expect(error).toBeInstanceOf(Error);
      expect(isLost(error)).toBe(false);
      await one.end();
    });
  });
});
