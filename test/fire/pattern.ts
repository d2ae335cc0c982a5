import { createHash } from 'node:crypto';

const PERIOD = 65_521;
const block = Buffer.alloc(PERIOD * 2);
for (let i = 0; i < block.length; i++) block[i] = ((i % PERIOD) * 2_654_435_761) >>> 24;

/** Bytes that tell where in the whole they belong: neither a gap nor a repetition leaves them as they were. */
export function pattern(offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const from = (offset + done) % PERIOD;
    const part = block.subarray(from, Math.min(from + length - done, block.length));
    bytes.set(part, done);
    done += part.length;
  }
  return bytes;
}

/** SHA-256 of the first bytes of the pattern, hexadecimal. */
export function patternHash(length: number): string {
  return createHash('sha256').update(pattern(0, length)).digest('hex');
}
