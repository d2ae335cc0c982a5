/** Browsers and sites of a suite, closed after its last test. */
import type { Browser, BrowserContext, BrowserContextOptions, LaunchOptions } from 'playwright-core';
import { afterAll, beforeAll, describe, onTestFinished } from 'vitest';
import { launch, type OpenPage, openPage } from './browser.js';
import { type InstalledBrowser, installedChromiums, otherBrowsers } from './browser-install.js';

export interface SuiteBrowser {
  readonly installed: InstalledBrowser;
  readonly browser: Browser;
  /** Another user: pages with a storage of their own, closed when the test is over. */
  user(): Promise<BrowserContext>;
  /** A page in a context of its own, which is closed when the test is over. */
  open(url: string, options?: BrowserContextOptions): Promise<OpenPage>;
}

/** One suite for each browser of the machine: every Chromium, and Playwright's Firefox and WebKit where they are found. */
export function inEveryBrowser(suite: (browser: SuiteBrowser) => void, options?: LaunchOptions): void {
  for (const installed of [...installedChromiums(), ...otherBrowsers()]) inBrowser(installed, suite, options);
}

/** One suite in the Chromium from npm, or in the machine's own where npm has none. */
export function inChromium(suite: (browser: SuiteBrowser) => void, options?: LaunchOptions): void {
  inBrowser(installedChromiums()[0]!, suite, options);
}

/** Milliseconds: a browser is several processes, and a busy machine starts them slowly. */
const PATIENCE = 240_000;

function inBrowser(
  installed: InstalledBrowser,
  suite: (browser: SuiteBrowser) => void,
  options: LaunchOptions = {},
): void {
  describe(`in ${installed.name}`, { timeout: PATIENCE }, () => {
    let browser: Browser | undefined;
    beforeAll(async () => {
      browser = await launch(installed, options);
    }, PATIENCE);
    afterAll(() => browser?.close());
    suite({
      installed,
      get browser() {
        return browser!;
      },
      async user() {
        const context = await browser!.newContext();
        onTestFinished(() => context.close());
        return context;
      },
      async open(url, options) {
        const opened = await openPage(browser!, url, options);
        onTestFinished(() => opened.page.context().close());
        return opened;
      },
    });
  });
}
