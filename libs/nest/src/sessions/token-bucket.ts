import type { Rate } from '../options.js';

/** So many at once, so many a second. Times are of `performance.now()`. */
export class TokenBucket {
  private tokens: number;
  private last = performance.now();

  constructor(private readonly rate: Rate) {
    this.tokens = rate.burst;
  }

  has(): boolean {
    const now = performance.now();
    this.tokens = Math.min(this.rate.burst, this.tokens + ((now - this.last) / 1000) * this.rate.perSecond);
    this.last = now;
    return this.tokens >= 1;
  }

  take(cost = 1): void {
    this.tokens -= cost;
  }
}

/**
 * A bucket for each address that took something lately. Their number is bounded, for anybody may have many addresses: those
 * that took nothing for longest are forgotten, a generation at once.
 */
export class AddressBuckets {
  private recent = new Map<string, TokenBucket>();
  private older = new Map<string, TokenBucket>();

  constructor(
    private readonly rate: Rate,
    private readonly most = 20_000,
  ) {}

  get size(): number {
    return this.recent.size + this.older.size;
  }

  has(address: string): boolean {
    return (this.recent.get(address) ?? this.older.get(address))?.has() ?? true;
  }

  take(address: string): void {
    const bucket = this.recent.get(address) ?? this.older.get(address) ?? new TokenBucket(this.rate);
    bucket.take();
    if (this.recent.size >= this.most / 2) {
      this.older = this.recent;
      this.recent = new Map();
    }
    this.older.delete(address);
    this.recent.set(address, bucket);
  }
}
