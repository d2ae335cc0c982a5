import { Injectable } from '@nestjs/common';
import { DataSource, In } from 'typeorm';
import { Account } from './account.entity.js';

/** How often accounts that somebody watches are looked at. Any instance may have booked what they wait for. */
const PAUSE_MS = 200;

interface Waiting {
  readonly account: string;
  readonly entries: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Tells who waits that an account has new entries, with one query for all that wait. */
@Injectable()
export class AccountChanges {
  private readonly waiting = new Set<Waiting>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly database: DataSource) {}

  /** Resolves when the account has more than so many entries. Rejects when the signal fires. */
  async after(account: string, entries: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    let leave = (): void => {};
    try {
      await new Promise<void>((resolve, reject) => {
        const item = { account, entries, resolve, reject };
        const abort = () => reject(signal.reason);
        leave = () => {
          this.waiting.delete(item);
          signal.removeEventListener('abort', abort);
        };
        signal.addEventListener('abort', abort);
        this.waiting.add(item);
        this.lookLater();
      });
    } finally {
      leave();
    }
  }

  private lookLater(): void {
    this.timer ??= setTimeout(() => void this.look(), PAUSE_MS).unref();
  }

  private async look(): Promise<void> {
    const asked = [...this.waiting];
    try {
      const ids = [...new Set(asked.map(({ account }) => account))];
      const found = await this.database.manager.find(Account, {
        select: { id: true, entries: true },
        where: { id: In(ids) },
      });
      const known = new Map(found.map(({ id, entries }) => [id, entries]));
      for (const { account, entries, resolve } of asked) if ((known.get(account) ?? 0) > entries) resolve();
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
    this.timer = undefined;
    // a microtask later those that were told have left
    await Promise.resolve();
    if (this.waiting.size > 0) this.lookLater();
  }
}
