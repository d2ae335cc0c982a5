import { SealwireError } from '@sealwire/core';

/** So many works at once; the others wait for their turn, in order and for a time, and hold nothing meanwhile. */
export class Turns {
  private taken = 0;
  private readonly waiting = new Set<() => void>();

  constructor(private readonly most: () => number) {}

  async run<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
    if (this.taken < this.most()) this.taken++;
    else await this.turn(milliseconds);
    try {
      return await work();
    } finally {
      const [next] = this.waiting;
      if (next) next();
      else this.taken--;
    }
  }

  private turn(milliseconds: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const begin = () => {
        clearTimeout(timer);
        this.waiting.delete(begin);
        resolve();
      };
      const timer = setTimeout(() => {
        this.waiting.delete(begin);
        reject(new SealwireError('busy', 'Too many calls wait for a connection.'));
      }, milliseconds);
      this.waiting.add(begin);
    });
  }
}
