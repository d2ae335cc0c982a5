/** For authors of stores: the ports, and the few helpers that both sides of a port must agree on. */
export type { NumberAnswer } from '@sealwire/core';
export type { ResolvedOptions, SealwireStore } from '../options.js';
export { knownOf } from '../sessions/known-of.js';
export { withinTime } from '../time-limit.js';
export { RESOLVED_OPTIONS } from '../tokens.js';
export { ExactlyOnce, type ExactlyOnceCall } from './exactly-once.js';
export { type CookieRandom, KeyStore, type StoredServerKey } from './key-store.js';
export { type Acceptance, type FirstAcceptance, NumberLedger } from './number-ledger.js';
export { SessionData, type SessionDataRow } from './session-data.js';
export { SessionDirectory } from './session-directory.js';
export { type RenewedSession, SessionStore, type SessionStoreListener } from './session-store.js';
export {
  type ClosedLane,
  type CloseReason,
  type FirstCalls,
  type LedgerSession,
  type NewSession,
  ownSelector,
  type SessionLimits,
  type SessionSelector,
  type SessionSummary,
  type StoredSession,
} from './session-types.js';
