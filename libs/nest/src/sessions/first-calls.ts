import { AsyncResource } from 'node:async_hooks';
import {
  callIdentity,
  erase,
  FIRST_LANE,
  type FinishOpened,
  firstHeader,
  type KeySize,
  LIMITS,
  type NumberAnswer,
  SealwireError,
  sealResult,
} from '@sealwire/core';
import type { NumberLedger, SessionData } from '../ports/index.js';
import { CallSession } from './call-session.js';
import type { Prepare, Prepared } from './origin.js';
import type { Session } from './session.js';

/** @throws SealwireError `bad_payload` where one is malformed, or they are more calls than a message may have */
export function prepareFirstCalls(payloads: readonly Uint8Array[], prepare: Prepare): Prepared[] {
  const prepared = payloads.map(prepare);
  const calls = prepared.reduce((sum, message) => sum + message.calls, 0);
  if (calls > LIMITS.batch) throw new SealwireError('bad_payload');
  return prepared;
}

/** First calls at work. */
export interface FirstCallsRun {
  /** Resolves when all of them have run. */
  readonly done: Promise<unknown>;
  /** what is known now, one answer for each */
  answers(): NumberAnswer[];
}

/** Runs the messages of a step 3 as numbers 0, 1, ... of lane 0 of their session, and seals each result once. */
export function runFirstCalls(
  { session, ledger, data }: { session: Session; ledger: NumberLedger; data: SessionData },
  opened: Pick<FinishOpened, 'suite' | 'firstKey' | 'firstResults'> & { readonly keySize: KeySize },
  digest: Uint8Array,
  messages: readonly Prepared[],
): FirstCallsRun {
  const { primitives, random } = opened.suite;
  // its own: calls go on where the handshake is given up, and what erasing leaves seals nothing
  const secret = opened.firstResults.slice();
  const key = { primitives, keySize: opened.keySize, secret };
  const results: (Uint8Array | undefined)[] = [];
  const work = async (message: Prepared, counter: number): Promise<void> => {
    const number = { lane: FIRST_LANE, counter };
    // now: K_first is erased when the session's first frame opens
    const ids = Array.from({ length: message.calls }, (_, place) =>
      callIdentity(primitives, opened.firstKey, { number, digest }, place),
    );
    session.enter();
    session.calls += message.calls;
    try {
      const reply = await message.run({
        session: (transaction) => new CallSession(data, session, transaction),
        callId: (place) => ids[place] ?? new Uint8Array(0),
      });
      const header = firstHeader(session.id, digest, counter);
      results[counter] = sealResult(key, { epoch: 0, callHeader: header }, random, reply);
    } finally {
      session.calls -= message.calls;
      ledger.finish(session, number, digest, results[counter]);
      session.leave();
    }
  };
  ledger.begin(session);
  // a store that a guard enters before it waits for anything (`AsyncLocalStorage.enterWith`) is not that of the next message
  const apart = (message: Prepared, counter: number): Promise<void> =>
    new AsyncResource('SealwireMessage').runInAsyncScope(() => work(message, counter));
  const done = Promise.allSettled(messages.map(apart)).finally(() => erase(secret));
  erase(opened.firstKey, opened.firstResults);
  return {
    done,
    answers: () =>
      messages.map((_, i): NumberAnswer => {
        const frame = results[i];
        return frame ? { known: 'result', frame } : { known: 'running' };
      }),
  };
}
