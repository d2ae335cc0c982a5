import {
  type FoundStreams,
  isPending,
  LIMITS,
  run,
  SealwireError,
  SIZE,
  type Soon,
  type Step,
  thrownText,
  wait,
} from '@sealwire/core';
import {
  encodeUnit,
  type LiveSealer,
  nextTurn,
  OutgoingStreams,
  type PieceBody,
  type StreamFailure,
  sealLiveCall,
  UNIT,
} from '@sealwire/core/live';
import type { Limited } from '../delivery/delivery.js';
import { spent } from '../delivery/failure.js';
import type { Message } from '../delivery/message.js';
import { stop } from '../delivery/setbacks.js';
import { RemoteError } from '../errors.js';
import type { Sent } from '../sessions/sent.js';
import type { Session } from '../sessions/session.js';
import { StreamBody, type WriteParts } from '../transport/stream-body.js';
import { sealing } from './exchange.js';

const EMPTY = new Uint8Array(0);
const PAYLOAD_PIECE = LIMITS.firstPieceBody;
/** Sealed pieces that are made a Blob at once, for which a page pays more than for sealing them. */
const CHUNKS_A_BLOB = 16;
const ENDED = 'This sending has ended.';
/** Bytes a millisecond. */
const SLOW = 64;

/** The streams among the arguments of one message, which are sealed piece by piece behind its payload. */
export class Upload implements Limited {
  /** They are Blobs and Files, which can be read again. */
  readonly repeatable: boolean;
  #streams: OutgoingStreams;
  /** bodies of the pieces of the payload, and these pieces, sealed when the number was taken */
  #bodies: readonly Uint8Array[] = [];
  #head: Soon<readonly Uint8Array[]> = [];
  #sealer: LiveSealer | undefined;
  #begun = false;
  /** the whole body for a transport that takes no stream */
  #blob: Blob | undefined;
  /** of silence before a pulse; 0 if none is sent */
  #pulseMs = 0;
  #maximum = Number.POSITIVE_INFINITY;
  #message: Message | undefined;
  /** bytes of the body that were sealed, or left, in that sending which came furthest */
  readonly #furthest = { sealed: 0, left: 0 };
  /** ends the body of a request that is under way */
  #break: ((reason: unknown) => void) | undefined;

  constructor(found: FoundStreams) {
    this.#streams = new OutgoingStreams(found);
    this.repeatable = found.repeatable;
  }

  /** They were read, and what was sent cannot be sent again byte for byte. */
  get stuck(): boolean {
    return this.#begun && !this.#blob && !this.repeatable;
  }

  /** Takes a number and seals the payload under it, before anything is awaited. */
  seal(session: Session, payload: Uint8Array, calls: number): Sent {
    if (this.#begun) this.#rewind();
    this.#sealer?.erase();
    this.#blob = undefined;
    const unit = encodeUnit(UNIT.payload, 0, payload);
    const bodies: Uint8Array[] = [];
    for (let at = 0; at < unit.length; at += PAYLOAD_PIECE) bodies.push(unit.subarray(at, at + PAYLOAD_PIECE));
    const [first = EMPTY, ...rest] = bodies;
    const { sent, sealer } = session.sealLive(sealLiveCall, first, this.repeatable, calls);
    this.#bodies = bodies;
    this.#sealer = sealer;
    this.#head = run(sealHead(sent, sealer, rest));
    // whoever waits for the frame is told of an error
    if (isPending(this.#head)) this.#head.then(undefined, () => {});
    const { pulse, maxUpload, maxBody } = session.state.options;
    this.#pulseMs = this.repeatable ? 0 : pulse * 1000;
    this.#maximum = maxUpload;
    this.#streams.itemLimit = maxBody;
    return sent;
  }

  /**
   * Why no number may be taken: the sources were read and cannot be read again, or they are known to be more bytes than the server
   * takes.
   *
   * @param cause what stood in the way of the last sending
   */
  refusal(maximum: number, cause: unknown): Error | undefined {
    if (this.#begun && !this.repeatable) return spent(cause);
    if (this.#streams.knownBytes <= maximum) return undefined;
    return new RemoteError('too_large', tooMuch(maximum), { details: { limit: maximum } });
  }

  /** The body of one request. */
  async body(message: Message, onBytes: (total: number) => void): Promise<StreamBody | Blob> {
    this.#message = message;
    if (this.#blob) return this.#blob;
    const again = this.#begun;
    if (again) this.#rewind();
    this.#begun = true;
    // another sending may begin before this one is over
    const streams = this.#streams;
    const sealer = this.#sealer;
    const head = await this.#head;
    if (again && sealer) {
      sealer.again();
      // they must be the same, or nothing is sent
      for (const body of this.#bodies) await run(sealer.seal(body, false));
    }
    streams.finish();
    const { requestStreams } = message.delivery.settings.transport;
    return requestStreams ? this.#stream(streams, head, onBytes) : this.#collect(streams, head, onBytes);
  }

  /** Nobody sees a Blob move on its way, unless its transport tells: it has the time that it takes on a slow line, once. */
  leaves(blob: Blob): void {
    if (this.#furthest.left === 0) this.#message?.moved(blob.size / SLOW);
    this.#furthest.left ||= 1;
  }

  /** What is sent again is no progress: a call whose connections are cut has its time and no more. */
  moved(how: 'sealed' | 'left', total: number): void {
    if (total <= this.#furthest[how]) return;
    this.#furthest[how] = total;
    this.#message?.moved();
  }

  /** A guard refused it before it ran: what is sent with new metadata is progress again. */
  refreshed(): void {
    this.#furthest.sealed = this.#furthest.left = 0;
  }

  ring(): void {
    this.#streams.send(UNIT.pulse, 0, EMPTY);
    this.#rest();
  }

  cancel(reason: unknown): void {
    this.#over();
    // nobody reads the rest, and an open body would keep its connection
    this.#break?.(reason ?? new Error(ENDED));
    this.#streams.cancel(reason);
    this.#sealer?.erase();
    this.#sealer = undefined;
  }

  #stream(streams: OutgoingStreams, head: readonly Uint8Array[], onBytes: (total: number) => void): StreamBody {
    return new StreamBody(
      (write) =>
        new Promise((resolve, reject) => {
          const pieces = this.#pieces(streams, head, write, onBytes);
          this.#break = reject;
          this.#read(streams, (body, last) => run(pieces(body, last))).then(resolve, reject);
        }),
      (reason) => streams.cancel(reason),
    );
  }

  /** The browser keeps the parts of a Blob off the heap, so a file is never in memory twice. */
  async #collect(
    streams: OutgoingStreams,
    head: readonly Uint8Array[],
    onBytes: (total: number) => void,
  ): Promise<Blob> {
    // nothing of it leaves before it is whole
    this.#over();
    const parts: Blob[] = [];
    let chunks: Uint8Array<ArrayBuffer>[] = [];
    const gather = (): void => {
      parts.push(new Blob(chunks));
      chunks = [];
    };
    const take = (piece: readonly Uint8Array[]): void => {
      if (chunks.push(...(piece as Uint8Array<ArrayBuffer>[])) >= CHUNKS_A_BLOB) gather();
    };
    const pieces = this.#pieces(streams, head, take, onBytes);
    // a platform that seals later has let the page draw meanwhile
    await this.#read(streams, async (body, last) => await (run(pieces(body, last)) ?? new Promise<void>(nextTurn)));
    this.#sealerOf(streams);
    gather();
    this.#blob = new Blob(parts);
    return this.#blob;
  }

  /** An error that is none of a source ends the call. */
  async #read(streams: OutgoingStreams, write: Parameters<OutgoingStreams['run']>[0]): Promise<void> {
    try {
      await streams.run(write, failureOf, this.repeatable ? 'steady' : 'ready');
    } catch (error) {
      if (this.#message?.state !== 'done') stop(this.#message as Message, error);
      throw error;
    } finally {
      this.#over();
    }
  }

  /** @throws Error if the call has ended, or another sending has begun: what was read meanwhile is cut */
  #sealerOf(streams: OutgoingStreams): LiveSealer {
    if (this.#sealer && streams === this.#streams) return this.#sealer;
    throw new Error(ENDED);
  }

  /**
   * @returns what seals one piece behind the payload and hands it on
   * @throws Error if its sending ended while its head was being sealed
   */
  #pieces(
    streams: OutgoingStreams,
    head: readonly Uint8Array[],
    take: WriteParts,
    onBytes: (total: number) => void,
  ): (body: PieceBody, last: boolean) => Step<void> {
    const sealer = this.#sealerOf(streams);
    const furthest = this.#furthest;
    let total = 0;
    let plain = 0;
    const give = (parts: readonly Uint8Array[], isPulse = false): void | Promise<void> => {
      for (const { length } of parts) {
        total += length;
        // its source may be silent for ever
        if (!isPulse) continue;
        furthest.sealed += length;
        furthest.left += length;
      }
      const room = take(parts);
      onBytes(total);
      this.moved('sealed', total);
      this.#rest();
      return room;
    };
    const tell = sealing(this.#message as Message, sealer.header);
    tell(this.#bodies.map(({ length }) => length));
    give(head);
    const limit = this.#maximum;
    return function* (body, last) {
      const bytes = body[0].length + (body[1]?.length ?? 0);
      plain += bytes;
      if (plain > limit + plain / 64 + LIMITS.chunk) throw new SealwireError('too_large', tooMuch(limit));
      const isPulse = !body[1] && body[0].every((byte, i) => byte === (i % SIZE.unitHead ? 0 : UNIT.pulse));
      const piece = yield* sealer.sealInPlace(body, last);
      tell([bytes]);
      const room = give(piece, isPulse);
      // what is behind the last piece waits for nothing
      if (room && !last) yield room;
    };
  }

  /** Until the next piece. */
  #rest(): void {
    if (this.#pulseMs > 0) this.#message?.delivery.alarms.set(this, performance.now() + this.#pulseMs);
  }

  #over(): void {
    this.#pulseMs = 0;
    this.#message?.delivery.alarms.clear(this);
  }

  #rewind(): void {
    const streams = this.#streams.again();
    this.#streams.cancel(undefined);
    this.#streams = streams;
    this.#begun = false;
  }
}

/** The pieces of the payload. */
function* sealHead(sent: Sent, sealer: LiveSealer, rest: readonly Uint8Array[]): Step<Uint8Array[]> {
  const head = [yield* wait(sent.frame() ?? EMPTY)];
  for (const body of rest) head.push(yield* sealer.seal(body, false));
  return head;
}

function tooMuch(limit: number): string {
  return `The server takes ${limit} bytes of the streams of one call.`;
}

/** What the function gets to know of a source that failed. */
function failureOf(thrown: unknown): StreamFailure {
  if (thrown instanceof RemoteError) return { code: thrown.code, message: thrown.message, details: thrown.details };
  return { code: 'stream_failed', message: thrownText(thrown) };
}
