import { Injectable } from '@nestjs/common';
import { RemoteFunctionError } from '@sealwire/nest';
import { DataSource, type EntityManager, In } from 'typeorm';
import { Account } from './account.entity.js';
import type { OpenRequest, TransferRequest } from './payments.requests.js';
import { Transfer } from './transfer.entity.js';

export interface StatementLine {
  readonly booked: Date;
  /** negative where the money went out */
  readonly amount: bigint;
  /** the other account; none for the first deposit */
  readonly counterparty: string | undefined;
  readonly note: string;
}

@Injectable()
export class PaymentsService {
  constructor(private readonly database: DataSource) {}

  open({ owner, deposit }: OpenRequest): Promise<Account> {
    return this.database.transaction(async (manager) => {
      const account = await manager.save(Account, { owner, balance: deposit });
      await manager.insert(Transfer, { from: null, to: account.id, amount: deposit, note: 'first deposit' });
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
    await manager.update(Account, payer.id, { balance: payer.balance - amount });
    await manager.update(Account, payee.id, { balance: payee.balance + amount });
    return manager.save(Transfer, { from, to, amount, note });
  }

  async statement(account: string): Promise<StatementLine[]> {
    await this.account(account);
    const transfers = await this.database.manager.find(Transfer, {
      where: [{ from: account }, { to: account }],
      order: { booked: 'DESC' },
      take: 100,
    });
    return transfers.map(({ booked, amount, from, to, note }) => ({
      booked,
      amount: from === account ? -amount : amount,
      counterparty: (from === account ? to : from) ?? undefined,
      note,
    }));
  }
}

function accountUnknown(account: string): never {
  throw new RemoteFunctionError('account_unknown', 'There is no such account.', { account });
}
