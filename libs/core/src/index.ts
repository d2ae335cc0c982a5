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
} from './errors.js';
export { isCallable, RESERVED_NAMES } from './function-name.js';
export {
  type ClientFinished,
  type ClientHandshakeConfig,
  type FinishSent,
  finishHandshake,
  receiveFinishAnswer,
  receiveStartAnswer,
  type StartAnswered,
  type StartSent,
  startHandshake,
} from './handshake/client.js';
export {
  type CookieKey,
  type CookieState,
  cookieKeyId,
  deriveCookieKey,
  openCookie,
  sealCookie,
} from './handshake/cookie.js';
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
export { proveSession, type Renewal, type RenewalAnswer } from './handshake/renewal.js';
export {
  answerFinish,
  answerStart,
  type FinishOpened,
  openFinish,
  type ServerHandshakeConfig,
} from './handshake/server.js';
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
export {
  type CallNumber,
  callIdentity,
  encodeCallNumber,
  FIRST_CALLS,
  frameDigest,
  type Sending,
} from './message/call-number.js';
export {
  type CallFrame,
  CONTENT_TYPE,
  FRAME_TYPE,
  frameType,
  openCall,
  openResult,
  parseCall,
  sealCall,
  sealResult,
} from './message/message.js';
export { ReplayWindow, type WindowVerdict } from './message/replay-window.js';
export {
  type Call,
  decodeCalls,
  decodeReply,
  decodeValue,
  encodeCalls,
  encodeReply,
  encodeValue,
  type MessageStatus,
  type Outcome,
  type Reply,
} from './payload/calls.js';
