import { type CallNumber, FIRST_CALLS, ReplayWindow } from '@sealwire/core';
import type { LedgerSession } from '../ports/session-types.js';

/**
 * What the lanes that were closed cleanly say of a number that no other record has. Whoever closed one waited for first calls
 * too, so any closed lane tells that these ran.
 */
export function knownOf(
  { closed, firstCalls }: Pick<LedgerSession, 'closed' | 'firstCalls'>,
  { lane, counter }: CallNumber,
): 'never_ran' | 'ran' | 'unknown' {
  if (lane === FIRST_CALLS.lane) {
    if (counter >= (firstCalls?.count ?? 0)) return 'unknown';
    return closed.length > 0 ? 'ran' : 'unknown';
  }
  const window = closed.find((one) => one.lane === lane)?.window;
  if (!window) return 'unknown';
  const verdict = ReplayWindow.fromBytes(window).check(counter);
  if (verdict === 'too_old') return 'unknown';
  return verdict === 'seen' ? 'ran' : 'never_ran';
}
