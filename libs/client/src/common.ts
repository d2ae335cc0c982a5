export { frameType, type Injected, isCallable, SealwireError } from '@sealwire/core';
export type { ConnectionState } from './connection.js';
export { ChannelBlockedError, OutcomeUnknownError, PolicyError, RemoteError } from './errors.js';
export type { RemoteEvents, RemoteListener, RenewalReason } from './events.js';
export type { RemoteOptions } from './options.js';
export type { CallOptions, Remote, RemoteControls } from './remote.js';
export {
  type FetchTransportOptions,
  fetchTransport,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from './transport/transport.js';
export type { BatchApi, BatchCall, BatchResults, RemoteApi, Sent, Settled } from './types.js';
