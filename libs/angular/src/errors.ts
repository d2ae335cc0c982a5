import { RemoteError, SealwireError } from '@sealwire/client';

/**
 * Narrows what a remote call was rejected with.
 *
 * @param code of the error, if only that one is meant
 * @example
 * await payments.transfer('a', 'b', 500n).catch((error: unknown) => {
 *   if (!isRemoteError(error, 'insufficient_funds')) throw error;
 *   console.log(error.details);
 * });
 */
export function isRemoteError(error: unknown, code?: string): error is RemoteError {
  return error instanceof RemoteError && (code === undefined || error.code === code);
}

/** Any error as the one type that resources and actions show. */
export function asRemoteError(error: unknown): RemoteError {
  if (error instanceof RemoteError) return error;
  const code = error instanceof SealwireError ? error.code : 'unreachable';
  return new RemoteError(code, error instanceof Error ? error.message : String(error), { cause: error });
}
