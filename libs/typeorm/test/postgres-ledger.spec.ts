import { type CallNumber, LIMITS } from '@sealwire/core';
import type { Acceptance, LedgerSession } from '@sealwire/nest/ports';
import pg from 'pg';
import type { DataSource } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  asked,
  connect,
  emptyTables,
  guarded,
  type Instance,
  openPostgres,
  openSession,
  primitives,
  renewed,
  startInstance,
  type TestDatabase,
} from './support.js';

const real = pg.Client.prototype.query;
const digest = new Uint8Array(16).fill(1);
const other = new Uint8Array(16).fill(2);
const result = new Uint8Array(40).fill(3);

describe('the ledger in PostgreSQL', () => {
  let database: TestDatabase;
  let instances: Instance[];
  const sources: DataSource[] = [];

  beforeAll(async () => {
    database = await openPostgres();
    for (let i = 0; i < 3; i++) sources.push(await connect(database.url));
  });
  afterAll(async () => {
    for (const source of sources) await source.destroy();
    await database?.close();
  });
  beforeEach(async () => {
    await emptyTables(database.dataSource);
    instances = [];
    for (const source of sources) instances.push(await startInstance(source, { ledger: 'postgres' }));
  });
  afterEach(async () => {
    for (const { sessions, ledger } of instances) {
      await ledger?.drain();
      await sessions.stop();
    }
  });

  const first = () => instances[0]!;
  const accept = (
    instance: Instance,
    session: LedgerSession,
    number: CallNumber,
    wanted: Uint8Array,
    milliseconds = 10_000,
  ) => instance.ledger!.accept(session, number, wanted, milliseconds);

  /** A transaction that holds what the statement locks. */
  async function held(source: DataSource, statement: string) {
    const runner = source.createQueryRunner();
    await runner.startTransaction();
    await runner.query(statement);
    return {
      async release() {
        await runner.rollbackTransaction();
        await runner.release();
      },
    };
  }

  async function isBlocked(statement: string): Promise<number | undefined> {
    const [row] = await database.dataSource.query(
      `SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE $1`,
      [`%${statement}%`],
    );
    return row?.pid;
  }

  async function blocked(statement: string): Promise<number> {
    return (await isBlocked(statement)) ?? blocked(statement);
  }

  /** What the store's own connections are asked meanwhile. */
  async function countStatements<T>(work: () => Promise<T>): Promise<{ texts: string[]; result: T }> {
    const texts: string[] = [];
    const spy = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
      this: pg.Client,
      ...args: unknown[]
    ) {
      texts.push(String(args[0]));
      return Reflect.apply(real, this, args);
    } as never);
    const result = await work().finally(() => spy.mockRestore());
    return { texts, result };
  }

  async function session() {
    const opened = await openSession(first());
    return { ...opened, opened, guarded: await guarded(first(), opened.id) };
  }

  /** Asks the first instance for a number and breaks the connection while the statement waits. */
  async function breakOff(one: LedgerSession, number: CallNumber): Promise<void> {
    const gate = await held(sources[1]!, 'LOCK TABLE sealwire_accepted IN SHARE MODE');
    const broken = accept(first(), one, number, digest);
    await database.dataSource.query('SELECT pg_terminate_backend($1)', [
      await blocked('INSERT INTO sealwire_accepted'),
    ]);
    expect(await broken).toEqual({ kind: 'busy' });
    await gate.release();
  }

  it('accepts every number on exactly one of three instances that are sent it at the same moment', async () => {
    const sessions = await Promise.all([session(), session()]);
    const numbers = Array.from({ length: 150 }, (_, counter) => counter);
    const verdicts = await Promise.all(
      instances.flatMap((instance) =>
        sessions.flatMap((one) =>
          numbers.map(async (counter) => {
            const number = { lane: one.guarded.lane, counter };
            return {
              name: `${one.guarded.key} ${counter}`,
              verdict: await accept(instance, one.guarded, number, digest),
            };
          }),
        ),
      ),
    );
    const accepted = verdicts.filter(({ verdict }) => verdict.kind === 'accepted').map(({ name }) => name);
    expect(accepted).toHaveLength(300);
    expect(new Set(accepted).size).toBe(300);
    expect(new Set(verdicts.map(({ verdict }) => verdict.kind))).toEqual(new Set(['accepted', 'running']));
  });

  it('answers a duplicate with the result of the first, here and elsewhere', async () => {
    const { guarded: one } = await session();
    const number = { lane: one.lane, counter: 0 };
    expect(await accept(first(), one, number, digest)).toEqual({ kind: 'accepted' });
    const here = (await accept(first(), one, number, digest)) as Extract<Acceptance, { kind: 'running' }>;
    expect(here.kind).toBe('running');
    expect(await accept(instances[1]!, one, number, digest)).toEqual({ kind: 'running' });
    expect(await accept(first(), one, number, other)).toEqual({ kind: 'conflict' });
    expect(await accept(instances[1]!, one, number, other)).toEqual({ kind: 'conflict' });
    first().ledger!.finish(one, number, digest, result);
    expect(await here.settled).toEqual(result);
    await first().ledger!.drain();
    for (const instance of instances) {
      expect(await accept(instance, one, number, digest)).toEqual({ kind: 'done', result });
      expect(await accept(instance, one, number, other)).toEqual({ kind: 'conflict' });
    }
  });

  it('keeps no long results', async () => {
    const { guarded: one } = await session();
    const number = { lane: one.lane, counter: 0 };
    await accept(first(), one, number, digest);
    first().ledger!.finish(one, number, digest, new Uint8Array(65_537));
    await first().ledger!.drain();
    expect(await accept(instances[1]!, one, number, digest)).toEqual({ kind: 'done', result: undefined });
  });

  it('says outcome_unknown of a number that a dead instance left running', async () => {
    const { guarded: one } = await session();
    const number = { lane: one.lane, counter: 5 };
    await accept(first(), one, number, digest);
    await database.dataSource.query(
      `UPDATE sealwire_instance SET lease_until = now() - interval '1 second'
       WHERE boot_id = (SELECT owner FROM sealwire_accepted LIMIT 1)`,
    );
    expect(await accept(instances[1]!, one, number, digest)).toEqual({ kind: 'outcome_unknown' });
  });

  it('does not wait for the lease of a silent instance whose process is gone from this machine', async () => {
    const { guarded: one } = await session();
    const number = { lane: one.lane, counter: 5 };
    await accept(first(), one, number, digest);
    const leaveTo = async (bootId: string, host: string) => {
      await database.dataSource.query(
        `INSERT INTO sealwire_instance SELECT $1, now() + interval '5 seconds', now(), $2 || host, $3, '1'
         FROM sealwire_instance LIMIT 1`,
        [bootId, host, process.pid],
      );
      await database.dataSource.query('UPDATE sealwire_accepted SET owner = $1', [bootId]);
    };
    const answers = async () => (await accept(instances[1]!, one, number, digest)).kind;
    await leaveTo('elsewhere', 'another machine');
    for (let i = 0; i < 5; i++) expect(await answers()).toBe('running');
    await leaveTo('gone', '');
    expect(await answers()).toBe('running');
    await expect.poll(answers).toBe('outcome_unknown');
  });

  it('accepts nothing in an ended session, another lane, at the floor or in another incarnation', async () => {
    const { id, guarded: one } = await session();
    const at = (counter: number, lane = one.lane) => ({ lane, counter });
    expect(await accept(first(), one, at(0, one.lane - 1), digest)).toEqual({ kind: 'lane_moved' });
    const restored = { ...one, incarnation: new Uint8Array(8) };
    expect(await accept(first(), restored, at(1), digest)).toEqual({ kind: 'lane_moved' });
    await accept(first(), one, at(10), digest);
    await database.dataSource.query('UPDATE sealwire_session SET floor = 20');
    expect(await accept(first(), one, at(20), digest)).toEqual({ kind: 'too_old' });
    expect(await accept(instances[1]!, one, at(10), digest)).toEqual({ kind: 'running' });
    const tooOld = (counter: number) => first().ledger!.isTooOld(one, at(counter));
    expect(await Promise.all([10, 20, 21, LIMITS.counter + 1].map(tooOld))).toEqual([false, true, false, true]);
    expect(await accept(first(), one, at(21), digest)).toEqual({ kind: 'accepted' });
    await instances[1]!.directory.end({ id }, 'revoked');
    expect(await accept(first(), one, at(22), digest)).toEqual({ kind: 'session_ended' });
    const [{ count }] = await database.dataSource.query('SELECT count(*)::int AS count FROM sealwire_accepted');
    expect(count).toBe(2);
  });

  it('says never_ran of no number that is being accepted', async () => {
    const { opened, secrets, guarded: one } = await session();
    const number = { lane: one.lane, counter: 0 };
    // the accepting statement has looked at the session and stands still before its row is written
    const gate = await held(sources[2]!, 'SELECT pg_advisory_xact_lock(1)');
    await database.dataSource.query(`
      CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$`);
    await database.dataSource.query(
      'CREATE TRIGGER stand_still BEFORE INSERT ON sealwire_accepted FOR EACH ROW EXECUTE FUNCTION stand_still()',
    );
    const accepting = accept(first(), one, number, digest);
    await blocked('INSERT INTO sealwire_accepted');
    let answered = false;
    const numbers = asked([one.lane, 0, digest], [one.lane, 1, digest]);
    const answers = renewed(instances[1]!, opened, secrets.renewal, numbers).finally(() => {
      answered = true;
    });
    while (!answered && !(await isBlocked('UPDATE sealwire_session'))) {}
    await gate.release();
    expect(await accepting).toEqual({ kind: 'accepted' });
    expect(await answers).toEqual([{ known: 'running' }, { known: 'never_ran' }]);
    expect(await accept(first(), one, { lane: one.lane, counter: 1 }, digest)).toEqual({ kind: 'session_ended' });
    await database.dataSource.query('DROP FUNCTION stand_still CASCADE');
  });

  it('passes over a session whose row another transaction holds, and asks again', async () => {
    const [one, free] = [await session(), await session()];
    const gate = await held(
      sources[1]!,
      `SELECT 1 FROM sealwire_session WHERE id = '\\x${one.guarded.key}' FOR UPDATE`,
    );
    const waiting = accept(first(), one.guarded, { lane: one.guarded.lane, counter: 0 }, digest);
    expect(await accept(first(), free.guarded, { lane: free.guarded.lane, counter: 0 }, digest)).toEqual({
      kind: 'accepted',
    });
    await gate.release();
    expect(await waiting).toEqual({ kind: 'accepted' });
  });

  it('is soon busy for a session whose row stays held, and takes none of its numbers', async () => {
    const { guarded: one } = await session();
    const number = { lane: one.lane, counter: 0 };
    const gate = await held(sources[1]!, 'SELECT 1 FROM sealwire_session FOR UPDATE');
    const since = performance.now();
    expect(await accept(first(), one, number, digest)).toEqual({ kind: 'busy' });
    expect(performance.now() - since).toBeLessThan(2_000);
    await gate.release();
    expect(await accept(instances[1]!, one, number, digest)).toEqual({ kind: 'accepted' });
    expect(await accept(first(), one, number, digest)).toEqual({ kind: 'running' });
  });

  it('refuses counters beyond those of a lane', async () => {
    const { guarded: one } = await session();
    const at = (counter: number) => accept(first(), one, { lane: one.lane, counter }, digest);
    expect(await at(LIMITS.counter + 1)).toEqual({ kind: 'too_old' });
    expect(await at(LIMITS.counter)).toEqual({ kind: 'accepted' });
  });

  it('keeps nothing of a number that nobody runs', async () => {
    const { guarded: one } = await session();
    const number = { lane: one.lane, counter: 0 };
    const gate = await held(sources[1]!, 'LOCK TABLE sealwire_accepted IN SHARE MODE');
    await expect(accept(first(), one, number, digest, 1)).rejects.toMatchObject({ code: 'busy' });
    const conflicting = accept(first(), one, number, other);
    await gate.release();
    expect(await conflicting).toEqual({ kind: 'conflict' });
    expect(Reflect.get(first().ledger!, 'running')).toEqual(new Map());
    expect(await accept(first(), one, number, digest)).toEqual({ kind: 'accepted' });
  });

  it('answers a renewal from its rows', async () => {
    const { opened, secrets, guarded: one } = await session();
    const finished = { lane: one.lane, counter: 1 };
    const long = { lane: one.lane, counter: 2 };
    for (const number of [finished, long, { lane: one.lane, counter: 3 }]) await accept(first(), one, number, digest);
    first().ledger!.finish(one, finished, digest, result);
    first().ledger!.finish(one, long, digest, new Uint8Array(70_000));
    await first().ledger!.drain();
    const numbers = asked(
      ...[1, 2, 3, 4].map((counter): [number, number, Uint8Array] => [one.lane, counter, digest]),
      [one.lane, 1, other],
      [0, 0, digest],
      [one.lane - 1, 9, digest],
    );
    const recalled = [
      { known: 'result', frame: result },
      { known: 'ran' },
      { known: 'running' },
      { known: 'unknown' },
      // the number went to another frame
      { known: 'never_ran' },
      // there were no first calls
      { known: 'unknown' },
      { known: 'unknown' },
    ];
    // while the session lives, more numbers may be accepted
    expect(await first().ledger!.recall(one, numbers)).toEqual(recalled);
    const answers = await renewed(instances[1]!, opened, secrets.renewal, numbers);
    expect(answers).toEqual(recalled.with(3, { known: 'never_ran' }));
  });

  it('answers for first calls as for any number, at every instance', async () => {
    const firstCalls = { digest, count: 3 };
    const opened = await openSession(first(), { firstCalls });
    const { guarded: one } = { guarded: await guarded(first(), opened.id) };
    expect(one.firstCalls).toEqual(firstCalls);
    const at = (counter: number) => ({ lane: 0, counter });
    first().ledger!.begin(one);
    const here = (await first().ledger!.first(one, at(0))) as Extract<Acceptance, { kind: 'running' }>;
    expect(here.kind).toBe('running');
    const there = await guarded(instances[1]!, opened.id);
    expect(await instances[1]!.ledger!.first(there, at(0))).toEqual({ kind: 'running' });
    first().ledger!.finish(one, at(0), digest, result);
    first().ledger!.finish(one, at(1), digest, undefined);
    expect(await here.settled).toEqual(result);
    await first().ledger!.drain();
    for (const [instance, its] of [[first(), one] as const, [instances[1]!, there] as const]) {
      expect(await instance.ledger!.first(its, at(0))).toEqual({ kind: 'done', result });
      expect(await instance.ledger!.first(its, at(1))).toEqual({ kind: 'done', result: undefined });
      expect((await instance.ledger!.first(its, at(2))).kind).toBe('running');
      expect(await instance.ledger!.first(its, at(3))).toEqual({ kind: 'outcome_unknown' });
    }
    const numbers = asked([0, 0, digest], [0, 1, digest], [0, 2, digest], [0, 3, digest]);
    expect(await renewed(instances[1]!, opened, opened.firstKey, numbers)).toEqual([
      { known: 'result', frame: result },
      { known: 'ran' },
      { known: 'running' },
      { known: 'unknown' },
    ]);
    await database.dataSource.query(`UPDATE sealwire_instance SET lease_until = now() - interval '1 second'`);
    expect(await instances[1]!.ledger!.first(there, at(2))).toEqual({ kind: 'outcome_unknown' });
  });

  it('asks for 256 numbers of a renewal in three statements', async () => {
    const { opened, secrets, guarded: one } = await session();
    for (let counter = 0; counter < 20; counter++) await accept(first(), one, { lane: one.lane, counter }, digest);
    const numbers = asked(
      ...Array.from({ length: 256 }, (_, counter): [number, number, Uint8Array] => [one.lane, counter, digest]),
    );
    const statements = await countStatements(() => renewed(instances[1]!, opened, secrets.renewal, numbers));
    expect(statements.result?.map(({ known }) => known)).toEqual([
      ...Array(20).fill('running'),
      ...Array(236).fill('never_ran'),
    ]);
    expect(statements.texts.filter((text) => !text.includes('sealwire_instance SET'))).toHaveLength(3);
  });

  it('finds made-up sessions, however many at a time, in few statements', async () => {
    const { id } = await session();
    const ids = Array.from({ length: 1_000 }, () => primitives.random(16));
    const { texts, result: found } = await countStatements(() =>
      Promise.all([...ids, id].map((one) => first().sessions.find(one))),
    );
    expect(found.filter(Boolean)).toHaveLength(1);
    // of 500 ids at most
    expect(texts.filter((text) => text.includes('ANY($1::bytea[])')).length).toBeLessThanOrEqual(3);
    expect(texts.filter((text) => !/ANY|sealwire_instance/.test(text))).toEqual([]);
  });

  it('accepts numbers and keeps its lease while everything else waits for the database', async () => {
    const { id, guarded: one } = await session();
    // statements of all kinds that anybody can cause stand still
    const gate = await held(sources[1]!, 'LOCK TABLE sealwire_cookie_key IN ACCESS EXCLUSIVE MODE');
    const waiting = Array.from({ length: 20 }, () => first().keys.cookieKey(primitives.random(4)));
    await blocked('sealwire_cookie_key');
    expect(await accept(first(), one, { lane: one.lane, counter: 0 }, digest)).toEqual({ kind: 'accepted' });
    await first().sessions.refresh();
    await gate.release();
    expect(await Promise.all(waiting)).toEqual(Array(20).fill(undefined));
    expect(await first().sessions.find(id)).toBeDefined();
  });

  it('runs a number whose statement broke off when its frame comes again', async () => {
    const { guarded: one } = await session();
    await accept(first(), one, { lane: one.lane, counter: 99 }, digest);
    const number = { lane: one.lane, counter: 0 };
    await breakOff(one, number);
    // as if it had been written before its connection broke
    await database.dataSource.query(
      `INSERT INTO sealwire_accepted (session_id, lane, counter, digest, owner)
       SELECT session_id, lane, 0, digest, owner FROM sealwire_accepted`,
    );
    expect(await accept(instances[1]!, one, number, digest)).toEqual({ kind: 'running' });
    expect(await accept(first(), one, number, digest)).toEqual({ kind: 'accepted' });
    expect((await accept(first(), one, number, digest)).kind).toBe('running');
  });

  it('runs a number for whoever waits for it, where others had no patience', async () => {
    const { guarded: one } = await session();
    const [left, taken] = [0, 1].map((counter) => ({ lane: one.lane, counter })) as [CallNumber, CallNumber];
    const gate = await held(sources[1]!, 'LOCK TABLE sealwire_accepted IN SHARE MODE');
    const impatient = [left, taken].map((number) => accept(first(), one, number, digest, 1));
    expect(await Promise.allSettled(impatient)).toMatchObject([
      { reason: { code: 'busy' } },
      { reason: { code: 'busy' } },
    ]);
    const patient = [accept(first(), one, taken, digest), accept(first(), one, taken, digest)];
    const conflicting = accept(first(), one, taken, other);
    await gate.release();
    expect((await Promise.all(patient)).map(({ kind }) => kind)).toEqual(['accepted', 'running']);
    expect(await conflicting).toEqual({ kind: 'conflict' });
    // its row was written while nobody waited
    expect(await accept(first(), one, left, digest)).toEqual({ kind: 'accepted' });
    expect((await accept(first(), one, left, digest)).kind).toBe('running');
  });

  it('forgets that it was unsure of a number as soon as it runs', async () => {
    const { guarded: one } = await session();
    const number = { lane: one.lane, counter: 0 };
    await breakOff(one, number);
    expect(await accept(first(), one, number, digest)).toEqual({ kind: 'accepted' });
    first().ledger!.finish(one, number, digest, result);
    await first().ledger!.drain();
    // as if its result could not be written
    await database.dataSource.query(`UPDATE sealwire_accepted SET state = 'running', result = NULL`);
    expect(await accept(first(), one, number, digest)).toEqual({ kind: 'outcome_unknown' });
  });

  it('drains what was finished, not what finishes later', async () => {
    const { guarded: one } = await session();
    const [early, late] = [0, 1].map((counter) => ({ lane: one.lane, counter })) as [CallNumber, CallNumber];
    for (const number of [early, late]) await accept(first(), one, number, digest);
    const gates = [
      await held(sources[1]!, 'SELECT 1 FROM sealwire_accepted WHERE counter = 0 FOR UPDATE'),
      await held(sources[2]!, 'SELECT 1 FROM sealwire_accepted WHERE counter = 1 FOR UPDATE'),
    ];
    first().ledger!.finish(one, early, digest, result);
    const draining = first().ledger!.drain();
    await blocked(`'done', i.result`);
    first().ledger!.finish(one, late, digest, result);
    await gates[0]!.release();
    await draining;
    const states = () => database.dataSource.query('SELECT state FROM sealwire_accepted ORDER BY counter');
    expect(await states()).toEqual([{ state: 'done' }, { state: 'running' }]);
    await gates[1]!.release();
  });

  it('raises floors before it deletes rows', async () => {
    const { id, guarded: one } = await session();
    await database.dataSource.query(
      `INSERT INTO sealwire_accepted (session_id, lane, counter, digest, owner, state, at)
       SELECT $1, $2, n, $3, 'x', 'done', now() - interval '1 hour' FROM generate_series(0, 5000) AS n`,
      [id, one.lane, digest],
    );
    expect(await first().directory.purge()).toBe(0);
    expect(await first().directory.purge()).toBe(0);
    expect(await accept(first(), one, { lane: one.lane, counter: 904 }, other)).toEqual({ kind: 'conflict' });
    await database.dataSource.query(`UPDATE sealwire_session SET floored_at = now() - interval '2 minutes'`);
    expect(await first().directory.purge()).toBe(905);
    expect(await accept(first(), one, { lane: one.lane, counter: 904 }, digest)).toEqual({ kind: 'too_old' });
    expect(await accept(first(), one, { lane: one.lane, counter: 905 }, digest)).toEqual({
      kind: 'done',
      result: undefined,
    });
  });
});
