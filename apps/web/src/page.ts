import { ChangeDetectionStrategy, Component, inject } from '@angular/core';
import { SealwireInspector } from '@sealwire/angular/inspector';
import { AccountsPanel } from './accounts-panel.js';
import { AttackPanel } from './attack-panel.js';
import { Attacks } from './attacks.js';
import { Bank } from './bank.js';
import { Connection } from './connection.js';
import { Demo } from './demo.js';
import { DocumentPanel } from './document-panel.js';
import { PayPanel } from './pay-panel.js';
import { StatementPanel } from './statement-panel.js';
import { WatchPanel } from './watch-panel.js';

/** Exists as soon as there are keys. */
@Component({
  selector: 'app-page',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [
    AccountsPanel,
    AttackPanel,
    Connection,
    DocumentPanel,
    PayPanel,
    SealwireInspector,
    StatementPanel,
    WatchPanel,
  ],
  providers: [Bank, Attacks],
  template: `
    <nav class="jump" aria-label="Parts of the page">
      <a href="#you">What you see</a>
      <a href="#proxy">Be the proxy</a>
      <a href="#log">Its log</a>
    </nav>
    <div class="split">
      <section id="you" tabindex="-1" class="pane pane-app" aria-labelledby="plain-title">
        <header class="pane-head">
          <h2 id="plain-title">What you see</h2>
          <app-connection />
        </header>
        <app-accounts-panel />
        <app-pay-panel />
        <app-watch-panel />
        <app-statement-panel />
        <app-document-panel />
        <p class="notice">{{ demo.keys()?.notice }}</p>
      </section>
      <section id="proxy" tabindex="-1" class="pane pane-proxy" data-theme="dark" aria-labelledby="wire-title">
        <header class="pane-head">
          <h2 id="wire-title">What a proxy sees</h2>
          <p>every message, beside what it meant to you</p>
        </header>
        <app-attack-panel />
        <sealwire-inspector />
      </section>
    </div>
    <section id="log" tabindex="-1" class="log" aria-labelledby="log-title">
      <h2 id="log-title">What its log would hold</h2>
      <p>The same calls as the plain JSON that they would be without Sealwire, and as the bytes that they are.</p>
      <sealwire-inspector view="log" [tabs]="false" />
    </section>
  `,
})
export class Page {
  protected readonly demo = inject(Demo);
}
