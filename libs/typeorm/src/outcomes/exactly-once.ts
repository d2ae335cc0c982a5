import { Logger } from '@nestjs/common';
import { SealwireError, toHex } from '@sealwire/core';
import { ExactlyOnce } from '@sealwire/nest/ports';
import type { EntityManager, QueryRunner } from 'typeorm';
import {
  type Database,
  isTransient,
  isUnavailable,
  queryOf,
  reach,
  sqlState,
  toBytes,
} from '../connection/database.js';
import type { KeyEncryption } from '../keys/key-encryption.js';
import { outcomePlace } from '../keys/places.js';
import { type Incarnation, MARK } from '../sessions/incarnation.js';
import { Turns } from './turns.js';

const ATTEMPTS = 3;
/** milliseconds from the wait for a turn to the commit */
const DEADLINE = 30_000;
/** Of these, what it may wait for its turn: begun later, it would be cut off in the middle for nothing. */
const PATIENCE = 15_000;
/** Connections left to what every call needs, the lease first of all. */
const LEFT_FREE = 2;

type ExactCall = Parameters<ExactlyOnce['run']>[0];
type RunCall = Parameters<ExactlyOnce['run']>[1];

/**
 * The outcome is a row of the same transaction as the call's effects, so both are there or neither. Its key is written first:
 * another sending of the same call waits there until this transaction is decided, then reads the outcome or runs itself. A
 * transaction that could not begin, or may not have been committed, is `busy`: sent again under its identity it is safe.
 */
export class TypeOrmExactlyOnce extends ExactlyOnce {
  private readonly logger = new Logger('SealwireExactlyOnce');
  private readonly turns = new Turns(() => Math.max(1, this.database.connections - LEFT_FREE));

  constructor(
    private readonly database: Database,
    private readonly keys: KeyEncryption,
    private readonly incarnation: Incarnation,
  ) {
    super();
  }

  run(call: ExactCall, run: RunCall): Promise<Uint8Array> {
    const end = performance.now() + DEADLINE;
    return this.turns.run(PATIENCE, () => this.until(end, call, run));
  }

  private async until(end: number, call: ExactCall, run: RunCall): Promise<Uint8Array> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.database.withRunner(end - performance.now(), (runner) => this.once(runner, call, run));
      } catch (error) {
        if (!isTransient(error)) throw error;
        if (attempt === ATTEMPTS) throw new SealwireError('busy', undefined, { cause: error });
      }
    }
  }

  private async once(runner: QueryRunner, call: ExactCall, run: RunCall): Promise<Uint8Array> {
    await reach(() => runner.startTransaction());
    try {
      const outcome = (await this.claim(runner, call)) ?? (await this.decide(runner, call, run));
      await reach(() => runner.commitTransaction());
      return outcome;
    } catch (error) {
      const lost = !(await rollBack(runner));
      if (isTransient(error)) throw error;
      const unavailable = sqlState(error) !== undefined && isUnavailable(error);
      throw lost || unavailable ? new SealwireError('busy', undefined, { cause: error }) : error;
    }
  }

  /** Writes the call's identity; answers the stored outcome where it is there already. */
  private async claim(runner: QueryRunner, call: ExactCall): Promise<Uint8Array | undefined> {
    const query = queryOf(runner);
    // what a handler waits for in the database has an end as well, so that a lock forgotten elsewhere cannot pile up calls
    const [row] = await query<{ mark: string }>(
      `SELECT ${MARK} AS mark, set_config('lock_timeout', '5s', true), set_config('statement_timeout', '15s', true),
         set_config('idle_in_transaction_session_timeout', '20s', true)`,
    );
    if (call.claimed && !this.incarnation.matches(row?.mark ?? '', call.claimed)) {
      throw new SealwireError('outcome_unknown', 'The call was first sent to another state of the database.');
    }
    const identity = identityOf(call);
    const inserted = await query(
      `INSERT INTO sealwire_outcome (module, key_id, call_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1`,
      identity,
    );
    if (inserted.length > 0) return undefined;
    const [stored] = await query<{ outcome: Buffer | null }>(
      'SELECT outcome FROM sealwire_outcome WHERE module = $1 AND key_id = $2 AND call_id = $3',
      identity,
    );
    // purged between the two statements: too old to be told apart from one that never ran
    if (!stored?.outcome) throw new SealwireError('outcome_unknown');
    try {
      return this.keys.unwrap(outcomePlace(...identity), toBytes(stored.outcome));
    } catch (error) {
      this.logger.error(`The outcome of call ${toHex(call.callId)} cannot be read: ${error}`);
      throw new SealwireError('outcome_unknown');
    }
  }

  private async decide(runner: QueryRunner, call: ExactCall, run: RunCall): Promise<Uint8Array> {
    await reach(() => runner.startTransaction()); // a savepoint
    const depth = depthOf(runner);
    const { manager, end } = lend(runner);
    const { outcome, rollback } = await run(manager).finally(end);
    if (depthOf(runner) !== depth) {
      throw new Error(
        'An exactlyOnce function left a transaction open, ended the one it was given, or had several in it at a time.',
      );
    }
    await reach(() => (rollback ? runner.rollbackTransaction() : runner.commitTransaction()));
    const identity = identityOf(call);
    await queryOf(runner)(
      'UPDATE sealwire_outcome SET outcome = $4 WHERE module = $1 AND key_id = $2 AND call_id = $3',
      [...identity, this.keys.wrap(outcomePlace(...identity), outcome)],
    );
    return outcome;
  }
}

function identityOf({ module, keyId, callId }: ExactCall): [string, Uint8Array, Uint8Array] {
  return [module, keyId ?? new Uint8Array(), callId];
}

/** Transactions in each other; TypeORM commits for good only the outermost. */
function depthOf(runner: QueryRunner): unknown {
  return (runner as unknown as { transactionDepth: unknown }).transactionDepth;
}

/**
 * A handler's hold on the transaction, which ends with it. What it did not wait for would else go on beside the commit, and
 * what comes after that takes effect on its own; a connection handed back by it would be another's before the commit.
 */
function lend(runner: QueryRunner): { manager: EntityManager; end(): void } {
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
  const manager = runner.dataSource.createEntityManager(lent);
  const end = () => {
    over = true;
    Object.assign(runner, { manager: own });
  };
  return { manager, end };
}

/** Whether the connection was still there to do so. */
async function rollBack(runner: QueryRunner): Promise<boolean> {
  try {
    while (runner.isTransactionActive) await runner.rollbackTransaction();
  } catch {
    // also where TypeORM lost count of the transactions in it
    return runner.query('ROLLBACK').then(
      () => true,
      () => false,
    );
  }
  return !runner.isReleased;
}
