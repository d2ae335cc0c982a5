import { ChangeDetectionStrategy, Component, computed, inject } from '@angular/core';
import { Bank } from './bank.js';
import { adviceFor } from './connection.js';
import { MoneyPipe } from './money.js';

@Component({
  selector: 'app-accounts-panel',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [MoneyPipe],
  template: `
    <div class="accounts">
      @for (owner of bank.owners; track owner) {
        <div class="card account">
          <h3>{{ owner }}</h3>
          <p class="amount" [attr.data-owner]="owner">
            @let balance = bank.balances()[$index];
            @if (balance !== undefined) {
              {{ balance | money }}
            } @else {
              <span class="skeleton" aria-label="opening the account"></span>
            }
          </p>
        </div>
      }
      <div class="account sum">
        <h3>Sum</h3>
        <p class="amount" data-owner="sum">
          @if (bank.total(); as total) {
            {{ total | money }}
          } @else {
            <span class="skeleton" aria-label="opening the accounts"></span>
          }
        </p>
      </div>
    </div>
    @if (problem(); as error) {
      <div class="problem" role="alert">
        <p>{{ error.message }} {{ advice(error) }}</p>
        <button type="button" (click)="bank.retry()">Try again</button>
      </div>
    }
  `,
})
export class AccountsPanel {
  protected readonly bank = inject(Bank);
  /** a refused handshake is told of by the connection's banner */
  protected readonly problem = computed(() =>
    this.bank.connection().state === 'refused' ? undefined : (this.bank.openError() ?? this.bank.balanceError()),
  );
  protected readonly advice = adviceFor;
}
