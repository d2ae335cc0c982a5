/** Launches browsers and opens pages in them. */
import {
  type Browser,
  type BrowserContextOptions,
  chromium,
  firefox,
  type LaunchOptions,
  type Page,
  webkit,
} from 'playwright-core';
import { chromiumEnvironment, type InstalledBrowser, unpackedChromium } from './browser-install.js';
import type { Tools } from './browser-page.js';

/** A name that is no localhost: a page on it comes over plain HTTP, and has no `crypto.subtle`. */
export const PLAIN_HOST = 'plain.test';

/** The package's own `args` are left out: they turn web security off, and CORS with it. */
const CHROMIUM_FLAGS = [
  ...['--no-sandbox', '--no-zygote', '--disable-gpu'],
  `--host-resolver-rules=MAP ${PLAIN_HOST} 127.0.0.1`,
];

const engines = { chromium, firefox, webkit };

/** Pages that were left stay in memory, as for users; Playwright turns this off. */
export const KEEPS_PAGES = { ignoreDefaultArgs: ['--disable-back-forward-cache'] };

/** Chromium from 150 on has ML-KEM behind this switch, from 156 on without it. */
export const OWN_KEM = '--enable-features=WebCryptoPQC';

/** Whether a page there makes keys of ML-KEM without noble. */
export async function hasOwnKem(browser: Browser, url: string): Promise<boolean> {
  const { page, run } = await openPage(browser, url);
  try {
    return await run(
      async (_, name) =>
        crypto.subtle.generateKey({ name }, false, ['encapsulateBits', 'decapsulateBits'] as never).then(
          () => true,
          () => false,
        ),
      'ML-KEM-768',
    );
  } finally {
    await page.context().close();
  }
}

/** The caller closes it, which also removes its profile. */
export async function launch(installed: InstalledBrowser, options: LaunchOptions = {}): Promise<Browser> {
  const { engine, executablePath } = installed;
  const args = [...(engine === 'chromium' ? CHROMIUM_FLAGS : []), ...(options.args ?? [])];
  if (executablePath) return engines[engine].launch({ ...options, executablePath, args });
  const folder = await unpackedChromium();
  const env = { ...process.env, ...(await chromiumEnvironment(folder)) };
  return chromium.launch({
    ...options,
    executablePath: `${folder}/chromium`,
    args,
    env: env as Record<string, string>,
  });
}

/** A page of a site, with the tools of `browser-page.ts`. */
export interface OpenPage {
  readonly page: Page;
  /** errors on the console (violations of the CSP are among them) and uncaught exceptions, so far */
  readonly problems: string[];
  /**
   * Runs a function in the page. It sees nothing of what surrounds it, only its parameters; what it returns is cloned.
   *
   * @example
   * const sum = await run(async ({ createRemote }, options) => createRemote<Api>(options).add(1, 2), { url, serverKey });
   */
  run<A, R>(task: (tools: Tools, argument: A) => R | Promise<R>, argument: A): Promise<R>;
}

/** Opens a page in a context of its own, with cookies and connections of its own. */
export async function openPage(browser: Browser, url: string, options?: BrowserContextOptions): Promise<OpenPage> {
  const context = await browser.newContext(options);
  return watched(await context.newPage(), url);
}

/** @param url what the page shall load; undefined if it has loaded */
export async function watched(page: Page, url?: string): Promise<OpenPage> {
  const problems: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  if (url !== undefined) await page.goto(url);
  return {
    page,
    problems,
    run<A, R>(task: (tools: Tools, argument: A) => R | Promise<R>, argument: A): Promise<R> {
      const inPage = (_: { argument: A }): Promise<R> => Promise.reject();
      // Playwright sends a function as its text
      inPage.toString = () => `({ argument }) => (${task})(globalThis.sealwire, argument)`;
      return page.evaluate(inPage as never, { argument } as never) as Promise<R>;
    },
  };
}
