import { SealwireError, thrownText } from '@sealwire/core';
import { isLost } from '../quirks/index.js';

/** What became of a statement or a transaction that was given up. */
export const LATE = 'The database did not answer in time.';

/** SQLSTATEs: connection lost or refused, server stopping or out of something, a lock, a statement or a transaction timed out */
const UNAVAILABLE = /^(08|53|57P|57014|25P03|25P04|55P03)/;

/** The database could not be asked, or its answer is not known. */
export function busy(cause: unknown): SealwireError {
  return new SealwireError('busy', undefined, { cause });
}

export function isBusy(error: unknown): error is SealwireError {
  return error instanceof SealwireError && error.code === 'busy';
}

/** What to log of an error: for one that is `busy`, what the database or its driver said. */
export function reasonOf(error: unknown): string {
  return thrownText((isBusy(error) ? error.cause : undefined) ?? error);
}

/** The five characters that PostgreSQL gives an error; undefined if the error did not come from there. */
export function sqlState(error: unknown): string | undefined {
  const { driverError, code } = (error ?? {}) as { driverError?: { code?: unknown }; code?: unknown };
  const state = driverError?.code ?? code;
  // a digit: EPIPE is an error of Node
  return typeof state === 'string' && /^(?=.*\d)[0-9A-Z]{5}$/.test(state) ? state : undefined;
}

/** A deadlock or a failed serialization: the same transaction may well succeed when it is run again. */
export function isTransient(error: unknown): boolean {
  return ['40001', '40P01'].includes(sqlState(error) ?? '');
}

/** Whether the database, and not what it was asked, is the reason. An error that neither it nor its driver made never says so. */
export function isUnavailable(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== undefined) return UNAVAILABLE.test(state);
  const { driverError } = (error ?? {}) as { driverError?: unknown };
  return driverError !== undefined && isLost(driverError);
}

/**
 * Whether the server only reads: a standby, which has no unlogged tables and no serializable transactions either, or one that was told
 * so. Of a statement of the store's own it says nothing else; SQL of the application fails so for reasons of its own (`SET TRANSACTION
 * READ ONLY`, `currval`).
 */
export function isReadOnly(error: unknown): boolean {
  return ['25006', '55000', '0A000'].includes(sqlState(error) ?? '');
}
