export type { FrameField, Injected } from '@sealwire/core';
export {
  decodeValue,
  describeFrame,
  encodeReply,
  encodeValue,
  FRAME_LAYOUT as ɵFRAME_LAYOUT,
  frameType,
  knownOptions as ɵknownOptions,
  RemoteFile,
  SealwireError,
} from '@sealwire/core/calls';
export { type Batch, type BatchEntries, withEntries as ɵwithEntries } from './batch.js';
export type { ConnectionState } from './connection.js';
export { ChannelBlockedError, OutcomeUnknownError, PolicyError, RemoteError } from './errors.js';
export type { RemoteEvents, RemoteListener, RenewalReason } from './events.js';
export type { Metadata, MetadataSource } from './metadata.js';
export type { RemoteOptions } from './options.js';
export {
  type CallOptions,
  type OpenedPieces,
  type Progress,
  type Remote,
  type RemoteControls,
  remoteFunctions,
  type SealedPieces,
  type SentFrame,
} from './remote.js';
export type { SessionPersistence } from './sessions/state.js';
export type { BodyReader } from './transport/body.js';
export { explained as ɵexplained } from './transport/hint.js';
export { absolute as ɵabsolute } from './transport/network.js';
export { StreamBody, type WriteParts } from './transport/stream-body.js';
export {
  asBody as ɵasBody,
  checked as ɵchecked,
  fetchTransport,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from './transport/transport.js';
export type { FetchTransportOptions } from './transport/transport-options.js';
export type { BatchApi, BatchCall, BatchResults, RemoteApi, Sent, Settled } from './types.js';
