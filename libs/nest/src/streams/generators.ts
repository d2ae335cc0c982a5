import { AsyncResource } from 'node:async_hooks';

/**
 * Has a generator, whose body begins after the function has returned, run in the async context of its call: with the stores that
 * guards and interceptors entered (`AsyncLocalStorage`), and with those of no other call.
 *
 * @param context that of the call (default: that of this moment)
 */
export function inContext(value: unknown, context?: AsyncResource): unknown {
  if (value instanceof Bound || !isGenerator(value)) return value;
  return new Bound(value, context ?? new AsyncResource('SealwireStream'));
}

export function isGenerator(value: unknown): value is AsyncGenerator {
  if (typeof value !== 'object' || value === null || !(Symbol.toStringTag in value)) return false;
  return value[Symbol.toStringTag] === 'AsyncGenerator';
}

/** Since Node 24 what enters a store changes the context of its own step only, and no AsyncResource. */
const STEPS_APART = Number.parseInt(process.versions.node, 10) >= 24;

/** A generator whose steps run in one async context: what one of them enters, the next one finds. */
class Bound implements AsyncIterableIterator<unknown> {
  readonly #generator: AsyncGenerator;
  #context: AsyncResource;

  constructor(generator: AsyncGenerator, context: AsyncResource) {
    this.#generator = generator;
    this.#context = context;
  }

  next(given?: unknown): Promise<IteratorResult<unknown>> {
    return this.#context.runInAsyncScope(this.#step, this, 'next', given);
  }

  return(given?: unknown): Promise<IteratorResult<unknown>> {
    return this.#context.runInAsyncScope(this.#step, this, 'return', given);
  }

  throw(given: unknown): Promise<IteratorResult<unknown>> {
    return this.#context.runInAsyncScope(this.#step, this, 'throw', given);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** for interceptors, which see it in place of the generator */
  get [Symbol.toStringTag](): string {
    return 'AsyncGenerator';
  }

  #step(step: 'next' | 'return' | 'throw', given: unknown): Promise<IteratorResult<unknown>> {
    const result = this.#generator[step](given);
    if (STEPS_APART) this.#context = new AsyncResource('SealwireStream');
    return result;
  }
}
