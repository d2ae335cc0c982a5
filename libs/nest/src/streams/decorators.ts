import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { remoteCall } from '../functions/remote-function.decorator.js';

/** The place at which a stream that was cut goes on. */
export interface Resume {
  /** id of the run that the position is of, hexadecimal; the run that was cut, if that brought anything */
  readonly run: string;
  /** the last one that arrived; for bytes the offset. A stream of which none arrived begins anew, without a Resume */
  readonly position: unknown;
  /** of bytes: the version that their function gave */
  readonly version: string | undefined;
}

/** Reports the progress of a call to its caller: any value that a result can hold. */
export type Progress = (value: unknown) => void;

/**
 * Injects an AbortSignal, type it `Injected<AbortSignal>`. For a call whose result streams it fires as soon as the connection is
 * gone; for every other call when nobody has waited for its result for `abandonAfter`, or its caller's deadline is over. Its
 * reason is a RemoteFunctionError with the code `cancelled` or `deadline`. Read what is sent to the function: behind bytes that
 * nobody reads the end of a connection is not seen, unless it was reset, as `httpTransport()` does.
 *
 * @example
 * @RemoteFunctions('search')
 * export class SearchController {
 *   @RemoteFunction()
 *   async find(url: string, @RemoteSignal() signal: Injected<AbortSignal>): Promise<string> {
 *     return (await fetch(url, { signal })).text();
 *   }
 * }
 */
export const RemoteSignal = createParamDecorator(signalOf);

/**
 * Injects a {@link Progress}, type it `Injected<Progress>`. What it is given reaches `onProgress` of the caller before the result.
 * It does nothing in a plain call, and once the function is done.
 *
 * @example
 * @RemoteFunctions('builds')
 * export class BuildsController {
 *   @RemoteFunction()
 *   async build(steps: string[], @RemoteProgress() progress: Injected<Progress>): Promise<number> {
 *     for (const step of steps) progress({ done: step });
 *     return steps.length;
 *   }
 * }
 */
export const RemoteProgress = createParamDecorator(progressOf);

/**
 * Injects the {@link Resume} of a function that is `resumable`, type it `Injected<Resume | undefined>`; undefined if the stream
 * begins.
 *
 * @example
 * @RemoteFunctions('numbers')
 * export class NumbersController {
 *   @RemoteFunction({ resumable: true })
 *   async *count(to: number, @RemoteResume() resume: Injected<Resume | undefined>): AsyncGenerator<number> {
 *     for (let i = Number(resume?.position ?? -1) + 1; i < to; i++) yield at(i, i);
 *   }
 * }
 */
export const RemoteResume = createParamDecorator(resumeOf);

function signalOf(_: unknown, context: ExecutionContext): AbortSignal | undefined {
  return remoteCall(context)?.signal;
}

function progressOf(_: unknown, context: ExecutionContext): Progress {
  const call = remoteCall(context);
  return (value) => call?.progress(value);
}

/** By this the explorer knows a parameter that needs a resumable function. */
export function resumeOf(_: unknown, context: ExecutionContext): Resume | undefined {
  return remoteCall(context)?.resume;
}
