import { SealwireError } from '@sealwire/core';
import type { DataSource, QueryRunner } from 'typeorm';
import { breakOff, type DriverClient, hear, ignore, isIdle, poolOf } from '../quirks/driver.js';

const LATE = 'The database did not answer in time.';

/**
 * One of the application's connections for that long at most, then `busy`. What it is still in by then ends: a statement, a
 * transaction. The same where it is handed back in one, by whomever: the next to get it would unknowingly be part of that.
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
      throw new SealwireError('busy', undefined, { cause: error });
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
