/**
 * Work that waits only if a primitive returned a promise. `runSync` and `run` drive it; both are one code path.
 *
 * Whoever writes one takes numbers and derives keys before the first `yield`, and erases nothing that an operation still reads.
 */
export type Step<T> = Generator<PromiseLike<unknown>, T, unknown>;

/** A value that is there, or comes. */
export type Soon<T> = T | PromiseLike<T>;

/**
 * Inside a step: the value, waited for if it only comes.
 *
 * @example
 * function* opened(sealed: Promise<Uint8Array>): Step<number> {
 *   return (yield* wait(sealed)).length;
 * }
 */
export function* wait<T>(value: Soon<T>): Step<T> {
  return isPending(value) ? ((yield value) as T) : value;
}

/**
 * Whether a value only comes.
 *
 * @example
 * const starting = run(startHandshake(suite, { modulePath: 'payments', keySize: 32, serverKey }));
 * const { frame } = isPending(starting) ? await starting : starting;
 */
export function isPending<T>(value: Soon<T>): value is PromiseLike<T> {
  return typeof (value as { then?: unknown } | undefined)?.then === 'function';
}

/** What a step gave, or threw. */
export type Attempt<T> = { readonly value: T } | { readonly error: unknown };

/**
 * A step that never throws.
 *
 * @example
 * const tried = await run(attempt(receiveStartAnswer(started, frame)));
 * if ('error' in tried) console.log('This was no answer to step 1.');
 */
export function* attempt<T>(step: Step<T>): Step<Attempt<T>> {
  try {
    return { value: yield* step };
  } catch (error) {
    return { error };
  }
}

/**
 * Runs a step to its end at once, for primitives that answer at once, as those of Node do.
 *
 * @throws TypeError if a primitive returned a promise
 * @example
 * const { frame } = runSync(startHandshake(suite, { modulePath: 'payments', keySize: 32, serverKey }));
 */
export function runSync<T>(step: Step<T>): T {
  const { done, value } = step.next();
  if (done) return value;
  step.return(undefined as T);
  throw new TypeError('These primitives are asynchronous; only a client takes them.');
}

/**
 * Runs a step with primitives of either kind.
 *
 * @returns the value itself if no primitive returned a promise
 * @example
 * const started = await run(startHandshake(suite, { modulePath: 'payments', keySize: 32, serverKey }));
 */
export function run<T>(step: Step<T>): T | Promise<T> {
  const { done, value } = step.next();
  return done ? value : goOn(step, value);
}

async function goOn<T>(step: Step<T>, first: PromiseLike<unknown>): Promise<T> {
  for (let pending = first; ; ) {
    const { done, value } = await pending.then(
      (result) => step.next(result),
      (error) => step.throw(error),
    );
    if (done) return value;
    pending = value;
  }
}

/** Names the address of what was not loaded: Chromium before 156, and others, never fetch the same address again. */
const NOT_LOADED = /dynamically imported module: (https?:[^\s#]+)/;
let tries = 0;

/**
 * Something of a module that is loaded when it is needed first.
 *
 * @returns gives it, or the promise of it while it is loaded; after an error the next call tries again
 * @example
 * const noble = lazy(() => import('@sealwire/core/noble'), ({ noblePrimitives }) => noblePrimitives);
 * const loaded = await noble();
 */
export function lazy<M, T>(load: () => Promise<M>, pick: (module: M) => T): () => Soon<T> {
  let loaded: Soon<T> | undefined;
  let failed: unknown;
  const fetchAgain = async (): Promise<M> => {
    const [, address] = NOT_LOADED.exec(String(failed)) ?? [];
    if (address === undefined) return load();
    // another fragment makes it another module, of the same file
    const module = await import(/* @vite-ignore */ /* webpackIgnore: true */ `${address}#${++tries}`);
    // a bundler may have given other names to what it exports
    if (pick(module) === undefined) throw failed;
    return module;
  };
  return () => {
    if (loaded !== undefined) return loaded;
    const loading = (failed === undefined ? load() : fetchAgain()).then(pick);
    loaded = loading;
    loading.then(
      (picked) => {
        loaded = picked;
      },
      // the network may be back at the next try
      (error) => {
        loaded = undefined;
        failed ??= error;
      },
    );
    return loading;
  };
}
