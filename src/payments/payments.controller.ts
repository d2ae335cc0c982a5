import { at, type Injected, RemoteFile } from '@sealwire/core';
import {
  RemoteFunction,
  RemoteFunctions,
  RemoteResume,
  RemoteSignal,
  RemoteTransaction,
  type Resume,
  remoteFile,
} from '@sealwire/nest';
import { EntityManager } from 'typeorm';
import { DocumentsService } from './documents.service.js';
import { AccountRequest, DocumentRequest, OpenRequest, TransferRequest } from './payments.requests.js';
import { PaymentsService, type StatementLine } from './payments.service.js';

/** Bytes of one document at most. */
const MAX_DOCUMENT = 64 * 2 ** 20;

/** What clients of the module `payments` call. Amounts are bigints of cents. */
@RemoteFunctions('payments')
export class PaymentsController {
  constructor(
    private readonly payments: PaymentsService,
    private readonly documents: DocumentsService,
  ) {}

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

  /** The whole statement, oldest line first. A page is read from the database when the client has taken the one before. */
  @RemoteFunction({ idempotent: true })
  async export(request: AccountRequest): Promise<AsyncIterable<StatementLine>> {
    await this.payments.account(request.account);
    return this.payments.lines(request.account, 0);
  }

  /** Each line as it is booked, behind the one that the client saw last; a new client begins with the last one there is. */
  @RemoteFunction({ resumable: true })
  async *watch(
    request: AccountRequest,
    @RemoteResume() resume: Injected<Resume | undefined>,
    @RemoteSignal() signal: Injected<AbortSignal>,
  ): AsyncGenerator<StatementLine> {
    const { entries } = await this.payments.account(request.account);
    const after = Number(resume?.position ?? entries - 1);
    for await (const line of this.payments.watch(request.account, after, signal)) yield at(line.number, line);
  }

  /** Takes a file to an account. If its bytes break off, nothing of it stays. */
  @RemoteFunction({ maxUpload: MAX_DOCUMENT })
  async attach(request: AccountRequest, file: RemoteFile): Promise<{ document: string; size: number }> {
    await this.payments.account(request.account);
    const { id, size } = await this.documents.attach(request.account, file);
    return { document: id, size };
  }

  /** A document never changes, so its id is its version. */
  @RemoteFunction({ resumable: true })
  async document(request: DocumentRequest, @RemoteResume() resume: Injected<Resume | undefined>): Promise<RemoteFile> {
    const { id, name, type, size } = await this.documents.find(request.document);
    const offset = Number(resume?.position ?? 0);
    return remoteFile(this.documents.read(id, offset), { name, type, size, version: id, offset });
  }
}
