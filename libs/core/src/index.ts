export { concat, erase, fromHex, toHex } from './bytes.js';
export { unknownOption } from './contract.js';
export type { KemKeyPair, KeyPair, Primitives } from './crypto/primitives.js';
export {
  type ErrorCode,
  type LocalCode,
  OUTER_STATUS,
  type OuterCode,
  outerMessage,
  type SealedStatus,
  SealwireError,
  StreamCutError,
} from './errors.js';
export { isCallable, RESERVED_NAMES } from './function-name.js';
export {
  type CookieKey,
  type CookieState,
  cookieKeyId,
  deriveCookieKey,
  openCookie,
  sealCookie,
} from './handshake/cookie.js';
export {
  type Answered,
  type Asked,
  answerFinish,
  type ClientFinished,
  discardHandshake,
  type FinishOpened,
  type FinishSent,
  finishHandshake,
  openFinish,
  receiveFinishAnswer,
} from './handshake/finish.js';
export {
  type FinishFrame,
  FLAG_PINNED,
  FLAG_SECURE_KEY,
  type HandshakeSuite,
  parseFinish,
  parseStart,
  type ServerOptions,
  type SessionTerms,
  type StartFrame,
} from './handshake/frames.js';
export {
  type Direction,
  hedgedRandom,
  type KeySize,
  nextEpochSecret,
  type Random,
  type SessionSecrets,
  SUITE,
} from './handshake/key-schedule.js';
export { type NumberAnswer, proveSession, type Renewal } from './handshake/renewal.js';
export { isSessionIdOf, makeSessionId } from './handshake/session-id.js';
export {
  answerStart,
  type ClientHandshakeConfig,
  receiveStartAnswer,
  type ServerHandshakeConfig,
  type StartAnswered,
  type StartSent,
  startHandshake,
} from './handshake/start.js';
export type { Injected, RemoteParameters } from './injected.js';
export {
  formatKeyText,
  generateKeyText,
  type KeyEncryptionKey,
  type KeyKind,
  parseKeyEncryptionKey,
  parseKeyText,
  parseSecureKey,
  parseServerPrivateKey,
  parseServerPublicKey,
  type SecureKey,
  serverKeyId,
} from './key-text.js';
export { LIMITS, SIZE } from './limits.js';
export { type IncomingOptions, IncomingStreams } from './live/incoming.js';
export type { IncomingStream } from './live/incoming-stream.js';
export { At, at, OutgoingStreams, type WritePiece } from './live/outgoing.js';
export { type FileInfo, RemoteFile } from './live/remote-file.js';
export { type StreamInfo, type StreamKind, type StreamLike, StreamSource, sourceOf } from './live/sources.js';
export {
  encodeFailure,
  encodeUnit,
  type StreamFailure,
  UNIT,
  type Unit,
  type UnitKind,
  UnitReader,
} from './live/units.js';
export {
  isLive,
  LiveOpener,
  LiveSealer,
  openLiveCall,
  openLiveResult,
  sealLiveCall,
  sealLiveResult,
} from './message/live.js';
export {
  type CallFrame,
  type CallNumber,
  CONTENT_TYPE,
  callIdentity,
  encodeCallNumber,
  FIRST_LANE,
  FRAME_TYPE,
  firstHeader,
  frameDigest,
  frameType,
  type MessageKey,
  openCall,
  openResult,
  parseCall,
  type Sending,
  sealCall,
  sealResult,
} from './message/message.js';
export { ReplayWindow, type WindowVerdict } from './message/replay-window.js';
export type { CallOptions, Resume } from './payload/call-options.js';
export {
  type Call,
  type DecodeOptions,
  decodeCalls,
  decodeOutcome,
  decodeReply,
  decodeValue,
  type EncodeOptions,
  encodeCalls,
  encodeOutcome,
  encodeReply,
  encodeValue,
  largestArgument,
  type MessageStatus,
  type Outcome,
  type Replace,
  type Reply,
  type Revive,
  UnsupportedValueError,
} from './payload/calls.js';
