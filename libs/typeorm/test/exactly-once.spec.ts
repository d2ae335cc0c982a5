import type { EntityManager, EntitySubscriberInterface, QueryRunner } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  connect,
  emptyTables,
  type Instance,
  kek,
  nextKek,
  openPglite,
  openPostgres,
  primitives,
  startInstance,
  type TestDatabase,
} from './support.js';

const outcome = new Uint8Array(20).fill(5);
const done = { outcome, rollback: false };

describe.each([
  ['PGlite', openPglite],
  ['PostgreSQL', openPostgres],
] as const)('exactly once on %s', (name, open) => {
  let database: TestDatabase;
  let instance: Instance;
  const pglite = name === 'PGlite';
  const call = (claimed?: Uint8Array, session?: string) => ({
    module: 'payments',
    session,
    callId: primitives.random(16),
    claimed,
    name: 'pay',
    digest: primitives.random(32),
  });
  const transfer =
    (amount = 1) =>
    async (manager: unknown) => {
      await (manager as EntityManager).query('INSERT INTO transfer VALUES ($1)', [amount]);
      return done;
    };
  const transfers = async (): Promise<number> => {
    const [{ count }] = await database.dataSource.query('SELECT count(*)::int AS count FROM transfer');
    return count;
  };

  beforeAll(async () => {
    database = await open();
    await database.dataSource.query('CREATE TABLE transfer (amount integer UNIQUE DEFERRABLE)');
    instance = await startInstance(database.dataSource, { kek: `${kek} ${nextKek}`, exclusiveDatabase: pglite });
  });
  afterAll(async () => {
    await instance?.sessions.stop();
    await database?.close();
  });
  beforeEach(async () => {
    await database.dataSource.query('DELETE FROM transfer');
  });

  it('runs a call once and then repeats its outcome', async () => {
    const one = call();
    expect(await instance.exactlyOnce.run(one, transfer())).toEqual(outcome);
    expect(await instance.exactlyOnce.run(one, transfer(2))).toEqual(outcome);
    expect(await transfers()).toBe(1);
  });

  it('keeps calls apart by module', async () => {
    const one = call();
    await instance.exactlyOnce.run(one, transfer(1));
    await instance.exactlyOnce.run({ ...one, module: 'other' }, transfer(2));
    expect(await transfers()).toBe(2);
  });

  it.each([{ name: 'refund' }, { digest: new Uint8Array(32) }])(
    'refuses an identity for another call, %o, and tells it nothing',
    async (other) => {
      const one = call();
      await instance.exactlyOnce.run(one, transfer(1));
      const stolen = instance.exactlyOnce.run({ ...one, ...other }, transfer(2));
      await expect(stolen).rejects.toMatchObject({ code: 'number_conflict' });
      expect(await instance.exactlyOnce.run(one, transfer(3))).toEqual(outcome);
      expect(await transfers()).toBe(1);
    },
  );

  it('has no identity of a call, name or arguments in the table', async () => {
    const [one, two] = [call(), call()];
    await instance.exactlyOnce.run(one, transfer(1));
    await instance.exactlyOnce.run({ ...two, digest: one.digest }, transfer(2));
    const rows = await database.dataSource.query('SELECT o::text AS line, binding FROM sealwire_outcome o');
    const text = rows.map(({ line }: { line: string }) => line).join();
    for (const secret of [one.callId, two.callId, one.digest]) {
      expect(text).not.toContain(Buffer.from(secret.subarray(0, 8)).toString('hex'));
    }
    expect(text).not.toContain('pay"');
    const bindings = rows.map(({ binding }: { binding: Buffer }) => binding.toString('hex'));
    expect(new Set(bindings).size).toBe(bindings.length);
  });

  it('makes no second row of a call while key-encryption keys change', async () => {
    const one = call();
    await instance.exactlyOnce.run(one, transfer(1));
    const options = { kek: `${nextKek} ${kek}`, exclusiveDatabase: pglite };
    const rotating = await startInstance(database.dataSource, options);
    expect(await rotating.exactlyOnce.run(one, transfer(2))).toEqual(outcome);
    const two = call();
    await rotating.exactlyOnce.run(two, transfer(3));
    // rewrapped, and then read by one that has only the new key, while one with the old order still runs
    await rotating.rewrap();
    await rotating.sessions.stop();
    const after = await startInstance(database.dataSource, { kek: nextKek, exclusiveDatabase: pglite });
    for (const done of [one, two]) expect(await after.exactlyOnce.run(done, transfer(4))).toEqual(outcome);
    const three = call();
    await after.exactlyOnce.run(three, transfer(5));
    await after.sessions.stop();
    expect(await transfers()).toBe(3);
    await database.dataSource.query('DELETE FROM sealwire_outcome');
    const back = await startInstance(database.dataSource, { kek: `${kek} ${nextKek}`, exclusiveDatabase: pglite });
    await back.rewrap();
    await back.sessions.stop();
  });

  it('stores an error without what the call had written', async () => {
    const one = call();
    const refused = async (manager: unknown) => {
      await transfer()(manager);
      return { outcome: Uint8Array.of(9), rollback: true };
    };
    expect(await instance.exactlyOnce.run(one, refused)).toEqual(Uint8Array.of(9));
    expect(await instance.exactlyOnce.run(one, transfer())).toEqual(Uint8Array.of(9));
    expect(await transfers()).toBe(0);
  });

  it('stores an error after a statement that failed', async () => {
    const one = call();
    const failing = async (manager: unknown) => {
      await (manager as EntityManager).query('SELECT 1 / 0').catch(() => undefined);
      return { outcome: Uint8Array.of(8), rollback: true };
    };
    expect(await instance.exactlyOnce.run(one, failing)).toEqual(Uint8Array.of(8));
    expect(await instance.exactlyOnce.run(one, transfer())).toEqual(Uint8Array.of(8));
  });

  it('stores nothing of a call that breaks off', async () => {
    const one = call();
    const broken = async (manager: unknown) => {
      await transfer()(manager);
      throw new TypeError('a bug');
    };
    await expect(instance.exactlyOnce.run(one, broken)).rejects.toThrow('a bug');
    expect(await transfers()).toBe(0);
    expect(await instance.exactlyOnce.run(one, transfer())).toEqual(outcome);
    expect(await transfers()).toBe(1);
  });

  it('runs a call again after a failed serialization, three times at most', async () => {
    let runs = 0;
    const unlucky = async (manager: unknown) => {
      await transfer(runs)(manager);
      runs += 1;
      if (runs < 3) await (manager as EntityManager).query(`DO $$ BEGIN RAISE SQLSTATE '40001'; END $$`);
      return done;
    };
    expect(await instance.exactlyOnce.run(call(), unlucky)).toEqual(outcome);
    expect(runs).toBe(3);
    expect(await transfers()).toBe(1);
    runs = -3;
    await expect(instance.exactlyOnce.run(call(), unlucky)).rejects.toMatchObject({ code: 'busy' });
    expect(runs).toBe(0);
  });

  it('runs nothing that was first sent to another incarnation', async () => {
    const elsewhere = instance.exactlyOnce.run(call(new Uint8Array(8)), transfer());
    await expect(elsewhere).rejects.toMatchObject({ code: 'outcome_unknown' });
    expect(await instance.exactlyOnce.run(call(instance.sessions.incarnation()), transfer())).toEqual(outcome);
    expect(await transfers()).toBe(1);
  });

  it('refuses an outcome that was moved to another call', async () => {
    const [one, two] = [call(), call()];
    await instance.exactlyOnce.run(one, transfer(1));
    await instance.exactlyOnce.run(two, transfer(2));
    await database.dataSource.query(
      `UPDATE sealwire_outcome SET outcome = (SELECT outcome FROM sealwire_outcome ORDER BY at LIMIT 1)
       WHERE at = (SELECT max(at) FROM sealwire_outcome)`,
    );
    await expect(instance.exactlyOnce.run(two, transfer(3))).rejects.toMatchObject({ code: 'outcome_unknown' });
    expect(await transfers()).toBe(2);
  });

  const insert = (manager: EntityManager, amount: number) =>
    manager.query('INSERT INTO transfer VALUES ($1)', [amount]);
  const wait = () => new Promise((resolve) => setTimeout(resolve, 20));
  const misuses: [string, (manager: EntityManager, runner: QueryRunner) => Promise<unknown>][] = [
    ['leaves a transaction open', (_, runner) => runner.startTransaction()],
    ['ends the one it was given', (_, runner) => runner.commitTransaction()],
    ['rolls back the one it was given', (_, runner) => runner.rollbackTransaction()],
    ['releases it', (_, runner) => runner.release()],
    [
      'puts another in the place of the one it was given',
      async (manager) => {
        for (const statement of ['ROLLBACK', 'BEGIN', 'SAVEPOINT typeorm_1']) await manager.query(statement);
        await insert(manager, 2);
      },
    ],
    [
      'has several in it at a time',
      (manager) => Promise.all([2, 3, 4].map((amount) => manager.transaction((inner) => insert(inner, amount)))),
    ],
    [
      'does not wait for several in it that fail',
      (manager) =>
        Promise.all([
          manager.transaction(() => Promise.reject(new Error('fails'))),
          manager.transaction(async (inner) => {
            await wait();
            await insert(inner, 2);
          }),
        ]).catch(() => undefined),
    ],
  ];

  it.each(misuses)('undoes all of a call that %s', async (_, misuse) => {
    const one = call();
    const misusing = async (transaction: unknown) => {
      const manager = transaction as EntityManager;
      await insert(manager, 1);
      await misuse(manager, manager.queryRunner!);
      return done;
    };
    const refused = await instance.exactlyOnce.run(one, misusing).catch((error) => error);
    expect(refused).toBeInstanceOf(Error);
    expect(refused).not.toHaveProperty('code', 'busy');
    await wait();
    expect(await transfers()).toBe(0);
    expect(await instance.exactlyOnce.run(one, transfer())).toEqual(outcome);
    expect(await transfers()).toBe(1);
  });

  it.each([false, true])('undoes what a call did not wait for, or does it in time (nested: %s)', async (nested) => {
    let late: Promise<unknown> | undefined;
    const hasty = async (transaction: unknown) => {
      const manager = transaction as EntityManager;
      const work = async (inner: EntityManager) => {
        await wait();
        await insert(inner, 2);
      };
      late = nested ? work(manager.queryRunner!.manager) : work(manager);
      late.catch(() => undefined);
      await insert(manager, 1);
      return done;
    };
    expect(await instance.exactlyOnce.run(call(), hasty)).toEqual(outcome);
    await expect(late).rejects.toThrow('over');
    expect(await transfers()).toBe(1);
  });

  it('commits what subscribers write before the commit', async () => {
    let amount = 10;
    const subscriber: EntitySubscriberInterface = {
      beforeTransactionCommit: ({ manager }) => insert(manager, amount++),
    };
    database.dataSource.subscribers.push(subscriber);
    await instance.exactlyOnce.run(call(), transfer()).finally(() => database.dataSource.subscribers.pop());
    expect(amount).toBeGreaterThan(10);
    expect(await transfers()).toBe(1 + amount - 10);
  });

  const subscribed = (subscriber: EntitySubscriberInterface, one = call()) => {
    database.dataSource.subscribers.push(subscriber);
    return instance.exactlyOnce.run(one, transfer()).finally(() => database.dataSource.subscribers.pop());
  };

  it.each(['beforeTransactionStart', 'afterTransactionStart', 'beforeTransactionCommit', 'afterTransactionCommit'])(
    'undoes all of a call of which a subscriber throws at %s, and says so',
    async (event) => {
      const refused = subscribed({
        [event]() {
          throw Object.assign(new Error('The broker is away.'), { code: 'ECONNREFUSED' });
        },
      });
      await expect(refused).rejects.toThrow('The broker is away.');
      await expect(refused).rejects.not.toHaveProperty('code', 'busy');
      expect(await transfers()).toBe(0);
    },
  );

  it('answers what is committed, although a subscriber throws after that', async () => {
    let ends = 0;
    const one = call();
    const afterCommit = () => {
      ends += 1;
      // the first is that of the savepoint
      if (ends > 1) throw new Error('The broker is away.');
    };
    expect(await subscribed({ afterTransactionCommit: afterCommit }, one)).toEqual(outcome);
    expect(await transfers()).toBe(1);
    expect(await subscribed({ afterTransactionCommit: afterCommit }, one)).toEqual(outcome);
    expect(await transfers()).toBe(1);
  });

  it('answers what is committed, although a transaction of a subscriber fails after that', async () => {
    let ends = 0;
    const failing = async ({ manager }: { manager: EntityManager }) => {
      ends += 1;
      if (ends !== 2) return;
      await manager.transaction(async (own) => {
        await own.query('SELECT 1 / 0').catch(() => undefined);
      });
    };
    expect(await subscribed({ afterTransactionCommit: failing })).toEqual(outcome);
    expect(await transfers()).toBe(1);
  });

  it('answers nothing that was undone, although a transaction of a subscriber succeeds after that', async () => {
    let ends = 0;
    const one = call();
    const refused = subscribed(
      {
        async beforeTransactionCommit({ manager }) {
          ends += 1;
          if (ends === 2) await manager.query('SELECT 1 / 0').catch(() => undefined);
        },
        async afterTransactionCommit({ manager }) {
          if (ends !== 2) return;
          ends += 1;
          await manager.transaction((own) => own.query('SELECT 1'));
        },
      },
      one,
    );
    await expect(refused).rejects.toThrow('rolled back');
    expect(await transfers()).toBe(0);
    expect(await instance.exactlyOnce.run(one, transfer())).toEqual(outcome);
  });

  it('answers nothing that a failed statement of a subscriber undid', async () => {
    let ends = 0;
    const one = call();
    const swallowing = async ({ manager }: { manager: EntityManager }) => {
      ends += 1;
      if (ends > 1) await manager.query('SELECT 1 / 0').catch(() => undefined);
    };
    await expect(subscribed({ beforeTransactionCommit: swallowing }, one)).rejects.toThrow('rolled back');
    expect(await transfers()).toBe(0);
    expect(await instance.exactlyOnce.run(one, transfer())).toEqual(outcome);
  });

  it.runIf(pglite)('leaves the one connection to others after each call', async () => {
    await Promise.all(Array.from({ length: 5 }, (_, i) => instance.exactlyOnce.run(call(), transfer(i))));
    expect(await transfers()).toBe(5);
  });

  describe.skipIf(pglite)('with several instances', () => {
    let others: Awaited<ReturnType<typeof connect>>;
    let second: Instance;
    beforeAll(async () => {
      others = await connect(database.url);
      second = await startInstance(others);
    });
    afterAll(async () => {
      await second?.sessions.stop();
      await others?.destroy();
    });

    it('runs a call once that all are sent at the same moment', async () => {
      const one = call();
      const runs = Array.from({ length: 8 }, (_, i) => (i % 2 ? instance : second).exactlyOnce.run(one, transfer(i)));
      expect(await Promise.all(runs)).toEqual(Array(8).fill(outcome));
      expect(await transfers()).toBe(1);
    });

    it.each(['repeatable read', 'serializable'])('runs a call once where %s is the default', async (level) => {
      const name = new URL(database.url).pathname.slice(1);
      await others.query(`ALTER DATABASE ${name} SET default_transaction_isolation = '${level}'`);
      const sources = await Promise.all([connect(database.url), connect(database.url)]);
      await others.query(`ALTER DATABASE ${name} RESET default_transaction_isolation`);
      const instances = await Promise.all(sources.map((source) => startInstance(source)));
      const one = call();
      const runs = Array.from({ length: 6 }, (_, i) => instances[i % 2]!.exactlyOnce.run(one, transfer(i)));
      expect(await Promise.all(runs)).toEqual(Array(6).fill(outcome));
      expect(await transfers()).toBe(1);
      for (const { sessions } of instances) await sessions.stop();
      for (const source of sources) await source.destroy();
    });

    it('leaves connections to everything else, however many calls there are', async () => {
      let open = () => {};
      const gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      let began = 0;
      const calls = Array.from({ length: 20 }, (_, i) =>
        second.exactlyOnce.run(call(undefined, `session ${i}`), async (manager) => {
          began += 1;
          await gate;
          return transfer(i)(manager);
        }),
      );
      await vi.waitFor(() => expect(began).toBe(3));
      await second.sessions.refresh();
      await Promise.all(Array.from({ length: 10 }, () => second.data.read(new Uint8Array(16))));
      expect(began).toBe(3);
      open();
      await Promise.all(calls);
      expect(began).toBe(20);
      expect(await transfers()).toBe(20);
    });

    it('has a place for another session, however many slow calls one has', async () => {
      let open = () => {};
      const gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      let began = 0;
      const slow = Array.from({ length: 256 }, () =>
        second.exactlyOnce.run(call(undefined, 'greedy'), async () => {
          began += 1;
          await gate;
          return done;
        }),
      );
      await vi.waitFor(() => expect(began).toBe(1));
      for (let i = 0; i < 4; i++) {
        expect(await second.exactlyOnce.run(call(undefined, 'modest'), transfer(i))).toEqual(outcome);
      }
      expect(began).toBe(1);
      open();
      await Promise.all(slow);
      expect(began).toBe(256);
    });

    it('is busy where the connection is lost in the middle, and safe to repeat', async () => {
      const one = call();
      const killed = async (manager: unknown) => {
        const [{ pid }] = await (manager as EntityManager).query('SELECT pg_backend_pid() AS pid');
        await transfer()(manager);
        await others.query('SELECT pg_terminate_backend($1, 1000)', [pid]);
        return transfer(2)(manager);
      };
      await expect(instance.exactlyOnce.run(one, killed)).rejects.toMatchObject({ code: 'busy' });
      expect(await second.exactlyOnce.run(one, transfer(3))).toEqual(outcome);
      expect(await transfers()).toBe(1);
    });

    it('is busy where the connection is lost at the commit, and safe to repeat', async () => {
      // a check that the commit waits for
      await others.query(`CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$`);
      await others.query(`CREATE CONSTRAINT TRIGGER stand_still AFTER INSERT ON transfer DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION stand_still()`);
      const gate = others.createQueryRunner();
      await gate.startTransaction();
      await gate.query('SELECT pg_advisory_xact_lock(1)');
      const one = call();
      const refused = expect(instance.exactlyOnce.run(one, transfer())).rejects.toMatchObject({ code: 'busy' });
      await vi.waitFor(async () => {
        const stopped = await others.query(
          `SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT' AND wait_event = 'advisory'`,
        );
        expect(stopped).toHaveLength(1);
      });
      await refused;
      await gate.rollbackTransaction();
      await gate.release();
      expect(await second.exactlyOnce.run(one, transfer(2))).toEqual(outcome);
      expect(await transfers()).toBe(1);
      await others.query('DROP FUNCTION stand_still CASCADE');
    });

    it('is busy, and not for ever, while a lock is held', async () => {
      const holder = others.createQueryRunner();
      await holder.startTransaction();
      await holder.query('LOCK TABLE transfer');
      const one = call();
      await expect(instance.exactlyOnce.run(one, transfer())).rejects.toMatchObject({ code: 'busy' });
      await holder.rollbackTransaction();
      await holder.release();
      expect(await instance.exactlyOnce.run(one, transfer())).toEqual(outcome);
    });
  });

  it('purges outcomes after their time', async () => {
    await emptyTables(database.dataSource);
    await instance.exactlyOnce.run(call(), transfer());
    expect(await instance.directory.purge()).toBe(0);
    await database.dataSource.query(`UPDATE sealwire_outcome SET at = now() - interval '8 days'`);
    expect(await instance.directory.purge()).toBe(1);
  });
});
