export { concat, erase, fromHex, toHex } from './bytes.js';
export {
  type Injected,
  isCallable,
  knownOptions,
  ownOptions,
  RESERVED_NAMES,
  type RemoteParameters,
} from './contract.js';
export type {
  ClientPrimitives,
  HeldSecret,
  KemKeyPair,
  KeyPair,
  NativeKey,
  Primitives,
  PrivateKey,
  Secret,
} from './crypto/primitives.js';
export { describeFrame, FRAME_LAYOUT, type FrameField } from './describe.js';
export {
  type ErrorCode,
  type LocalCode,
  OUTER_STATUS,
  type OuterCode,
  outerMessage,
  type SealedStatus,
  SealwireError,
  StreamCutError,
  thrownText,
} from './errors.js';
export {
  type CookieKey,
  type CookieState,
  cookieKeyId,
  deriveCookieKey,
  isSessionIdOf,
  makeSessionId,
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
  handshakeRandom,
  handshakeSecret,
  hedgedRandom,
  type KeySize,
  nextEpochSecret,
  type Random,
  type SessionSecrets,
  SUITE,
} from './handshake/key-schedule.js';
export { type NumberAnswer, proveSession, type Renewal } from './handshake/renewal.js';
export {
  answerStart,
  type ClientHandshakeConfig,
  receiveStartAnswer,
  type ServerHandshakeConfig,
  type StartAnswered,
  type StartSent,
  startHandshake,
} from './handshake/start.js';
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
export { at } from './live/at.js';
export { type FileInfo, RemoteFile } from './live/remote-file.js';
export {
  FoundStreams,
  isStream,
  type StreamInfo,
  type StreamKind,
  type StreamLike,
  StreamSource,
  sourceOf,
} from './live/sources.js';
export { CONTENT_TYPE, FRAME_TYPE, frameType, isLive } from './message/frame-type.js';
export {
  type CallFrame,
  callFrameLength,
  firstHeader,
  type MessageKey,
  openCall,
  openResult,
  parseCall,
  sealCall,
  sealResult,
} from './message/message.js';
export {
  type CallNumber,
  callIdentity,
  encodeCallNumber,
  FIRST_LANE,
  frameDigest,
  ReplayWindow,
  type Sending,
  type WindowVerdict,
} from './message/numbers.js';
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
export { type Attempt, attempt, isPending, lazy, run, runSync, type Soon, type Step, wait } from './steps.js';
