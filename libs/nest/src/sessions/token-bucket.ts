/** So many at once, so many a second. Times are of `performance.now()`. */
export class TokenBucket {
  private tokens: number;
  private last = 0;

  constructor(private readonly perSecond: number) {
    this.tokens = perSecond;
  }

  has(now: number): boolean {
    this.tokens = Math.min(this.perSecond, this.tokens + ((now - this.last) / 1000) * this.perSecond);
    this.last = now;
    return this.tokens >= 1;
  }

  take(): void {
    this.tokens -= 1;
  }
}
