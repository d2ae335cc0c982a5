import { ChangeDetectionStrategy, Component, computed, Input, signal } from '@angular/core';
import type { WireBody } from './exchange.js';
import { bytes, colourOf, THEME } from './theme.js';

interface Run {
  readonly text: string;
  readonly name: string;
  readonly colour: string;
  readonly isAltered: boolean;
}

const PER_ROW = 8;
const FIRST_ROWS = 12;

/** A body as bytes, coloured by field. */
@Component({
  selector: 'sealwire-hex-view',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <div class="rows mono" role="img" [attr.tabindex]="isOpen() ? 0 : null" [attr.aria-label]="label()">
      @for (row of rows(); track row.offset) {
        <div class="row">
          <span class="offset">{{ row.at }}</span>
          <span class="bytes"
            >@for (run of row.runs; track $index) {<span
              [class]="'run ' + run.colour" [class.altered]="run.isAltered" [title]="run.name">{{ run.text }}</span>}</span>
        </div>
      }
    </div>
    @if (more() > 0) {
      <button type="button" (click)="isOpen.set(!isOpen())">
        {{ isOpen() ? 'Show fewer bytes' : 'Show ' + more() + ' more bytes' }}
      </button>
    }
    @if (lost() > 0) {
      <p class="muted">… and {{ size(lost()) }} that are not kept.</p>
    }
  `,
  styles: [
    THEME,
    `
    :host { container-type: inline-size; }
    .rows { display: grid; grid-template-columns: repeat(2, max-content); gap: 2px 8px; max-height: 320px; overflow: auto; padding: 8px 0; }
    .row { display: flex; gap: 12px; }
    .row:nth-child(even) .offset { display: none; }
    .offset { color: var(--muted); user-select: none; flex: none; }
    .bytes { white-space: nowrap; }
    .run { background: color-mix(in srgb, var(--hue) 22%, transparent); padding: 1px 3px; margin-right: 1px; border-radius: 2px; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
    .run.altered { outline: 2px solid var(--danger); font-weight: 700; }
    button { font-size: 12px; margin-top: 4px; }
    p { margin: 4px 0 0; font-size: 12px; }
    @container (max-width: 480px) {
      .rows { grid-template-columns: max-content; }
      .row:nth-child(even) .offset { display: inline; }
    }
  `,
  ],
})
export class HexView {
  protected readonly size = bytes;
  protected readonly isOpen = signal(false);
  readonly #body = signal<WireBody | undefined>(undefined);
  readonly #altered = signal<number | undefined>(undefined);

  @Input({ required: true }) set body(body: WireBody) {
    this.#body.set(body);
  }

  /** offset of the byte that a proxy altered */
  @Input() set altered(offset: number | undefined) {
    this.#altered.set(offset);
  }

  readonly #first = computed(() => {
    const altered = Math.ceil(((this.#altered() ?? 0) + 1) / PER_ROW);
    return Math.max(FIRST_ROWS, altered) * PER_ROW;
  });
  readonly #shown = computed(() => {
    const head = this.#body()?.head ?? new Uint8Array(0);
    return this.isOpen() ? head : head.subarray(0, this.#first());
  });
  /** behind the first ones */
  protected readonly more = computed(() => (this.#body()?.head.length ?? 0) - this.#first());
  protected readonly lost = computed(() => (this.#body()?.size ?? 0) - (this.#body()?.head.length ?? 0));
  protected readonly label = computed(() => `The first ${this.#shown().length} bytes, in hexadecimal`);
  protected readonly rows = computed(() => {
    const shown = this.#shown();
    return Array.from({ length: Math.ceil(shown.length / PER_ROW) }, (_, i) => {
      const offset = i * PER_ROW;
      return { offset, at: offset.toString(16).padStart(4, '0'), runs: this.#runs(shown, offset) };
    });
  });

  #runs(shown: Uint8Array, offset: number): Run[] {
    const runs: { text: string; name: string; isAltered: boolean }[] = [];
    const fields = this.#body()?.fields ?? [];
    const altered = this.#altered();
    for (let at = offset; at < Math.min(offset + PER_ROW, shown.length); at++) {
      const field = fields.find((one) => at >= one.offset && at < one.offset + one.length);
      const name = field?.name ?? 'readable';
      const text = (shown[at] ?? 0).toString(16).padStart(2, '0');
      const last = runs.at(-1);
      if (last?.name === name && !last.isAltered && at !== altered) last.text += ` ${text}`;
      else runs.push({ text, name, isAltered: at === altered });
    }
    return runs.map((run) => ({ ...run, colour: colourOf(run.name) }));
  }
}
