import { ChangeDetectionStrategy, Component, computed, inject, signal } from '@angular/core';
import { Attacks } from './attacks.js';
import { Bank, type Side } from './bank.js';
import { adviceFor } from './connection.js';
import { cents, money } from './money.js';

@Component({
  selector: 'app-pay-panel',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <form class="card pay" (submit)="$event.preventDefault(); pay()">
      <h3>Pay</h3>
      <div class="fields">
        <button type="button" class="direction" (click)="turn()">
          {{ bank.owners[payer()] }} <span aria-hidden="true">→</span>&ngsp;<span class="hidden">to</span>
          {{ bank.owners[payee()] }}<span class="hidden">, turn around</span>
        </button>
        <label>
          <span>Amount in euros</span>
          <input
            inputmode="decimal"
            autocomplete="off"
            maxlength="16"
            [value]="text()"
            [attr.aria-invalid]="amount() === undefined"
            aria-describedby="pay-said"
            (input)="text.set($any($event.target).value)"
          />
        </label>
        <label class="grows">
          <span>Note</span>
          <input autocomplete="off" maxlength="140" [value]="note()" (input)="note.set($any($event.target).value)" />
        </label>
        <button type="submit" class="primary" [disabled]="!bank.accounts()" [attr.aria-disabled]="!isReady()">
          {{ bank.transfer.isPending() ? 'Sending …' : 'Send' }}
        </button>
      </div>
      <p id="pay-said" class="said" role="status" [class.bad]="isBad()">{{ said() }}</p>
    </form>
  `,
})
export class PayPanel {
  protected readonly bank = inject(Bank);
  readonly #attacks = inject(Attacks);
  protected readonly payer = signal<Side>(0);
  protected readonly payee = computed((): Side => (this.payer() === 0 ? 1 : 0));
  protected readonly text = signal('5.00');
  protected readonly note = signal('lunch');
  protected readonly amount = computed(() => cents(this.text()));
  protected readonly isReady = computed(
    () =>
      this.bank.accounts() !== undefined &&
      this.amount() !== undefined &&
      !this.bank.transfer.isPending() &&
      // the balances before and after it prove what it did
      this.#attacks.running() === undefined,
  );
  protected readonly isBad = computed(() => this.amount() === undefined || this.bank.transfer.error() !== undefined);

  protected readonly said = computed(() => {
    const { transfer } = this.bank;
    if (this.amount() === undefined)
      return 'An amount is a number above zero with at most two decimals, such as 12.50.';
    if (this.#attacks.running()) return 'You can pay again as soon as the attack is over.';
    const error = transfer.error();
    if (error) return `${error.message} ${adviceFor(error)}`;
    const request = transfer.args()?.[0];
    if (transfer.status() !== 'resolved' || !request) return '';
    return `${money(request.amount)} sent, booked exactly once.`;
  });

  protected turn(): void {
    this.payer.set(this.payee());
  }

  protected pay(): void {
    const amount = this.amount();
    if (amount !== undefined && this.isReady()) this.bank.send(this.payer(), amount, this.note());
  }
}
