import { type Attempt, attempt, type MessageStatus, type NumberAnswer, type Reply, type Step } from '@sealwire/core';
import { ChannelBlockedError, RemoteError } from '../errors.js';
import type { Sent } from '../sessions/sent.js';
import type { Hint } from '../transport/hint.js';
import { failure, isRefusal, misread, readHint, traceOf } from './failure.js';
import { backoff } from './limits.js';
import type { Message } from './message.js';
import { rewrite } from './payload.js';
import type { Action } from './table.js';

type Setback = Exclude<Action, 'deliver' | 'seal' | 'transmit' | 'want'>;

/** The actions of the table that no call needs which goes well. */
export const SETBACKS: Readonly<Record<Setback, (message: Message, what?: never) => void>> = {
  pause(message, what?: Hint | Reply) {
    const tries = Math.max(message.tries, message.numbers) - 1;
    const wait = what && 'wait' in what ? what.wait : 0;
    // what runs is asked about soon
    message.wakeIn(backoff(message.state === 'running' ? Math.min(tries, 3) : tries, wait));
  },
  rest(message) {
    if (message.numbers < 2) message.on('wake');
    else message.wakeIn(backoff(message.numbers - 2));
  },
  hint(message, hint?: Hint) {
    const { sent, delivery } = message;
    if (sent && delivery.sessions.hint(sent.session, hint !== undefined && isRefusal(hint))) {
      stop(message, new ChannelBlockedError());
    }
  },
  end({ sent, delivery }, status?: { readonly status: 'number_conflict' | 'session_ended' }) {
    if (sent && status) delivery.sessions.end(sent.session, status.status);
  },
  adopt({ sent, delivery }, status?: Extract<MessageStatus, { status: 'lane_moved' }>) {
    if (sent && status) delivery.sessions.moved(sent.session, status);
  },
  forget,
  identify(message) {
    if (!message.left && message.sent?.requests === 0) forget(message);
    const { sent } = message;
    if (!sent) return;
    const { incarnation } = sent;
    rewriteRest(message, (call, i) => ({ resend: { callId: sent.identity(i), incarnation }, ...call }));
    message.resent = true;
    message.detach();
  },
  refresh(message) {
    const { refresher, added } = message.work.how;
    if (!refresher) return;
    message.refreshed = true;
    forget(message);
    refresher
      .after(message.round)
      .then(() => added?.())
      .then(
        (fresh) => {
          if (message.state !== 'pausing') return;
          rewriteRest(message, ({ metadata: _, ...call }) => ({ ...call, ...fresh }));
          message.on('wake');
        },
        (error: unknown) => {
          if (message.state === 'pausing') stop(message, refreshFailed(error));
        },
      );
  },
  note(message) {
    message.ran = true;
  },
  linger(message) {
    if (message.sent?.requests === 0) message.on('alone');
    else message.wakeIn(message.timeout / 3);
  },
  fail(message, what?: unknown) {
    stop(message, misread(what));
  },
};

/** Nothing ran under the number. */
function forget(message: Message): void {
  message.detach();
  message.left = false;
  message.mayRun = false;
}

/** Writes the calls anew that have no outcome yet. */
function rewriteRest(message: Message, change: Parameters<typeof rewrite>[2]): void {
  const { places, work } = message;
  const keep = places.flatMap((place, i) => (work.settled[place] ? [] : [i]));
  message.payload = rewrite(message.payload, keep, change);
  if (keep.length < places.length) message.places = keep.map((i) => places[i] as number);
}

/** Ends every call that has no outcome yet. */
export function stop(message: Message, error: unknown): void {
  const { work, sent } = message;
  const mayHaveRun = message.resent || message.mayRun || (sent !== undefined && sent.requests > 0);
  for (const place of message.places) {
    if (work.settled[place]) continue;
    const reason = failure(work.calls[place]?.name ?? '', mayHaveRun, traceOf(message.last), error);
    work.settled[place] = { status: 'rejected', reason };
    work.how.onSettled?.(place, work.settled[place]);
  }
  message.finish();
}

/** Whether nothing of the message ever left, or will arrive. */
export function isFresh({ left, mayRun, resent, sent }: Message): boolean {
  return !left && !mayRun && !resent && (sent?.requests ?? 0) === 0;
}

export function unanswered(message: Message, sent: Sent, hint: Hint): void {
  const { status, error: cause } = hint;
  message.lastError = cause;
  if (sent !== message.sent) return;
  message.delivery.events.emit('retrying', { what: 'call', attempt: message.tries, status, cause });
  // a gateway may rewrite whatever the server says of the session
  const muted = status !== undefined && performance.now() - message.unheardSince >= message.timeout / 3;
  if (muted) message.unheardSince = performance.now();
  const { left, event } = readHint(hint, muted, isFresh(message));
  message.left ||= left;
  message.mayRun ||= left;
  message.on(event, hint);
}

/** A result that a handshake brought, if it brought one. */
export type Opened = Attempt<Reply> | undefined;

/** Opens the result that a handshake brought of a number, if it brought one. */
export function* openTold(sent: Sent, answer: NumberAnswer): Step<Opened> {
  return answer.known === 'result' ? yield* attempt(sent.openTold(answer.frame)) : undefined;
}

/** What a handshake tells of the number that the message is under. @param opened its result */
export function told(message: Message, sent: Sent, answer: NumberAnswer, opened: Opened): void {
  if (sent !== message.sent) return;
  if (answer.known !== 'result') message.on(`told_${answer.known}`);
  else if (opened && 'value' in opened) {
    const { value: reply } = opened;
    message.on('outcomes' in reply ? message.eventOf(reply, sent.total) : 'malformed', reply);
  } else {
    message.lastError = opened?.error;
    message.on('told_unknown');
  }
}

function refreshFailed(error: unknown): RemoteError {
  const why = error instanceof Error ? error.message : String(error);
  return new RemoteError('unauthorized', `The server refused the call, and refresh() failed: ${why}`, { cause: error });
}
