import type { FrameField } from '@sealwire/client';

/** Attacks of {@link WireAttacks}. */
export type AttackKind =
  | 'flip-request'
  | 'flip-answer'
  | 'lose-answer'
  | 'replay'
  | 'swap-answers'
  | 'cut-stream'
  | 'forge-session-unknown'
  | 'wrong-module'
  | 'splice';

/** A chunk of a body, as its clear head tells. */
export interface WirePiece {
  /** bytes of the chunk with its tag, without its head */
  readonly length: number;
  readonly last: boolean;
  /** milliseconds since 1970 */
  readonly at: number;
}

/** One body as it travelled. */
export interface WireBody {
  /** bytes that travelled so far */
  readonly size: number;
  /** the first of them, at most 4096 */
  readonly head: Uint8Array;
  /** nothing more comes */
  readonly complete: boolean;
  /** what anybody can tell apart in `head`, at most 64 fields */
  readonly fields: readonly FrameField[];
  /** chunks of a chunked or live message, the last 60; how many there were is `pieceCount` */
  readonly pieces: readonly WirePiece[];
  readonly pieceCount: number;
  /** bytes of the calls or outcomes before they were padded; only the application knows them */
  readonly payload: number | undefined;
}

/** A request or an answer, as whoever ends TLS sees it. */
export interface WireSide {
  /** `POST /remote/payments` or `HTTP 200` */
  readonly line: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: WireBody;
}

/** What a proxy did to an exchange on its way. */
export interface Tampering {
  readonly kind: AttackKind;
  /** a sentence */
  readonly what: string;
  readonly side: 'request' | 'answer';
  /** the byte that was altered */
  readonly offset?: number;
}

/** One HTTP body and its answer. */
export interface Exchange {
  readonly id: number;
  /** path of the module */
  readonly module: string;
  readonly url: string;
  /** step 1, step 3, calls, a question in lane 0, or calls without encryption */
  readonly kind: 'start' | 'finish' | 'call' | 'ask' | 'plain';
  /** how often these bytes were sent, from 1 */
  readonly attempt: number;
  /** milliseconds since 1970 */
  readonly startedAt: number;
  /** milliseconds to the end of the answer */
  readonly ms: number | undefined;
  /** `closed`: by the application, which needs no more of it */
  readonly state: 'sending' | 'arriving' | 'done' | 'closed' | 'failed';
  readonly request: WireSide;
  readonly answer: WireSide | undefined;
  /** why no answer came, or not all of it */
  readonly failure: string | undefined;
  /** ids of the calls that it carries */
  readonly calls: readonly number[];
  /** payload bytes of each message inside a step 3 */
  readonly firstCalls: readonly number[];
  readonly handshake: number | undefined;
  readonly tampering: Tampering | undefined;
}

/** One call as the application sees it. Values are texts, cut to 2,000 characters. */
export interface RecordedCall {
  readonly id: number;
  readonly module: string;
  readonly name: string;
  readonly args: readonly string[];
  /** what a client of plain JSON would have posted, cut to 2,000 characters */
  readonly json: string;
  readonly startedAt: number;
  /** milliseconds to the outcome */
  readonly ms: number | undefined;
  readonly state: 'pending' | 'streaming' | 'done' | 'failed';
  /** it left in some bytes, whether they are kept or not */
  readonly sent: boolean;
  /** the value, or code and message of the error */
  readonly outcome: string | undefined;
  readonly outcomeJson: string | undefined;
  /** items that the application took from the stream, and the last 20 of them, as texts and as JSON */
  readonly items: number;
  readonly lastItems: readonly string[];
  readonly lastItemsJson: readonly string[];
}

/** A handshake; its exchanges name it. */
export interface Handshake {
  readonly id: number;
  readonly module: string;
  readonly startedAt: number;
  /** hexadecimal; known when step 4 opened */
  readonly sessionId: string | undefined;
  /** why it replaced a session; undefined for the first one */
  readonly reason: string | undefined;
}

/** What an attack came to. */
export interface AttackReport {
  readonly id: number;
  readonly kind: AttackKind;
  /** false: it was disarmed before a call met it */
  readonly met: boolean;
  /** what the proxy did and got back, a sentence */
  readonly proxy: string;
  /** what the application saw, a sentence */
  readonly application: string;
  /** the calls that met it */
  readonly calls: readonly RecordedCall[];
  /** ids of the exchanges that it altered */
  readonly exchanges: readonly number[];
}
