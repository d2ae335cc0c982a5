import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import type { DataSource, QueryRunner } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { breakOff, type DriverClient, depthOf, hear, isIdle, poolLike, poolOf } from '../src/quirks/index.js';
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
});
