import { Component, computed } from '@angular/core';
import { RouterOutlet } from '@angular/router';
import { injectConnection, remoteModule, remoteResource, remoteStream } from '@sealwire/angular';
import type { PublicController, RatesController } from '../../server.js';

const Public = remoteModule<PublicController>('public');
const Rates = remoteModule<RatesController>('rates');

@Component({
  selector: 'app-values',
  template: `
    @if (rate.hasValue()) { <b id="rate">{{ rate.value() }}</b> }
    @else { <i id="rate">{{ rate.status() }} {{ rate.error()?.code }} {{ rate.error()?.message }}</i> }
    <p id="everything">{{ text() }}</p>
    <button id="reload" (click)="rate.reload()">{{ connection().state }}</button>`,
})
export class Values {
  readonly rate = remoteResource(Public, (functions) => functions.rate('CHF'));
  readonly everything = remoteResource(Public, (functions) => functions.everything());
  readonly connection = injectConnection(Public);
  readonly text = computed(() => {
    if (!this.everything.hasValue()) return this.everything.status();
    const { amount, at, map, set, bytes } = this.everything.value();
    return [amount + 1n, at.toISOString(), map.get(1)?.getTime(), set.has('a'), bytes.join('-')].join(' ');
  });
}

@Component({
  selector: 'app-streams',
  template: `
    <p id="items">{{ items.status() }} {{ items.items().join() }}</p>
    <p id="report">{{ report.status() }}</p>`,
})
export class Streams {
  readonly items = remoteStream(Rates, (functions) => functions.count(3));
  readonly report = remoteResource(Public, (functions) => functions.report('items'));
}

@Component({ selector: 'app-root', imports: [RouterOutlet], template: '<router-outlet />' })
export class App {}
