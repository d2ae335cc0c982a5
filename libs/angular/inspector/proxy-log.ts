import { ChangeDetectionStrategy, Component, computed, inject } from '@angular/core';
import type { Exchange } from './exchange.js';
import { bytes, clock, THEME } from './theme.js';
import { WireRecorder } from './wire-recorder.js';

const SHOWN_BYTES = 48;

/** What a proxy's log would hold of the same calls with plain JSON, beside what it holds now. */
@Component({
  selector: 'sealwire-proxy-log',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <div class="heads" aria-hidden="true">
      <span class="plain-head">The proxy's log with plain JSON</span>
      <span class="sealed-head">The proxy's log now</span>
    </div>
    <ol>
      @for (entry of entries(); track entry.call.id) {
        <li>
          <div class="plain mono">
            <p class="who">{{ clockOf(entry.call.startedAt) }}</p>
            <p><b>POST /{{ entry.call.module }}/{{ entry.call.name }}</b></p>
            <p>{{ entry.call.json }}</p>
            @if (entry.call.outcomeJson; as outcome) {
              <p><b>{{ entry.call.state === 'failed' ? 'error' : '200' }}</b> {{ outcome }}</p>
            }
            @for (item of entry.call.lastItems; track $index) { <p>{{ item }}</p> }
          </div>
          <div class="sealed mono">
            <p class="who">{{ clockOf(entry.call.startedAt) }}</p>
            @for (one of entry.exchanges; track one.id) {
              <p><b>{{ one.request.line }}</b> {{ size(one.request.body.size) }}</p>
              <p class="hex">{{ hex(one.request.body.head) }}</p>
              @if (one.answer; as answer) {
                <p><b>{{ answer.line }}</b> {{ size(answer.body.size) }}</p>
                <p class="hex">{{ hex(answer.body.head) }}</p>
              }
            } @empty {
              <p class="muted">nothing left this machine</p>
            }
          </div>
        </li>
      } @empty {
        <li class="empty muted">No function was called yet.</li>
      }
    </ol>
  `,
  styles: [
    THEME,
    `
    :host { container-type: inline-size; }
    .heads, li { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 16px; }
    .heads { padding: 8px 16px; font-size: 12px; font-weight: 600; position: sticky; top: 0; background: var(--bg); border-bottom: 1px solid var(--line); }
    .plain-head { color: var(--danger); }
    .sealed-head { color: var(--app); }
    ol { list-style: none; margin: 0; padding: 0; }
    li { padding: 12px 16px; border-bottom: 1px solid var(--line); }
    li > div { padding: 12px; border-radius: 12px; min-width: 0; background: var(--surface); border-left: 3px solid var(--danger); overflow-wrap: anywhere; }
    li > div.sealed { border-color: var(--app); }
    p { margin: 0; }
    .who, .hex { color: var(--muted); }
    .plain b { color: var(--danger); }
    .sealed b { color: var(--app); }
    .empty { display: block; padding: 32px 16px; text-align: center; border: 0; }
    @container (max-width: 720px) { .heads, li { grid-template-columns: minmax(0, 1fr); gap: 8px; } }
  `,
  ],
})
export class ProxyLog {
  protected readonly size = bytes;
  protected readonly clockOf = clock;
  readonly #recorder = inject(WireRecorder);

  protected readonly entries = computed(() => {
    const exchanges = this.#recorder.exchanges();
    return this.#recorder
      .calls()
      .map((call) => ({ call, exchanges: exchanges.filter(({ calls }: Exchange) => calls.includes(call.id)) }))
      .reverse();
  });

  protected hex(head: Uint8Array): string {
    const shown = [...head.subarray(0, SHOWN_BYTES)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    return head.length > SHOWN_BYTES ? `${shown} …` : shown;
  }
}
