import { ChangeDetectionStrategy, Component, computed, Input, signal } from '@angular/core';
import type { Segment } from './sizes.js';
import { bytes, THEME } from './theme.js';

/** Where the bytes of a body go, to scale. */
@Component({
  selector: 'sealwire-size-bar',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <div class="bar" role="img" [attr.aria-label]="label()">
      @for (segment of shown(); track $index) {
        <span [class]="'part ' + segment.kind" [style.flex-grow]="segment.bytes" [title]="segment.label"></span>
      }
    </div>
    @if (legend) {
      <ul class="legend" aria-hidden="true">
        @for (segment of shown(); track $index) {
          <li><span [class]="'dot ' + segment.kind"></span>{{ segment.label }}<b>{{ segment.bytes }}</b></li>
        }
      </ul>
    }
  `,
  styles: [
    THEME,
    `
    .bar { display: flex; gap: 1px; height: 8px; border-radius: 4px; overflow: hidden; background: var(--line); }
    .part { min-width: 2px; flex-basis: 0; }
    .header { background: var(--c-head); }
    .readable { background: var(--danger); }
    .random { background: var(--c-session); }
    .payload { background: var(--app); }
    .sealed { background: var(--c-sealed); }
    .padding { background: repeating-linear-gradient(135deg, var(--c-number) 0 3px, transparent 3px 6px); }
    .tag { background: var(--c-tag); }
    .legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 8px 0 0; padding: 0; list-style: none; font-size: 12px; color: var(--muted); }
    .legend li { display: inline-flex; align-items: center; gap: 6px; }
    .legend b { font-weight: 600; color: var(--text); font-variant-numeric: tabular-nums; }
    .dot { width: 10px; height: 10px; border-radius: 3px; }
    .dot.padding { outline: 1px solid var(--c-number); outline-offset: -1px; }
  `,
  ],
})
export class SizeBar {
  @Input() legend = false;
  protected readonly shown = signal<readonly Segment[]>([]);
  protected readonly label = computed(() =>
    this.shown()
      .map((segment) => `${segment.label} ${bytes(segment.bytes)}`)
      .join(', '),
  );

  @Input({ required: true }) set segments(segments: readonly Segment[]) {
    this.shown.set(segments);
  }
}
