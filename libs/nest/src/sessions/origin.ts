import type { Audience } from '../streams/audience.js';
import type { LiveReply } from '../streams/live-reply.js';
import type { CallSession } from './call-session.js';

/** Who sent the calls of a message, for whatever runs them. */
export interface SealedOrigin {
  /** the session for a call, in the transaction that the call runs in; a new object each time */
  readonly session: (transaction: unknown) => CallSession;
  /** identity of the call at that place of the message, 16 bytes, PROTOCOL.md section 6.4 */
  readonly callId: (index: number) => Uint8Array;
  /** who waits for the message; noted from the first time on that somebody asks */
  readonly audience: () => Audience;
  /** until this is resolved outcomes of a batch are answered together, however long some of them take */
  readonly together: Promise<unknown> | undefined;
}

/** A message that was decoded and is ready to run. */
export interface Prepared {
  /** how many calls it is, of those that a session may have at work; none that only stop streams */
  readonly calls: number;
  /** Runs it and answers the encoded payload of its reply, or a reply that is sent as it comes about. Called once. */
  run(origin: SealedOrigin): Promise<Uint8Array | LiveReply>;
}

/** Decodes the payload of a message; runs nothing. @throws SealwireError `bad_payload` if it is malformed */
export type Prepare = (payload: Uint8Array) => Prepared;
