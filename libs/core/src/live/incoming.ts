import { SealwireError } from '../errors.js';
import { LIMITS } from '../limits.js';
import { type DecodeOptions, decodeValue, type Revive } from '../payload/cbor-decode.js';
import { IncomingStream } from './incoming-stream.js';
import { isCount, type StreamInfo, type StreamKind, wrongIn } from './sources.js';
import { type StreamFailure, UNIT, type Unit } from './units.js';

/**
 * Name of the call by which a reader says that it reads some streams of a run no more: `[run id, stream, ...]` (PROTOCOL.md section
 * 8.4).
 * @example
 * const runId = new Uint8Array(16); // of the unit `run`
 * encodeCalls([{ name: STOP, args: [runId, 0, 2] }]);
 */
export const STOP = '$stop';

/** How the streams of a live message are read. */
export interface IncomingOptions {
  /** makes the error that a stream ends with if its source failed */
  readonly errorOf: (failure: StreamFailure) => Error;
  /** how items are decoded */
  readonly decode?: DecodeOptions;
  /** the stream of a run that was cut: the first one of its kind in this message goes on with it */
  readonly continued?: IncomingStream | undefined;
  /** nobody reads that stream any more, which has not ended */
  readonly onCancel?: (k: number) => void;
}

/**
 * The streams of one live message on the side that reads them: units become values.
 *
 * @example
 * const streams = new IncomingStreams({ errorOf: ({ code, message }) => Object.assign(new Error(message), { code }) });
 * const units = new UnitReader('result', 1_048_576, 1);
 * for (const unit of units.push(body)) {
 *   if (unit.kind === UNIT.outcome) console.log(decodeOutcome(unit.bytes, { revive: streams.revive }));
 *   else await streams.accept(unit);
 * }
 */
export class IncomingStreams {
  readonly #byNumber = new Map<number, IncomingStream>();
  /** in the order of their announcement */
  readonly list: IncomingStream[] = [];
  /** the stream of a run that was cut: the next one of its kind that is announced goes on with it */
  continued: IncomingStream | undefined;
  readonly #held: (() => void)[] = [];
  readonly #events = {
    fill: { bytes: 0, items: 0 },
    moved: () => this.#moved(),
    cancelled: (stream: IncomingStream) => this.#cancelled(stream),
  };

  constructor(private readonly options: IncomingOptions) {
    this.continued = options.continued;
  }

  /** Hook of the decoders: the value of a reference to a stream. @throws SealwireError `bad_payload` */
  get revive(): Revive {
    return (reference) => this.#announced(readReference(reference));
  }

  #announced({ kind, k, info }: ReturnType<typeof readReference>): object | undefined {
    if (this.#byNumber.has(k) || this.list.length >= LIMITS.streams) throw new SealwireError('bad_payload');
    const continued = this.continued?.kind === kind ? this.continued : undefined;
    if (continued) this.continued = undefined;
    const goesOn = continued?.goesOn(info) === true;
    const stream = goesOn ? continued : new IncomingStream(kind, info, this.options.decode);
    stream.join(this.#events);
    this.#byNumber.set(k, stream);
    this.list.push(stream);
    if (continued && !goesOn) {
      const message = 'What the stream was read from has changed, so that it cannot go on.';
      continued.end(this.options.errorOf({ code: 'stream_changed', message }));
      // what comes in its place is nobody's
      stream.cancel();
    }
    return stream.value;
  }

  /** Announced and not ended. */
  get open(): number {
    return this.list.filter(({ ended }) => !ended).length;
  }

  /**
   * Takes a unit of kind data, item, end or error.
   * @returns a promise while the consumers are behind: nothing more may be read until it is fulfilled
   * @throws SealwireError `bad_payload` for a stream that is not open or a unit that it cannot have
   */
  accept({ kind, stream: k, bytes }: Unit): void | Promise<void> {
    const stream = this.#byNumber.get(k);
    if (!stream || stream.ended) throw new SealwireError('bad_payload');
    switch (kind) {
      case UNIT.data:
      case UNIT.item:
        stream.take(kind === UNIT.item, bytes);
        break;
      case UNIT.end:
        stream.end(undefined);
        break;
      case UNIT.error:
        stream.end(this.options.errorOf(readFailure(bytes)));
        break;
      default:
        throw new SealwireError('bad_payload');
    }
    return this.#behind() ? new Promise((resolve) => this.#held.push(resolve)) : undefined;
  }

  /** Every open stream ends with this error; with `stream_cut` each tells what had arrived of it. */
  fail(error: Error): void {
    for (const stream of this.list) if (!stream.ended) stream.cut(error);
    this.#release();
  }

  /**
   * Whether too much waits for consumers. If one consumer waits itself, what comes for the others is no reason to let it
   * wait, up to a limit: beyond that a stream that nobody has asked for is given up.
   */
  #behind(): boolean {
    const { bytes, items } = this.#events.fill;
    const fill = Math.max(bytes / LIMITS.streamBytes, items / LIMITS.streamItems);
    if (fill < 1) return false;
    if (!this.list.some(({ starving }) => starving)) return true;
    if (fill < LIMITS.streamsAhead) return false;
    const [idle] = this.list.filter(({ touched }) => !touched).sort((a, b) => b.buffered - a.buffered);
    if (!idle || idle.buffered === 0) return true;
    idle.discard();
    return false;
  }

  #moved(): void {
    if (this.#held.length > 0 && !this.#behind()) this.#release();
  }

  #release(): void {
    for (const resolve of this.#held.splice(0)) resolve();
  }

  #cancelled(stream: IncomingStream): void {
    for (const [k, one] of this.#byNumber) if (one === stream) this.options.onCancel?.(k);
  }
}

function readFailure(bytes: Uint8Array): StreamFailure {
  const parts = decodeValue(bytes);
  if (!Array.isArray(parts) || parts.length < 2 || parts.length > 3) throw new SealwireError('bad_payload');
  const [code, message, details] = parts;
  if (typeof code !== 'string' || typeof message !== 'string') throw new SealwireError('bad_payload');
  return parts.length === 2 ? { code, message } : { code, message, details };
}

/** @throws SealwireError `bad_payload` for anything but what `OutgoingStreams.replace` gives */
function readReference(reference: unknown): { kind: StreamKind; k: number; info: StreamInfo } {
  if (!Array.isArray(reference) || reference.length < 2 || reference.length > 3) return refuse();
  const [kind, k, info] = reference.length === 2 ? [...reference, {}] : reference;
  if (kind !== 'items' && kind !== 'bytes' && kind !== 'file') return refuse();
  if (!isCount(k) || (k as number) > 0xffff) return refuse();
  if (typeof info !== 'object' || info === null || Object.getPrototypeOf(info) !== Object.prototype) return refuse();
  if (wrongIn(kind, info)) return refuse();
  return { kind, k: k as number, info };
}

function refuse(): never {
  throw new SealwireError('bad_payload');
}
