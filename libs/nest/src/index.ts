export type { Injected } from '@sealwire/core';
export { type SealwireEventMap, SealwireEvents } from './events.js';
export { type SealwireHealth, SealwireHealthIndicator } from './health.indicator.js';
export { SessionValueError } from './json-copy.js';
export { KeyRing } from './key.ring.js';
export {
  type RemoteCall,
  RemoteFunction,
  type RemoteFunctionOptions,
  RemoteFunctions,
  RemoteSession,
  RemoteTransaction,
  remoteCall,
} from './remote-function.decorator.js';
export { RemoteFunctionError, SessionConflictError } from './remote-function.error.js';
export { SealwireModule } from './sealwire.module.js';
export type { SealwireModuleOptions, SealwireOptions, SealwireStore } from './sealwire.options.js';
export { SealwireSessions, type SessionFilter } from './session-admin.service.js';
export {
  type Acceptance,
  type AttachedSession,
  type CloseReason,
  ExactlyOnce,
  type GuardedSession,
  KeyStore,
  type NewSession,
  ReplayGuard,
  type SessionSelector,
  SessionStore,
  type SessionStoreListener,
  type SessionSummary,
} from './session-store.js';
