import type { CallSession } from './call-session.js';

/** Who sent the calls of a message, for whatever runs them. */
export interface SealedOrigin {
  /** the session for a call, in the transaction that the call runs in; a new object each time */
  readonly session: (transaction: unknown) => CallSession;
  /** identity of the call at that place of the message, 16 bytes, PROTOCOL.md section 6.4 */
  readonly callId: (index: number) => Uint8Array;
}

/** A message that was decoded and is ready to run. */
export interface Prepared {
  /** how many calls it is, of those that a session may have at work */
  readonly calls: number;
  /** Runs it and answers the encoded payload of its reply. Called once. */
  run(origin: SealedOrigin): Promise<Uint8Array>;
}

/** Decodes the payload of a message; runs nothing. @throws SealwireError `bad_payload` where it is malformed */
export type Prepare = (payload: Uint8Array) => Prepared;
