import { ChangeDetectionStrategy, Component, inject } from '@angular/core';
import { Demo } from './demo.js';
import { Page } from './page.js';

@Component({
  selector: 'app-root',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [Page],
  template: `
    <header class="hero">
      <p class="brand">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <circle cx="16" cy="16" r="16" />
          <path d="M10 15v-3a6 6 0 0 1 12 0v3h1v9H9v-9zm3 0h6v-3a3 3 0 0 0-6 0z" />
        </svg>
        Sealwire
      </p>
      <h1>
        <span>You see the <span class="wide">left</span><span class="narrow">top</span>.</span>&ngsp;<span>A proxy sees the <span class="wide">right</span><span class="narrow">bottom</span>.</span>
      </h1>
      <p class="lead">
        This page calls functions of a NestJS server. Each call is sealed here and opened in the server’s memory; a CDN, a
        firewall or a gateway between them holds bytes that it can neither read, nor change, nor use twice. Try it.
      </p>
    </header>
    <main>
      @if (demo.keys()) {
        <app-page />
      } @else if (demo.problem(); as problem) {
        <div class="card problem" role="alert">
          <h2>There is nothing to show yet</h2>
          <p>{{ problem }}</p>
          <button type="button" class="primary" (click)="demo.load()">Try again</button>
        </div>
      } @else {
        <div class="split" aria-busy="true">
          <div class="pane pane-app"><div class="skeleton tall"></div></div>
          <div class="pane pane-proxy" data-theme="dark"><div class="skeleton tall"></div></div>
        </div>
      }
    </main>
  `,
})
export class Root {
  protected readonly demo = inject(Demo);

  constructor() {
    void this.demo.load();
  }
}
