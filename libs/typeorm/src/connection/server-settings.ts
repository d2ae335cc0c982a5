import type { Logger } from '@nestjs/common';
import { SealwireError } from '@sealwire/core';
import type { Query } from './database.js';

/**
 * What a number was given to must be on disk before its call runs, or a crash gives it away once more. `synchronous_commit` the
 * statements set for themselves; whether the server then writes at all is its own setting.
 *
 * @throws SealwireError `bad_configuration` where `fsync` is off and that was not allowed
 */
export async function checkServer(query: Query, allowFsyncOff: boolean, logger: Pick<Logger, 'warn'>): Promise<void> {
  if (allowFsyncOff) return;
  const [settings] = await query<{ fsync: string; full_page_writes: string }>(
    `SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes`,
  );
  if (settings?.fsync === 'off') {
    throw new SealwireError(
      'bad_configuration',
      'This PostgreSQL has fsync = off: a crash can make it forget what it acknowledged, and a call that was not idempotent' +
        ' could run twice. Turn fsync on; for tests, typeOrmStore({ allowFsyncOff: true }).',
    );
  }
  if (settings?.full_page_writes === 'off') {
    logger.warn(
      'This PostgreSQL has full_page_writes = off: safe only on a file system that never writes half a page (ZFS); elsewhere a' +
        ' crash can damage the tables.',
    );
  }
}
