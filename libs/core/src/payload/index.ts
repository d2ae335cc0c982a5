export { concat, toHex } from '../bytes.js';
export { isCallable, knownOptions } from '../contract.js';
export { describeFrame, FRAME_LAYOUT, type FrameField } from '../describe.js';
export { OUTER_STATUS, SealwireError, thrownText } from '../errors.js';
export { parseSecureKey, parseServerPublicKey } from '../key-text.js';
export { LIMITS, SIZE } from '../limits.js';
export { RemoteFile } from '../live/remote-file.js';
export { FoundStreams, isStream } from '../live/sources.js';
export { CONTENT_TYPE, FRAME_TYPE, frameType, isLive } from '../message/frame-type.js';
export { isPending, lazy } from '../steps.js';
export {
  decodeCalls,
  decodeValue,
  type EncodeOptions,
  encodeCalls,
  encodeReply,
  encodeValue,
  largestArgument,
} from './calls.js';
