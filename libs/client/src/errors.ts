import type { CallNumber } from '@sealwire/core';
import { SealwireError, thrownText, toHex } from '@sealwire/core/calls';
import { deepestCause } from './transport/hint.js';
import { offline } from './transport/network.js';

interface RemoteErrorOptions {
  /** as in ErrorOptions, which applications for ES2018 do not have */
  readonly cause?: unknown;
  readonly details?: unknown;
  readonly retryable?: boolean;
}

/**
 * A remote call is rejected with this error. `code` is the server's, or one of this client's own (docs/errors.md).
 *
 * @example
 * try {
 *   await payments.transfer('alice', 'bob', 200n);
 * } catch (error) {
 *   if (error instanceof RemoteError && error.code === 'funds_short') console.log(error.message, error.details);
 *   else throw error;
 * }
 */
export class RemoteError extends Error {
  override readonly name: string = 'RemoteError';
  /** what the function attached to its error */
  readonly details: unknown;
  /** nothing ran, and the same call may succeed later */
  readonly retryable: boolean;

  constructor(
    readonly code: string,
    message: string,
    options: RemoteErrorOptions = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.details = options.details;
    this.retryable = options.retryable ?? false;
  }
}

/**
 * The call may have run, once; nobody can tell any more. `cause` says what stood between.
 *
 * @example
 * try {
 *   await payments.transfer('alice', 'bob', 200n);
 * } catch (error) {
 *   if (error instanceof OutcomeUnknownError) console.log('Look at the account before you try again.');
 *   else throw error;
 * }
 */
export class OutcomeUnknownError extends RemoteError {
  override readonly name = 'OutcomeUnknownError';
  /** hexadecimal id of the session that the call was last sent in */
  readonly sessionId: string | undefined;
  readonly number: CallNumber | undefined;

  constructor(
    readonly functionName: string,
    sent: { readonly sessionId: Uint8Array; readonly number: CallNumber } | undefined,
    cause?: unknown,
  ) {
    const why = cause instanceof Error ? ` ${cause.message}` : '';
    super('outcome_unknown', `Whether "${functionName}" ran is not known.${why}`, cause === undefined ? {} : { cause });
    this.sessionId = sent && toHex(sent.sessionId);
    this.number = sent?.number;
  }
}

/**
 * For five minutes every answer was one that anybody on the way can forge. Its code is `channel_blocked`.
 *
 * @example
 * try {
 *   await payments.balance('alice');
 * } catch (error) {
 *   if (error instanceof ChannelBlockedError) console.log('Try another network.');
 *   else throw error;
 * }
 */
export class ChannelBlockedError extends RemoteError {
  override readonly name = 'ChannelBlockedError';

  constructor() {
    super(
      'channel_blocked',
      'For five minutes nothing but unsealed refusals arrived. Something between this client and the server may be forging them.',
      { retryable: true },
    );
  }
}

/**
 * This client's own rules, or the server's as it states them under seal, forbid the connection. Its code is `policy`.
 *
 * @example
 * try {
 *   createRemote({ url: 'https://api.example.com/remote/payments' });
 * } catch (error) {
 *   if (error instanceof PolicyError) console.log(error.message); // Without serverKey and secureKey anybody ...
 * }
 */
export class PolicyError extends RemoteError {
  override readonly name = 'PolicyError';

  constructor(message: string) {
    super('policy', message);
  }
}

export function badConfiguration(message: string): SealwireError {
  return new SealwireError('bad_configuration', message);
}

export function closedError(): RemoteError {
  return new RemoteError('closed', 'This remote was closed.');
}

/** `onSession` failed, so that the calls which waited for it were not sent. */
export function onSessionFailed(error: unknown): RemoteError {
  const sentence = `onSession failed: ${thrownText(error)}`;
  return new RemoteError('on_session_failed', sentence, { retryable: true, cause: error });
}

/** The caller's time ran out; by itself it says that nothing was sent that could have run. */
export function notReached(cause: unknown): RemoteError {
  if (cause === undefined) {
    return new RemoteError('timeout', 'The call was not answered within its time.', { retryable: true });
  }
  return unreachable('Nothing came through within the time of the call', cause);
}

/** The time ran out while the device was offline, and nothing was ever sent. */
export function notSent(): RemoteError {
  return unreachable('Nothing was sent within the time of the call', offline());
}

/** What a stream ends with whose connection was lost. */
export function cutError(
  { kind, arrived }: { readonly kind: string; readonly arrived: number },
  cause: unknown,
): RemoteError {
  const unit = kind === 'items' ? kind : 'bytes';
  const details = { [unit]: arrived };
  return new RemoteError('stream_cut', `The stream was cut after ${arrived} ${unit}.`, { details, cause });
}

/** Another run is about something else than the first one. */
export function changedError(): RemoteError {
  return new RemoteError('stream_changed', 'What the stream was read from has changed, so that it cannot go on.');
}

/** With the deepest cause in the message, for `fetch failed` says nothing. */
export function unreachable(what: string, cause: unknown): RemoteError {
  const deepest = deepestCause(cause);
  return new RemoteError('unreachable', `${what}: ${thrownText(deepest)}`, { retryable: true, cause });
}

/** Any error as one that a call is rejected with. */
export function remoteError(error: unknown): RemoteError {
  if (error instanceof RemoteError) return error;
  if (error instanceof SealwireError) return new RemoteError(error.code, error.message, { cause: error });
  return unreachable('The call could not be sent', error);
}
