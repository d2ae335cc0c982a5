import { Logger } from '@nestjs/common';
import { concat, type Primitives, SealwireError, toHex } from '@sealwire/core';
import { ExactlyOnce, type ExactlyOnceCall } from '@sealwire/nest/ports';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { DURABLE, toBytes } from '../connection/database.js';
import { busy, isBusy, isReadOnly, isTransient, isUnavailable, LATE } from '../connection/errors.js';
import { Turns } from '../connection/turns.js';
import type { KeyEncryption } from '../keys/key-encryption.js';
import { outcomePlace } from '../keys/places.js';
import { breakOff, type DriverClient, depthOf, hear, ignore, isIdle, poolOf, watchCommit } from '../quirks/index.js';
import { type Incarnation, MARK } from '../sessions/incarnation.js';
import { queryOf } from '../sessions/session-data.js';

const ATTEMPTS = 3;
/** milliseconds from the wait for a turn to the commit */
const DEADLINE = 30_000;
/** Milliseconds of these that it may wait for its turn: begun later, it would be cut off in the middle for nothing. */
const PATIENCE = 15_000;
/** Connections left to the application's other work. */
const LEFT_FREE = 2;

type RunCall = Parameters<ExactlyOnce['run']>[1];

/**
 * Runs a call in a transaction of the application's DataSource. The outcome is a row of the same transaction as the call's effects,
 * so both are there or neither. Its key is written first: another sending of the same call waits there until this transaction is
 * decided, then reads the outcome or runs itself. A transaction that could not begin, or may not have been committed, is `busy`:
 * sent again under its identity it is safe. What the application throws, its subscribers included, undoes the transaction.
 *
 * The identity stands in the table as a MAC only, for who has it can ask for the outcome. The MAC's key is made from one in the
 * database that lies there wrapped, so that it stays what it is while key-encryption keys change.
 *
 * @example
 * import { DataSource } from 'typeorm';
 *
 * const dataSource = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL });
 * const { exactlyOnce } = createTypeOrmStore(dataSource, { kek: process.env.SEALWIRE_KEK });
 * const call = { module: 'payments', session: undefined, claimed: undefined, name: 'transfer', callId, digest };
 * const outcome = await exactlyOnce.run(call, async () => ({ outcome: new Uint8Array(), rollback: false }));
 */
export class TypeOrmExactlyOnce extends ExactlyOnce {
  private readonly logger = new Logger('SealwireExactlyOnce');
  private readonly turns = new Turns(
    () => Math.max(1, this.connections() - LEFT_FREE),
    // of one session; however slow its calls are, there is a place for another's
    () => Math.max(1, Math.floor((this.connections() - LEFT_FREE) / 2)),
  );

  constructor(
    private readonly primitives: Primitives,
    private readonly dataSource: DataSource,
    /** PGlite: one connection, one process */
    private readonly exclusive: boolean,
    private readonly keys: KeyEncryption,
    private readonly incarnation: Incarnation,
  ) {
    super();
  }

  run(call: ExactlyOnceCall, run: RunCall): Promise<Uint8Array> {
    const end = performance.now() + DEADLINE;
    return this.turns.run(call.session ?? '', PATIENCE, () => this.until(end, call, run));
  }

  private connections(): number {
    return poolOf(this.dataSource)?.options.max ?? 1;
  }

  private async until(end: number, call: ExactlyOnceCall, run: RunCall): Promise<Uint8Array> {
    for (let attempt = 1; ; attempt++) {
      try {
        const left = end - performance.now();
        return await withRunner(this.dataSource, this.exclusive, left, (runner) => this.once(runner, call, run));
      } catch (error) {
        if (!isTransient(error)) throw error;
        if (attempt === ATTEMPTS) throw busy(error);
      }
    }
  }

  private async once(runner: QueryRunner, call: ExactlyOnceCall, run: RunCall): Promise<Uint8Array> {
    try {
      const stored = await this.begin(runner, call).catch(async (error) => {
        // in the middle of a transaction it is not handed back but closed: the next connection may lead to the primary
        if (isReadOnly(error)) await runner.release();
        throw error;
      });
      if (stored) {
        await rollBack(runner);
        return stored;
      }
      const outcome = await this.decide(runner, call, run);
      await this.commit(runner);
      return outcome;
    } catch (error) {
      const lost = !(await rollBack(runner));
      throw !isTransient(error) && (lost || isUnavailable(error)) ? busy(error) : error;
    }
  }

  private async begin(runner: QueryRunner, call: ExactlyOnceCall): Promise<Uint8Array | undefined> {
    await runner.startTransaction();
    return this.claim(runner, call);
  }

  /** Writes the call's identity. It answers the stored outcome if there is one already. */
  private async claim(runner: QueryRunner, call: ExactlyOnceCall): Promise<Uint8Array | undefined> {
    const query = queryOf(runner);
    // what a handler waits for in the database has an end as well, so that a lock forgotten elsewhere cannot pile up calls
    const [row] = await query<{ mark: string }>(
      `SELECT ${MARK} AS mark, set_config('lock_timeout', '5s', true), set_config('statement_timeout', '15s', true),
         set_config('idle_in_transaction_session_timeout', '20s', true), ${DURABLE} AS durable`,
    );
    if (call.claimed && !this.incarnation.matches(row?.mark ?? '', call.claimed)) {
      throw new SealwireError('outcome_unknown', 'The call was first sent to another state of the database.');
    }
    const identity = this.identityOf(call);
    const inserted = await query(
      `INSERT INTO sealwire_outcome (module, call, binding) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1`,
      identity,
    );
    if (inserted.length > 0) return undefined;
    const [module, name, binding] = identity;
    const [stored] = await query<{ binding: Buffer; outcome: Buffer | null }>(
      'SELECT binding, outcome FROM sealwire_outcome WHERE module = $1 AND call = $2',
      [module, name],
    );
    if (stored && !this.primitives.equal(toBytes(stored.binding), binding)) {
      throw new SealwireError('number_conflict', 'This call identity is of another function, or of other arguments.');
    }
    // purged between the two statements: too old to be told apart from one that never ran
    if (!stored?.outcome) throw new SealwireError('outcome_unknown');
    try {
      return this.keys.unwrap(outcomePlace(...identity), toBytes(stored.outcome));
    } catch (error) {
      this.logger.error(`The outcome of call ${toHex(name)} cannot be read: ${error}`);
      throw new SealwireError('outcome_unknown');
    }
  }

  private async decide(runner: QueryRunner, call: ExactlyOnceCall, run: RunCall): Promise<Uint8Array> {
    await runner.startTransaction(); // a savepoint
    const depth = depthOf(runner);
    const { manager, end } = this.lend(runner);
    const { outcome, rollback, thrown } = await run(manager).finally(end);
    // whatever a filter answered
    if (isTransient(thrown) || isUnavailable(thrown) || isBusy(thrown)) throw thrown;
    if (depthOf(runner) !== depth) {
      throw new Error(
        'An exactlyOnce function left a transaction open, ended the one it was given, or had several in it at a time.',
      );
    }
    await (rollback ? runner.rollbackTransaction() : runner.commitTransaction());
    const identity = this.identityOf(call);
    const [module, name] = identity;
    const kept = await queryOf(runner)(
      'UPDATE sealwire_outcome SET outcome = $3 WHERE module = $1 AND call = $2 RETURNING 1',
      [module, name, this.keys.wrap(outcomePlace(...identity), outcome)],
    );
    if (kept.length === 0) throw new Error('An exactlyOnce function put another transaction in the place of its own.');
    return outcome;
  }

  /** Subscribers of the application have a part in it: only the database's own answer tells what became of the transaction. */
  private async commit(runner: QueryRunner): Promise<void> {
    const commit = watchCommit(await runner.connect());
    try {
      await runner.commitTransaction();
    } catch (error) {
      if (!commit.done) throw error;
      this.logger.error(error);
    } finally {
      commit.leave();
    }
    if (!commit.done) {
      throw new Error('The transaction was rolled back: a statement of a subscriber failed in it before the commit.');
    }
  }

  /** Module, the call and what it is bound to. Equal arguments of two calls are not to be seen in the table. */
  private identityOf({ module, callId, name, digest }: ExactlyOnceCall): [string, Uint8Array, Uint8Array] {
    const key = this.incarnation.derive('sealwire outcome');
    const mac = (text: string, ...parts: Uint8Array[]) =>
      this.primitives.hmac(key, concat(...parts, new TextEncoder().encode(text)));
    const identity = mac(module, callId);
    return [module, identity, mac(name, identity, digest)];
  }

  /**
   * A handler's hold on the transaction, which ends with it. A statement that it did not wait for would else go on beside the commit, and
   * what comes after that takes effect on its own; a connection handed back by it would be another's before the commit.
   */
  private lend(runner: QueryRunner): { manager: EntityManager; end(): void } {
    let over = false;
    const own = runner.manager;
    const lent = new Proxy(runner, {
      get(target, name) {
        if (over) throw new Error('The exactlyOnce function is over, and its transaction with it.');
        if (name === 'release') throw new Error('An exactlyOnce function cannot release its transaction.');
        return Reflect.get(target, name);
      },
    });
    // makes itself the runner's, so that transactions in this one get it too; what subscribers do at the commit is not the handler's
    const manager = this.dataSource.createEntityManager(lent);
    const end = () => {
      over = true;
      Object.assign(runner, { manager: own });
    };
    return { manager, end };
  }
}

/** Answers whether the connection was still there to do so. */
async function rollBack(runner: QueryRunner): Promise<boolean> {
  try {
    while (runner.isTransactionActive) await runner.rollbackTransaction();
  } catch {
    // also if TypeORM lost count of the transactions in it
    return runner.query('ROLLBACK').then(
      () => true,
      () => false,
    );
  }
  return !runner.isReleased;
}

/**
 * One of the application's connections for that long at most, then `busy`. What it is still in by then ends: a statement, a
 * transaction. The same holds if it is handed back in one, by whomever: the next to get it would unknowingly be part of that.
 *
 * @param exclusive PGlite's only connection: the statements of whoever gets it next queue behind what it is in
 */
export function withRunner<T>(
  dataSource: DataSource,
  exclusive: boolean,
  milliseconds: number,
  work: (runner: QueryRunner) => Promise<T>,
): Promise<T> {
  const pool = poolOf(dataSource);
  if (pool) hear(pool);
  const runner = dataSource.createQueryRunner();
  const handBack = runner.release.bind(runner);
  let client: DriverClient | undefined;
  let late = false;
  const drop = (why: string): Promise<void> | undefined => {
    if (!client || runner.isReleased) return;
    if (exclusive) {
      client.query('ROLLBACK').catch(ignore);
      return handBack();
    }
    // to end it politely would wait for an answer from the very database that gives none, and keep the pool's place as long
    breakOff(client, why);
  };
  runner.release = async () =>
    client && !isIdle(client) ? drop('A connection was handed back in the middle of something.') : handBack();
  const connecting = runner.connect().then((connected) => {
    client = connected;
  });
  const working = (async () => {
    // whatever keeps a connection from being made (a database that is just being restored, too), nothing ran
    await connecting.catch((error) => {
      throw busy(error);
    });
    if (late) throw new SealwireError('busy');
    return work(runner);
  })();
  // released before it is connected, a runner would keep the connection for ever
  const release = () => connecting.then(() => runner.release()).catch(ignore);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      late = true;
      reject(new SealwireError('busy', LATE));
      drop(LATE);
    }, milliseconds);
    working.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      return release();
    });
  });
}
