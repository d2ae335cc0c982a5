import type { ResolvedOptions } from '../options.js';

/** u32 second of `performance.now()` at which it goes, u32 length, u32 lane, i32 place, 16 bytes of digest; then the frame. */
const HEAD = 32;
const DIGEST = 16;
/** Longer frames are kept as they are, beside the buffers. */
const LARGE = 1_024;
const CHUNK = 65_536;

interface Chunk {
  bytes: Uint8Array;
  used: number;
}

/** A result frame that is kept, with the digest of the call that it answers. */
export interface Kept {
  readonly digest: Uint8Array;
  readonly frame: Uint8Array;
}

/**
 * The result frames that one session has kept, oldest first. They lie in a few buffers, since a garbage collector visits objects that
 * live for a minute again and again. They are found by an index that is made when somebody first asks: most sessions never ask.
 */
export class SessionResults {
  cost = 0;
  private chunks: Chunk[] = [];
  /** by position: the number of the chunk, counted from the session's first, times CHUNK, and the place in it */
  private large: Map<number, Uint8Array> | undefined;
  /** positions by lane and place */
  private index: Map<number, Map<number, number>> | undefined;
  /** the number of the chunk that is first now */
  private first = 0;
  /** where the oldest begins in it */
  private head = 0;

  get(lane: number, place: number): Kept | undefined {
    this.index ??= this.indexed();
    const position = this.index.get(lane)?.get(place);
    if (position === undefined) return undefined;
    const { bytes } = this.chunks[Math.floor(position / CHUNK) - this.first] as Chunk;
    const start = (position % CHUNK) + HEAD;
    const frame = this.large?.get(position) ?? bytes.slice(start, start + lengthAt(bytes, start - HEAD));
    return { digest: bytes.slice(start - DIGEST, start), frame };
  }

  add(lane: number, place: number, { digest, frame }: Kept, until: number): void {
    const size = HEAD + (frame.length > LARGE ? 0 : frame.length);
    const chunk = this.roomFor(size);
    const { bytes, used } = chunk;
    const position = (this.first + this.chunks.length - 1) * CHUNK + used;
    write(bytes, used, until);
    write(bytes, used + 4, frame.length);
    write(bytes, used + 8, lane);
    write(bytes, used + 12, place);
    bytes.set(digest, used + HEAD - DIGEST);
    if (frame.length <= LARGE) bytes.set(frame, used + HEAD);
    else {
      this.large ??= new Map();
      this.large.set(position, frame);
    }
    chunk.used += size;
    if (this.index) note(this.index, lane, place, position);
  }

  /** The second at which the oldest goes, and its length; undefined if nothing is kept. */
  oldest(): { readonly until: number; readonly length: number } | undefined {
    const [chunk] = this.chunks;
    return chunk && { until: read(chunk.bytes, this.head), length: lengthAt(chunk.bytes, this.head) };
  }

  dropOldest(): void {
    const [chunk] = this.chunks;
    if (!chunk) return;
    const { bytes } = chunk;
    const at = this.head;
    const length = lengthAt(bytes, at);
    this.large?.delete(this.first * CHUNK + at);
    this.index?.get(read(bytes, at + 8))?.delete(read(bytes, at + 12) | 0);
    this.head = at + HEAD + (length > LARGE ? 0 : length);
    if (this.head < chunk.used) return;
    this.chunks.shift();
    this.first += 1;
    this.head = 0;
  }

  /** A chunk grows to its whole size before there is another. */
  private roomFor(size: number): Chunk {
    const last = this.chunks.at(-1);
    const whole = (last?.used ?? 0) + size;
    if (last && whole <= last.bytes.length) return last;
    // the first of a session has no room to spare: many sessions keep one result
    const length = last ? Math.min(CHUNK, 2 ** Math.ceil(Math.log2(2 * whole))) : whole;
    if (last && whole <= CHUNK) {
      const bytes = new Uint8Array(length);
      bytes.set(last.bytes);
      last.bytes = bytes;
      return last;
    }
    const added = { bytes: new Uint8Array(last ? CHUNK : length), used: 0 };
    // an array that grows takes room for many
    if (last) this.chunks.push(added);
    else this.chunks = [added];
    return added;
  }

  private indexed(): Map<number, Map<number, number>> {
    const index = new Map<number, Map<number, number>>();
    this.chunks.forEach(({ bytes, used }, number) => {
      for (let at = number === 0 ? this.head : 0; at < used; ) {
        const length = lengthAt(bytes, at);
        const position = (this.first + number) * CHUNK + at;
        note(index, read(bytes, at + 8), read(bytes, at + 12) | 0, position);
        at += HEAD + (length > LARGE ? 0 : length);
      }
    });
    return index;
  }
}

function lengthAt(bytes: Uint8Array, at: number): number {
  return read(bytes, at + 4);
}

function read(bytes: Uint8Array, at: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

function write(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

function note(index: Map<number, Map<number, number>>, lane: number, place: number, position: number): void {
  const places = index.get(lane) ?? new Map<number, number>();
  index.set(lane, places.set(place, position));
}

/**
 * Result frames of all sessions in one budget of bytes, time and number. If it is exceeded, the session that holds most loses its
 * oldest, so no session can push out what others have kept.
 */
export class ResultCache {
  /** of a result however short, so that the one budget also bounds their number */
  private readonly least: number;
  /** Sessions by the logarithm of their cost, so that one of those with most is found at once. */
  private readonly classes = Array.from({ length: 54 }, () => new Set<SessionResults>());
  private total = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly limits: ResolvedOptions['resultCache']) {
    this.least = Math.max(1, Math.floor(limits.bytes / limits.entries));
  }

  /** @param place stands for the number's counter, one to one. It keeps nothing for which there is no room at all. */
  keep(results: SessionResults, lane: number, place: number, kept: Kept): void {
    const cost = Math.max(this.least, kept.frame.length);
    if (cost > this.limits.bytes) return;
    results.add(lane, place, kept, Math.ceil(performance.now() / 1_000 + this.limits.seconds));
    this.charge(results, cost);
    while (this.total > this.limits.bytes) this.shrink();
    this.sweepLater();
  }

  /** Drops all that a session has kept. */
  empty(results: SessionResults): void {
    while (this.dropOldest(results));
  }

  private shrink(): void {
    for (let size = this.classes.length - 1; size >= 0; size--) {
      const results = this.classes[size];
      if (results?.size) {
        for (const one of results) {
          this.dropOldest(one);
          return;
        }
      }
    }
  }

  private dropOldest(results: SessionResults): boolean {
    const oldest = results.oldest();
    if (!oldest) return false;
    results.dropOldest();
    this.charge(results, -Math.max(this.least, oldest.length));
    return true;
  }

  private charge(results: SessionResults, cost: number): void {
    const before = sizeOf(results);
    results.cost += cost;
    this.total += cost;
    const after = sizeOf(results);
    if (before === after) return;
    this.classes[before]?.delete(results);
    if (results.cost > 0) this.classes[after]?.add(results);
  }

  private sweepLater(): void {
    this.timer ??= setTimeout(
      () => {
        this.timer = undefined;
        const now = performance.now() / 1_000;
        for (const all of this.classes) {
          for (const results of all) {
            while ((results.oldest()?.until ?? Number.POSITIVE_INFINITY) <= now) this.dropOldest(results);
          }
        }
        if (this.total > 0) this.sweepLater();
      },
      Math.min(1_000 * this.limits.seconds, 10_000),
    ).unref();
  }
}

/** 0 is of those that hold nothing, and has no members. */
function sizeOf({ cost }: SessionResults): number {
  return cost < 1 ? 0 : 32 - Math.clz32(Math.min(cost, 0xffff_ffff));
}
