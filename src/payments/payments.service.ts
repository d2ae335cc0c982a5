import { Injectable } from '@nestjs/common';
import { RemoteFunctionError } from '@sealwire/nest';
import { DataSource, type EntityManager, In, MoreThan } from 'typeorm';
import { Account } from './account.entity.js';
import { AccountChanges } from './account-changes.js';
import type { OpenRequest, TransferRequest } from './payments.requests.js';
import { Transfer } from './transfer.entity.js';

/** Rows that a stream reads at a time. */
const PAGE = 100;

export interface StatementLine {
  /** 1 is the first deposit; numbers of an account have no gap */
  readonly number: number;
  readonly booked: Date;
  /** negative where the money went out */
  readonly amount: bigint;
  /** the other account; none for the first deposit */
  readonly counterparty: string | undefined;
  readonly note: string;
}

@Injectable()
export class PaymentsService {
  constructor(
    private readonly database: DataSource,
    private readonly changes: AccountChanges,
  ) {}

  open({ owner, deposit }: OpenRequest): Promise<Account> {
    return this.database.transaction(async (manager) => {
      const account = await manager.save(Account, { owner, balance: deposit, entries: 1 });
      const note = 'first deposit';
      await manager.insert(Transfer, { from: null, to: account.id, toEntry: 1, amount: deposit, note });
      return account;
    });
  }

  async account(id: string): Promise<Account> {
    return (await this.database.manager.findOneBy(Account, { id })) ?? accountUnknown(id);
  }

  async transfer(manager: EntityManager, { from, to, amount, note }: TransferRequest): Promise<Transfer> {
    if (from === to) throw new RemoteFunctionError('same_account', 'An account cannot pay itself.');
    // Always in the order of the ids: two transfers in opposite directions must not wait for each other.
    const locked = await manager.find(Account, {
      where: { id: In([from, to]) },
      order: { id: 'ASC' },
      lock: { mode: 'pessimistic_write' },
    });
    const payer = locked.find((account) => account.id === from) ?? accountUnknown(from);
    const payee = locked.find((account) => account.id === to) ?? accountUnknown(to);
    if (payer.balance < amount) {
      throw new RemoteFunctionError('insufficient_funds', 'The account has less than that.', {
        balance: payer.balance,
        requested: amount,
      });
    }
    const [fromEntry, toEntry] = [payer.entries + 1, payee.entries + 1];
    await manager.update(Account, payer.id, { balance: payer.balance - amount, entries: fromEntry });
    await manager.update(Account, payee.id, { balance: payee.balance + amount, entries: toEntry });
    return manager.save(Transfer, { from, fromEntry, to, toEntry, amount, note });
  }

  async statement(account: string): Promise<StatementLine[]> {
    await this.account(account);
    const transfers = await this.database.manager.find(Transfer, {
      where: [{ from: account }, { to: account }],
      order: { booked: 'DESC' },
      take: 100,
    });
    return transfers.map((transfer) => lineOf(account, transfer));
  }

  /** The lines behind that number, oldest first, read page by page as they are asked for. */
  async *lines(account: string, after: number): AsyncGenerator<StatementLine> {
    let last = after;
    for (;;) {
      const page = await this.page(account, last);
      yield* page;
      last = page.at(-1)?.number ?? last;
      if (page.length < PAGE) return;
    }
  }

  /** The lines behind that number, and then each one that is booked, until the signal fires. */
  async *watch(account: string, after: number, signal: AbortSignal): AsyncGenerator<StatementLine> {
    for (let last = after; ; ) {
      for await (const line of this.lines(account, last)) {
        yield line;
        last = line.number;
      }
      await this.changes.after(account, last, signal);
    }
  }

  private page(account: string, after: number): Promise<StatementLine[]> {
    // of one snapshot: a line that is booked between the two queries would be missing before a later one
    return this.database.transaction('REPEATABLE READ', async (manager) => {
      const numbers = MoreThan(after);
      const sent = await manager.find(Transfer, {
        where: { from: account, fromEntry: numbers },
        order: { fromEntry: 'ASC' },
        take: PAGE,
      });
      const received = await manager.find(Transfer, {
        where: { to: account, toEntry: numbers },
        order: { toEntry: 'ASC' },
        take: PAGE,
      });
      return [...sent, ...received]
        .map((transfer) => lineOf(account, transfer))
        .sort((a, b) => a.number - b.number)
        .slice(0, PAGE);
    });
  }
}

function lineOf(account: string, { booked, amount, from, fromEntry, to, toEntry, note }: Transfer): StatementLine {
  const sent = from === account;
  return {
    number: (sent ? fromEntry : toEntry) ?? 0,
    booked,
    amount: sent ? -amount : amount,
    counterparty: (sent ? to : from) ?? undefined,
    note,
  };
}

function accountUnknown(account: string): never {
  throw new RemoteFunctionError('account_unknown', 'There is no such account.', { account });
}
