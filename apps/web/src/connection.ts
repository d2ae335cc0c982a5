import { ChangeDetectionStrategy, Component, computed, inject, signal } from '@angular/core';
import type { RemoteError } from '@sealwire/angular';
import { Bank } from './bank.js';

/** How the page stands with its server, and what to do if that is not well. */
@Component({
  selector: 'app-connection',
  changeDetection: ChangeDetectionStrategy.OnPush,
  host: { '(window:online)': 'isOnline.set(true)', '(window:offline)': 'isOnline.set(false)' },
  template: `
    <p class="state" [attr.data-state]="connection().state" role="status">{{ label() }}</p>
    @if (sentence(); as text) {
      <div class="banner" role="alert" [attr.data-state]="connection().state">
        <p>{{ text }}</p>
        @if (connection().state === 'refused') {
          <button type="button" (click)="bank.retry()">Try again</button>
        }
      </div>
    }
  `,
})
export class Connection {
  protected readonly bank = inject(Bank);
  protected readonly connection = this.bank.connection;
  protected readonly isOnline = signal(navigator.onLine);

  protected readonly label = computed(() => {
    const now = this.connection();
    if (now.state === 'open') return `sealed, session ${now.sessionId.slice(0, 8)}`;
    return { idle: 'not connected', connecting: 'shaking hands', waiting: 'waiting', refused: 'refused' }[now.state];
  });

  protected readonly sentence = computed(() => {
    const now = this.connection();
    if (now.state === 'waiting') {
      return this.isOnline()
        ? 'Waiting for the server. What you asked for is kept, and goes on by itself as soon as it answers.'
        : 'Waiting for the network. What you asked for is kept, and goes on by itself as soon as you are online.';
    }
    return now.state === 'refused' ? `${now.error.message} ${adviceFor(now.error)}` : undefined;
  });
}

/** What to do about an error, in a sentence. */
export function adviceFor({ code, retryable }: RemoteError): string {
  const advice = ADVICE[code];
  if (advice !== undefined) return advice;
  return retryable ? 'Nothing was done; try again.' : '';
}

const ADVICE: Readonly<Record<string, string>> = {
  handshake_failed: 'The server has other keys than this page: reload the page, it gets the new ones.',
  policy: 'Reload the page, so that it gets the keys of this server.',
  channel_blocked: 'Try another network, or ask whoever runs the one you are in.',
  unreachable:
    'See whether the server runs ("npm start") and whether something stands between it and this page, then try again.',
  bad_key: 'Start the server again with "npm start", then reload the page.',
  bad_configuration:
    'Something between this page and the server answers in its place: open the page where the server printed its address.',
  stream_cut: 'Begin it again.',
  result_gone: 'Look at what it has changed before you try again.',
  outcome_unknown: 'Look at the balances before you try again.',
  account_unknown: 'The database of the demo was replaced: reload the page, it opens new accounts.',
};
