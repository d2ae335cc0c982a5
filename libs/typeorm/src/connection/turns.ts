import { SealwireError } from '@sealwire/core';

/** Works that may wait at a time; one more is refused. */
const LONGEST = 4_096;

interface Waiting {
  readonly begin: () => void;
}

/**
 * So many works at once. The others wait for a time and hold nothing meanwhile. Whoever's turn was longest ago is next, and
 * nobody has more than a share at once, so one with many slow works does not keep the others out.
 */
export class Turns {
  private taken = 0;
  private waitingCount = 0;
  /** by whom, in the order of their next turns; who has none waiting is not here */
  private readonly queues = new Map<string, Set<Waiting>>();
  private readonly running = new Map<string, number>();

  constructor(
    private readonly most: () => number,
    private readonly share: () => number = most,
  ) {}

  /** @throws SealwireError `busy` after that time, or at once if too many wait */
  async run<T>(who: string, milliseconds: number, work: () => Promise<T>): Promise<T> {
    if (this.taken < this.most() && this.mayTake(who)) this.take(who);
    else await this.turn(who, milliseconds);
    try {
      return await work();
    } finally {
      this.give(who);
    }
  }

  private mayTake(who: string): boolean {
    return (this.running.get(who) ?? 0) < this.share();
  }

  private take(who: string): void {
    this.taken++;
    this.running.set(who, (this.running.get(who) ?? 0) + 1);
  }

  private give(who: string): void {
    this.taken--;
    const left = (this.running.get(who) ?? 1) - 1;
    if (left > 0) this.running.set(who, left);
    else this.running.delete(who);
    this.next();
  }

  private next(): void {
    if (this.taken >= this.most()) return;
    for (const [who, queue] of this.queues) {
      if (!this.mayTake(who)) continue;
      const [first] = queue;
      if (!first) continue;
      // to the end of the line
      this.queues.delete(who);
      this.leave(who, queue, first);
      if (queue.size > 0) this.queues.set(who, queue);
      this.take(who);
      first.begin();
      return;
    }
  }

  private leave(who: string, queue: Set<Waiting>, waiting: Waiting): void {
    if (!queue.delete(waiting)) return;
    this.waitingCount--;
    if (queue.size === 0) this.queues.delete(who);
  }

  private turn(who: string, milliseconds: number): Promise<void> {
    if (this.waitingCount >= LONGEST) throw new SealwireError('busy', 'Too many calls wait for a connection.');
    return new Promise((resolve, reject) => {
      const queue = this.queues.get(who) ?? new Set();
      const waiting: Waiting = {
        begin: () => {
          clearTimeout(timer);
          resolve();
        },
      };
      const timer = setTimeout(() => {
        this.leave(who, queue, waiting);
        reject(new SealwireError('busy', 'Too many calls wait for a connection.'));
      }, milliseconds);
      queue.add(waiting);
      this.queues.set(who, queue);
      this.waitingCount++;
    });
  }
}
