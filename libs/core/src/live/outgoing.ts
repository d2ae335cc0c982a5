import { EMPTY } from '../bytes.js';
import { SealwireError } from '../errors.js';
import { LIMITS } from '../limits.js';
import { isBytes } from '../payload/call-options.js';
import { encodeValue, type Replace } from '../payload/cbor-encode.js';
import { Unsendable } from '../payload/unsupported.js';
import { Pieces } from './pieces.js';
import { abandon, hold, readerOf, type SourceReader, type StreamSource, sourceOf } from './sources.js';
import { encodeFailure, type StreamFailure, UNIT, type UnitKind } from './units.js';

/** Takes the body of the next piece. While its promise is pending no source is read. */
export type WritePiece = (body: Uint8Array, last: boolean) => void | Promise<void>;

interface Outgoing {
  readonly source: StreamSource;
  readonly resumable: boolean;
  reader: SourceReader | undefined;
  /** ended, failed or closed */
  over: boolean;
}

/** An item with the position after which its stream can be gone on with. */
export class At {
  constructor(
    readonly position: unknown,
    readonly item: unknown,
  ) {}
}

/**
 * Gives an item of a resumable stream its position.
 * @param position any value that can be sent; the handler that goes on gets the last one that arrived
 * @example for (const entry of entries) yield at(entry.id, entry);
 */
export function at<T>(position: unknown, item: T): T {
  return new At(position, item) as T;
}

/**
 * The streams of one live message on the side that sends them: sources become units, units become the bodies of pieces.
 *
 * @example
 * const streams = new OutgoingStreams();
 * const outcome = encodeOutcome({ ok: true, value }, streams);
 * if (streams.size > 0) {
 *   streams.send(UNIT.outcome, 0, outcome);
 *   streams.finish();
 *   await streams.run(write, errorOf);
 * }
 */
export class OutgoingStreams {
  private readonly streams: Outgoing[] = [];
  private readonly pieces = new Pieces();
  private started = 0;
  private active = 0;
  private finished = false;
  private over = false;
  private write: WritePiece | undefined;
  private errorOf: (thrown: unknown) => StreamFailure = () => ({ code: 'internal', message: '' });
  private writing = false;
  private scheduled = false;
  private waiting: (() => void)[] = [];
  private settle: { resolve(): void; reject(error: unknown): void } | undefined;

  /** Hook of the encoders: a value that is a stream is remembered, and its reference travels. */
  readonly replace: Replace = (value) => this.announce(value, false);
  /** The same for a function that can go on with its stream: items travel with their positions. */
  readonly replaceResumable: Replace = (value) => this.announce(value, true);

  /** How many streams were found. */
  get size(): number {
    return this.streams.length;
  }

  /** Adds a unit behind those before it. The streams that were found up to now are read from now on. */
  send(kind: UnitKind, stream: number, bytes: Uint8Array): void {
    if (this.over || this.finished) return;
    this.pieces.add(kind, stream, bytes);
    this.start();
    this.flushSoon();
  }

  /** No more is sent; the last piece goes when the last stream has ended. */
  finish(): void {
    this.finished = true;
    this.flushIfDone();
  }

  /** Forgets the streams from that one on, for what held them was not sent. */
  drop(from: number, reason: unknown): void {
    for (const stream of this.streams.splice(from)) this.close(stream, reason);
  }

  /** Ends the message now: no source is read any more, `bytes` are its last unit. */
  stop(kind: UnitKind, bytes: Uint8Array, reason: unknown): void {
    if (this.over || (this.finished && this.active === 0)) return;
    this.finished = true;
    for (const stream of this.streams) this.close(stream, reason);
    this.pieces.add(kind, 0, bytes);
    this.active = 0;
    this.flushIfDone();
  }

  /**
   * Reads the sources and writes pieces until everything is sent.
   * @param errorOf what the other side gets to know of an error of a source
   * @returns a promise that is rejected with what `write` threw, and is fulfilled after `cancel`
   */
  run(write: WritePiece, errorOf: (thrown: unknown) => StreamFailure): Promise<void> {
    this.write = write;
    this.errorOf = errorOf;
    return new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
      if (this.over) return resolve();
      this.start();
      this.flushSoon();
      this.flushIfDone();
    });
  }

  /** Nobody reads the message any more: every source is closed, nothing is written. */
  cancel(reason: unknown): void {
    this.end(reason);
    this.settle?.resolve();
  }

  private announce(value: object, resumable: boolean): readonly unknown[] | undefined {
    const source = sourceOf(value);
    if (!source) return undefined;
    if (this.streams.length >= LIMITS.streams)
      throw new Unsendable(`more than ${LIMITS.streams} streams in one message`);
    if (this.streams.some((stream) => stream.source.source === source.source)) {
      throw new Unsendable('a stream that is sent already');
    }
    hold(source);
    const k = this.streams.push({ source, resumable, reader: undefined, over: false }) - 1;
    const info = resumable ? { ...source.info, resumable: true } : source.info;
    return source.kind === 'items' && !resumable ? [source.kind, k] : [source.kind, k, info];
  }

  private start(): void {
    if (!this.write) return;
    for (; this.started < this.streams.length; this.started++) {
      this.active++;
      void this.pump(this.started, this.streams[this.started] as Outgoing);
    }
  }

  private async pump(k: number, stream: Outgoing): Promise<void> {
    let reading = true;
    try {
      const reader = readerOf(stream.source);
      stream.reader = reader;
      for (;;) {
        while (this.behind) await this.room();
        if (stream.over) return;
        reading = true;
        const { done, value } = await reader.next();
        reading = false;
        if (stream.over) return;
        if (done) break;
        if (stream.source.kind === 'items') this.add(UNIT.item, k, encodeItem(value, stream.resumable));
        else await this.bytes(k, stream, value);
      }
      stream.over = true;
      this.add(UNIT.end, k, EMPTY);
    } catch (thrown) {
      if (stream.over) return;
      // a source that threw has closed itself
      if (reading) stream.over = true;
      else this.close(stream, thrown);
      this.add(UNIT.error, k, encodeFailure(this.errorOf(thrown)));
    }
    this.active--;
    this.flushIfDone();
  }

  private async bytes(k: number, stream: Outgoing, chunk: unknown): Promise<void> {
    if (!isBytes(chunk)) throw new TypeError('A stream of bytes gave what is no Uint8Array.');
    for (let from = 0; from < chunk.length; ) {
      while (this.behind) await this.room();
      if (stream.over) return;
      const part = chunk.subarray(from, from + this.pieces.roomForData);
      this.add(UNIT.data, k, part);
      from += part.length;
    }
  }

  private add(kind: UnitKind, stream: number, bytes: Uint8Array): void {
    this.pieces.add(kind, stream, bytes);
    if (this.pieces.full) this.flush(false);
    else this.flushSoon();
  }

  /** Whether sources have to wait. */
  private get behind(): boolean {
    return !this.over && (this.writing || this.pieces.full);
  }

  private room(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** Everything that comes in this turn goes in one piece. */
  private flushSoon(): void {
    if (this.scheduled || this.writing || !this.write) return;
    this.scheduled = true;
    nextTurn(() => {
      this.scheduled = false;
      this.flush(true);
    });
  }

  private flushIfDone(): void {
    if (this.isDone) this.flush(true);
  }

  private get isDone(): boolean {
    return this.finished && this.active === 0 && this.started === this.streams.length;
  }

  /** @param all also what does not fill a piece */
  private flush(all: boolean): void {
    const { write, pieces } = this;
    while (write && !this.writing && !this.over) {
      const last = this.isDone && !pieces.full;
      if (!pieces.full && !last && !(all && pieces.used > 0)) break;
      try {
        const pending = write(pieces.take(), last);
        if (last) {
          this.over = true;
          if (pending)
            pending.then(
              () => this.settle?.resolve(),
              (error) => this.fail(error),
            );
          else this.settle?.resolve();
          return;
        }
        if (!pending) continue;
        this.writing = true;
        pending.then(
          () => {
            this.writing = false;
            this.flush(this.isDone);
            if (pieces.used > 0) this.flushSoon();
          },
          (error) => this.fail(error),
        );
      } catch (error) {
        this.fail(error);
      }
    }
    if (!this.behind) this.release();
  }

  private release(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }

  private fail(error: unknown): void {
    this.end(error);
    this.settle?.reject(error);
  }

  private end(reason: unknown): void {
    this.over = true;
    this.pieces.clear();
    for (const stream of this.streams) this.close(stream, reason);
    this.release();
  }

  private close(stream: Outgoing, reason: unknown): void {
    if (stream.over) return;
    stream.over = true;
    try {
      const closing: unknown = stream.reader ? stream.reader.close(reason) : abandon(stream.source, reason);
      // a source that fails while it is closed has no one to tell
      Promise.resolve(closing).catch(() => undefined);
    } catch {}
  }
}

function encodeItem(value: unknown, resumable: boolean): Uint8Array {
  const item = value instanceof At ? value.item : value;
  if (!resumable) return encodeValue(item, NO_STREAMS);
  return encodeValue([value instanceof At ? value.position : undefined, item], NO_STREAMS);
}

const NO_STREAMS = {
  replace(value: object): undefined {
    if (sourceOf(value)) throw new Unsendable('a stream inside of an item');
  },
};

type Turn = (task: () => void) => unknown;
const nextTurn: Turn = (globalThis as { setImmediate?: Turn }).setImmediate ?? ((task) => setTimeout(task, 0));

/** Thrown into sources whose message nobody reads any more. */
export function streamCancelled(): SealwireError {
  return new SealwireError('closed', 'Nobody reads the stream any more.');
}
