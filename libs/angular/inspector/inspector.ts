import { ChangeDetectionStrategy, Component, computed, Input, inject, signal } from '@angular/core';
import { HandshakeView } from './handshake-view.js';
import { MessageList } from './message-list.js';
import { ProxyLog } from './proxy-log.js';
import { bytes, THEME } from './theme.js';
import { UNATTACHED, WireRecorder } from './wire-recorder.js';

/** Tabs of {@link SealwireInspector}. */
export type InspectorView = 'messages' | 'handshake' | 'log';

const TABS: readonly { readonly id: InspectorView; readonly name: string }[] = [
  { id: 'messages', name: 'Messages' },
  { id: 'handshake', name: 'Handshake' },
  { id: 'log', name: 'Proxy log' },
];

let instances = 0;

/**
 * Shows what {@link WireRecorder} wrote down: each message as the application sees it and as a proxy that ends TLS sees it, the
 * handshakes as diagrams, and what the proxy's log would hold with plain JSON. Light or dark as the system says, or as `data-theme`
 * on an element around it; its colours are custom properties `--sealwire-...`.
 *
 * @example
 * import { Component } from '@angular/core';
 * @Component({ selector: 'app-root', imports: [SealwireInspector], template: '<sealwire-inspector view="messages" />' })
 * class App {}
 */
@Component({
  selector: 'sealwire-inspector',
  imports: [HandshakeView, MessageList, ProxyLog],
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <div class="frame" role="group" aria-label="Wire inspector">
      @if (tabs) {
      <header>
        <div class="tabs" role="tablist" aria-label="Views of the wire">
          @for (tab of all; track tab.id) {
            <button
              type="button"
              role="tab"
              [id]="name + tab.id"
              [attr.aria-selected]="current() === tab.id"
              [attr.aria-controls]="name + 'panel'"
              [tabIndex]="current() === tab.id ? 0 : -1"
              (click)="current.set(tab.id)"
              (keydown)="move($event)"
            >{{ tab.name }}</button>
          }
        </div>
        <span class="total muted">{{ count() }} {{ count() === 1 ? 'message' : 'messages' }}, {{ total() }}</span>
        <div class="tools">
          <button type="button" [attr.aria-pressed]="recorder.paused()" aria-label="Pause recording" (click)="pause()">
            <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true"><path [attr.d]="recorder.paused() ? 'M3 1v10l7-5z' : 'M2 1h3v10H2zM7 1h3v10H7z'" /></svg>
            <span class="word" aria-hidden="true">{{ recorder.paused() ? 'Record' : 'Pause' }}</span>
          </button>
          <button type="button" aria-label="Clear what was recorded" (click)="recorder.clear()">
            <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true"><path d="M2.5 1.5 6 5l3.5-3.5 1 1L7 6l3.5 3.5-1 1L6 7l-3.5 3.5-1-1L5 6 1.5 2.5z" /></svg>
            <span class="word" aria-hidden="true">Clear</span>
          </button>
        </div>
      </header>
      }
      @if (recorder.paused()) { <p class="paused" role="status">Recording is paused: what travels now is not shown.</p> }
      <div class="panel" tabindex="0" [attr.role]="tabs ? 'tabpanel' : 'region'" [attr.aria-label]="tabs ? null : title()" [id]="name + 'panel'" [attr.aria-labelledby]="tabs ? name + current() : null">
        @if (recorder.attached()) {
          @switch (current()) {
            @case ('messages') { <sealwire-message-list /> }
            @case ('handshake') { <sealwire-handshake-view /> }
            @case ('log') { <sealwire-proxy-log /> }
          }
        } @else {
          <p class="unattached muted">{{ unattached }}</p>
        }
      </div>
    </div>
  `,
  styles: [
    THEME,
    `
    :host { container-type: inline-size; display: flex; flex-direction: column; min-height: 0; }
    .frame { flex: 1 1 auto; display: flex; flex-direction: column; min-height: 0; background: var(--bg); border: 1px solid var(--line); border-radius: 16px; overflow: hidden; }
    header { display: flex; align-items: center; gap: 8px 16px; flex-wrap: wrap; padding: 8px 16px; border-bottom: 1px solid var(--line); background: var(--surface); }
    .tabs { display: flex; gap: 4px; }
    .tabs button { border: 0; padding: 6px 12px; color: var(--muted); font-weight: 500; }
    .tabs button:hover { color: var(--text); }
    .tabs button[aria-selected="true"] { background: var(--bg); color: var(--text); box-shadow: 0 0 0 1px var(--line); }
    .total { margin-left: auto; font-size: 12.5px; font-variant-numeric: tabular-nums; }
    .tools { display: flex; gap: 8px; }
    .tools button { display: inline-flex; align-items: center; gap: 8px; min-height: 32px; }
    .tools svg { fill: currentColor; }
    .paused { margin: 0; padding: 8px 16px; font-size: 13px; color: var(--muted); border-bottom: 1px solid var(--line); }
    .unattached { margin: 0; padding: 32px 16px; text-align: center; }
    .panel { overflow: auto; min-height: 0; }
    .panel:focus-visible { outline-offset: -2px; border-radius: 0 0 16px 16px; }
    @container (max-width: 720px) {
      .word { display: none; }
      .tools button { padding: 4px 10px; }
    }
    @container (max-width: 560px) {
      header { padding: 8px; flex-wrap: nowrap; gap: 4px; }
      .total { display: none; }
      .tools { margin-left: auto; gap: 4px; }
      .tabs { gap: 0; }
      .tabs button { padding: 6px 8px; font-size: 13px; white-space: nowrap; }
    }
    @container (max-width: 320px) {
      header { flex-wrap: wrap; }
    }
  `,
  ],
})
export class SealwireInspector {
  /** false: only `view` is shown, without tabs and tools (default true) */
  @Input() tabs = true;
  protected readonly all = TABS;
  protected readonly unattached = UNATTACHED;
  protected readonly title = computed(() => TABS.find(({ id }) => id === this.current())?.name);
  protected readonly name = `sealwire-inspector-${++instances}-`;
  protected readonly recorder = inject(WireRecorder);
  protected readonly current = signal<InspectorView>('messages');
  protected readonly count = computed(() => this.recorder.exchanges().length);
  protected readonly total = computed(() => {
    const sizes = this.recorder.exchanges().map(({ request, answer }) => request.body.size + (answer?.body.size ?? 0));
    return bytes(sizes.reduce((sum, one) => sum + one, 0));
  });

  /** the tab that is shown; the user may choose another one (default `messages`) */
  @Input() set view(view: InspectorView) {
    this.current.set(view);
  }

  protected pause(): void {
    if (this.recorder.paused()) this.recorder.resume();
    else this.recorder.pause();
  }

  /** Arrow keys, Home and End move between tabs. */
  protected move(event: KeyboardEvent): void {
    const at = TABS.findIndex(({ id }) => id === this.current());
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 }[event.key];
    const tab = to === undefined ? undefined : TABS.at(to % TABS.length);
    if (!tab) return;
    event.preventDefault();
    this.current.set(tab.id);
    document.getElementById(this.name + tab.id)?.focus();
  }
}
