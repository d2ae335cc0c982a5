import type { AsyncResource } from 'node:async_hooks';
import { BegunStream, CompleteStream, EncodedItem } from '@sealwire/core/live';
import type { OpenedCalls } from '../functions/invocation.js';
import type { RegisteredFunction } from '../functions/registry.js';
import { inContext, isGenerator } from './generators.js';
import { Observed } from './observed.js';

/** What is read of a stream at most before its outcome leaves: items, and milliseconds. */
const [ITEMS, READING_MS] = [32, 5];
/** Bytes of all streams that a message holds as values: such a result is no larger than what every ledger keeps. */
export const COMPLETE_BYTES = 32_768;

type Result = IteratorResult<unknown>;

/**
 * What a function returned, in the async context of its call. A generator or an Observable is read as far as it does not wait: one that
 * has ended by then is kept like a value, and costs hardly more (PROTOCOL.md section 8.3). Of one that is refused, as by a plain call, or
 * that its client may go on with nothing is read.
 *
 * @param context default: that of this moment
 * @returns what stands for it, or a promise of that
 */
export function begun(
  value: unknown,
  { resumable }: Pick<RegisteredFunction, 'resumable'>,
  { sealed }: Pick<OpenedCalls, 'sealed'>,
  context?: AsyncResource,
): unknown {
  const bound = context ? context.runInAsyncScope(inContext, undefined, value) : inContext(value);
  const isRead = sealed && !resumable && (isGenerator(bound) || bound instanceof Observed);
  return isRead ? readAhead(bound) : bound;
}

function readAhead(source: AsyncIterableIterator<unknown>): Promise<BegunStream> {
  const ahead = new ReadAhead(source);
  return new Promise((resolve) => {
    void ahead.read().then((ended) => resolve(ended ? new CompleteStream(ahead.items) : ahead.handOver()));
    // runs once no promise is left that is settled already
    process.nextTick(() => resolve(ahead.handOver()));
  });
}

/** Reads the first items of a stream, and hands over the rest. */
class ReadAhead implements AsyncIterableIterator<unknown> {
  readonly items: EncodedItem[] = [];
  readonly #source: AsyncIterableIterator<unknown>;
  /** the step whose result is not among the items */
  #step: Promise<Result> | undefined;
  #handedOver = false;

  constructor(source: AsyncIterableIterator<unknown>) {
    this.#source = source;
  }

  /** @returns whether it has ended */
  async read(): Promise<boolean> {
    let until: number | undefined;
    let bytes = 0;
    try {
      do {
        this.#step = this.#source.next();
        const result = await this.#step;
        if (this.#handedOver || Object(result) !== result) return false;
        if (result.done) return true;
        const item = new EncodedItem(result.value);
        bytes += item.bytes.length;
        this.items.push(item);
        this.#step = undefined;
        until ??= performance.now() + READING_MS;
      } while (this.items.length < ITEMS && bytes < COMPLETE_BYTES && performance.now() < until);
    } catch {
      // whoever reads the step meets the error of the source, or the item that cannot be sent, behind the items
    }
    return false;
  }

  /** From here on its consumer reads it. */
  handOver(): BegunStream {
    this.#handedOver = true;
    return new BegunStream(this.items, this);
  }

  async next(): Promise<Result> {
    const step = this.#step ?? this.#source.next();
    this.#step = undefined;
    return step;
  }

  async return(value?: unknown): Promise<Result> {
    this.#step = undefined;
    return this.#source.return?.(value) ?? { done: true, value };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
