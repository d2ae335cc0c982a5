import { ChangeDetectionStrategy, Component, computed, inject, signal } from '@angular/core';
import { remoteStream } from '@sealwire/angular';
import { Bank, type Side } from './bank.js';
import { adviceFor } from './connection.js';
import { LinesTable } from './lines-table.js';
import { money } from './money.js';
import { Payments } from './remotes.js';

@Component({
  selector: 'app-statement-panel',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [LinesTable],
  template: `
    <section class="card statement" aria-labelledby="statement-title">
      <header>
        <h3 id="statement-title">Statement, streamed</h3>
        @for (owner of bank.owners; track owner) {
          <button
            type="button"
            [disabled]="!bank.accounts()"
            [attr.aria-pressed]="shown() === $index"
            (click)="show($index === 0 ? 0 : 1)"
          >
            {{ owner }}
          </button>
        }
      </header>
      @if (shown() === undefined) {
        <p class="said">Every line of an account as a stream. Choose one.</p>
      } @else {
        <div class="rows scrolls" tabindex="0" role="region" aria-label="Lines of the statement">
          <app-lines-table caption="The whole statement, oldest line first" [lines]="stream.items()" />
        </div>
        <p class="said" role="status" [class.bad]="stream.error()">{{ said() }}</p>
      }
    </section>
  `,
})
export class StatementPanel {
  protected readonly bank = inject(Bank);
  protected readonly shown = signal<Side | undefined>(undefined);
  protected readonly stream = remoteStream(Payments, (payments) => {
    const side = this.shown();
    const account = side === undefined ? undefined : this.bank.accounts()?.[side];
    return account === undefined ? undefined : payments.export({ account });
  });

  protected readonly said = computed(() => {
    const error = this.stream.error();
    if (error) return `${error.message} ${adviceFor(error)}`;
    const lines = `${this.stream.count()} ${this.stream.count() === 1 ? 'line' : 'lines'}`;
    if (this.stream.status() !== 'ended') return `${lines} …`;
    const sum = this.stream.items().reduce((before, { amount }) => before + amount, 0n);
    return `${lines}, ${money(sum)} in all. The end is sealed too: a list that was cut is never taken for all of it.`;
  });

  protected show(side: Side): void {
    if (this.shown() === side) this.stream.restart();
    else this.shown.set(side);
  }
}
