/** The page of the demo as `npm start` serves it, in real browsers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';
import type { OpenPage } from './browser.js';
import { inChromium } from './browser-suite.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Building and starting take their time on a busy machine. */
const STARTING = 300_000;
export const TIME = 60_000;

export const LOOKS = {
  light: { viewport: { width: 1440, height: 900 }, colorScheme: 'light' },
  dark: { viewport: { width: 1440, height: 900 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: 'light', hasTouch: true, isMobile: true },
  'dark-phone': { viewport: { width: 390, height: 844 }, colorScheme: 'dark', hasTouch: true, isMobile: true },
} as const satisfies Readonly<Record<string, BrowserContextOptions>>;

/** What the specs do with the page. */
export interface DemoPage {
  /** of the page */
  readonly url: string;
  /** The page with its accounts open and its stream under way. */
  open(options?: BrowserContextOptions): Promise<OpenPage & { text(selector: string): Promise<string> }>;
  /** An empty page, to be sent to `url`. */
  blank(options?: BrowserContextOptions): Promise<OpenPage>;
}

/** Runs the tests in each Chromium against a demo of their own. */
export function onDemoPage(tests: (demo: DemoPage) => void): void {
  let folder: string;
  let server: ChildProcess;
  let url: string;

  beforeAll(async () => {
    mkdirSync(join(root, 'screenshots'), { recursive: true });
    folder = mkdtempSync(join(tmpdir(), 'sealwire-page-'));
    const { DATABASE_URL: _, SEALWIRE_KEK: __, SEALWIRE_SECURE_KEY: ___, ...env } = process.env;
    server = spawn(process.execPath, ['scripts/start.mjs'], {
      cwd: root,
      env: { ...env, PORT: '0', SEALWIRE_DATA: join(folder, 'data') },
    });
    let output = '';
    url = await new Promise((resolve, reject) => {
      const read = (text: string) => {
        output += text;
        const [, found] = /Open (http\S+) in a browser/.exec(output) ?? [];
        if (found) resolve(found);
      };
      server.stdout?.setEncoding('utf8').on('data', read);
      server.stderr?.setEncoding('utf8').on('data', read);
      server.once('close', (code) => reject(new Error(`ended with exit code ${code}\n${output}`)));
    });
  }, STARTING);

  afterAll(async () => {
    if (server.exitCode === null && server.signalCode === null) {
      const exited = once(server, 'exit');
      server.kill('SIGTERM');
      await exited;
    }
    rmSync(folder, { recursive: true, force: true });
  }, TIME);

  inChromium((suite) => {
    tests({
      get url() {
        return url;
      },
      async open(options = LOOKS.light) {
        const opened = await suite.open(url, options);
        await ready(opened.page);
        return { ...opened, text: async (selector) => (await opened.page.textContent(selector))?.trim() ?? '' };
      },
      blank: (options = LOOKS.light) => suite.open('about:blank', options),
    });
  });
}

export async function ready(page: Page): Promise<void> {
  await page.getByText('€200.00').waitFor();
  await page.locator('app-watch-panel .state[data-state=open]').waitFor();
}

/** Of Ada, of Ben, and their sum. */
export async function balances(page: Page): Promise<(string | undefined)[]> {
  const read = (owner: string) => page.locator(`.amount[data-owner=${owner}]`).textContent();
  return (await Promise.all(['Ada', 'Ben', 'sum'].map(read))).map((text) => text?.trim());
}

/** Into a folder that git ignores, to be looked at. */
export function shoot(page: Page, name: string): Promise<Buffer> {
  return page.screenshot({ path: join(root, 'screenshots', `${name}.png`), fullPage: true });
}
