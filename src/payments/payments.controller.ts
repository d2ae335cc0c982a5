import type { Injected } from '@sealwire/core';
import { RemoteFunction, RemoteFunctions, RemoteTransaction } from '@sealwire/nest';
import { EntityManager } from 'typeorm';
import { AccountRequest, OpenRequest, TransferRequest } from './payments.requests.js';
import { PaymentsService, type StatementLine } from './payments.service.js';

/** What clients of the module `payments` call. Amounts are bigints of cents. */
@RemoteFunctions('payments')
export class PaymentsController {
  constructor(private readonly payments: PaymentsService) {}

  @RemoteFunction()
  async open(request: OpenRequest): Promise<{ account: string; balance: bigint }> {
    const { id, balance } = await this.payments.open(request);
    return { account: id, balance };
  }

  @RemoteFunction({ idempotent: true })
  async balance(request: AccountRequest): Promise<bigint> {
    return (await this.payments.account(request.account)).balance;
  }

  /** Runs inside the transaction that also keeps its outcome: however often it is sent, the money moves once. */
  @RemoteFunction({ exactlyOnce: true })
  async transfer(
    request: TransferRequest,
    @RemoteTransaction() transaction: Injected<EntityManager>,
  ): Promise<{ transfer: string; booked: Date }> {
    const { id, booked } = await this.payments.transfer(transaction, request);
    return { transfer: id, booked };
  }

  @RemoteFunction({ idempotent: true })
  statement(request: AccountRequest): Promise<StatementLine[]> {
    return this.payments.statement(request.account);
  }
}
