import { AsyncResource } from 'node:async_hooks';
import type { ServerResponse } from 'node:http';
import {
  type CallNumber,
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
import type { LiveReply } from '../streams/live-reply.js';
import { CallSession } from './call-session.js';
import type { Prepare, Prepared } from './origin.js';
import type { Session } from './session.js';
import type { Sessions } from './sessions.js';

/** How long a live result of first calls waits to be asked for, in milliseconds. */
const PARKED_MS = 5_000;

/** @throws SealwireError `bad_payload` if one is malformed, or they are more calls than a message may have */
export function prepareFirstCalls(payloads: readonly Uint8Array[], prepare: Prepare): Prepared[] {
  const prepared = payloads.map(prepare);
  const calls = prepared.reduce((sum, message) => sum + message.calls, 0);
  if (calls > LIMITS.batch) throw new SealwireError('bad_payload');
  return prepared;
}

/** First calls at work. */
interface FirstCallsRun {
  /** Resolves when all of them have run, but for those whose results are live. */
  readonly ready: Promise<unknown>;
  /** what is known now, one answer for each; from then on outcomes of a batch no longer wait for each other */
  answers(): NumberAnswer[];
}

/** What first calls need of the server. */
interface FirstCallsMeans {
  readonly session: Session;
  readonly ledger: NumberLedger;
  readonly data: SessionData;
  readonly sessions: Sessions;
  /** of the handshake */
  readonly answer: ServerResponse;
  /** milliseconds that a call runs on which nobody waits for */
  readonly patience: number;
}

/** Runs the messages of a step 3 as numbers 0, 1, ... of lane 0 of their session, and seals each result once. */
export function runFirstCalls(
  { session, ledger, data, sessions, answer, patience }: FirstCallsMeans,
  opened: Pick<FinishOpened, 'suite' | 'firstKey' | 'firstResults'> & { readonly keySize: KeySize },
  digest: Uint8Array,
  messages: readonly Prepared[],
): FirstCallsRun {
  const { primitives, random } = opened.suite;
  // its own: calls go on if the handshake is given up, and what erasing leaves seals nothing
  const secret = opened.firstResults.slice();
  const key = { primitives, keySize: opened.keySize, secret };
  const results: (Uint8Array | undefined)[] = [];
  let running = messages.length;
  let tell!: () => void;
  const answered = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const work = async (message: Prepared, counter: number): Promise<void> => {
    const number = { lane: FIRST_LANE, counter };
    // now: K_first is erased when the session's first frame opens
    const ids = Array.from({ length: message.calls }, (_, place) =>
      callIdentity(primitives, opened.firstKey, { number, digest }, place),
    );
    const seal = (reply: Uint8Array): void => {
      const header = firstHeader(session.id, digest, counter);
      results[counter] = sealResult(key, { epoch: 0, callHeader: header }, random, reply);
    };
    let landed: Promise<void> | undefined;
    const over = (): void => {
      landed = Promise.resolve();
      session.calls -= message.calls;
      session.land(number);
      ledger.finish(session, number, digest, results[counter]);
      session.leave();
      running -= 1;
      if (running === 0) erase(secret);
    };
    session.enter();
    session.calls += message.calls;
    let live: LiveReply | undefined;
    try {
      const reply = await message.run({
        session: (transaction) => new CallSession(data, session, transaction),
        callId: (place) => ids[place] ?? new Uint8Array(0),
        audience: () => session.flights.join(number, answer, patience, landed).audience,
        together: answered,
      });
      if (reply instanceof Uint8Array) seal(reply);
      else live = reply;
    } finally {
      if (!live) over();
    }
    if (live) park(live, number, seal, over);
  };
  /** Step 4 cannot carry a result that is live: it waits until the client asks for it. */
  const park = (reply: LiveReply, number: CallNumber, seal: (reply: Uint8Array) => void, over: () => void): void => {
    const finish = (): void => {
      release();
      clearTimeout(timer);
      const payload = reply.whole();
      if (payload) seal(payload);
      over();
    };
    const abandon = (): void => {
      if (!flight.take()) return;
      reply.cancel();
      void reply.complete.then(finish);
    };
    const flight = session.flights.at(number, patience);
    flight.park({ reply, over: finish });
    const timer = setTimeout(() => reply.size > 0 && abandon(), PARKED_MS).unref();
    const release = sessions.addStream(session, { stop: () => reply.size > 0 && abandon() });
    // without streams it is a result like others, which nobody has to ask for while it comes about
    void reply.complete.then(() => {
      if (reply.size === 0 && flight.take()) finish();
    });
  };
  ledger.begin(session);
  // a store that a guard enters before it waits for anything (`AsyncLocalStorage.enterWith`) is not that of the next message
  const apart = (message: Prepared, counter: number): Promise<void> =>
    new AsyncResource('SealwireMessage').runInAsyncScope(() => work(message, counter));
  const ready = Promise.allSettled(messages.map(apart));
  if (messages.length === 0) erase(secret);
  erase(opened.firstKey, opened.firstResults);
  return {
    ready,
    answers: () => {
      tell();
      return messages.map((_, i): NumberAnswer => {
        const frame = results[i];
        return frame ? { known: 'result', frame } : { known: 'running' };
      });
    },
  };
}
