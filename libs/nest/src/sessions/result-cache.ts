import type { ResolvedOptions } from '../options.js';

/** A result frame that is kept; whoever keeps it is told when it goes. */
export interface Kept {
  readonly frame: Uint8Array;
  drop(): void;
}

interface Place {
  readonly kept: Kept;
  readonly cost: number;
  /** of performance.now() */
  readonly until: number;
}

/** What one session has kept, oldest first. */
export class Holder {
  readonly places: Place[] = [];
  /** Places before it are empty: taking the first of an array moves all others. */
  head = 0;
  cost = 0;
}

/**
 * Result frames of all sessions in one budget of bytes, time and number. Where it is exceeded, the session that holds most loses
 * its oldest, so no session can push out what others have kept.
 */
export class ResultCache {
  /** of a result however short, so that the one budget also bounds their number */
  private readonly least: number;
  /** Holders by the logarithm of their cost, so that one of those with most is found at once. */
  private readonly classes = Array.from({ length: 54 }, () => new Set<Holder>());
  private total = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly limits: ResolvedOptions['resultCache']) {
    this.least = Math.max(1, Math.floor(limits.bytes / limits.entries));
  }

  /** False where it has no room for it at all. */
  keep(holder: Holder, kept: Kept): boolean {
    const cost = Math.max(this.least, kept.frame.length);
    if (cost > this.limits.bytes) return false;
    holder.places.push({ kept, cost, until: performance.now() + this.limits.seconds * 1000 });
    this.charge(holder, cost);
    while (this.total > this.limits.bytes) this.shrink();
    this.sweepLater();
    return true;
  }

  /** Drops all that a session has kept. */
  empty(holder: Holder): void {
    while (holder.head < holder.places.length) this.dropOldest(holder);
  }

  private shrink(): void {
    for (let size = this.classes.length - 1; size >= 0; size--) {
      const [holder] = this.classes[size] ?? [];
      if (holder) {
        this.dropOldest(holder);
        return;
      }
    }
  }

  private dropOldest(holder: Holder): void {
    const { places } = holder;
    const place = places[holder.head];
    if (!place) return;
    holder.head += 1;
    if (holder.head > 64 && holder.head > places.length / 2) {
      places.splice(0, holder.head);
      holder.head = 0;
    } else {
      // the array would hold on to the frame
      delete places[holder.head - 1];
    }
    this.charge(holder, -place.cost);
    place.kept.drop();
  }

  private charge(holder: Holder, cost: number): void {
    const before = sizeOf(holder);
    holder.cost += cost;
    this.total += cost;
    const after = sizeOf(holder);
    if (before === after) return;
    this.classes[before]?.delete(holder);
    if (holder.cost > 0) this.classes[after]?.add(holder);
  }

  private sweepLater(): void {
    this.timer ??= setTimeout(
      () => {
        this.timer = undefined;
        const now = performance.now();
        for (const holders of this.classes) {
          for (const holder of holders) {
            while ((holder.places[holder.head]?.until ?? Number.POSITIVE_INFINITY) <= now) this.dropOldest(holder);
          }
        }
        if (this.total > 0) this.sweepLater();
      },
      Math.min(1_000 * this.limits.seconds, 10_000),
    ).unref();
  }
}

/** 0 is of those that hold nothing, and has no members. */
function sizeOf({ cost }: Holder): number {
  return cost < 1 ? 0 : 1 + Math.floor(Math.log2(cost));
}
