import { SealwireError } from '../errors.js';

/** The second byte of each frame. */
export const PROTOCOL_VERSION = 0x01;
/** Media type of every frame (PROTOCOL.md section 5.7). */
export const CONTENT_TYPE = 'application/vnd.sealwire';

/** The first byte of each frame (PROTOCOL.md section 1.4). */
export const FRAME_TYPE = {
  start: 0x01,
  startAnswer: 0x02,
  finish: 0x03,
  finishAnswer: 0x04,
  call: 0x11,
  result: 0x12,
} as const;

const TYPE_NAMES = new Map(Object.entries(FRAME_TYPE).map(([name, type]) => [type, name as keyof typeof FRAME_TYPE]));

/** Pieces are used as they arrive; always chunked. */
export const FLAGS_LIVE = 0x03;

/**
 * The type of a frame, or undefined if the first byte names none.
 * @throws SealwireError `version` for a known type of another version
 * @example
 * if (frameType(frame) === 'start') parseStart(frame);
 */
export function frameType(frame: Uint8Array): keyof typeof FRAME_TYPE | undefined {
  const found = (TYPE_NAMES as ReadonlyMap<number | undefined, keyof typeof FRAME_TYPE>).get(frame[0]);
  if (found && frame.length > 1 && frame[1] !== PROTOCOL_VERSION) throw new SealwireError('version');
  return found;
}

/**
 * Whether a frame that begins so is a live call or result. Nothing of it is authenticated.
 * @example
 * if (isLive(frame)) console.log('Its pieces are used as they arrive.');
 */
export function isLive(frameHead: Uint8Array): boolean {
  const [type, , flags] = frameHead;
  return flags === FLAGS_LIVE && (type === FRAME_TYPE.call || type === FRAME_TYPE.result);
}
