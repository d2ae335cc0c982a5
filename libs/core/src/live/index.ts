export { LiveOpener, openLiveCall, openLiveResult } from '../message/live-open.js';
export type { PieceBody } from '../message/live-room.js';
export { LiveSealer, sealLiveCall, sealLiveResult } from '../message/live-seal.js';
export { At, BegunStream, EncodedItem } from './at.js';
export { CompleteStream, completeReference, decodeResult } from './complete.js';
export { type IncomingOptions, IncomingStreams, STOP } from './incoming.js';
export { IncomingStream } from './incoming-stream.js';
export { nextTurn } from './next-turn.js';
export { OutgoingStreams } from './outgoing.js';
export type { WritePiece } from './pieces.js';
export { hold, letGo } from './sources.js';
export {
  decodeEnding,
  encodeFailure,
  encodeUnit,
  type StreamFailure,
  UNIT,
  type Unit,
  type UnitKind,
  UnitReader,
  type UnitRoom,
} from './units.js';
