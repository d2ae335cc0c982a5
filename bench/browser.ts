// Main-thread and wall time of a page that calls a Nest server, with plain `fetch` of JSON beside it, and bundle sizes.
import type { Browser } from 'playwright-core';
import { readArguments } from '../scripts/arguments.mjs';
import { hasOwnKem, launch, OWN_KEM, openPage } from '../test/support/browser.js';
import { type InstalledBrowser, installedChromiums } from '../test/support/browser-install.js';
import { type Site, startSite } from '../test/support/browser-site.js';
import { type Cost, costOf } from '../test/support/browser-trace.js';
import { ROWS, type Row } from './browser-rows.js';
import { printSizes } from './browser-sizes.js';
import { BrowserController, MB } from './servers/browser.js';
import { median } from './statistics.js';

const USAGE = `npm run bench:browser -- [options]
  --quick   fewer rounds, rough figures
  --sizes   the sizes of the bundles alone`;

const options = readArguments(USAGE, {
  quick: { type: 'boolean', default: false },
  sizes: { type: 'boolean', default: false },
});

/** What an application of its own loads, and nothing else. */
const PAGE = `import { createRemote } from '@sealwire/client';
globalThis.sealwire = { createRemote, kept: {} };`;

await printSizes();
if (!options.sizes) await measure(options.quick ? 3 : 7);

async function measure(rounds: number): Promise<void> {
  const site = (banner?: string) =>
    startSite({
      controllers: [BrowserController],
      modules: { browser: { maxBody: 4 * MB } },
      prepare: (app) => Object(app).useBodyParser('json', { limit: 4 * MB }),
      pages: { of: 'packages', page: PAGE, ...(banner === undefined ? {} : { banner }) },
    });
  const usual = await site();
  // docs/browsers.md tells how
  const compiled = await site('//# allFunctionsCalledOnLoad');
  const print = async (installed: InstalledBrowser, args: string[], rows: readonly Row[]): Promise<boolean> => {
    const browser = await launch(installed, { args });
    try {
      const native = await hasOwnKem(browser, usual.origin);
      if (args.length > 0 && !native) return native;
      for (const slower of [1, 4]) {
        console.log(
          `\n${[installed.name, browser.version(), ...args].join(', ')}, ${native ? "the browser's own" : "noble's"} ML-KEM${slower > 1 ? `, CPU ${slower} times slower` : ''}`,
        );
        console.log('milliseconds of each operation, medians: CPU of the main thread (its longest task), clock');
        for (const row of rows)
          await printRow(browser, row.compiled ? compiled : usual, { row, rounds, slower, native });
      }
      return native;
    } finally {
      await browser.close();
    }
  };
  for (const installed of installedChromiums()) {
    const native = await print(installed, [], ROWS);
    if (!native)
      await print(
        installed,
        [OWN_KEM],
        ROWS.filter(({ name }) => name.startsWith('first call')),
      );
  }
  await usual.close();
  await compiled.close();
}

interface Plan {
  readonly row: Row;
  readonly rounds: number;
  readonly slower: number;
  readonly native: boolean;
}

async function printRow(browser: Browser, { origin, pin }: Site, plan: Plan): Promise<void> {
  const { row, rounds, slower, native } = plan;
  const server = { url: '/remote/browser', pin };
  const costs = { sealed: [] as Cost[], plain: [] as Cost[] };
  for (let round = 0; round < rounds; round++) {
    for (const kind of ['sealed', 'plain'] as const) {
      const opened = await openPage(browser, origin);
      if (kind === 'sealed') await row.before?.(opened, server);
      const session = await opened.page.context().newCDPSession(opened.page);
      await session.send('Emulation.setCPUThrottlingRate', { rate: slower });
      costs[kind].push(await costOf(browser, opened.page, () => row[kind](opened, server)));
      await opened.page.context().close();
    }
  }
  const told = (all: readonly Cost[]) => {
    const middle = (of: (cost: Cost) => number) => median(all.map(of));
    const main = middle(({ main }) => main / row.operations);
    return `${figure(main)} (${figure(middle(({ longest }) => longest))}) ${figure(middle(({ wall }) => wall / row.operations))}`;
  };
  const goal = slower === 1 && row.goal ? `   goal: ${row.goal[native ? 1 : 0]}` : '';
  console.log(`  ${row.name.padEnd(22)} sealed ${told(costs.sealed)}   plain ${told(costs.plain)}${goal}`);
}

function figure(milliseconds: number): string {
  return milliseconds.toFixed(milliseconds < 10 ? 2 : 0).padStart(6);
}
