import { ChangeDetectionStrategy, Component, computed, Input, signal } from '@angular/core';
import { type FrameField, ɵFRAME_LAYOUT } from '@sealwire/client';
import type { Exchange } from './exchange.js';
import { HexView } from './hex-view.js';
import { SizeBar } from './size-bar.js';
import { isLive, segmentsOf } from './sizes.js';
import { bytes, clock, colourOf, MEANINGS, THEME } from './theme.js';

/** as many as a call, a result or a step has */
const FIRST_FIELDS = 12;
const { lastChunk: LAST } = ɵFRAME_LAYOUT;

const INSIDE: Readonly<Record<number, string>> = {
  1: 'C1 and A, under a key from pin and SecureKey',
  2: 'S1, A again, session id and options, under X25519 and ML-KEM',
  3: 'C2, B, renewals and the first calls',
  4: 'S2, B again, terms and the first answers',
};

const TYPES: Readonly<Record<number, string>> = {
  1: 'step 1',
  2: 'step 2',
  3: 'step 3',
  4: 'step 4',
  17: 'call',
  18: 'result',
};

function flagsOf(type: number, flags: number): string {
  const names = type === 1 ? ['pinned key', 'SecureKey'] : ['chunked', 'live'];
  return names.filter((_, bit) => (flags & (1 << bit)) !== 0).join(', ') || 'none';
}

/** A request or an answer as a proxy that ends TLS sees it. */
@Component({
  selector: 'sealwire-wire-view',
  imports: [HexView, SizeBar],
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    @if (side(); as one) {
      <p class="line mono"><b>{{ one.line }}</b><span class="muted">{{ size(one.body.size) }}</span></p>
      <dl class="headers mono">
        @for (header of one.headers; track $index) {
          <div><dt>{{ header[0] }}:</dt><dd>{{ header[1] }}</dd></div>
        }
      </dl>
      <sealwire-size-bar [segments]="segments()" [legend]="true" />
      @if (hasPadding()) {
        <p class="inside">Payload and padding are told apart for you. A proxy sees only their sum.</p>
      }
      @if (inside(); as text) {
        <p class="inside">Sealed inside: {{ text }}. A proxy sees only the length.</p>
      }
      @if (one.body.pieceCount > 0) {
        <p class="inside">{{ counted() }}</p>
        <div class="pieces" role="img" [attr.aria-label]="'The last ' + chunks(one.body.pieces.length)">
          @for (piece of one.body.pieces; track $index) {
            <span [style.height.px]="height(piece.length)" [class.last]="piece.last" [title]="clockOf(piece.at) + ', ' + size(piece.length)"></span>
          }
        </div>
      }
      @if (text(); as readable) {
        <pre class="mono">{{ readable }}</pre>
      } @else {
        <div class="scroll">
          <table class="mono">
            <caption>Fields that anybody can tell apart</caption>
            <thead><tr><th scope="col">field</th><th scope="col">at</th><th scope="col">bytes</th><th scope="col">value</th></tr></thead>
            <tbody>
              @for (field of shown(); track field.offset) {
                <tr [class]="colour(field.name)">
                  <th scope="row"><span class="swatch"></span>{{ field.name }}</th>
                  <td>{{ field.offset }}</td>
                  <td>{{ field.length }}</td>
                  <td><span class="value">{{ valueOf(field) }}</span><span class="muted meaning">{{ meaning(field.name) }}</span></td>
                </tr>
              }
            </tbody>
          </table>
        </div>
        @if (more() > 0) {
          <button type="button" (click)="isOpen.set(!isOpen())">
            {{ isOpen() ? 'Show fewer fields' : 'Show ' + more() + ' more fields' }}
          </button>
        }
        <sealwire-hex-view [body]="one.body" [altered]="altered()" />
      }
    }
  `,
  styles: [
    THEME,
    `
    :host { container-type: inline-size; }
    .line { display: flex; flex-wrap: wrap; gap: 0 12px; margin: 0; overflow-wrap: anywhere; }
    button { font-size: 12px; margin-bottom: 8px; }
    .headers { margin: 4px 0 12px; color: var(--muted); }
    .headers div { overflow-wrap: anywhere; }
    .headers dt, .headers dd { display: inline; margin: 0; }
    .headers dd { color: var(--text); margin-left: 8px; }
    .inside { margin: 8px 0 0; font-size: 12.5px; color: var(--muted); }
    .scroll { overflow-x: auto; margin: 12px 0 8px; }
    table { border-collapse: collapse; width: 100%; }
    caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
    th, td { text-align: left; font-weight: 400; padding: 2px 12px 2px 0; vertical-align: baseline; border-bottom: 1px solid var(--line); }
    thead th { color: var(--muted); font-size: 11.5px; }
    tbody th { white-space: nowrap; }
    tbody th .swatch { margin-right: 8px; }
    td:nth-child(2), td:nth-child(3) { font-variant-numeric: tabular-nums; color: var(--muted); }
    .value { overflow-wrap: anywhere; }
    .value:not(:empty) + .meaning { margin-left: 12px; }
    .meaning { font-family: var(--sans); font-size: 12px; }
    @container (max-width: 480px) { .value:not(:empty) + .meaning { display: none; } }
    .pieces { display: flex; align-items: flex-end; gap: 2px; height: 32px; margin-top: 8px; overflow: hidden; }
    .pieces span { flex: 1 1 0; max-width: 8px; min-width: 2px; background: var(--c-sealed); border-radius: 2px 2px 0 0; }
    .pieces .last { background: var(--app); }
    pre { margin: 12px 0 0; padding: 12px; border-radius: 8px; background: var(--surface); white-space: pre-wrap; overflow-wrap: anywhere; }
  `,
  ],
})
export class WireView {
  protected readonly size = bytes;
  protected readonly clockOf = clock;
  protected readonly colour = colourOf;
  readonly #exchange = signal<Exchange | undefined>(undefined);
  readonly #which = signal<'request' | 'answer'>('request');

  @Input({ required: true }) set exchange(exchange: Exchange) {
    this.#exchange.set(exchange);
  }

  @Input({ required: true }) set which(which: 'request' | 'answer') {
    this.#which.set(which);
  }

  protected readonly side = computed(() => this.#exchange()?.[this.#which()]);
  protected readonly segments = computed(() => {
    const exchange = this.#exchange();
    return exchange ? segmentsOf(exchange, this.#which()) : [];
  });
  protected readonly hasPadding = computed(() => {
    const kinds = this.segments().map(({ kind }) => kind);
    return this.inside() === undefined && kinds.includes('payload') && kinds.includes('padding');
  });
  protected readonly isOpen = signal(false);
  protected readonly fields = computed(() => this.side()?.body.fields ?? []);
  protected readonly shown = computed(() => (this.isOpen() ? this.fields() : this.fields().slice(0, FIRST_FIELDS)));
  /** behind the first ones */
  protected readonly more = computed(() => this.fields().length - FIRST_FIELDS);
  protected readonly inside = computed(() => {
    const head = this.side()?.body.head;
    return head?.[1] === 1 ? INSIDE[head[0] ?? 0] : undefined;
  });
  protected readonly altered = computed(() => {
    const tampering = this.#exchange()?.tampering;
    return tampering?.side === this.#which() ? tampering.offset : undefined;
  });
  /** what is no frame and readable */
  protected readonly text = computed(() => {
    const body = this.side()?.body;
    return body && body.size > 0 && body.fields.length === 0 ? new TextDecoder().decode(body.head) : undefined;
  });

  protected readonly counted = computed(() => {
    const body = this.side()?.body;
    if (!body) return '';
    const isAlike = this.#which() === 'answer' && isLive(body.head);
    const soFar = body.complete ? '' : ' so far';
    return `${this.chunks(body.pieceCount)}${soFar}.${isAlike ? ' A pulse and a small item look alike.' : ''}`;
  });

  protected chunks(n: number): string {
    return `${n} ${n === 1 ? 'chunk' : 'chunks'}`;
  }

  protected valueOf({ name, value, text }: FrameField): string {
    if (value === undefined) return text ?? '';
    if (name === 'type') return `${value.toString(16).padStart(2, '0')} ${TYPES[value] ?? ''}`;
    if (name === 'flags') return flagsOf(this.side()?.body.head[0] ?? 0, value);
    if (name === 'chunk head') return `${value & ~LAST}${value & LAST ? ', last' : ''}`;
    return `${value}`;
  }

  protected meaning(name: string): string {
    return MEANINGS[name] ?? '';
  }

  protected height(length: number): number {
    return Math.min(32, 4 + 2 * Math.log2(1 + length / 16));
  }
}
