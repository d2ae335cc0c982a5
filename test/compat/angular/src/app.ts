import { Component, input } from '@angular/core';
import {
  injectConnection,
  injectRemote,
  remote$,
  remoteAction,
  remoteModule,
  remoteResource,
  remoteStream,
} from '@sealwire/angular';
import type { SealwireTestingController } from '@sealwire/angular/testing';

interface PaymentsController {
  balance(account: string): bigint;
  transfer(order: { from: string; to: string; amount: bigint }): { receipt: string };
  watch(account: string): AsyncGenerator<number>;
}
export const Payments = remoteModule<PaymentsController>('payments');

@Component({
  selector: 'app-root',
  template: `
    @if (balance.hasValue()) { {{ balance.value() + one }} }
    @else if (balance.error(); as error) { {{ error.code }} }
    @else { {{ balance.status() }} }
    <button (click)="pay()" [disabled]="transfer.isPending()">Pay</button>
    {{ changes.status() }} {{ connection().state }}`,
})
export class App {
  readonly account = input('a');
  readonly one = 1n;
  readonly balance = remoteResource(Payments, (payments) => payments.balance(this.account()));
  readonly changes = remoteStream(Payments, (payments) => payments.watch(this.account()));
  readonly transfer = remoteAction(Payments, (payments) => payments.transfer);
  readonly connection = injectConnection(Payments);
  readonly remote = injectRemote(Payments);
  readonly payments$ = remote$(Payments);

  pay(): void {
    this.transfer.run({ from: 'a', to: 'b', amount: 1n });
  }
}

/** For the compiler alone. */
export function typed(sealwire: SealwireTestingController): void {
  sealwire.expectOne(Payments, 'balance').flush(1n);
  // @ts-expect-error the balance is a bigint
  sealwire.expectOne(Payments, 'balance').flush('1');
}
