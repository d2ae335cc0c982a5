import { EMPTY } from '../bytes.js';
import { LIMITS } from '../limits.js';
import { isBytes, type Replace } from '../payload/cbor.js';
import { BegunStream, encodeItem } from './at.js';
import { nextTurn } from './next-turn.js';
import { Pieces, type WritePiece } from './pieces.js';
import { FoundStreams, type Outgoing, readerOf } from './sources.js';
import { encodeFailure, type StreamFailure, UNIT, type UnitKind } from './units.js';

/** Full pieces that are made in one turn of the event loop: a connection takes them in one write. */
const PIECES_A_TURN = 4;
/** Milliseconds for which sources are read before what they gave leaves and other work goes on, though they never wait. */
const READING_MS = 5;

type ErrorOf = (thrown: unknown, stream: number, place: number) => StreamFailure;

/**
 * The streams of one live message on the side that sends them: sources become units, units become the bodies of pieces.
 * Every unit of the message goes through it, for a unit may span pieces.
 *
 * @example
 * const streams = new OutgoingStreams();
 * streams.send(UNIT.outcome, 0, encodeOutcome({ ok: true, value: new Blob(['a;b']) }, streams));
 * streams.finish();
 * let sealer: LiveSealer | undefined;
 * await streams.run(
 *   (body, last) => {
 *     if (sealer) return send(concat(...runSync(sealer.sealInPlace(body, last))));
 *     const begun = sealLiveResult(key, { epoch: call.epoch, callHeader: call.header }, random, body, last);
 *     sealer = begun.sealer;
 *     return send(begun.first);
 *   },
 *   () => ({ code: 'internal', message: 'The stream failed.' }),
 * );
 */
export class OutgoingStreams extends FoundStreams {
  /** bytes of one item that the other side takes, if that is known */
  itemLimit = Number.POSITIVE_INFINITY;
  readonly #pieces = new Pieces();
  #started = 0;
  #active = 0;
  #finished = false;
  #over = false;
  #steady = false;
  #write: WritePiece | undefined;
  #errorOf!: ErrorOf;
  #writing = false;
  #scheduled = false;
  /** full pieces since other work went on */
  #inTurn = 0;
  /** when sources were read first since other work went on, of `performance.now()` */
  #readingSince = performance.now();
  #waiting: (() => void)[] = [];
  /** the newest progress of calls, which waits */
  #progress: Map<number, Uint8Array> | undefined;
  #settle: { resolve(): void; reject(error: unknown): void } | undefined;

  /** {@link FoundStreams.replace} for a function that can go on with its stream: items travel with their positions. */
  get replaceResumable(): Replace {
    return (value) => this.announce(value, true);
  }

  /** @param found streams that were found before, which it takes over */
  constructor(found?: FoundStreams) {
    super();
    if (found) this.streams.push(...found.streams);
  }

  /** The same streams for another message, from their beginning. What else belongs to it is sent anew. */
  again(): OutgoingStreams {
    if (!this.repeatable) throw new TypeError('A stream can be read once; only a Blob or a File can be read again.');
    const copy = new OutgoingStreams();
    for (const { source, resumable } of this.streams) {
      copy.streams.push({ source, resumable, reader: undefined, over: false });
    }
    return copy;
  }

  /**
   * Adds a unit behind those before it. The streams that were found up to now are read from now on. If the other side is a
   * piece behind, only the newest progress of each call is kept for it, and no pulse.
   */
  send(kind: UnitKind, stream: number, bytes: Uint8Array): void {
    if (this.#over || this.#isDone || (this.#finished && kind !== UNIT.pulse)) return;
    if (this.#pieces.full && kind === UNIT.progress) {
      this.#progress ??= new Map();
      this.#progress.set(stream, bytes);
    }
    if (this.#pieces.full && (kind === UNIT.progress || kind === UNIT.pulse)) return;
    if (kind === UNIT.outcome) this.#addProgress();
    this.#pieces.add(kind, stream, bytes);
    this.#start();
    this.#flushSoon();
  }

  /** No more is sent but pulses; the last piece goes when the last stream has ended. */
  finish(): void {
    this.#finished = true;
    this.#flushIfDone();
  }

  /** Nobody reads that stream any more: its source is closed, and it ends. @returns whether it was open */
  leave(k: number, reason: unknown): boolean {
    const stream = this.streams[k];
    if (!stream || stream.over || this.#over) return false;
    this.close(stream, reason);
    if (k < this.#started) this.#active--;
    this.#add(UNIT.end, k, EMPTY);
    this.#flushIfDone();
    return true;
  }

  /** Whether that stream is still read. */
  isOpen(k: number): boolean {
    return this.streams[k]?.over === false;
  }

  /** Ends the message now: no source is read any more, this unit is its last one. */
  stop(kind: UnitKind, bytes: Uint8Array, reason: unknown): void {
    if (this.#over || this.#isDone) return;
    this.#finished = true;
    for (const stream of this.streams) this.close(stream, reason);
    this.#active = 0;
    this.#started = this.streams.length;
    this.#pieces.add(kind, 0, bytes);
    this.#flushIfDone();
  }

  /**
   * Reads the sources and writes pieces until everything is sent.
   * @param errorOf what the other side gets to know of an error of a source, of which stream and which of its items or chunks, from 0
   * @param order `steady`: one stream after the other, only full pieces. What can be read again makes the same pieces again.
   * @returns a promise that is rejected with what `write` threw, and is fulfilled after `cancel`
   */
  run(write: WritePiece, errorOf: ErrorOf, order: 'ready' | 'steady' = 'ready'): Promise<void> {
    this.#write = write;
    this.#errorOf = errorOf;
    this.#steady = order === 'steady';
    return new Promise((resolve, reject) => {
      if (this.#over) return resolve();
      this.#settle = { resolve, reject };
      this.#start();
      this.#flushSoon();
      this.#flushIfDone();
    });
  }

  /** Nobody reads the message any more: every source is closed, nothing is written. */
  cancel(reason: unknown): void {
    this.#end(reason);
    this.#settle?.resolve();
  }

  protected override announce(value: object, resumable: boolean): readonly unknown[] | undefined {
    const reference = super.announce(value, resumable);
    // the first of many items does not wait for those that fill a long piece
    if (reference && (resumable || reference[0] === 'items')) this.#pieces.beginShort();
    return reference;
  }

  #start(): void {
    while (this.#write && this.#started < this.streams.length && !(this.#steady && this.#active > 0)) {
      const k = this.#started++;
      const stream = this.streams[k] as Outgoing;
      if (stream.over) continue;
      this.#active++;
      // a failure that cannot be told ends the message
      this.inScope(k, () => this.#pump(k, stream)).catch((error) => this.#fail(error));
    }
  }

  async #pump(k: number, stream: Outgoing): Promise<void> {
    const { kind, info, source } = stream.source;
    const { size, offset = 0 } = info;
    // a source that throws, or has ended, has closed itself
    let closed = false;
    let place = -1;
    let at = offset;
    try {
      const reader = readerOf(stream.source);
      stream.reader = reader;
      if (source instanceof BegunStream) place += this.#begun(k, source);
      for (;;) {
        if (performance.now() - this.#readingSince > READING_MS) await this.#othersTurn();
        while (this.#behind) await this.#room();
        if (stream.over) return;
        closed = true;
        place++;
        const result = await reader.next();
        if (Object(result) !== result) throw new TypeError('An iterator gave a result that is no object.');
        const { done, value } = result;
        closed = !!done;
        if (stream.over) return;
        if (done) break;
        if (kind === 'items') this.#add(UNIT.item, k, encodeItem(value, stream.resumable, this.itemLimit));
        else {
          if (!isBytes(value)) throw new TypeError('A stream of bytes gave what is no Uint8Array.');
          at += value.length;
          if (at > (size ?? at)) throw wrongSize(size, at);
          await this.#bytes(k, stream, value);
        }
      }
      if (at !== (size ?? at)) throw wrongSize(size, at);
      stream.over = true;
      this.#add(UNIT.end, k, EMPTY);
    } catch (thrown) {
      if (stream.over) return;
      if (closed) stream.over = true;
      else this.close(stream, thrown);
      this.#add(UNIT.error, k, encodeFailure(this.#errorOf(thrown, k, place)));
    }
    this.#active--;
    this.#start();
    this.#flushIfDone();
  }

  /** @returns how many items they are */
  #begun(k: number, { items }: BegunStream): number {
    // a stream may rest for long behind them
    const begun = items.splice(0);
    for (const { bytes } of begun) this.#add(UNIT.item, k, bytes);
    return begun.length;
  }

  async #bytes(k: number, stream: Outgoing, chunk: Uint8Array): Promise<void> {
    for (let from = 0; from < chunk.length; ) {
      while (this.#behind) await this.#room();
      if (stream.over) return;
      const part = chunk.subarray(from, from + this.#pieces.roomForData(k));
      this.#add(UNIT.data, k, part);
      from += part.length;
    }
  }

  #add(kind: UnitKind, stream: number, bytes: Uint8Array): void {
    this.#pieces.add(kind, stream, bytes);
    if (this.#pieces.full) this.#flush(false);
    else this.#flushSoon();
  }

  get #behind(): boolean {
    return !this.#over && (this.#writing || this.#pieces.full);
  }

  async #othersTurn(): Promise<void> {
    await new Promise<void>(nextTurn);
    this.#readingSince = performance.now();
  }

  #room(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Everything that comes in this turn goes in one piece. */
  #flushSoon(): void {
    if (this.#scheduled || this.#writing || !this.#write || this.#steady) return;
    this.#scheduled = true;
    nextTurn(() => {
      this.#scheduled = false;
      this.#flush(true);
    });
  }

  #flushIfDone(): void {
    if (this.#isDone) this.#flush(true);
  }

  get #isDone(): boolean {
    return this.#finished && this.#active === 0 && this.#started === this.streams.length;
  }

  /** @param all also what does not fill a piece */
  #flush(all: boolean): void {
    const pieces = this.#pieces;
    while (this.#write && !this.#writing && !this.#over) {
      const last = this.#isDone && !pieces.moreThanOne;
      if (!last && !pieces.full && !(all && pieces.used > 0)) break;
      this.#writeNext(this.#write, last);
    }
    if (!pieces.full) this.#addProgress();
    if (!this.#behind) this.#release();
  }

  #addProgress(): void {
    if (!this.#progress) return;
    for (const [call, bytes] of this.#progress) this.#pieces.add(UNIT.progress, call, bytes);
    this.#progress = undefined;
  }

  #writeNext(write: WritePiece, last: boolean): void {
    let pending: void | Promise<void>;
    const body = this.#pieces.take();
    const full = body[0].length + (body[1]?.length ?? 0) === LIMITS.pieceBody;
    try {
      pending = write(body, last);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#over ||= last;
    this.#writing = true;
    const written = () => {
      this.#writing = false;
      if (last) this.#settle?.resolve();
      else {
        this.#flush(this.#isDone);
        if (this.#pieces.used > 0) this.#flushSoon();
      }
    };
    // a source that never waits must not keep everything else from running; a few pieces leave in one write
    const soon = () => {
      if (full && ++this.#inTurn < PIECES_A_TURN) return queueMicrotask(written);
      this.#inTurn = 0;
      nextTurn(written);
    };
    // a connection whose system takes everything at once is drained before other work runs
    if (pending) pending.then(full && !last ? soon : written, (error) => this.#fail(error));
    else if (last) written();
    else soon();
  }

  #release(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #fail(error: unknown): void {
    this.#end(error);
    this.#settle?.reject(error);
  }

  #end(reason: unknown): void {
    this.#over = true;
    this.#pieces.clear();
    for (const stream of this.streams) this.close(stream, reason);
    this.#release();
  }
}

function wrongSize(size: number | undefined, had: number): TypeError {
  return new TypeError(`A file of ${size} bytes had ${had} bytes.`);
}
