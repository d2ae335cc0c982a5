import { type CallNumber, FIRST_LANE, ReplayWindow } from '@sealwire/core';
import type { LedgerSession } from '../ports/session-types.js';

/**
 * The knowledge that cleanly closed lanes give of a number that no other record has. Whoever closed one waited for first calls
 * too, so any closed lane tells that these ran.
 *
 * @example
 * import { type LedgerSession, knownOf } from '@sealwire/nest/ports';
 *
 * export function neverRan(session: LedgerSession, lane: number, counter: number): boolean {
 *   return knownOf(session, { lane, counter }) === 'never_ran';
 * }
 */
export function knownOf(
  { closed, firstCalls }: Pick<LedgerSession, 'closed' | 'firstCalls'>,
  { lane, counter }: CallNumber,
): 'never_ran' | 'ran' | 'unknown' {
  if (lane === FIRST_LANE) {
    if (counter >= (firstCalls?.count ?? 0)) return 'unknown';
    return closed.some(({ answered }) => answered) ? 'ran' : 'unknown';
  }
  const known = closed.find((one) => one.lane === lane);
  if (!known) return 'unknown';
  const verdict = ReplayWindow.fromBytes(known.window).check(counter);
  if (verdict === 'too_old') return 'unknown';
  if (verdict !== 'seen') return 'never_ran';
  return known.answered ? 'ran' : 'unknown';
}
