import { SealwireError, StreamCutError } from '../errors.js';
import { type DecodeOptions, decodeValue } from '../payload/cbor-decode.js';
import { RemoteFile } from './remote-file.js';
import type { StreamInfo, StreamKind } from './sources.js';

export type Result = IteratorResult<unknown, undefined>;
interface Waiting {
  resolve(result: Result): void;
  reject(error: unknown): void;
}

const UNREAD = 'Another stream was read first: read them in order, or at the same time.';

/** The message that a stream is part of. */
interface StreamEvents {
  /** what waits for consumers of any of its streams */
  readonly fill: { bytes: number; items: number };
  /** the consumer took something, waits for something, or broke off */
  moved(): void;
  cancelled(stream: IncomingStream): void;
}

/**
 * One stream as its reader sees it: a buffer between the units that arrive and a consumer. What waits is kept as it came,
 * so that its memory is what it took on the way. {@link IncomingStreams} makes it.
 *
 * @example
 * const streams = new IncomingStreams({ errorOf: ({ message }) => new Error(message) });
 * const rows = decodeValue(body, { revive: streams.revive }) as AsyncIterable<unknown>;
 * console.log(streams.list[0]?.arrived); // 0
 */
export class IncomingStream {
  /** no more units come */
  ended = false;
  /** the consumer broke off; what still arrives is thrown away */
  cancelled = false;
  /** somebody asked for what it brings */
  touched = false;
  /** the last position that was consumed, and its item's place among what arrived, from 1 */
  #consumed: readonly [position: unknown, place: number] = [undefined, 0];
  /** how many items arrived; of bytes the absolute offset behind them */
  arrived: number;
  /** bytes that wait for the consumer */
  buffered = 0;
  #events: StreamEvents | undefined;
  readonly #buffer: Uint8Array[] = [];
  readonly #readers: Waiting[] = [];
  #error: unknown;
  /** a reader was told of the end, or of the error */
  #told = false;
  /** its value, as long as it may be over at once */
  #made: object | undefined;
  #held: WeakRef<object> | undefined;

  constructor(
    readonly kind: StreamKind,
    readonly info: StreamInfo,
    private readonly decode: DecodeOptions | undefined,
  ) {
    this.arrived = info.offset ?? 0;
  }

  /** AsyncIterable, ReadableStream or RemoteFile; always the same one, undefined if nobody holds it any more. */
  get value(): object | undefined {
    if (this.#held) return this.#held.deref();
    if (this.#made) return this.#made;
    const consumer = new Consumer(this);
    const value = makeValue(this, consumer);
    this.#made = value;
    // many a stream is over with the piece that announces it, and an entry costs more than its items
    queueMicrotask(() => {
      if (this.ended || this.cancelled) return;
      this.#made = undefined;
      this.#held = new WeakRef(value);
      unreachable.register(consumer, this, this);
    });
    return value;
  }

  /** Makes it a part of that message, and of no earlier one. */
  join(events: StreamEvents): void {
    this.#events = events;
    this.#count(this.buffered, this.#buffer.length);
  }

  /** Somebody waits for more, and nothing is there. */
  get starving(): boolean {
    return this.#readers.length > 0;
  }

  /** The last position that arrived, undefined if there was none, and its item's place among what arrived, from 1. */
  get position(): readonly [position: unknown, place: number] {
    const buffer = this.#buffer;
    for (let i = buffer.length; i-- > 0; ) {
      const [position] = this.#pair(buffer[i] as Uint8Array);
      if (position !== undefined) return [position, this.arrived - buffer.length + i + 1];
    }
    return this.#consumed;
  }

  /** @throws SealwireError `bad_payload` for what such a stream does not bring */
  take(isItem: boolean, bytes: Uint8Array): void {
    if (isItem !== (this.kind === 'items')) throw new SealwireError('bad_payload');
    this.arrived += isItem ? 1 : bytes.length;
    if (this.arrived > (this.info.size ?? this.arrived)) throw new SealwireError('bad_payload');
    if (this.cancelled) return;
    const reader = this.#readers.shift();
    if (reader) {
      try {
        reader.resolve({ done: false, value: this.#read(bytes) });
      } catch (error) {
        reader.reject(error);
        this.cancel();
      }
      return;
    }
    this.#buffer.push(owned(bytes));
    this.#count(bytes.length, 1);
    this.buffered += bytes.length;
  }

  /** @throws SealwireError `bad_payload` at the end of a file that is shorter than was told */
  end(error: unknown): void {
    if (this.ended) return;
    if (error === undefined && this.arrived !== (this.info.size ?? this.arrived))
      throw new SealwireError('bad_payload');
    this.ended = true;
    if (this.#held) unreachable.unregister(this);
    if (this.cancelled) return;
    this.#error = error;
    for (const reader of this.#readers.splice(0)) {
      this.#told = true;
      if (error === undefined) reader.resolve(DONE);
      else reader.reject(this.#takeError());
    }
  }

  cut(error: Error): void {
    const isCut = error instanceof SealwireError && error.code === 'stream_cut';
    this.end(isCut ? this.#cutError({ cause: error }) : error);
  }

  /** Nobody has ever asked for it, and it is in the way. */
  discard(): void {
    this.#clear();
    this.cancelled = true;
    this.#error = this.#cutError({}, UNREAD);
    this.#events?.cancelled(this);
  }

  /** Another reader would find nothing, and not be told why. */
  get used(): boolean {
    return this.#told || (this.cancelled && this.#error === undefined);
  }

  /** Whether another run of the same stream begins where this one was cut. */
  goesOn({ resumable, version, size, offset = 0 }: StreamInfo): boolean {
    if (this.kind === 'items') return resumable === this.info.resumable;
    return version === this.info.version && size === this.info.size && offset === this.arrived;
  }

  next(): Promise<Result> {
    this.touched = true;
    const bytes = this.#buffer.shift();
    if (bytes) {
      this.buffered -= bytes.length;
      this.#count(-bytes.length, -1);
      this.#events?.moved();
      return this.#result(bytes);
    }
    this.#told ||= this.#error !== undefined || this.ended || this.cancelled;
    if (this.#error !== undefined) return Promise.reject(this.#takeError());
    if (this.ended || this.cancelled) return Promise.resolve(DONE);
    const promise = new Promise<Result>((resolve, reject) => this.#readers.push({ resolve, reject }));
    this.#events?.moved();
    return promise;
  }

  cancel(): void {
    if (this.cancelled) return;
    this.cancelled = true;
    if (this.#held) unreachable.unregister(this);
    this.#clear();
    this.#error = undefined;
    for (const reader of this.#readers.splice(0)) reader.resolve(DONE);
    this.#events?.moved();
    if (!this.ended) this.#events?.cancelled(this);
  }

  async #result(bytes: Uint8Array): Promise<Result> {
    try {
      return { done: false, value: this.#read(bytes) };
    } catch (error) {
      this.cancel();
      throw error;
    }
  }

  #read(bytes: Uint8Array): unknown {
    if (this.kind !== 'items') return owned(bytes);
    if (!this.info.resumable) return decodeValue(bytes, this.decode);
    const [position, item] = this.#pair(bytes);
    if (position !== undefined) this.#consumed = [position, this.arrived - this.#buffer.length];
    return item;
  }

  #pair(bytes: Uint8Array): [unknown, unknown] {
    const pair = decodeValue(bytes, this.decode);
    if (!Array.isArray(pair) || pair.length !== 2) throw new SealwireError('bad_payload');
    return pair as [unknown, unknown];
  }

  #cutError(options: ErrorOptions, message?: string): StreamCutError {
    const details = this.kind === 'items' ? { items: this.arrived } : { bytes: this.arrived };
    return new StreamCutError(details, options, message);
  }

  /** A stream fails once; whoever asks on finds its end. */
  #takeError(): unknown {
    const error = this.#error;
    this.#error = undefined;
    return error;
  }

  #clear(): void {
    this.#count(-this.buffered, -this.#buffer.length);
    this.#buffer.length = this.buffered = 0;
  }

  #count(bytes: number, items: number): void {
    if (!this.#events) return;
    this.#events.fill.bytes += bytes;
    this.#events.fill.items += items;
  }
}

/**
 * A unit is a view of its piece. One that takes most of it up to its end is what keeps that memory, and no other unit is still read
 * from there; every other is copied.
 */
function owned(bytes: Uint8Array): Uint8Array {
  const { buffer, byteOffset, length } = bytes;
  const rest = buffer.byteLength - length;
  return rest === 0 || (rest < length && byteOffset === rest) ? bytes : bytes.slice();
}

export const DONE: Result = Object.freeze({ done: true, value: undefined });

/** A stream whose value nobody holds any more has no consumer. It keeps what its stream holds, so streams that are over leave it. */
const unreachable = new FinalizationRegistry<IncomingStream>((stream) => stream.cancel());

/** What a consumer needs of a stream. */
export type Consumed = Pick<IncomingStream, 'next' | 'cancel' | 'used'>;

/** What the values of a stream hold of it, and the value of one with items; the stream itself does not know its values. */
export class Consumer implements AsyncIterableIterator<unknown> {
  readonly #stream: Consumed;

  constructor(stream: Consumed) {
    this.#stream = stream;
  }

  next(): Promise<Result> {
    return this.#stream.next();
  }

  async return(value?: unknown): Promise<IteratorResult<unknown, unknown>> {
    this.#stream.cancel();
    return { done: true, value };
  }

  /** @throws TypeError */
  [Symbol.asyncIterator](): this {
    if (!this.#stream.used) return this;
    throw new TypeError('This stream was read already: call the function again, or keep the items.');
  }
}

function makeValue({ kind, info }: IncomingStream, consumer: Consumer): object {
  if (kind === 'items') return consumer;
  if (kind === 'bytes') return byteStream(consumer);
  const { name = '', type = '', size, modified } = info;
  return new RemoteFile({ name, type, size, modified }, () => byteStream(consumer));
}

function byteStream(consumer: Consumer): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { done, value } = await consumer.next();
        if (done) controller.close();
        else controller.enqueue(value as Uint8Array);
      },
      cancel: () => void consumer.return(),
    },
    // the bytes wait in one buffer only
    { highWaterMark: 0 },
  );
}
