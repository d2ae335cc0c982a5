import type { IncomingMessage } from 'node:http';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { isLive, LIMITS, SealwireError } from '@sealwire/core';
import type { UnitRoom } from '@sealwire/core/live';
import type { ResolvedOptions } from '../options.js';
import { isGone } from '../quirks/http2.js';
import { headLength, LiveBody, type WaitingRoom } from '../streams/live-body.js';
import { RESOLVED_OPTIONS } from '../tokens.js';

const EMPTY = new Uint8Array(0);
/** Least bytes that are set aside for a body of which a part has come. */
const FIRST = 4_096;
/** The flags of a frame are its third byte. */
const FLAGS_END = 3;
/** How often bodies are looked at that take too long, in milliseconds. */
const SWEEP_MS = 1_000;
/** How long bodies may still take of which a part has come when the server stops, in milliseconds. */
const STOP_MS = 500;

interface Waiting {
  /** of performance.now(); undefined if it has a time limit of its own */
  readonly until?: number;
  readonly giveUp: () => void;
}

/**
 * Reads bodies of whoever sends them: nothing about their bytes is known to be authentic. Memory is set aside as bytes arrive,
 * never for what a header announces; all bodies that wait for their end share one bound, and each has its time.
 */
@Injectable()
export class BodyReader implements OnApplicationShutdown, WaitingRoom {
  private readonly waiting = new Set<Waiting>();
  private held = 0;
  private heldParts = 0;
  /** as many bytes again as wait of bodies */
  readonly parts: UnitRoom = (bytes) => {
    if (bytes > 0 && this.heldParts + bytes > this.options.maxWaitingBytes) throw new SealwireError('busy');
    this.heldParts += bytes;
  };
  private sweep: NodeJS.Timeout | undefined;
  private stopping = false;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: Pick<ResolvedOptions, 'maxWaitingBytes' | 'bodyTimeout'>,
  ) {}

  get bodyTimeout(): number {
    return this.stopping ? STOP_MS : this.options.bodyTimeout;
  }

  /** Whoever sends a part of a body and no more, which takes no key, must not keep the server from stopping. */
  stop(): void {
    this.stopping = true;
    clearInterval(this.sweep);
    this.sweep = setInterval(() => {
      for (const { giveUp } of this.waiting) giveUp();
    }, STOP_MS).unref();
  }

  onApplicationShutdown(): void {
    clearInterval(this.sweep);
  }

  wait(giveUp: () => void): () => void {
    const entry = { giveUp };
    this.waiting.add(entry);
    return () => this.waiting.delete(entry);
  }

  hold(bytes: number): void {
    if (this.held + bytes > this.options.maxWaitingBytes) throw new SealwireError('busy');
    this.held += bytes;
  }

  free(bytes: number): void {
    this.held -= bytes;
  }

  /**
   * The bytes of a sealed message, or a live call as soon as its first chunk is there; only that is bounded here.
   * @param most bytes that a live call may announce
   * @throws SealwireError as {@link read}
   */
  readFrame(
    request: IncomingMessage,
    parsed: unknown,
    limit: number,
    most: number,
  ): Uint8Array | LiveBody | Promise<Uint8Array | LiveBody> {
    return this.open(request, parsed, limit, most);
  }

  /**
   * The bytes of a body.
   * @param parsed what the platform made of the body, if it did
   * @param limit bytes
   * @throws SealwireError `too_large`; `unsupported_media_type` for a content encoding; `bad_frame` for a body that breaks off;
   *   `busy` if too many bytes wait already, or the body took longer than `bodyTimeout`
   */
  read(request: IncomingMessage, parsed: unknown, limit: number): Uint8Array | Promise<Uint8Array> {
    return this.open(request, parsed, limit, undefined) as Uint8Array | Promise<Uint8Array>;
  }

  private open(
    request: IncomingMessage,
    parsed: unknown,
    limit: number,
    live: number | undefined,
  ): Uint8Array | LiveBody | Promise<Uint8Array | LiveBody> {
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') throw new SealwireError('unsupported_media_type');
    const announced = Number(request.headers['content-length'] ?? 0);
    if (announced > (live ?? limit)) throw new SealwireError('too_large');
    if (parsed instanceof Uint8Array) {
      if (live !== undefined && isLive(parsed)) return new LiveBody(plain(parsed), undefined, this);
      if (parsed.length > limit) throw new SealwireError('too_large');
      return plain(parsed);
    }
    if (request.readableEnded && !isGone(request) && announced > 0) throw new EatenBodyError();
    return this.collect(request, limit, announced, live !== undefined);
  }

  private collect(
    request: IncomingMessage,
    limit: number,
    announced: number,
    live: boolean,
  ): Promise<Uint8Array | LiveBody> {
    return new Promise((resolve, reject) => {
      // the first chunk as it came: most bodies are no longer, and need no copy
      let bytes: Uint8Array = EMPTY;
      let length = 0;
      let over = false;
      let most = limit;
      const finish = (): void => {
        over = true;
        request.off('data', onData);
        this.waiting.delete(entry);
        this.held -= bytes.length;
      };
      const fail = (code: 'too_large' | 'busy' | 'bad_frame'): void => {
        if (over) return;
        finish();
        request.pause();
        reject(new SealwireError(code));
      };
      /** A live call is handed over with its first chunk; every other body has to be within the limit. */
      const judge = (): void => {
        const view = plain(bytes.subarray(0, length));
        if (!isLive(view)) {
          if (announced > limit) fail('too_large');
          return;
        }
        most = limit + LIMITS.chunk;
        try {
          const head = headLength(view);
          if (head === undefined || length < head) return;
          finish();
          request.pause();
          resolve(new LiveBody(view, request, this));
        } catch {
          fail('bad_frame');
        }
      };
      const onData = (chunk: Buffer): void => {
        const end = length + chunk.length;
        // by doubling, so that each byte is copied a bounded number of times, however small the chunks are
        const size = length === 0 ? end : end <= bytes.length ? bytes.length : Math.min(most, Math.max(FIRST, 2 * end));
        const full = this.held + size - bytes.length > this.options.maxWaitingBytes;
        if (end > most) {
          fail('too_large');
        } else if (full && end !== announced) {
          fail('busy');
        } else {
          // all of it is there and waits for nothing, unless its sender holds back the end of its stream
          if (full) setImmediate(fail, 'busy');
          this.held += size - bytes.length;
          if (length === 0) bytes = chunk;
          else bytes = write(bytes, length, chunk, size);
          length = end;
          if (live && length >= FLAGS_END) judge();
        }
      };
      const entry: Waiting = { until: performance.now() + this.bodyTimeout, giveUp: () => fail('busy') };
      this.waiting.add(entry);
      this.sweep ??= setInterval(() => this.expire(), SWEEP_MS).unref();
      request.on('data', onData);
      request.on('end', () => {
        if (over) return;
        finish();
        if (length < announced || (live && isLive(bytes))) reject(new SealwireError('bad_frame'));
        else resolve(plain(bytes.subarray(0, length)));
      });
      // comes last in any case
      request.on('close', () => fail('bad_frame'));
      if (request.destroyed || request.readableEnded) fail('bad_frame');
    });
  }

  private expire(): void {
    const now = performance.now();
    for (const { until, giveUp } of this.waiting) if (until !== undefined && until < now) giveUp();
    if (this.waiting.size > 0) return;
    clearInterval(this.sweep);
    this.sweep = undefined;
  }
}

/** Appends a chunk, in a buffer of that size if the present one is too small. */
function write(bytes: Uint8Array, length: number, chunk: Uint8Array, size: number): Uint8Array {
  let target = bytes;
  if (size > bytes.length) {
    target = new Uint8Array(size);
    target.set(bytes.subarray(0, length));
  }
  target.set(chunk, length);
  return target;
}

/** Something that stands before this route read the body and kept nothing of it: a mistake of the application, not of the client. */
class EatenBodyError extends Error {
  override readonly name = 'EatenBodyError';

  constructor() {
    super(
      'The body of a sealed call was read before it came to Sealwire. A body parser takes every content type; ' +
        'restrict it (express.raw({ type: ... }), express.text({ type: ... })) so that application/vnd.sealwire passes.',
    );
  }
}

/** A Buffer's `slice` is a view where core means a copy. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
