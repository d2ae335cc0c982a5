import { SealwireError, StreamCutError } from '../errors.js';
import { LIMITS } from '../limits.js';
import { type DecodeOptions, decodeValue } from '../payload/cbor-decode.js';
import { RemoteFile } from './remote-file.js';
import type { StreamInfo, StreamKind } from './sources.js';

type Result = IteratorResult<unknown, undefined>;
interface Waiting {
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/** One stream as its reader sees it: a bounded buffer between the units that arrive and a consumer. */
export class IncomingStream {
  /** AsyncIterable, ReadableStream or RemoteFile */
  readonly value: unknown;
  /** no more units come */
  ended = false;
  /** the consumer broke off; what still arrives is thrown away */
  cancelled = false;
  /** position of the last item that arrived, and of the last one that was consumed, if they have positions */
  position: unknown;
  consumed: unknown;
  /** items, or the absolute offset behind the bytes, that arrived */
  arrived: number;
  onCancel: (() => void) | undefined;
  private readonly buffer: { value: unknown; size: number; position: unknown }[] = [];
  private buffered = 0;
  private error: unknown;
  private readonly readers: Waiting[] = [];
  private full: { promise: Promise<void>; resolve(): void } | undefined;

  constructor(
    readonly kind: StreamKind,
    readonly info: StreamInfo,
  ) {
    this.arrived = info.offset ?? 0;
    this.value = this.makeValue();
  }

  takeBytes(bytes: Uint8Array): void | Promise<void> {
    if (this.kind === 'items') throw new SealwireError('bad_payload');
    this.arrived += bytes.length;
    return this.put(bytes.slice(), bytes.length, undefined);
  }

  takeItem(bytes: Uint8Array, decode: DecodeOptions | undefined): void | Promise<void> {
    if (this.kind !== 'items') throw new SealwireError('bad_payload');
    // also of what nobody reads any more: a malformed message is one whoever reads
    const item = decodeValue(bytes, decode);
    this.arrived++;
    if (!this.info.resumable) return this.put(item, bytes.length, undefined);
    if (!Array.isArray(item) || item.length !== 2) throw new SealwireError('bad_payload');
    if (item[0] !== undefined) this.position = item[0];
    return this.put(item[1], bytes.length, item[0]);
  }

  end(error: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.error = error;
    for (const reader of this.readers.splice(0)) {
      if (error === undefined) reader.resolve(DONE);
      else reader.reject(this.takeError());
    }
    this.full?.resolve();
  }

  cut(error: Error): void {
    const { arrived } = this;
    const details = this.kind === 'items' ? { items: arrived } : { bytes: arrived };
    const isCut = error instanceof SealwireError && error.code === 'stream_cut';
    this.end(isCut ? new StreamCutError(details, { cause: error }) : error);
  }

  /** Another run of the same stream: it begins where this one was cut, or it is another stream. */
  goOn(info: StreamInfo): void {
    if (this.kind === 'items') return;
    if (info.version !== this.info.version || (info.offset ?? 0) !== this.arrived) {
      this.end(new SealwireError('stream_changed'));
    }
  }

  private put(value: unknown, size: number, position: unknown): void | Promise<void> {
    if (this.cancelled) return undefined;
    const reader = this.readers.shift();
    if (reader) {
      this.note(position);
      return reader.resolve({ done: false, value });
    }
    this.buffer.push({ value, size, position });
    this.buffered += size;
    if (!this.isFull) return undefined;
    if (!this.full) {
      let resolve = (): void => undefined;
      const promise = new Promise<void>((done) => {
        resolve = done;
      });
      this.full = { promise, resolve };
    }
    return this.full.promise;
  }

  private get isFull(): boolean {
    return this.buffered >= LIMITS.streamBytes || this.buffer.length >= LIMITS.streamItems;
  }

  private next(): Promise<Result> {
    const first = this.buffer.shift();
    if (first) {
      this.buffered -= first.size;
      this.note(first.position);
      if (this.full && !this.isFull) {
        this.full.resolve();
        this.full = undefined;
      }
      return Promise.resolve({ done: false, value: first.value });
    }
    if (this.cancelled || (this.ended && this.error === undefined)) return Promise.resolve(DONE);
    if (this.ended) return Promise.reject(this.takeError());
    return new Promise((resolve, reject) => this.readers.push({ resolve, reject }));
  }

  /** A stream fails once; whoever asks on finds its end. */
  private takeError(): unknown {
    const { error } = this;
    this.error = undefined;
    return error;
  }

  private note(position: unknown): void {
    if (position !== undefined) this.consumed = position;
  }

  private cancel(): void {
    if (this.cancelled) return;
    this.cancelled = true;
    this.buffer.length = this.buffered = 0;
    for (const reader of this.readers.splice(0)) reader.resolve(DONE);
    this.full?.resolve();
    if (!this.ended) this.onCancel?.();
  }

  private makeValue(): unknown {
    if (this.kind === 'items') return this.iterable();
    if (this.kind === 'bytes') return this.byteStream();
    const { name = '', type = '', ...rest } = this.info;
    return new RemoteFile({ name, type, ...rest }, () => this.byteStream());
  }

  private iterable(): AsyncIterableIterator<unknown> {
    const iterator: AsyncIterableIterator<unknown> = {
      next: () => this.next(),
      return: async (value) => {
        this.cancel();
        return { done: true, value };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  private byteStream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const { done, value } = await this.next();
          if (done) controller.close();
          else controller.enqueue(value as Uint8Array);
        },
        cancel: () => this.cancel(),
      },
      // the bytes wait in one buffer only
      { highWaterMark: 0 },
    );
  }
}

const DONE: Result = Object.freeze({ done: true, value: undefined });
