export type { Injected } from '@sealwire/core';
export type { CallOptions, Settled } from './delivery/caller.js';
export { ChannelBlockedError, OutcomeUnknownError, PolicyError, RemoteError } from './errors.js';
export type { RemoteEvents, RemoteListener, RenewalReason } from './events.js';
export type { RemoteOptions } from './options.js';
export type { BatchApi, BatchCall, BatchResults, Remote, RemoteApi, RemoteControls } from './remote.js';
export {
  type FetchTransportOptions,
  fetchTransport,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from './transport/transport.js';
