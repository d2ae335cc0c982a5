import { ChangeDetectionStrategy, Component, computed, inject, signal } from '@angular/core';
import type { Exchange, RecordedCall, WireSide } from './exchange.js';
import { SizeBar } from './size-bar.js';
import { type Segment, segmentsOf } from './sizes.js';
import { bytes, clock, hex, items, THEME, time } from './theme.js';
import { WireRecorder } from './wire-recorder.js';
import { WireView } from './wire-view.js';

interface Row {
  readonly exchange: Exchange;
  readonly calls: readonly RecordedCall[];
  /** of an answer that is no frame */
  readonly code: string;
  readonly step: string | undefined;
  readonly request: readonly Segment[];
  readonly answer: readonly Segment[];
  readonly sentBytes: string;
  readonly gotBytes: string;
  readonly isLive: boolean;
}

const STEPS: Partial<Record<Exchange['kind'], string>> = {
  start: 'steps 1 and 2: both sides make fresh keys',
  finish: 'steps 3 and 4: the session opens',
  ask: 'asks for the result of a first call',
};

/** bytes; more do not fit into a line */
const GLIMPSE = 40;
const SEALED = ['sealed', 'chunk', 'last chunk', 'further chunks'];

function codeOf(answer: WireSide | undefined): string {
  if (!answer || answer.body.fields.length > 0) return '';
  return /"code":"(\w+)"/.exec(new TextDecoder().decode(answer.body.head))?.[1] ?? '';
}

/** The beginning of what is sealed; of what is no frame the text. */
function glimpseOf(side: WireSide | undefined): string {
  const { fields = [], head = new Uint8Array(0) } = side?.body ?? {};
  if (fields.length === 0) return new TextDecoder().decode(head.subarray(0, GLIMPSE));
  const sealed = fields.find(({ name }) => SEALED.includes(name));
  return hex(head.subarray(sealed?.offset ?? head.length), GLIMPSE);
}

/** Each message, the newest first: left the application's call, right what a proxy sees of it. */
@Component({
  selector: 'sealwire-message-list',
  imports: [SizeBar, WireView],
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <div class="heads" aria-hidden="true">
      <span class="app-head">Your application sees</span>
      <span class="wire-head">A proxy <span class="wide">that ends TLS</span> sees
        <span class="legend"><i class="header"></i>header<i class="payload"></i>payload<i class="padding"></i>padding<i class="sealed"></i>sealed<i class="tag"></i>tag</span>
      </span>
    </div>
    <ol>
      @for (row of rows(); track row.exchange.id) {
        <li [class.open]="isOpen(row.exchange.id)">
          <button type="button" class="row" [attr.aria-expanded]="isOpen(row.exchange.id)" (click)="toggle(row.exchange.id)">
            <span class="side app">
              <span class="meta">
                <span>{{ clockOf(row.exchange.startedAt) }}</span>
                @if (row.exchange.attempt > 1 && !isReplay(row.exchange)) { <span class="badge">sent again, {{ row.exchange.attempt }}</span> }
                @if (row.exchange.tampering) { <span class="badge danger">attacked</span> }
                @if (row.isLive) { <span class="badge live">stream</span> }
              </span>
              @if (row.step; as step) {
                <span class="mono step"><b>{{ row.exchange.kind === 'ask' ? 'ask' : 'connect' }}</b><span class="muted sans">{{ step }}</span></span>
              }
              @for (call of row.calls; track call.id) {
                <span class="mono call"><b>{{ call.name }}</b>({{ call.args.join(', ') }})</span>
                <span class="mono outcome" [class.failed]="call.state === 'failed'">
                  @switch (call.state) {
                    @case ('pending') { <span class="muted">… under way</span> }
                    @case ('streaming') { ⇉ {{ itemsOf(call.items) }} <span class="muted">{{ call.lastItems.at(-1) ?? '' }}</span> }
                    @default { → {{ call.items > 0 && call.state === 'done' ? itemsOf(call.items) : call.outcome }} }
                  }
                </span>
              } @empty {
                @if (!row.step) { <span class="mono muted">{{ isReplay(row.exchange) ? 'nothing: no call of this application' : 'its call is no longer kept' }}</span> }
              }
            </span>
            <span class="side wire">
              <span class="mono http"><b>{{ row.exchange.request.line }}</b><span class="sizes">{{ size(row.exchange.request.body.size) }}</span></span>
              <sealwire-size-bar [segments]="row.request" />
              <span class="mono bytes">{{ row.sentBytes }}</span>
              <span class="mono http">
                @if (row.exchange.answer; as answer) {
                  <b [class.failed]="answer.line !== 'HTTP 200'">{{ answer.line }} {{ row.code }}</b>
                  <span class="sizes">{{ size(answer.body.size) }}</span>
                  <span class="muted">{{ row.exchange.ms === undefined ? 'arriving …' : timeOf(row.exchange.ms) }}</span>
                } @else {
                  <span class="muted">{{ row.exchange.failure ?? '… no answer yet' }}</span>
                }
              </span>
              @if (row.answer.length > 0) {
                <sealwire-size-bar [segments]="row.answer" />
                <span class="mono bytes">{{ row.gotBytes }}</span>
              }
              @if (row.exchange.answer && row.exchange.failure; as failure) { <span class="note" [class.failed]="row.exchange.state === 'failed'">{{ failure }}</span> }
              @if (row.exchange.tampering; as tampering) { <span class="failed">{{ tampering.what }}</span> }
            </span>
          </button>
          @if (isOpen(row.exchange.id)) {
            <div class="detail">
              <section class="app" aria-label="As the application sees it">
                @for (call of row.calls; track call.id) {
                  <p class="mono name"><b>{{ call.module }}.{{ call.name }}</b></p>
                  @for (arg of call.args; track $index) { <pre class="mono">{{ arg }}</pre> }
                  <p class="muted">{{ call.state }}{{ call.ms === undefined ? '' : ' after ' + timeOf(call.ms) }}</p>
                  @if (call.outcome; as outcome) { <pre class="mono" [class.failed]="call.state === 'failed'">{{ outcome }}</pre> }
                  @for (item of call.lastItems; track $index) { <pre class="mono item">{{ item }}</pre> }
                } @empty {
                  <p class="muted">{{ row.step ?? (isReplay(row.exchange) ? 'No call of this application travels in these bytes.' : 'The call in these bytes is no longer kept.') }}</p>
                }
              </section>
              <section class="wire" aria-label="As a proxy sees it">
                <h4>Request</h4>
                <sealwire-wire-view [exchange]="row.exchange" which="request" />
                @if (row.exchange.answer) {
                  <h4>Answer</h4>
                  <sealwire-wire-view [exchange]="row.exchange" which="answer" />
                }
              </section>
            </div>
          }
        </li>
      } @empty {
        <li class="empty muted">Nothing is recorded. Call a function, and watch what a proxy gets of it.</li>
      }
    </ol>
  `,
  styles: [
    THEME,
    `
    :host { container-type: inline-size; }
    .heads { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 24px; padding: 8px 16px; font-size: 12px; font-weight: 600; position: sticky; top: 0; background: var(--bg); border-bottom: 1px solid var(--line); z-index: 1; }
    .legend { display: inline-flex; align-items: center; gap: 6px; margin-left: auto; font-weight: 400; color: var(--muted); }
    .legend i { width: 10px; height: 10px; border-radius: 3px; margin-left: 6px; }
    .legend .header { background: var(--c-head); }
    .legend .payload { background: var(--app); }
    .legend .padding { background: repeating-linear-gradient(135deg, var(--c-number) 0 3px, transparent 3px 6px); outline: 1px solid var(--c-number); outline-offset: -1px; }
    .legend .sealed { background: var(--c-sealed); }
    .legend .tag { background: var(--c-tag); }
    .app-head { color: var(--app); }
    .wire-head { display: flex; flex-wrap: wrap; gap: 0 4px; color: var(--wire); }
    ol { list-style: none; margin: 0; padding: 0; }
    li { border-bottom: 1px solid var(--line); }
    .row { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 24px; width: 100%; padding: 12px 16px; text-align: left; border: 0; border-radius: 0; }
    .row:hover { background: var(--surface); }
    .row:focus-visible { outline-offset: -2px; }
    .side { display: flex; flex-direction: column; gap: 4px; min-width: 0; padding-left: 12px; border-left: 3px solid; }
    .app.side { border-color: var(--app); background: var(--app-soft); border-radius: 0 8px 8px 0; padding-block: 6px; padding-right: 12px; }
    .wire.side { border-color: var(--wire); padding-block: 6px; }
    .meta { display: flex; flex-wrap: wrap; gap: 8px; font-size: 11.5px; color: var(--muted); font-variant-numeric: tabular-nums; }
    .badge { border: 1px solid currentColor; border-radius: 999px; padding: 0 8px; }
    .danger, .failed { color: var(--danger); }
    .wire.side > .failed, .note { font-size: 12.5px; }
    .note:not(.failed) { color: var(--muted); }
    .live { color: var(--app); }
    .bytes { color: var(--muted); }
    .call, .outcome, .bytes { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
    .outcome { color: var(--app); }
    .outcome.failed { color: var(--danger); }
    .step { display: flex; flex-wrap: wrap; gap: 0 12px; align-items: baseline; }
    .sans { font-family: var(--sans); }
    .http { display: flex; flex-wrap: wrap; gap: 0 12px; }
    .http b { font-weight: 600; color: var(--wire); }
    .http b.failed { color: var(--danger); }
    .sizes { font-variant-numeric: tabular-nums; }
    .open { background: var(--surface); }
    .detail { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 16px; padding: 0 16px 16px; }
    .detail section { background: var(--bg); border: 1px solid var(--line); border-radius: 12px; padding: 16px; min-width: 0; }
    .detail section.app { border-top: 3px solid var(--app); align-self: start; }
    .detail section.wire { border-top: 3px solid var(--wire); }
    h4 { margin: 0 0 8px; font-size: 12px; font-weight: 600; color: var(--wire); }
    sealwire-wire-view + h4 { margin-top: 24px; }
    p { margin: 0 0 8px; }
    pre { margin: 0 0 8px; padding: 8px 12px; border-radius: 8px; background: var(--app-soft); white-space: pre-wrap; overflow-wrap: anywhere; }
    pre.item { margin-bottom: 2px; padding: 2px 12px; }
    .empty { padding: 32px 16px; text-align: center; border: 0; }
    @container (max-width: 720px) {
      .row, .detail { grid-template-columns: minmax(0, 1fr); gap: 12px; }
      .heads { grid-template-columns: auto 1fr; gap: 4px 16px; }
      .wire-head { display: block; text-align: right; white-space: nowrap; }
      .legend, .wide { display: none; }
    }
    @media (prefers-reduced-motion: no-preference) {
      li { animation: arrive 240ms ease-out; }
      @keyframes arrive { from { opacity: 0; transform: translateY(-4px); } }
    }
  `,
  ],
})
export class MessageList {
  protected readonly size = bytes;
  protected readonly clockOf = clock;
  protected readonly timeOf = time;
  protected readonly itemsOf = items;
  readonly #recorder = inject(WireRecorder);
  readonly #open = signal<ReadonlySet<number>>(new Set());

  protected readonly rows = computed<readonly Row[]>(() => {
    const calls = new Map(this.#recorder.calls().map((call) => [call.id, call]));
    return this.#recorder
      .exchanges()
      .map((exchange) => ({
        exchange,
        // the application did not send what a proxy sends again
        calls: this.isReplay(exchange) ? [] : exchange.calls.flatMap((id) => calls.get(id) ?? []),
        code: codeOf(exchange.answer),
        step: STEPS[exchange.kind],
        request: segmentsOf(exchange, 'request'),
        answer: segmentsOf(exchange, 'answer'),
        sentBytes: glimpseOf(exchange.request),
        gotBytes: glimpseOf(exchange.answer),
        isLive: ((exchange.answer?.body.head[2] ?? 0) & 2) !== 0 && exchange.answer?.body.head[0] === 0x12,
      }))
      .reverse();
  });

  protected isReplay({ tampering }: Exchange): boolean {
    return tampering?.kind === 'replay';
  }

  protected isOpen(id: number): boolean {
    return this.#open().has(id);
  }

  protected toggle(id: number): void {
    this.#open.update((open) => {
      const next = new Set(open);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  }
}
