import { SealwireError } from '@sealwire/core';

/** What became of a statement or a transaction that was given up. */
export const LATE = 'The database did not answer in time.';

/** Makes an error of the connection `busy`. */
export async function reach<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw !(error instanceof SealwireError) && isUnavailable(error)
      ? new SealwireError('busy', undefined, { cause: error })
      : error;
  }
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

/** Connection lost or refused, server stopping or out of something, a lock or a statement timed out. */
export function isUnavailable(error: unknown): boolean {
  const state = sqlState(error);
  return state === undefined || /^(08|53|57P|25P03|55P03|57014)/.test(state);
}
