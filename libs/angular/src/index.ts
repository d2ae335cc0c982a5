export {
  ChannelBlockedError,
  type ConnectionState,
  OutcomeUnknownError,
  PolicyError,
  type Progress,
  RemoteError,
  RemoteFile,
  SealwireError,
} from '@sealwire/client';
export { type RemoteAction, type RemoteActionOptions, remoteAction } from './action.js';
export {
  BACKEND as ɵBACKEND,
  type Backend as ɵBackend,
  type RemoteModuleConfig,
  type SealwireConfig,
  type ServerCalls,
} from './config.js';
export { isRemoteError } from './errors.js';
export { readerOf as ɵreaderOf, SEALED_REQUEST, type SealedRequest } from './http-client.js';
export { type InjectOptions, injectConnection, injectRemote, type Remote$, remote$ } from './inject.js';
export { sealwireStreams } from './live-requests.js';
export { type ApiOf, pathOf as ɵpathOf, type RemoteModule, remoteModule, SEALWIRE as ɵSEALWIRE } from './module.js';
export {
  provideSealwire,
  type SealwireFeature,
  type SealwireFeatureKind,
  withFetch,
  withHttpClient,
  withModule,
  withServerCalls,
  withSessionPersistence,
} from './provide.js';
export { type RemoteResourceOptions, type RemoteResourceRef, remoteResource } from './resource.js';
export { Sealwire as ɵSealwire } from './sealwire.js';
export { type RemoteStream, type RemoteStreamOptions, type RemoteStreamStatus, remoteStream } from './stream.js';
