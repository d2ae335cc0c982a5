import { type CallNumber, type Outcome, SealwireError } from '@sealwire/core';
import { OutcomeUnknownError, RemoteError, remoteError, unreachable } from '../errors.js';
import type { Sent } from '../sessions/sent.js';
import type { Hint } from '../transport/hint.js';
import { HeadersError } from '../transport/transport.js';
import type { Event } from './table.js';

/** Codes of outcomes and refusals after which nothing ran, and the same call may succeed later. */
export const RETRYABLE: ReadonlySet<string> = new Set(['busy', 'rate_limited', 'unavailable']);
const GONE: ReadonlySet<string | undefined> = new Set(['session_unknown', 'handshake_used', 'too_large']);
/** Codes of a transport that knows that no byte of a frame left. */
export const NEVER_LEFT: ReadonlySet<unknown> = new Set(['unreachable', 'bad_configuration']);

type Trace = { readonly sessionId: Uint8Array; readonly number: CallNumber } | undefined;

export function traceOf(sent: Sent | undefined): Trace {
  return sent && { sessionId: sent.session.id, number: sent.number };
}

/** Why a call ended without an outcome. What may have run is never reported as something that did not. */
export function failure(name: string, mayHaveRun: boolean, trace: Trace, error: unknown): RemoteError {
  if (error instanceof RemoteError && error.code === 'closed') {
    return mayHaveRun ? new RemoteError('closed', `${error.message} The call may have run.`) : error;
  }
  // an answer came, only longer than this side reads
  if (error instanceof SealwireError && error.code === 'too_large') return remoteError(error);
  return mayHaveRun ? new OutcomeUnknownError(name, trace, error) : remoteError(error);
}

/** @param ran whether the server said earlier that the call ran */
export function rejection(
  name: string,
  { code, message, details }: Extract<Outcome, { ok: false }>,
  ran: boolean,
  trace: Trace,
): RemoteError {
  if (code !== 'outcome_unknown') return new RemoteError(code, message, { details, retryable: RETRYABLE.has(code) });
  return ran
    ? new RemoteError('result_gone', 'The call ran, but its result is not kept any more.')
    : new OutcomeUnknownError(name, trace);
}

/**
 * The error for what ends a call by itself: an answer that is longer than this side reads, or one that was authenticated and
 * is no answer to the call. Asking again would bring the same.
 */
export function misread(what: Hint | Error | unknown): unknown {
  if (isHint(what)) return what.error;
  if (what instanceof SealwireError && what.code === 'too_large') return what;
  const cause = what instanceof Error ? { cause: what } : {};
  return new SealwireError('bad_payload', 'The server answered under seal what this client cannot read.', cause);
}

/** The call did not run, and its streams cannot be read a second time. */
export function spent(cause: unknown): RemoteError {
  const why = cause ?? new Error('the server refused the message before anything of it ran');
  return unreachable('The streams among the arguments cannot be read again', why);
}

export function isMisread(error: unknown): boolean {
  return error instanceof SealwireError && error.code === 'bad_payload';
}

/** Whether it says, in words of a server, that the session is gone or that the body is too large for it. */
export function isRefusal({ code }: Hint): boolean {
  return GONE.has(code);
}

/**
 * @param muted whether nothing else came for so long that the session may be gone without a word
 * @param fresh whether nothing of the message ever left
 */
export function readHint(
  hint: Hint,
  muted: boolean,
  fresh: boolean,
): { readonly event: Event; readonly left: boolean } {
  if (fresh && hint.error instanceof HeadersError) return { event: 'unmade', left: false };
  const code = hint.error instanceof SealwireError ? hint.error.code : undefined;
  if (hint.status === undefined && code === 'too_large') return { event: 'oversized', left: true };
  const left = hint.status !== undefined || !NEVER_LEFT.has(code);
  return { event: muted || isRefusal(hint) ? 'refused' : 'unanswered', left };
}

function isHint(what: unknown): what is Hint {
  return typeof what === 'object' && what !== null && 'wait' in what;
}

/** A guard refused the call, so it did not run. */
export function unauthorized({ details }: Extract<Outcome, { ok: false }>): boolean {
  const { status, ran } = (details ?? {}) as { status?: unknown; ran?: unknown };
  return ran === false && status === 401;
}
