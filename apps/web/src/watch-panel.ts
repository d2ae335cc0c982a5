import { ChangeDetectionStrategy, Component, computed, inject } from '@angular/core';
import { Bank } from './bank.js';
import { adviceFor } from './connection.js';
import { LinesTable } from './lines-table.js';

const LABELS = {
  idle: 'starting',
  loading: 'starting',
  open: 'live',
  resuming: 'resuming',
  ended: 'stopped',
  error: 'ended',
};

@Component({
  selector: 'app-watch-panel',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [LinesTable],
  template: `
    <section class="card watch" aria-labelledby="watch-title">
      <header>
        <h3 id="watch-title">Ben’s account, live</h3>
        <p class="state" role="status" [attr.data-state]="bank.watch.status()">{{ label() }}</p>
        <button type="button" [disabled]="!bank.accounts()" (click)="isOver() ? bank.watch.restart() : bank.watch.stop()">
          {{ isOver() ? 'Watch' : 'Stop' }}
        </button>
      </header>
      <div class="rows"><app-lines-table caption="Lines as they are booked" [lines]="newestFirst()" /></div>
      @if (bank.watch.error(); as error) {
        <p class="said bad" role="alert">{{ error.message }} {{ advice(error) }}</p>
      }
    </section>
  `,
})
export class WatchPanel {
  protected readonly bank = inject(Bank);
  protected readonly advice = adviceFor;
  protected readonly label = computed(() => LABELS[this.bank.watch.status()]);
  protected readonly isOver = computed(() => ['ended', 'error'].includes(this.bank.watch.status()));
  protected readonly newestFirst = computed(() => this.bank.watch.items().toReversed());
}
