import {
  type Attempt,
  attempt,
  type MessageStatus,
  type NumberAnswer,
  type Outcome,
  type Reply,
  type Step,
  thrownText,
} from '@sealwire/core';
import { ChannelBlockedError, notReached, notSent, RemoteError } from '../errors.js';
import type { Sent } from '../sessions/sent.js';
import type { Session } from '../sessions/session.js';
import type { Hint } from '../transport/hint.js';
import { isOffline, offline, rouseLater } from '../transport/network.js';
import { failure, isRefusal, misread, readHint, rejection, traceOf, unauthorized } from './failure.js';
import { abandon, backoff, giveWay, mayCopy } from './limits.js';
import type { Message } from './message.js';
import { rewrite } from './payload.js';
import type { Action } from './table.js';

type Failed = Extract<Outcome, { ok: false }>;
type Setback = Exclude<Action, 'deliver' | 'seal' | 'transmit' | 'want'>;

/** The actions of the table that no call needs which goes well. */
export const SETBACKS: Readonly<Record<Setback, (message: Message, what?: never) => void>> = {
  pause(message, what?: Hint | Reply) {
    const tries = Math.max(message.tries, message.numbers) - 1;
    const wait = what && 'wait' in what ? what.wait : 0;
    // what runs is asked about soon
    pause(message, backoff(message.state === 'running' ? Math.min(tries, 3) : tries, wait));
  },
  rest(message) {
    if (message.numbers < 2) message.on('wake');
    else pause(message, backoff(message.numbers - 2));
  },
  single: abandon,
  hold(message) {
    message.rousable = true;
    rouseLater(message);
    message.delivery.events.offline();
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
    message.refreshed = true;
    message.upload?.refreshed();
    forget(message);
    void restate(message, refreshed(message));
  },
  restate(message) {
    void restate(message);
  },
  note(message) {
    message.ran = true;
    message.left = true;
  },
  linger(message) {
    if (message.sent?.requests === 0) message.on('alone');
    else message.wakeIn(message.timeout / 3);
  },
  fail(message, what?: unknown) {
    stop(message, misread(what));
  },
};

/** It is over sooner if the network or the page comes back. */
function pause(message: Message, ms: number): void {
  message.wakeIn(ms);
  message.rousable = true;
  rouseLater(message);
}

/** @throws RemoteError if the application has no new metadata */
async function refreshed(message: Message): Promise<void> {
  message.asking = true;
  try {
    await message.work.how.refresher?.after(message.work.round);
  } catch (error) {
    throw refreshFailed(error);
  } finally {
    message.asking = false;
  }
}

/** Has the application say anew what the calls say beside their arguments. Never rejects. @param refresh what it waits for */
async function restate(message: Message, refresh?: Promise<void>): Promise<void> {
  try {
    await refresh;
    const { work, delivery } = message;
    message.greetings = delivery.sessions.greetings;
    message.work = { ...work, round: work.how.refresher?.round };
    const fresh = await work.how.added?.();
    if (message.state !== 'refreshing') return;
    rewriteRest(message, ({ metadata: _, ...call }) => ({ ...call, ...fresh }));
    message.on('fresh');
  } catch (error) {
    if (message.state !== 'refreshing') return;
    stop(message, refresh && !(error instanceof RemoteError) ? refreshFailed(error) : error);
  }
}

/** The frame is not sealed yet, or there is none: without step 4 only a renewal can ask. */
export function frameless(message: Message, pending: PromiseLike<Uint8Array> | undefined): void {
  const { sent, tries } = message;
  const sealed = (): void => {
    if (sent === message.sent && tries === message.tries) message.transmit();
  };
  if (pending) pending.then(sealed, (error) => sent === message.sent && stop(message, error));
  else if (message.tries++ > 0) message.delivery.sessions.want();
  else SETBACKS.pause(message);
}

/** Whether a copy goes out beside the request that is under way. */
export function goesBeside(message: Message): boolean {
  if (mayCopy(message)) return true;
  if (message.flights.length > 1) {
    giveWay(message);
    message.wakeIn(backoff(0));
  }
  return false;
}

/** Whether the server takes no streams, or none so long. */
export function isRefused(message: Message, { state: { options } }: Session): boolean {
  const refusal = message.upload?.refusal(options.maxUpload, message.lastError);
  if (refusal) stop(message, refusal);
  return refusal !== undefined;
}

/** Whether its streams do not go out now: one request at a time reads them, and some cannot be read again. */
export function isWithheld(message: Message, { requests }: Sent): boolean {
  if (requests > 0) return true;
  const isSpent = message.upload?.stuck === true && message.state === 'sent';
  if (isSpent) message.on('spent');
  return isSpent;
}

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

/** The time of the message is over. */
export function outOfTime(message: Message): RemoteError {
  const { lastError, delivery, asking } = message;
  if (asking) return refreshFailed(new Error('it has not answered in the time of the call'), true);
  if (!isOffline()) return notReached(lastError ?? delivery.sessions.lastError);
  return isFresh(message) ? notSent() : notReached(offline());
}

/** Whether nothing of the call was committed, and it goes out again. */
export function goesAgain({ work, refreshed, upload }: Message, outcome: Failed): boolean {
  // its streams cannot be read again
  if (upload?.repeatable === false) return false;
  if (outcome.code === 'unavailable') return true;
  // a guard refused it, and the application has not been asked for new metadata yet
  return work.how.refresher !== undefined && !refreshed && unauthorized(outcome);
}

export function rejectionOf(
  { work, upload, refreshed, ran, last, resent }: Message,
  name: string,
  outcome: Failed,
): RemoteError {
  let told = outcome;
  if (unauthorized(outcome)) {
    const { refresher } = work.how;
    if (refresher && !refreshed) {
      // the next call has new metadata
      refresher.after(work.round).catch(() => undefined);
      if (upload?.repeatable === false) {
        const said = outcome.message.replace(/\.?$/, '.');
        const message = `${said} Its streams cannot be read again: call it once more.`;
        told = { ...outcome, message };
      }
    }
    // an earlier sending may have run, whatever became of this one
    if (resent) told = { ...told, details: { ...(outcome.details as object), ran: undefined } };
  }
  return rejection(name, told, ran, traceOf(last));
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

/** What `fetch` throws without a network: undici, Chromium and Firefox, WebKit. */
const NO_NETWORK = /fetch|Load failed/;

/** @param passes whether it may be there later */
function refreshFailed(
  error: unknown,
  passes = (error instanceof TypeError && NO_NETWORK.test(error.message)) ||
    (error as Partial<RemoteError> | undefined)?.retryable,
): RemoteError {
  const sentence = `The server refused the call, and refresh() failed: ${thrownText(error)}`;
  return new RemoteError('unauthorized', sentence, { retryable: passes === true, cause: error });
}
