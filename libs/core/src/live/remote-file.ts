/** What travels of a file beside its bytes. */
export interface FileInfo {
  readonly name: string;
  /** media type, or empty */
  readonly type: string;
  /** bytes */
  readonly size?: number | undefined;
  readonly modified?: Date | undefined;
}

/**
 * A file that the other side sends. Its bytes are read once, as they arrive.
 *
 * @example
 * const file = new RemoteFile({ name: 'report.csv', type: 'text/csv' }, () => new Blob(['a;b']).stream());
 * for await (const chunk of file.stream()) await consume(chunk);
 */
export class RemoteFile implements FileInfo {
  readonly name: string;
  readonly type: string;
  /** bytes, if the sender told them */
  readonly size: number | undefined;
  readonly modified: Date | undefined;
  #stream: (() => ReadableStream<Uint8Array>) | undefined;

  constructor(info: FileInfo = { name: '', type: '' }, stream?: () => ReadableStream<Uint8Array>) {
    this.name = info.name;
    this.type = info.type;
    this.size = info.size;
    this.modified = info.modified;
    this.#stream = stream;
  }

  /**
   * @throws TypeError the second time: nobody keeps the bytes that were read
   */
  stream(): ReadableStream<Uint8Array> {
    const stream = this.#stream;
    if (!stream) throw new TypeError(`The bytes of the file "${this.name}" are read once.`);
    this.#stream = undefined;
    return stream();
  }

  /** All bytes. The promise is rejected if the file is cut or its sender fails. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await new Response(this.stream()).arrayBuffer());
  }

  /** As `bytes`, but browsers keep a Blob outside of the page's memory. */
  async blob(): Promise<Blob> {
    const blob = await new Response(this.stream()).blob();
    return blob.slice(0, blob.size, this.type);
  }
}
