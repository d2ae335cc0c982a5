type Slice = (this: Uint8Array, start: number, end: number) => string;
type Write = (this: Uint8Array, text: string, offset: number) => number;

/** Node's own conversions cost half of the portable ones, which need a view of the part for each text. */
const { latin1Slice, utf8Slice, utf8Write } =
  (globalThis as { Buffer?: { prototype: { latin1Slice?: Slice; utf8Slice?: Slice; utf8Write?: Write } } }).Buffer
    ?.prototype ?? {};
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Up to this length V8 copies a part of a text; a longer part would keep the whole text in memory. */
const COPIED = 12;
/** A larger payload is not converted as a whole. */
const WHOLE = 262_144;

/** Reads texts out of one payload. */
export class TextReader {
  /** the payload with a character for each byte, made for the first short text */
  private whole: string | undefined;

  constructor(private readonly bytes: Uint8Array) {}

  /** @throws for bytes that are not well-formed UTF-8 */
  read(start: number, end: number): string {
    const { bytes } = this;
    if (end - start <= COPIED && bytes.length <= WHOLE && latin1Slice) {
      let all = 0;
      for (let i = start; i < end; i++) all |= bytes[i] as number;
      this.whole ??= latin1Slice.call(bytes, 0, bytes.length);
      if (all < 0x80) return this.whole.substring(start, end);
    }
    if (utf8Slice) {
      const text = utf8Slice.call(bytes, start, end);
      // the mark that stands for malformed bytes may have been sent as well
      if (!text.includes('\uFFFD')) return text;
    }
    return strict.decode(bytes.subarray(start, end));
  }
}

/**
 * Writes UTF-8, a replacement mark for each lone surrogate. `buffer` has three bytes for each character.
 * @returns bytes written
 */
export function writeText(buffer: Uint8Array, text: string, offset: number): number {
  if (utf8Write) return utf8Write.call(buffer, text, offset);
  return encoder.encodeInto(text, buffer.subarray(offset)).written;
}
