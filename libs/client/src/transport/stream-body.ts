/** Takes bytes of a body, in parts that follow each other. While its promise is pending no more are made. */
export type WriteParts = (parts: readonly Uint8Array[]) => void | Promise<void>;

/**
 * The body of a call that has streams among its arguments, made while it leaves. It is read once.
 *
 * @example
 * const transport: Transport = {
 *   requestStreams: true,
 *   async send({ url, body, contentType, signal }) {
 *     const bytes = body instanceof Uint8Array ? body : body.stream();
 *     const init = { method: 'POST', body: bytes, headers: { 'content-type': contentType }, signal, duplex: 'half' };
 *     const response = await fetch(url, init as RequestInit);
 *     const answer = new Uint8Array(await response.arrayBuffer());
 *     return { status: response.status, contentType: response.headers.get('content-type') ?? '', body: answer };
 *   },
 * };
 */
export class StreamBody {
  /**
   * @param pipe see {@link StreamBody.pipe}
   * @param cancel see {@link StreamBody.cancel}
   */
  constructor(pipe: (write: WriteParts) => Promise<void>, cancel: (reason?: unknown) => void) {
    this.pipe = pipe;
    this.cancel = cancel;
  }

  /**
   * Writes all of it, as fast as `write` takes it.
   *
   * @param write throws, or rejects, if nothing can be written any more: the sources are closed then
   * @returns a promise that is rejected if the call ends before its body does
   */
  readonly pipe: (write: WriteParts) => Promise<void>;

  /** Nobody sends the rest: the sources are closed. */
  readonly cancel: (reason?: unknown) => void;

  /** The same as a stream, for `fetch`. */
  stream(): ReadableStream<Uint8Array> {
    let go = (): void => {};
    let cancelled = false;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          const write: WriteParts = (parts) => {
            for (const part of parts) controller.enqueue(part);
            if ((controller.desiredSize ?? 0) > 0) return undefined;
            return new Promise<void>((resolve) => {
              go = resolve;
            });
          };
          this.pipe(write).then(
            () => cancelled || controller.close(),
            (error: unknown) => controller.error(error),
          );
        },
        pull: () => go(),
        cancel: (reason) => {
          cancelled = true;
          this.cancel(reason);
        },
      },
      new CountQueuingStrategy({ highWaterMark: 2 }),
    );
  }
}
