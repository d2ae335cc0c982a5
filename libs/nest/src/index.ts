export { at, type FileInfo, type Injected, RemoteFile } from '@sealwire/core';
export { type SealwireEventMap, SealwireEvents } from './admin/events.js';
export { type SealwireHealth, SealwireHealthIndicator } from './admin/health.indicator.js';
export { SealwireSessions, type SessionFilter } from './admin/sealwire-sessions.js';
export { AsSent } from './functions/codec-values.js';
export { RemoteFunctionError, SessionConflictError } from './functions/outcome.js';
export {
  type RemoteCall,
  RemoteFunction,
  type RemoteFunctionOptions,
  RemoteFunctions,
  RemoteSession,
  RemoteTransaction,
  remoteCall,
} from './functions/remote-function.decorator.js';
export { KeyRing } from './keys/key-ring.js';
export type { Rate, SealwireModuleOptions, SealwireOptions, SealwireStore } from './options.js';
export {
  type Acceptance,
  type ClosedLane,
  type CloseReason,
  type CookieRandom,
  ExactlyOnce,
  type ExactlyOnceCall,
  type FirstAcceptance,
  type FirstCalls,
  KeyStore,
  type LedgerSession,
  type NewSession,
  type NumberAnswer,
  NumberLedger,
  type RenewedSession,
  SessionData,
  type SessionDataRow,
  SessionDirectory,
  type SessionLimits,
  type SessionSelector,
  SessionStore,
  type SessionStoreListener,
  type SessionSummary,
  type StoredSession,
} from './ports/index.js';
export { SealwireModule } from './sealwire.module.js';
export { SessionValueError } from './sessions/json-copy.js';
export { type Progress, RemoteProgress, RemoteResume, RemoteSignal, type Resume } from './streams/decorators.js';
export { type ByteSource, type ByteState, remoteBytes, remoteFile } from './streams/sources.js';
