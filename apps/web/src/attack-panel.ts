import {
  afterRenderEffect,
  ChangeDetectionStrategy,
  Component,
  computed,
  type ElementRef,
  inject,
  viewChild,
} from '@angular/core';
import { ATTACKS, Attacks } from './attacks.js';
import { Bank } from './bank.js';
import { MoneyPipe } from './money.js';

@Component({
  selector: 'app-attack-panel',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [MoneyPipe],
  template: `
    <section class="attacks" aria-labelledby="attack-title">
      <h3 id="attack-title">Be the proxy. Attack.</h3>
      <div class="buttons">
        @for (attack of all; track attack.id) {
          <button
            type="button"
            [attr.data-attack]="attack.id"
            [attr.aria-pressed]="isShown(attack.id)"
            [disabled]="!isReady()"
            [attr.aria-disabled]="attacks.running() !== undefined"
            (click)="attacks.start(attack)"
          >
            {{ attack.title }}
          </button>
        }
      </div>
      <div #result class="outcome" aria-live="polite" [attr.aria-busy]="attacks.running() !== undefined">
        @if (attacks.running(); as attack) {
          <p class="now">{{ attack.title }} … {{ attack.wait }}</p>
        } @else if (attacks.problem(); as problem) {
          <p class="bad">{{ problem }}</p>
        } @else if (attacks.outcome(); as now) {
          <dl>
            <dt>The attack</dt>
            <dd>{{ now.attack.does }}</dd>
            @if (now.proxy) {
              <dt>On the wire</dt>
              <dd>{{ now.proxy }}</dd>
            }
            <dt>The application saw</dt>
            <dd>{{ now.saw }}</dd>
            <dt>Why</dt>
            <dd>{{ now.attack.why }}</dd>
          </dl>
          <table class="proof">
            <caption class="hidden">The balances before and after the attack</caption>
            <thead>
              <tr><td></td><th scope="col">Ada</th><th scope="col">Ben</th><th scope="col">Sum</th></tr>
            </thead>
            <tbody>
              <tr><th scope="row">before</th><td>{{ now.before[0] | money }}</td><td>{{ now.before[1] | money }}</td><td>{{ now.before[0] + now.before[1] | money }}</td></tr>
              <tr><th scope="row">after</th><td>{{ now.after[0] | money }}</td><td>{{ now.after[1] | money }}</td><td>{{ now.after[0] + now.after[1] | money }}</td></tr>
            </tbody>
          </table>
          <p class="verdict" [class.bad]="!now.isAsExpected">{{ verdict() }}</p>
        } @else {
          <p class="hint">Each button alters, repeats or withholds what is on its way. See what the application notices.</p>
        }
        @if (attacks.ignored(); as ignored) {
          <p class="hint">{{ ignored }}</p>
        }
      </div>
    </section>
  `,
})
export class AttackPanel {
  readonly #bank = inject(Bank);
  protected readonly attacks = inject(Attacks);
  protected readonly all = ATTACKS;
  protected readonly isReady = computed(() => this.#bank.total() !== undefined);

  protected readonly verdict = computed(() =>
    this.attacks.outcome()?.isAsExpected
      ? 'The money moved exactly once per transfer, and none was made or lost.'
      : 'The balances are not what they should be. Please report this.',
  );

  protected readonly result = viewChild.required<ElementRef<HTMLElement>>('result');

  constructor() {
    // on a phone it lies below the buttons
    afterRenderEffect(() => {
      if (this.attacks.running() ?? this.attacks.outcome())
        this.result().nativeElement.scrollIntoView({ block: 'nearest' });
    });
  }

  protected isShown(id: string): boolean {
    return (this.attacks.running() ?? this.attacks.outcome()?.attack)?.id === id;
  }
}
