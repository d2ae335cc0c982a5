import { LENGTH, padLength } from '../bytes.js';
import { SIZE } from '../limits.js';
import { CHUNK_HEAD } from './message.js';

/** Where the body begins in a chunk: behind the head and the length of its padding. */
export const BODY_AT = CHUNK_HEAD + LENGTH;
/** Room in front of a chunk: the first one leaves with the header of its message. */
const FRONT = SIZE.callHeader;

/** Bytes of a whole chunk: head, padded body, tag. */
export function roomOf(bodyLength: number): number {
  return CHUNK_HEAD + padLength(bodyLength) + SIZE.tag;
}

/**
 * The body of a piece: memory with room around it, which is overwritten by what is sent; or memory and bytes behind it that fill the
 * piece, both of which somebody else uses again.
 */
export type PieceBody = readonly [own: Uint8Array] | readonly [own: Uint8Array, lent: Uint8Array];

/** Room for a body, with what it needs around it to be sealed where it is. */
export function newPiece(bodyLength: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(FRONT + roomOf(bodyLength)), FRONT + BODY_AT, bodyLength);
}
