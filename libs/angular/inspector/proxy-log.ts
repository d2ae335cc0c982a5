import { ChangeDetectionStrategy, Component, computed, inject } from '@angular/core';
import type { Exchange, RecordedCall, WireBody } from './exchange.js';
import { bytes, clock, hex, THEME } from './theme.js';
import { keyOf } from './wire-log.js';
import { WireRecorder } from './wire-recorder.js';

const SHOWN_BYTES = 48;

interface Entry {
  readonly calls: readonly RecordedCall[];
  readonly exchanges: readonly Exchange[];
}

/** Sent by the application, and not asked for later. */
function isOwn({ tampering, kind }: Exchange): boolean {
  return tampering?.kind !== 'replay' && kind !== 'ask';
}

/** What a proxy's log would hold of the same calls with plain JSON, beside what it holds now. */
@Component({
  selector: 'sealwire-proxy-log',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <p class="lead">With plain JSON whoever ends TLS, or reads its log, has every name and every amount. Now it has a URL, sizes and times.</p>
    <div class="heads" aria-hidden="true">
      <span class="plain-head">The proxy's log with plain JSON</span>
      <span class="sealed-head">The proxy's log now</span>
    </div>
    <ol>
      @for (entry of entries(); track entry.calls[0]?.id) {
        <li>
          <div class="plain mono">
            @for (call of entry.calls; track call.id) {
              <p class="who">{{ clockOf(call.startedAt) }}</p>
              <p><b>POST /{{ call.module }}/{{ call.name }}</b></p>
              <p>{{ call.json }}</p>
              @if (call.items === 0 && call.outcomeJson; as outcome) {
                <p><b>{{ call.state === 'failed' ? 'error' : '200' }}</b><span>{{ outcome }}</span></p>
              }
              @for (item of call.lastItemsJson.slice(-4); track $index) { <p>{{ item }}</p> }
              @if (call.items > 4) { <p class="who">… {{ call.items }} items, all of them readable</p> }
            }
          </div>
          <div class="sealed mono">
            <p class="who">{{ clockOf(entry.calls[0]?.startedAt ?? 0) }}</p>
            @for (one of entry.exchanges.slice(-1); track one.id) {
              <p><b>{{ one.request.line }}</b><span>{{ size(one.request.body.size) }}</span></p>
              <p class="hex">{{ hex(one.request.body.head) }}</p>
              @if (one.answer; as answer) {
                <p><b>{{ answer.line }}</b><span>{{ size(answer.body.size) }}</span></p>
                <p class="hex">{{ contentOf(answer.body) }}</p>
              }
            } @empty {
              <p class="muted">{{ whyNone(entry.calls[0]) }}</p>
            }
            @for (note of notes(entry.exchanges); track $index) { <p class="who">{{ note }}</p> }
          </div>
        </li>
      } @empty {
        <li class="empty muted">No call is recorded.</li>
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
    p b + span { margin-left: 12px; }
    p + .who { margin-top: 8px; }
    .lead { padding: 16px 16px 8px; max-width: 100ch; color: var(--muted); }
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

  /** Calls that travelled as one message are one entry, the newest first. */
  protected readonly entries = computed<readonly Entry[]>(() => {
    const exchanges = this.#recorder.exchanges();
    const entries = new Map<number, Entry>();
    for (const call of this.#recorder.calls()) {
      const own = exchanges.filter((one) => one.calls.includes(call.id) && isOwn(one));
      const key = own.at(-1)?.id ?? -call.id;
      entries.set(key, { calls: [...(entries.get(key)?.calls ?? []), call], exchanges: own });
    }
    return [...entries.values()].reverse();
  });

  protected whyNone(call: RecordedCall | undefined): string {
    if (call?.sent) return 'its bytes are no longer kept';
    return call?.state === 'pending' ? 'nothing has left yet' : 'nothing left this machine';
  }

  /** How often the application sent these bytes, and what else the call needed before them. */
  protected notes(exchanges: readonly Exchange[]): string[] {
    const last = exchanges.at(-1)?.request.body;
    const sent = exchanges.filter(({ tampering }) => tampering?.side !== 'request');
    const same = sent.filter(
      ({ request: { body } }) => body.size === last?.size && keyOf(body.head) === keyOf(last.head),
    );
    const others = sent.length - same.length;
    return [
      ...(same.length > 1 ? [`… sent ${same.length} times, the same bytes`] : []),
      ...(others > 0
        ? [`… and ${others} earlier ${others === 1 ? 'message' : 'messages'} of this call, with other bytes`]
        : []),
    ];
  }

  /** What is no frame is readable, today and then. */
  protected contentOf({ fields, head }: WireBody): string {
    return fields.length > 0 ? this.hex(head) : new TextDecoder().decode(head);
  }

  protected hex(head: Uint8Array): string {
    return hex(head, SHOWN_BYTES);
  }
}
