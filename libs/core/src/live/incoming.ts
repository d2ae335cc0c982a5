import { SealwireError } from '../errors.js';
import { LIMITS } from '../limits.js';
import { type DecodeOptions, decodeValue, type Revive } from '../payload/cbor-decode.js';
import { IncomingStream } from './incoming-stream.js';
import { readReference } from './reference.js';
import { type StreamFailure, UNIT, type Unit } from './units.js';

export interface IncomingOptions {
  /** makes the error that a stream ends with if its source failed */
  readonly errorOf: (failure: StreamFailure) => Error;
  /** how items are decoded */
  readonly decode?: DecodeOptions;
  /** the stream of a run that was cut: the first stream of this message goes on with it */
  readonly continued?: IncomingStream | undefined;
}

/**
 * The streams of one live message on the side that reads them: units become values.
 *
 * @example
 * const streams = new IncomingStreams({ errorOf: ({ code, message }) => new RemoteError(code, message) });
 * const value = decodeValue(bytes, { revive: streams.revive });
 * for (const unit of units.push(body)) await streams.accept(unit);
 */
export class IncomingStreams {
  private readonly all = new Map<number, IncomingStream>();
  private continued: IncomingStream | undefined;
  /** Nobody reads any of the streams that have not ended. It may be called again if more are announced. */
  onCancel: (() => void) | undefined;

  constructor(private readonly options: IncomingOptions) {
    this.continued = options.continued;
  }

  /** Hook of the decoders: the value of a reference to a stream. @throws SealwireError `bad_payload` */
  readonly revive: Revive = (reference) => {
    const { kind, k, info } = readReference(reference);
    if (this.all.has(k) || this.all.size >= LIMITS.streams) throw new SealwireError('bad_payload');
    const continued = this.continued;
    this.continued = undefined;
    const stream = continued?.kind === kind ? continued : new IncomingStream(kind, info);
    stream.onCancel = () => this.cancelled();
    this.all.set(k, stream);
    if (continued) stream.goOn(info);
    return stream.value;
  };

  /** Announced and not ended. */
  get open(): number {
    return this.list.filter(({ ended }) => !ended).length;
  }

  /** In the order of their announcement. */
  get list(): readonly IncomingStream[] {
    return [...this.all.values()];
  }

  /**
   * Takes a unit of kind data, item, end or error.
   * @returns a promise while the consumer is behind: nothing more may be read until it is fulfilled
   * @throws SealwireError `bad_payload` for a stream that is not open or a unit that it cannot have
   */
  accept({ kind, stream: k, bytes }: Unit): void | Promise<void> {
    const stream = this.all.get(k);
    if (!stream || stream.ended) throw new SealwireError('bad_payload');
    switch (kind) {
      case UNIT.data:
        // a consumer may hand its memory to somebody else, and what else came in the piece with it
        return stream.takeBytes(bytes);
      case UNIT.item:
        return stream.takeItem(bytes, this.options.decode);
      case UNIT.end:
        return stream.end(undefined);
      case UNIT.error:
        return stream.end(this.options.errorOf(readFailure(bytes)));
      default:
        throw new SealwireError('bad_payload');
    }
  }

  /** The message is over. @throws SealwireError `bad_payload` if a stream is not */
  finish(): void {
    if (this.open === 0) return;
    const error = new SealwireError('bad_payload');
    this.fail(error);
    throw error;
  }

  /** Every open stream ends with this error; with `stream_cut` each tells what had arrived of it. */
  fail(error: Error): void {
    for (const stream of this.list) if (!stream.ended) stream.cut(error);
  }

  private cancelled(): void {
    if (this.list.every(({ ended, cancelled }) => ended || cancelled)) this.onCancel?.();
  }
}

function readFailure(bytes: Uint8Array): StreamFailure {
  const parts = decodeValue(bytes);
  if (!Array.isArray(parts) || parts.length < 2 || parts.length > 3) throw new SealwireError('bad_payload');
  const [code, message, details] = parts;
  if (typeof code !== 'string' || typeof message !== 'string') throw new SealwireError('bad_payload');
  return parts.length === 2 ? { code, message } : { code, message, details };
}
