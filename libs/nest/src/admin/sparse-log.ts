import { Logger } from '@nestjs/common';

/** Warns of events that anybody can cause at will: one line a period, which tells how often it happened since the one before. */
export class SparseLog {
  private readonly logger = new Logger('Sealwire');
  private last = Number.NEGATIVE_INFINITY;
  private unsaid = 0;

  constructor(private readonly periodMs: number) {}

  warn(sentence: string): void {
    const now = performance.now();
    if (now - this.last < this.periodMs) {
      this.unsaid += 1;
      return;
    }
    this.last = now;
    this.logger.warn(this.unsaid === 0 ? sentence : `${sentence} (${this.unsaid} more since the last such line)`);
    this.unsaid = 0;
  }
}
