import { computed, effect, Injectable, signal, untracked } from '@angular/core';
import {
  injectConnection,
  injectRemote,
  isRemoteError,
  type RemoteError,
  remoteAction,
  remoteResource,
  remoteStream,
} from '@sealwire/angular';
import { Payments } from './remotes.js';

export type Side = 0 | 1;

/** Two accounts that only this visit of the page knows, and all that it does with them. */
@Injectable()
export class Bank {
  readonly #remote = injectRemote(Payments);
  readonly owners = ['Ada', 'Ben'] as const;
  /** ids of the accounts, once they are open */
  readonly accounts = signal<readonly [string, string] | undefined>(undefined);
  readonly openError = signal<RemoteError | undefined>(undefined);
  readonly connection = injectConnection(Payments);

  readonly #balances = [this.#balanceOf(0), this.#balanceOf(1)] as const;
  readonly balances = computed(() =>
    this.#balances.map((balance) => (balance.hasValue() ? balance.value() : undefined)),
  );
  readonly isLoading = computed(() => this.#balances.some((balance) => balance.isLoading()));
  readonly balanceError = computed(() => this.#balances.map((balance) => balance.error()).find(Boolean));
  /** of both accounts: whatever is sent between them, it stays */
  readonly total = computed(() => {
    const [ada, ben] = this.balances();
    return ada === undefined || ben === undefined ? undefined : ada + ben;
  });

  readonly transfer = remoteAction(Payments, (payments) => payments.transfer, {
    onSuccess: () => this.refresh(),
    onError: () => this.refresh(),
  });
  /** resolves when the user's last payment is over */
  sent: Promise<unknown> = Promise.resolve();
  /** what is booked on Ben's account, as it is booked */
  readonly watch = remoteStream(
    Payments,
    (payments) => {
      const ben = this.accounts()?.[1];
      return ben === undefined ? undefined : payments.watch({ account: ben });
    },
    { keep: 5 },
  );

  constructor() {
    effect(() => {
      if (this.watch.count() > 0) untracked(() => this.refresh());
    });
    void this.open();
  }

  async open(): Promise<void> {
    this.openError.set(undefined);
    try {
      const [ada, ben] = await this.#remote.$batch((payments) => [
        payments.open({ owner: 'Ada', deposit: 100_00n }),
        payments.open({ owner: 'Ben', deposit: 100_00n }),
      ]);
      if (ada.status === 'rejected') throw ada.reason;
      if (ben.status === 'rejected') throw ben.reason;
      this.accounts.set([ada.value.account, ben.value.account]);
    } catch (error) {
      if (isRemoteError(error)) this.openError.set(error);
      else throw error;
    }
  }

  /** Two calls, and not one batch: each has an answer of its own. */
  async bothBalances(): Promise<readonly [bigint, bigint]> {
    const [ada, ben] = this.#both();
    return Promise.all([this.#remote.balance({ account: ada }), this.#remote.balance({ account: ben })]);
  }

  async pay(payer: Side, amount: bigint, note: string): Promise<void> {
    const [ada, ben] = this.#both();
    const [from, to] = payer === 0 ? [ada, ben] : [ben, ada];
    await this.#remote.transfer({ from, to, amount, note });
  }

  /** The user's own payment; how it goes is in `transfer`. */
  send(payer: Side, amount: bigint, note: string): void {
    const [ada, ben] = this.#both();
    const [from, to] = payer === 0 ? [ada, ben] : [ben, ada];
    this.sent = this.transfer.runAsync({ from, to, amount, note }).catch(() => {});
  }

  /** Numbers of the lines on Ben's account, beginning with the last one there is. */
  async lines(): Promise<{ next(): Promise<number>; stop(): Promise<unknown> }> {
    const lines = (await this.#remote.watch({ account: this.#both()[1] }))[Symbol.asyncIterator]();
    return {
      next: async () => (await lines.next()).value.number,
      stop: async () => lines.return?.(),
    };
  }

  /** hexadecimal; undefined while there is none */
  sessionId(): string | undefined {
    const connection = this.#remote.$connection();
    return connection.state === 'open' ? connection.sessionId : undefined;
  }

  #both(): readonly [string, string] {
    const accounts = this.accounts();
    if (!accounts) throw new Error('The accounts are not open yet.');
    return accounts;
  }

  /** After a refusal: whatever is missing is asked for again. */
  retry(): void {
    if (this.accounts()) this.refresh();
    else void this.open();
  }

  refresh(): void {
    for (const balance of this.#balances) balance.reload();
  }

  #balanceOf(side: Side) {
    return remoteResource(Payments, (payments) => {
      const account = this.accounts()?.[side];
      return account === undefined ? undefined : payments.balance({ account });
    });
  }
}
