import { type BatchApi, type BatchCall, RemoteError, remoteFunctions } from '@sealwire/client';

/** What `$batch` is given. */
export type Build<Api> = (remote: BatchApi<Api>) => readonly BatchCall<unknown>[];

const made = new WeakSet<object>();

/** Describes calls and makes none. */
const recorder = remoteFunctions<never>({}, (call) => {
  made.add(call);
  return call;
});

/** The call that a resource or stream is to make, or that the application's function threw. */
export type Described<T> = BatchCall<T> | RemoteError | undefined;

/** @param what is given the function */
export function describe<Api, T>(
  call: (remote: BatchApi<Api>) => BatchCall<T> | undefined,
  what: string,
): Described<T> {
  try {
    const described: unknown = call(recorder);
    const isOne =
      described === undefined || (typeof described === 'object' && described !== null && made.has(described));
    return isOne ? (described as BatchCall<T> | undefined) : new RemoteError('bad_configuration', noCall(what));
  } catch (cause) {
    return threw(what, cause);
  }
}

function noCall(what: string): string {
  const example = "such as functions.balance('a')";
  return `The function that ${what} was given must return the call itself, ${example}, or undefined. Nothing was sent.`;
}

/** Of a function of the application that threw before it made a call. */
export function threw(what: string, cause: unknown): RemoteError {
  const sentence = `The function that ${what} was given threw, so nothing was sent; what it threw is the cause.`;
  return new RemoteError('bad_configuration', sentence, { cause });
}

/** The calls that a batch would have made; none for a mistake, as where it is made. */
export function recorded(build: Build<never>): readonly unknown[] {
  try {
    const calls: unknown = build(recorder);
    return Array.isArray(calls) ? calls : [];
  } catch {
    return [];
  }
}
