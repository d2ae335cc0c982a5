import type { CallNumber, Reply, Secret, Soon, Step } from '@sealwire/core';
import type { LiveOpener, openLiveResult } from '@sealwire/core/live';
import type { Moment } from './session.js';

/** The subject that a renewal names and proves: a session, or a handshake whose step 4 never came. */
export interface Provable {
  readonly id: Uint8Array;
  /** proves it */
  readonly key: Secret;
}

/** A number that a message was sent under and that is not answered yet. */
export interface Sent {
  readonly session: Provable;
  readonly number: CallNumber;
  /** calls of the message */
  readonly total: number;
  /** of the server at that time */
  readonly incarnation: Uint8Array;
  /** when it was first sent, as far as it may have left */
  at: Moment;
  /** requests of it that are under way */
  requests: number;
  /** The bytes that are sent, and sent again; a promise as long as they are being sealed, undefined while nothing can be sent. */
  frame(): Soon<Uint8Array> | undefined;
  digest(): Soon<Uint8Array>;
  /** @throws SealwireError `bad_payload` for what is authentic and malformed, another code for what does not open */
  open(frame: Uint8Array): Step<Reply>;
  /**
   * Opens a live result.
   * @param open `openLiveResult`, which comes with what needs it
   * @param header the first 12 bytes of the answer
   * @throws SealwireError if they are none
   */
  openLive(open: typeof openLiveResult, header: Uint8Array): LiveOpener;
  /** Opens the result that a renewal tells of. */
  openTold(frame: Uint8Array): Step<Reply>;
  /** A piece of a live result opened. */
  alive(): void;
  /** the identity of one of its calls, once its frame is sealed */
  identity(index: number): Uint8Array;
  /** Nothing refers to it any more: keys that only it needed go. */
  release(): void;
}
