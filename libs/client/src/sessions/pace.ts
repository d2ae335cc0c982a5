const FREE = 3;
const MINUTE = 60_000;
const BLOCKED_MS = 5 * MINUTE;

/** How often handshakes may happen: what an unsealed hint can set off is bounded, whoever forges it. */
export class Pace {
  #recent = 0;
  #last = Number.NEGATIVE_INFINITY;
  #hintsSince: number | undefined;
  #lastHint = Number.NEGATIVE_INFINITY;

  /** Milliseconds before the next handshake: none for three in a row, then 1 to 60 seconds with jitter. */
  delay(): number {
    const quiet = performance.now() - this.#last;
    if (quiet > 2 * MINUTE) this.#recent = 0;
    if (this.#recent < FREE) return 0;
    const interval = Math.min(MINUTE, 1000 * 2 ** (this.#recent - FREE)) * (0.5 + Math.random() / 2);
    return Math.max(0, interval - quiet);
  }

  started(): void {
    this.#recent++;
    this.#last = performance.now();
  }

  /** @returns whether for five minutes there was nothing but hints */
  hint(): boolean {
    const now = performance.now();
    if (this.#hintsSince === undefined || now - this.#lastHint > MINUTE) this.#hintsSince = now;
    this.#lastHint = now;
    return now - this.#hintsSince >= BLOCKED_MS;
  }

  /** An answer has opened. */
  opened(): void {
    this.#hintsSince = undefined;
  }
}
