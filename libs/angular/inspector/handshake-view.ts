import {
  afterNextRender,
  ChangeDetectionStrategy,
  Component,
  computed,
  DestroyRef,
  ElementRef,
  inject,
  signal,
} from '@angular/core';
import { sequenceOf } from './sequence.js';
import { THEME } from './theme.js';
import { WireRecorder } from './wire-recorder.js';

const MARGIN = 32;
const WIDEST = 760;

/** Handshakes as sequence diagrams, the newest first. */
@Component({
  selector: 'sealwire-handshake-view',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <div class="views">
    <div>
    @for (one of sequences(); track one.handshake.id) {
      <figure>
        <figcaption>
          <b>{{ one.title }}</b>
          @if (one.handshake.sessionId; as id) { <span class="muted mono">session {{ id.slice(0, 8) }}…</span> }
        </figcaption>
        <svg role="img" [attr.aria-label]="spoken(one.steps)" [attr.viewBox]="'0 0 ' + one.width + ' ' + one.height" [attr.width]="one.width" [attr.height]="one.height">
          <line class="life" x1="16" x2="16" y1="28" [attr.y2]="one.height - 8" />
          <line class="life" [attr.x1]="one.width - 16" [attr.x2]="one.width - 16" y1="28" [attr.y2]="one.height - 8" />
          <line class="proxy" [attr.x1]="one.width / 2" [attr.x2]="one.width / 2" y1="28" [attr.y2]="one.height - 8" />
          <text class="who app" x="8" y="16">application</text>
          <text class="who wire" [attr.x]="one.width / 2" y="16" text-anchor="middle">proxy</text>
          <text class="who app" [attr.x]="one.width - 8" y="16" text-anchor="end">server</text>
          @for (step of one.steps; track step.n) {
            <g [class.refused]="step.isRefused">
              <rect class="halo" [attr.x]="one.width / 2 - 3" [attr.y]="step.y + 20" width="6" height="6" />
              <text class="title" [attr.x]="28" [attr.y]="step.y + 14">{{ step.n }}&nbsp; {{ step.title }}</text>
              <text class="note" [attr.x]="one.width - 28" [attr.y]="step.y + 14" text-anchor="end">{{ step.note }}</text>
              <line class="arrow" x1="20" [attr.x2]="one.width - 20" [attr.y1]="step.y + 23" [attr.y2]="step.y + 23" />
              <path class="tip" [attr.d]="step.toServer ? 'M' + (one.width - 17) + ' ' + (step.y + 23) + 'l-9 -5v10z' : 'M17 ' + (step.y + 23) + 'l9 -5v10z'" />
              @if (!step.isRefused) {
                <text class="prefix wire" x="28" [attr.y]="step.y + 55">visible</text>
                <text class="prefix app" x="28" [attr.y]="step.sealedY + 15">sealed</text>
              }
              @for (pill of step.clear; track $index) {
                <rect class="pill clear" [attr.x]="pill.x" [attr.y]="pill.y" [attr.width]="pill.width" height="22" rx="11" />
                <text class="text clear" [attr.x]="pill.x + pill.width / 2" [attr.y]="pill.y + 15" text-anchor="middle">{{ pill.text }}</text>
              }
              @for (pill of step.sealed; track $index) {
                <rect [class]="'pill ' + pill.kind" [attr.x]="pill.x" [attr.y]="pill.y" [attr.width]="pill.width" height="22" rx="11" />
                <text [class]="'text ' + pill.kind" [attr.x]="pill.x + pill.width / 2" [attr.y]="pill.y + 15" text-anchor="middle">{{ pill.text }}</text>
              }
            </g>
          }
        </svg>
      </figure>
    } @empty {
      <p class="empty muted">No handshake is recorded. The first call of a page shakes hands.</p>
    }
    </div>
    @if (sequences().length > 0) {
      <dl>
        <div><dt>C1 S1 C2 S2</dt><dd>32 random bytes, two from each side. Each travels sealed and goes into the keys of all that follows.</dd></div>
        <div><dt>A B</dt><dd>16 random bytes of the application that come back under seal: only who opened the step can send them.</dd></div>
        <div><dt>e_c e_s e_f</dt><dd>Fresh X25519 keys, their public halves. ek_c and the KEM ciphertext are the post-quantum half, ML-KEM-768.</dd></div>
        <div><dt>cookie</dt><dd>What the server must remember between steps 2 and 3, sealed for itself. It keeps nothing until step 3.</dd></div>
      </dl>
    }
    </div>
  `,
  styles: [
    THEME,
    `
    :host { padding: 16px; container-type: inline-size; }
    .views { display: grid; grid-template-columns: minmax(0, 760px) minmax(0, 1fr); gap: 16px 32px; }
    @container (max-width: 1000px) { .views { grid-template-columns: minmax(0, 1fr); } }
    figure { margin: 0 0 24px; }
    figcaption { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; margin-bottom: 8px; }
    svg { display: block; max-width: 100%; height: auto; font: 12px var(--sans); }
    text { fill: var(--text); }
    .who { font-weight: 600; }
    .app { fill: var(--app); }
    .wire { fill: var(--wire); }
    .life { stroke: var(--app); stroke-width: 2; }
    .proxy { stroke: var(--wire); stroke-width: 1.5; stroke-dasharray: 4 4; }
    .halo { fill: var(--wire); transform-box: fill-box; transform-origin: center; transform: rotate(45deg); }
    .arrow { stroke: var(--text); stroke-width: 1.25; }
    .tip { fill: var(--text); }
    .title { font-weight: 600; }
    .refused .arrow { stroke: var(--danger); stroke-dasharray: 2 3; }
    .refused .tip, .refused .title { fill: var(--danger); }
    .note, .prefix { font-size: 11px; }
    .note { fill: var(--muted); }
    .pill { fill: var(--bg); stroke: var(--wire); }
    .pill.sealed { fill: var(--app-soft); stroke: var(--app); }
    .pill.secret { fill: var(--app); stroke: var(--app); }
    .pill.number { fill: var(--app-soft); stroke: var(--app); stroke-width: 2; }
    .text.secret { fill: var(--bg); font-weight: 700; }
    .text.number { font-weight: 700; }
    .text { paint-order: stroke; }
    @media (forced-colors: active) {
      text, .note, .app, .wire, .text.secret { fill: CanvasText; }
      .life, .proxy, .arrow, .refused .arrow { stroke: CanvasText; }
      .tip, .halo, .refused .tip, .refused .title { fill: CanvasText; }
      .pill, .pill.sealed, .pill.secret, .pill.number { fill: Canvas; stroke: CanvasText; }
      .pill.secret { stroke-width: 3; }
    }
    .empty { text-align: center; padding: 16px; }
    dl { margin: 0; display: grid; gap: 12px; align-content: start; font-size: 13px; max-width: 760px; }
    dl div { display: flex; gap: 12px; }
    dt { font-weight: 700; color: var(--app); flex: none; width: 96px; }
    dd { margin: 0; color: var(--muted); }
  `,
  ],
})
export class HandshakeView {
  readonly #recorder = inject(WireRecorder);
  readonly #width = signal(640);

  protected readonly sequences = computed(() => {
    const exchanges = this.#recorder.exchanges();
    const width = Math.max(280, Math.min(WIDEST, this.#width() - MARGIN));
    return this.#recorder
      .handshakes()
      .map((handshake) => sequenceOf(handshake, exchanges, width))
      .filter(({ steps }) => steps.length > 0)
      .reverse();
  });

  constructor() {
    const host = inject<ElementRef<HTMLElement>>(ElementRef).nativeElement;
    const destroyed = inject(DestroyRef);
    afterNextRender(() => {
      if (typeof ResizeObserver === 'undefined') return;
      const observer = new ResizeObserver(() => this.#width.set(host.clientWidth));
      observer.observe(host);
      destroyed.onDestroy(() => observer.disconnect());
    });
  }

  protected spoken(steps: readonly { readonly spoken: string }[]): string {
    return steps.map((step) => step.spoken).join(' ');
  }
}
