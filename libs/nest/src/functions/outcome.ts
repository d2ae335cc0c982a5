import { STATUS_CODES } from 'node:http';
import { HttpException, IntrinsicException } from '@nestjs/common';
import { type Outcome, SealwireError, StreamCutError } from '@sealwire/core';

type Failure = Extract<Outcome, { ok: false }>;

/** Codes whose meaning to a client is the protocol's, so no application error may have them. */
export const RESERVED: ReadonlySet<string> = new Set(['outcome_unknown', 'unavailable']);

/**
 * An error that the caller of a remote function is meant to see: code, message and details arrive as they are. What else a
 * function throws arrives as `internal` and nothing more, HTTP exceptions excepted.
 *
 * @throws TypeError for the codes `outcome_unknown` and `unavailable`, which are the protocol's
 * @example
 * @RemoteFunctions('payments')
 * export class PaymentsController {
 *   @RemoteFunction()
 *   transfer(from: string, cents: bigint): void {
 *     if (cents > 100_000n) throw new RemoteFunctionError('limit', 'That is too much at once.', { most: 100_000n });
 *   }
 * }
 */
export class RemoteFunctionError extends IntrinsicException {
  constructor(
    readonly code: string,
    message: string,
    readonly details?: unknown,
  ) {
    super(message);
    if (RESERVED.has(code)) throw new TypeError(`The code ${code} is reserved.`);
  }
}

/**
 * Another call changed the session's data since this one read it. It arrives as `session_conflict` unless the function catches it.
 *
 * @example
 * @RemoteFunctions('cart')
 * export class CartController {
 *   @RemoteFunction()
 *   async add(item: string, @RemoteSession() session: Injected<RemoteSession>): Promise<void> {
 *     try {
 *       await session.set('items', [...((await session.get<string[]>('items')) ?? []), item]);
 *     } catch (error) {
 *       if (error instanceof SessionConflictError) throw new RemoteFunctionError('try_again', 'The cart was changed.');
 *       throw error;
 *     }
 *   }
 * }
 */
export class SessionConflictError extends RemoteFunctionError {
  constructor() {
    super('session_conflict', 'The data of this session was changed by another call.');
  }
}

/** The outcome that stands for what a function threw. What was not meant for the caller becomes `internal` and nothing more. */
export function failureOf(error: unknown): Failure {
  // a code that is no text would make the whole reply, and so every other call of the message, unreadable
  if (error instanceof RemoteFunctionError) {
    return typeof error.code === 'string'
      ? failure(error.code, String(error.message), withoutRan(error.details))
      : INTERNAL;
  }
  // nobody's mistake: its caller went away, or the way to it broke
  if (error instanceof SealwireError && error.code === 'stream_cut') {
    return failure(error.code, error.message, error instanceof StreamCutError ? error.details : undefined);
  }
  // its caller's mistake: an item of a stream among the arguments
  if (error instanceof SealwireError && error.code === 'bad_payload') {
    return failure('stream_failed', 'An item of a stream among the arguments is malformed.');
  }
  if (error instanceof HttpException) return failureOfResponse(error.getStatus(), error.getResponse(), error.message);
  return INTERNAL;
}

/** The outcome that stands for an HTTP answer of an error status. Of 500 nobody learns more than that. */
export function failureOfResponse(status: number, body: unknown, fallback?: string): Failure {
  if (status === 500) return INTERNAL;
  const phrase = STATUS_CODES[status] ?? 'Error';
  const { code, message, statusCode: _, ...rest } = isRecord(body) ? body : { code: undefined, message: body };
  const more = typeof message === 'string' || message === undefined ? {} : { message };
  const text = typeof message === 'string' ? message : (fallback ?? phrase);
  // a client goes by the status, of which a body may say something else
  const details = withoutRan({ ...rest, ...more, status });
  const known = typeof code === 'string' && !RESERVED.has(code) ? code : snakeCase(phrase);
  return failure(known, text, details);
}

/**
 * Without the word that a guard refused the call and its function did not run, after which a client sends it again. Details that another
 * server gave say it of a call of that server.
 */
function withoutRan(details: unknown): unknown {
  if (!isRecord(details) || details.status !== 401 || details.ran !== false) return details;
  const { ran: _, ...rest } = details;
  return rest;
}

/** The HTTP status that comes nearest to an outcome. */
export function statusOf(outcome: Outcome): number {
  if (outcome.ok) return 200;
  const status = isRecord(outcome.details) ? outcome.details.status : undefined;
  return typeof status === 'number' ? status : outcome.code === INTERNAL.code ? 500 : 400;
}

export const INTERNAL: Failure = failure('internal', 'Internal server error');

export function failure(code: string, message: string, details?: unknown): Failure {
  return details === undefined ? { ok: false, code, message } : { ok: false, code, message, details };
}

function snakeCase(phrase: string): string {
  return phrase.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
