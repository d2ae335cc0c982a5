import { readU16, readU32 } from '../bytes.js';

/** Steps over encoded values without reading them. The bytes come from this library's own encoder. */
export class Scan {
  items = 0;

  constructor(
    private readonly bytes: Uint8Array,
    public at = 0,
  ) {}

  /** Steps over one head. @returns its integer */
  head(): number {
    const { bytes, at } = this;
    const minor = (bytes[at] ?? 0) & 0x1f;
    this.at = at + 1;
    this.items++;
    if (minor < 24) return minor;
    this.at += 1 << (minor - 24);
    if (minor === 24) return bytes[at + 1] ?? 0;
    if (minor === 25) return readU16(bytes, at + 1);
    return minor === 26 ? readU32(bytes, at + 1) : readU32(bytes, at + 1) * 0x1_0000_0000 + readU32(bytes, at + 5);
  }

  /** Steps over one whole value. */
  value(): void {
    for (let missing = 1; missing > 0 && this.at < this.bytes.length; missing--) {
      const major = (this.bytes[this.at] ?? 0) >>> 5;
      const argument = this.head();
      if (major === 2 || major === 3) this.at += argument;
      else if (major === 4) missing += argument;
      else if (major === 5) missing += 2 * argument;
      else if (major === 6) missing++;
    }
  }
}
