/** Reads a body as it arrives: what `ReadableStream.getReader()` gives, as far as it is used. */
export interface BodyReader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  /** nobody reads on: the connection may be closed */
  cancel(reason?: unknown): Promise<void>;
}

/** A result of which the beginning was read: a live one, or one of several chunks. */
export class LiveBody implements BodyReader {
  #head: Uint8Array | undefined;

  constructor(
    readonly head: Uint8Array,
    private readonly reader: BodyReader,
  ) {
    this.#head = head;
  }

  read(): ReturnType<BodyReader['read']> {
    const value = this.#head;
    if (!value) return this.reader.read();
    this.#head = undefined;
    return Promise.resolve({ done: false, value });
  }

  cancel(reason?: unknown): Promise<void> {
    return this.reader.cancel(reason);
  }
}

/** Nothing more comes. */
export const ENDED: BodyReader = { read: async () => ({ done: true }), cancel: async () => {} };
