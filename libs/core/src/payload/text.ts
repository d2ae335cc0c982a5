type Slice = (this: Uint8Array, start: number, end: number) => string;
type Write = (this: Uint8Array, text: string, offset: number) => number;

/** Node's own conversions cost half of the portable ones, which need a view of the part for each text. */
const { utf8Slice, utf8Write } =
  (globalThis as { Buffer?: { prototype: { utf8Slice?: Slice; utf8Write?: Write } } }).Buffer?.prototype ?? {};
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
const { fromCharCode } = String;

/** Up to this length a loop is faster than any conversion. */
const SHORT = 12;

/** @throws for bytes that are not well-formed UTF-8 */
export function readText(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= SHORT) {
    let text = '';
    let at = start;
    for (; at < end; at++) {
      const code = bytes[at] as number;
      if (code >= 0x80) break;
      text += fromCharCode(code);
    }
    if (at === end) return text;
  }
  if (utf8Slice) {
    const text = utf8Slice.call(bytes, start, end);
    // the mark that stands for malformed bytes may have been sent as well
    if (!text.includes('\uFFFD')) return text;
  }
  return strict.decode(bytes.subarray(start, end));
}

/**
 * Writes UTF-8, a replacement mark for each lone surrogate. `buffer` has three bytes for each character.
 * @returns bytes written
 */
export function writeText(buffer: Uint8Array, text: string, offset: number): number {
  const { length } = text;
  if (length <= SHORT) {
    let i = 0;
    for (; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) break;
      buffer[offset + i] = code;
    }
    if (i === length) return length;
  }
  if (utf8Write) return utf8Write.call(buffer, text, offset);
  return encoder.encodeInto(text, buffer.subarray(offset)).written;
}
