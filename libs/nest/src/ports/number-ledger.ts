import type { CallNumber, NumberAnswer, Sending } from '@sealwire/core';
import type { LedgerSession } from './session-types.js';

/** The answer to a frame that asks for its call number to run. */
export type Acceptance =
  | { readonly kind: 'accepted' }
  /** the same frame is running: here (then `settled` is its result frame while that is kept) or on another instance */
  | { readonly kind: 'running'; readonly settled?: Promise<Uint8Array | undefined> }
  /** the same frame ran; `result` is its result frame while that is kept */
  | { readonly kind: 'done'; readonly result: Uint8Array | undefined }
  | { readonly kind: 'conflict' | 'too_old' | 'outcome_unknown' | 'session_ended' | 'busy' }
  /** not this lane; the caller takes the session up again and answers with what is known of the old one */
  | { readonly kind: 'lane_moved' };

/** The knowledge about the number of a first call; `outcome_unknown` also if there was none. */
export type FirstAcceptance = Extract<Acceptance, { kind: 'running' | 'done' }> | { readonly kind: 'outcome_unknown' };

/**
 * Sees to it that a number runs once. It is asked after the frame opened and before its calls run. A ledger of one process answers
 * synchronously; a shared one asks its database, many numbers in one statement.
 *
 * @example
 * import { NumberLedger } from '@sealwire/nest/ports';
 *
 * // A store registers its ledger under the port's token.
 * export const provider = { provide: NumberLedger, useExisting: 'my ledger' };
 */
export abstract class NumberLedger {
  /** whether a session belongs to the process that opened its lane */
  abstract readonly exclusive: boolean;
  /**
   * `accepted` once, to the caller that then has the calls run; that it did is remembered for all others.
   * @param milliseconds a ledger that answers later throws `busy`, and accepts the number from whoever asks next
   */
  abstract accept(
    session: LedgerSession,
    number: CallNumber,
    digest: Uint8Array,
    milliseconds: number,
  ): Acceptance | Promise<Acceptance>;
  /** Whether `accept` would refuse the number as `too_old`, now and for ever. */
  abstract isTooOld(session: LedgerSession, number: CallNumber): boolean | Promise<boolean>;
  /** The first calls of `session.firstCalls`, which `SessionStore.create` wrote down, begin to run here. */
  abstract begin(session: LedgerSession): void;
  /** A first call (lane 0) is asked for under its session. Nothing is accepted, and the digest does not matter. */
  abstract first(session: LedgerSession, number: CallNumber): FirstAcceptance | Promise<FirstAcceptance>;
  /**
   * The number ran, also one of lane 0; `result` is its sealed result frame, undefined if the keys to seal it are erased by
   * now. Never awaited by the call itself.
   */
  abstract finish(session: LedgerSession, number: CallNumber, digest: Uint8Array, result: Uint8Array | undefined): void;
  /**
   * Several numbers of one session in one statement, in their order. A frame of an older lane, a frame of an ended session and
   * a renewal ask here, so all are told the same. `never_ran` only if a durable record of every accepted number exists and
   * no more can be accepted, or the number went to a frame of another digest.
   */
  abstract recall(session: LedgerSession, asked: readonly Sending[]): Promise<NumberAnswer[]>;
  /** Waits until everything that was told to `finish` before is written. */
  abstract drain(): Promise<void>;
  /** Nothing is accepted in the session's lane any more. Returns its window for `closeLane`; undefined if the record is shared. */
  close(_session: LedgerSession): Uint8Array | undefined {
    return undefined;
  }
  /** The session is over and answers for nothing any more: what this process remembers of it is erased. */
  erase(_session: Pick<LedgerSession, 'id' | 'key'>): void {}
  /** The database is another one now: results remembered here are of calls that it may not know. */
  forget(): void {}
}
