import { ChangeDetectionStrategy, Component, inject } from '@angular/core';
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
  imports: [AccountsPanel, AttackPanel, Connection, DocumentPanel, PayPanel, StatementPanel, WatchPanel],
  providers: [Bank, Attacks],
  template: `
    <div class="split">
      <section class="side plain" aria-labelledby="plain-title">
        <header class="side-head">
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
      <section class="side wire" data-theme="dark" aria-labelledby="wire-title">
        <header class="side-head">
          <h2 id="wire-title">What a proxy sees</h2>
          <p>all that travels, in its hands</p>
        </header>
        <app-attack-panel />
      </section>
    </div>
  `,
})
export class Page {
  protected readonly demo = inject(Demo);
}
