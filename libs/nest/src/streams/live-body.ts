import type { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { LIMITS, SealwireError, SIZE } from '@sealwire/core';
import type { UnitRoom } from '@sealwire/core/live';

/** What is read of a body that nobody wants any more, before its connection is closed. */
const REST = { bytes: 1_048_576, milliseconds: 1_000 };
/** The same of one whose beginning opened, if its length is not announced. */
const KEYED_REST = { bytes: 8 * 1_048_576, milliseconds: 30_000 };
/** Bytes a millisecond, at least, of one whose length is: a browser reads no answer before it has sent all. */
const REST_PACE = 50;
const CHUNK_HEAD = 3;
/** of a sealed first piece: plaintext and a tag */
const PIECE = { least: 64 + SIZE.tag, most: LIMITS.chunk + SIZE.tag };

/**
 * How long header and first chunk of a live call are together; undefined if too little of it is there to say.
 * @throws SealwireError `bad_frame`
 */
export function headLength(bytes: Uint8Array): number | undefined {
  const at = SIZE.callHeader;
  if (bytes.length < at + CHUNK_HEAD) return undefined;
  const [high = 0, middle = 0, low = 0] = bytes.subarray(at);
  const length = ((high & 0x7f) << 16) | (middle << 8) | low;
  if (length < PIECE.least || length > PIECE.most) throw new SealwireError('bad_frame');
  return at + CHUNK_HEAD + length;
}

/** What is set aside for a payload whose end is missing: a piece that is not whole, and the least for its beginning. */
const PAYLOAD = 3 * LIMITS.chunk;

/** Parts of a body, of 64 KiB at most each, that wait before the connection is read no further: two of the longest pieces. */
const PARTS = 8;
/** How often a connection that is not read is tried, in milliseconds. */
const PROBE_MS = 1_000;

/** What holds bodies that wait for their end. */
export interface WaitingRoom {
  /** milliseconds that a body may take; of a live one, that may pass without a byte */
  readonly bodyTimeout: number;
  /** Sets bytes aside. @throws SealwireError `busy` if too many bytes wait already */
  hold(bytes: number): void;
  free(bytes: number): void;
  /** holds parts of units behind the payload, whose senders have keys: those without keys must not take their room */
  readonly parts: UnitRoom;
  /** @param giveUp called if the server stops meanwhile @returns takes that back */
  wait(giveUp: () => void): () => void;
}

/** The body of a live call, of which header and first chunk have come. */
export class LiveBody {
  /** header and first chunk */
  readonly head: Uint8Array;
  readonly #request: IncomingMessage | undefined;
  /** what has come and was not asked for */
  readonly #parts: Uint8Array[] = [];
  #waiting: { resolve(bytes: Uint8Array | undefined): void; reject(error: Error): void } | undefined;
  /** milliseconds of silence that are left before it is cut */
  #patience: number;
  /** of performance.now(): when what waits has waited for too long */
  #deadline = 0;
  #timer: NodeJS.Timeout | undefined;
  #probe: NodeJS.Timeout | undefined;
  #listening = false;
  #failed: Error | undefined;

  /**
   * @param bytes what has come
   * @param request brings the rest, undefined if there is none
   * @throws SealwireError `bad_frame`
   */
  constructor(
    bytes: Uint8Array,
    request: IncomingMessage | undefined,
    private readonly room: WaitingRoom,
  ) {
    const length = headLength(bytes);
    if (length === undefined || bytes.length < length) throw new SealwireError('bad_frame');
    this.head = bytes.subarray(0, length);
    if (bytes.length > length) this.#parts.push(bytes.subarray(length));
    this.#request = request;
    this.#patience = room.bodyTimeout;
  }

  get parts(): UnitRoom {
    return this.room.parts;
  }

  /** A piece of it opened. */
  alive(): void {
    this.#patience = this.room.bodyTimeout;
  }

  /**
   * Reads until `isEnough` says so of what came. As long as a payload has no end its number is not asked for, and anybody can send its
   * beginning again: it waits like every other body, with its bytes counted and its time limited.
   * @throws SealwireError `busy` if too many bytes wait already; `stream_cut` if it broke off, or took too long
   */
  async until(isEnough: (bytes: Uint8Array) => boolean): Promise<void> {
    let held = 0;
    const hold = (bytes: number): void => {
      this.room.hold(bytes);
      held += bytes;
    };
    const end = performance.now() + this.room.bodyTimeout;
    const over = this.room.wait(() => this.#fail(new SealwireError('busy')));
    try {
      hold(this.head.length + PAYLOAD);
      for (;;) {
        const bytes = await this.next(end - performance.now());
        if (!bytes) throw new SealwireError('stream_cut');
        if (isEnough(bytes)) return;
        // a buffer that doubles
        hold(2 * bytes.length);
      }
    } finally {
      over();
      this.room.free(held);
    }
  }

  /**
   * More of it; undefined at its end.
   * @param silence milliseconds in which something has to come. By default as many as the room gives between two pieces that open: what
   * comes of the next one adds to them, or whoever holds pieces back could keep a call alive with a byte of them now and then.
   * @throws SealwireError `stream_cut` if it broke off, or nothing came in time
   */
  next(silence = this.#patience): Promise<Uint8Array | undefined> {
    const part = this.#parts.shift();
    const request = this.#request;
    if (part || !request) return Promise.resolve(part);
    if (request.readableEnded) return Promise.resolve(undefined);
    if (this.#failed) return Promise.reject(this.#failed);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#deadline = performance.now() + silence;
      // one timer looks after all waiting: most of it is short
      this.#timer ??= setTimeout(() => this.#look(), silence);
      this.#listen(request);
      this.#unprobe();
      request.resume();
    });
  }

  #listen(request: IncomingMessage): void {
    if (this.#listening) return;
    this.#listening = true;
    request.on('data', this.#take);
    request.once('end', () => this.#settle()?.resolve(undefined));
    request.on('error', (cause) => this.#fail(new SealwireError('stream_cut', undefined, { cause })));
    request.once('close', () => this.#fail(new SealwireError('stream_cut')));
  }

  readonly #take = (part: Uint8Array): void => {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    const left = this.#deadline - performance.now() + part.length / LIMITS.trickle;
    if (waiting) this.#patience = Math.min(this.room.bodyTimeout, left);
    if (waiting) waiting.resolve(part);
    else if (this.#parts.push(part) >= PARTS && this.#request) this.#pause(this.#request);
  };

  /** The system tells nothing of a connection that is not read. That it was reset is found out by a write, of no bytes. */
  #pause(request: IncomingMessage): void {
    request.pause();
    const { httpVersionMajor, socket } = request;
    if (httpVersionMajor === 1 && socket instanceof Socket)
      this.#probe ??= setInterval(() => socket.write(''), PROBE_MS).unref();
  }

  #unprobe(): void {
    clearInterval(this.#probe);
    this.#probe = undefined;
  }

  #look(): void {
    const left = this.#waiting ? this.#deadline - performance.now() : this.room.bodyTimeout;
    this.#timer = left > 0 ? setTimeout(() => this.#look(), left) : undefined;
    if (left <= 0) this.#fail(new SealwireError('stream_cut', 'Nothing came for too long.'));
  }

  #fail(error: Error): void {
    this.#failed ??= error;
    this.#settle()?.reject(this.#failed);
  }

  /** Nothing more comes. @returns what waits for it */
  #settle(): { resolve(bytes: undefined): void; reject(error: Error): void } | undefined {
    clearTimeout(this.#timer);
    this.#unprobe();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    return waiting;
  }

  /**
   * Nobody reads it any more. A rest is read, so that the answer arrives; else the connection is closed.
   * @param keyed its beginning opened
   */
  close(keyed: boolean): void {
    this.#fail(new SealwireError('stream_cut'));
    const request = this.#request;
    if (!request || request.complete || request.destroyed) return;
    const announced = Number(request.headers['content-length'] ?? 0);
    const least = keyed ? KEYED_REST : REST;
    let rest = keyed ? Math.max(least.bytes, announced) : least.bytes;
    const milliseconds = Math.min(least.milliseconds + (keyed ? announced / REST_PACE : 0), LIMITS.deadline);
    const giveUp = (): unknown => request.socket.destroy();
    let timer = setTimeout(giveUp, milliseconds).unref();
    // a server that stops does not wait for it
    const forget = this.room.wait(giveUp);
    const over = (): void => {
      clearTimeout(timer);
      forget();
    };
    request.once('close', over);
    request.once('end', over);
    request.on('data', (chunk: Uint8Array) => {
      rest -= chunk.length;
      if (rest >= 0) return;
      // not closed at once: a connection that is reset may take the answer with it
      request.pause();
      clearTimeout(timer);
      timer = setTimeout(giveUp, REST.milliseconds).unref();
    });
    request.on('error', () => undefined);
    request.off('data', this.#take);
    request.resume();
  }
}
