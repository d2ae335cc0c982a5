import {
  type EncodeOptions,
  encodeUnit,
  LIMITS,
  type LiveSealer,
  OutgoingStreams,
  SealwireError,
  type StreamFailure,
  UNIT,
} from '@sealwire/core';
import type { Limited } from '../delivery/delivery.js';
import { spent } from '../delivery/failure.js';
import type { Message } from '../delivery/message.js';
import { stop } from '../delivery/setbacks.js';
import { RemoteError } from '../errors.js';
import type { Sent } from '../sessions/sent.js';
import type { Session } from '../sessions/session.js';

const EMPTY = new Uint8Array(0);

interface Handed {
  readonly end: number;
  readonly chunk: Uint8Array;
}

/** Finds the streams among the arguments of a call while they are encoded. */
export class UploadFinder implements EncodeOptions {
  readonly #streams = new OutgoingStreams();
  readonly replace = this.#streams.replace;

  get found(): Upload | undefined {
    return this.#streams.size > 0 ? new Upload(this.#streams) : undefined;
  }

  /** The call cannot be sent. */
  drop(error: unknown): void {
    this.#streams.cancel(error);
  }
}

/** The streams among the arguments of one message, which are sealed piece by piece behind its payload. */
export class Upload implements Limited {
  /** They are Blobs and Files, which can be read again. */
  readonly repeatable: boolean;
  #streams: OutgoingStreams;
  /** bodies of the pieces of the payload, and these pieces, sealed when the number was taken */
  #bodies: readonly Uint8Array[] = [];
  #head: readonly Uint8Array[] = [];
  #sealer: LiveSealer | undefined;
  #begun = false;
  /** the whole body for a transport that takes no stream */
  #blob: Blob | undefined;
  #pulse: (() => void) | undefined;
  #pulseMs = 0;
  #maximum = Number.POSITIVE_INFINITY;
  #message: Message | undefined;
  /** pieces that were handed to the transport, and where they end in the body */
  #handed: Handed[] = [];
  /** ends the body of a request that is under way */
  #break: ((reason: unknown) => void) | undefined;

  constructor(streams: OutgoingStreams) {
    this.#streams = streams;
    this.repeatable = streams.repeatable;
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
    for (let at = 0; at < unit.length; at += LIMITS.pieceBody) bodies.push(unit.subarray(at, at + LIMITS.pieceBody));
    const [first = EMPTY, ...rest] = bodies;
    const { sent, sealer } = session.sealLive(first, this.repeatable, calls);
    this.#bodies = bodies;
    this.#head = [sent.frame() ?? EMPTY, ...rest.map((body) => sealer.seal(body, false))];
    this.#sealer = sealer;
    this.#pulseMs = session.pulse * 1000;
    this.#maximum = session.maxUpload;
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
    return this.#streams.knownBytes > maximum ? tooMuch(maximum) : undefined;
  }

  /** The body of one request. */
  body(message: Message, onBytes: (total: number) => void): ReadableStream<Uint8Array> | Promise<Blob> {
    this.#message = message;
    if (this.#blob) return Promise.resolve(this.#blob);
    if (this.#begun) {
      this.#rewind();
      this.#sealer?.again();
      // they must be the same, or nothing is sent
      for (const body of this.#bodies) this.#sealer?.seal(body, false);
    }
    this.#begun = true;
    this.#streams.finish();
    return message.delivery.settings.transport.requestStreams ? this.#stream(onBytes) : this.#collect(onBytes);
  }

  /** What is told how many bytes of the last body have been written: the memory of their pieces is used again. */
  get written(): (total: number) => void {
    const [handed, streams] = [this.#handed, this.#streams];
    return (total) => {
      while (handed[0] && handed[0].end <= total) streams.reuse((handed.shift() as Handed).chunk);
    };
  }

  ring(now: number): void {
    this.#pulse?.();
    if (this.#pulse) this.#message?.delivery.alarms.set(this, now + this.#pulseMs);
  }

  cancel(reason: unknown): void {
    this.#over();
    // nobody reads the rest, and an open body would keep its connection
    this.#break?.(reason ?? new Error('The call has ended.'));
    this.#streams.cancel(reason);
    this.#sealer?.erase();
  }

  #stream(onBytes: (total: number) => void): ReadableStream<Uint8Array> {
    let go: (() => void) | undefined;
    const streams = this.#streams;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#break = (reason) => controller.error(reason);
          const pieces = this.#pieces((chunk) => controller.enqueue(chunk), onBytes);
          streams
            .run(
              (body, last) => {
                pieces(body, last);
                if (last) return controller.close();
                if ((controller.desiredSize ?? 0) > 0) return undefined;
                return new Promise<void>((resolve) => {
                  go = resolve;
                });
              },
              failureOf,
              this.#order,
            )
            .catch((error: unknown) => this.#failed(error, () => controller.error(error)));
        },
        pull: () => {
          go?.();
          go = undefined;
        },
        cancel: (reason) => {
          this.#over();
          streams.cancel(reason);
        },
      },
      new CountQueuingStrategy({ highWaterMark: 2 }),
    );
  }

  /** The browser keeps the parts of a Blob off the heap, so a file is never in memory twice. */
  async #collect(onBytes: (total: number) => void): Promise<Blob> {
    const parts: Blob[] = [];
    const pieces = this.#pieces((chunk) => parts.push(new Blob([chunk as Uint8Array<ArrayBuffer>])), onBytes);
    try {
      await this.#streams.run(
        async (body, last) => {
          pieces(body, last);
          await oneTurn();
        },
        failureOf,
        this.#order,
      );
    } catch (error) {
      this.#failed(error, () => {});
      throw error;
    }
    this.#blob = new Blob(parts);
    return this.#blob;
  }

  /** @returns what seals one piece behind the payload and hands it on */
  #pieces(
    take: (chunk: Uint8Array) => void,
    onBytes: (total: number) => void,
  ): (body: Uint8Array, last: boolean) => void {
    let total = 0;
    let plain = 0;
    this.#handed = [];
    const handed = this.#handed;
    const told = this.#message?.delivery.settings.transport.uploadProgress === true;
    const give = (chunk: Uint8Array): void => {
      take(chunk);
      total += chunk.length;
      onBytes(total);
      this.#message?.moved();
    };
    for (const chunk of this.#head) give(chunk);
    // a unit that spans pieces takes no pulse inside
    let whole = true;
    this.#pulse = () => {
      if (whole) give((this.#sealer as LiveSealer).seal(encodeUnit(UNIT.pulse, 0, EMPTY), false));
    };
    const alarms = this.#message?.delivery.alarms;
    const pulses = this.#pulseMs > 0 && !this.repeatable;
    if (pulses) alarms?.set(this, performance.now() + this.#pulseMs);
    return (body, last) => {
      plain += body.length;
      if (plain > this.#maximum + plain / 64 + LIMITS.chunk) throw tooMuch(this.#maximum);
      whole = body.length < LIMITS.pieceBody;
      const chunk = (this.#sealer as LiveSealer).sealInPlace(body, last);
      give(chunk);
      if (told) handed.push({ end: total, chunk });
      if (last) this.#over();
      else if (pulses) alarms?.set(this, performance.now() + this.#pulseMs);
    };
  }

  get #order(): 'ready' | 'steady' {
    return this.repeatable ? 'steady' : 'ready';
  }

  #failed(error: unknown, end: () => void): void {
    this.#over();
    end();
    if (this.#message && this.#message.state !== 'done') stop(this.#message, error);
  }

  #over(): void {
    this.#pulse = undefined;
    this.#message?.delivery.alarms.clear(this);
  }

  #rewind(): void {
    this.#over();
    const streams = this.#streams.again();
    this.#streams.cancel(undefined);
    this.#streams = streams;
    this.#begun = false;
  }
}

function tooMuch(maximum: number): SealwireError {
  return new SealwireError('too_large', `The server takes ${maximum} bytes of the streams of one call.`);
}

/** What the function gets to know of a source that failed. */
function failureOf(thrown: unknown): StreamFailure {
  if (thrown instanceof RemoteError) return { code: thrown.code, message: thrown.message, details: thrown.details };
  return { code: 'stream_failed', message: thrown instanceof Error ? thrown.message : String(thrown) };
}

/** What is used of a MessageChannel: browsers and Node type it differently. */
interface Channel {
  readonly port1: { onmessage: unknown; close(): void };
  readonly port2: { postMessage(message: unknown): void };
}

/** Lets the page draw and answer before it goes on. Unlike `setTimeout` it is not delayed when it is asked for often. */
function oneTurn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel() as unknown as Channel;
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
