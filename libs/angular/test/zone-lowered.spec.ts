import 'zone.js';
import 'zone.js/testing';
import './support.js';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import {
  createEnvironmentInjector,
  EnvironmentInjector,
  Injector,
  NgZone,
  provideZoneChangeDetection,
} from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bundle } from '../../../test/support/browser-bundle.js';
import { root } from './packages.js';

// of Vitest's own environment not even esbuild would run
const { JSDOM } = createRequire(import.meta.url)('jsdom');
globalThis.document = new JSDOM().window.document;

const cache = join(root, 'node_modules/.cache');
mkdirSync(cache, { recursive: true });
const folder = mkdtempSync(join(cache, 'sealwire-lowered-'));
type Packages = typeof import('@sealwire/angular') & typeof import('@sealwire/angular/testing');
let sealwire: Packages;

/** As the Angular CLI builds for zone.js: without `await`, which no library can follow, and which hides what runs inside a call. */
beforeAll(async () => {
  const source = "export * from '@sealwire/angular'; export * from './libs/angular/testing/index.ts';";
  const { files } = await bundle({ lowered: { source } }, 'sources', {
    external: ['@angular/*', 'rxjs'],
    supported: { 'async-await': false, 'async-generator': false, 'for-await': false },
  });
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes);
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  sealwire = await import(/* @vite-ignore */ join(folder, 'lowered.js'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Everything that was answered has gone through its promises. */
const settled = () => new Promise((resolve) => setTimeout(resolve));

interface Api {
  watch(currency: string): AsyncGenerator<number>;
  set(rate: number): void;
}

function setUp() {
  const Rates = sealwire.remoteModule<Api>('rates');
  TestBed.configureTestingModule({ providers: [provideZoneChangeDetection(), sealwire.provideSealwireTesting()] });
  const zone = TestBed.inject(NgZone);
  const injector = TestBed.inject(Injector);
  return { Rates, zone, injector, controller: TestBed.inject(sealwire.SealwireTestingController) };
}

it('shows a stream that was stopped, or given up at the end of its injector, as no failure', async () => {
  const { Rates, zone, injector, controller } = setUp();
  const own = createEnvironmentInjector([], TestBed.inject(EnvironmentInjector));
  const [one, two] = [injector, own].map((one) =>
    sealwire.remoteStream(Rates, (rates) => rates.watch('CHF'), { injector: one }),
  );
  TestBed.tick();
  const sources = controller.match(Rates, 'watch').map((call) => call.stream());
  await settled();
  expect([one?.status(), two?.status()]).toEqual(['open', 'open']);
  // a function of the zone returns behind its microtasks
  zone.run(() => one?.stop());
  zone.run(() => own.destroy());
  await settled();
  expect([one?.status(), one?.error(), two?.status(), two?.error()]).toEqual(['ended', undefined, 'open', undefined]);
  expect(sources.map(({ cancelled }) => cancelled)).toEqual([true, true]);
});

it('gives up no run that begins while another one is given up', async () => {
  const { Rates, zone, injector, controller } = setUp();
  const again = sealwire.remoteAction(Rates, (rates) => rates.set, { injector, onError: () => again.run(2) });
  again.run(1);
  controller.expectOne(Rates, 'set');
  zone.run(() => again.cancel());
  await settled();
  const call = controller.expectOne(Rates, 'set');
  expect([call.args, call.cancelled]).toEqual([[2], false]);
});
