import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OpenPage } from './support/browser.js';
import { inChromium } from './support/browser-suite.js';

const root = fileURLToPath(new URL('..', import.meta.url));
/** Building and starting take their time on a busy machine. */
const STARTING = 300_000;
const TIME = 60_000;

const LOOKS: Readonly<Record<string, BrowserContextOptions>> = {
  light: { viewport: { width: 1440, height: 900 }, colorScheme: 'light' },
  dark: { viewport: { width: 1440, height: 900 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: 'light', hasTouch: true, isMobile: true },
  'dark-phone': { viewport: { width: 390, height: 844 }, colorScheme: 'dark', hasTouch: true, isMobile: true },
};

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
  /** The page with its accounts open and its stream under way. */
  async function open(options = LOOKS.light): Promise<OpenPage & { text(selector: string): Promise<string> }> {
    const opened = await suite.open(url, options);
    await ready(opened.page);
    return { ...opened, text: async (selector) => (await opened.page.textContent(selector))?.trim() ?? '' };
  }

  async function ready(page: Page): Promise<void> {
    await page.getByText('€200.00').waitFor();
    await page.locator('app-watch-panel .state[data-state=open]').waitFor();
  }

  const balances = async (page: Page) => {
    const read = (owner: string) => page.locator(`.amount[data-owner=${owner}]`).textContent();
    return (await Promise.all(['Ada', 'Ben', 'sum'].map(read))).map((text) => text?.trim());
  };

  const shoot = (page: Page, name: string) =>
    page.screenshot({ path: join(root, 'screenshots', `${name}.png`), fullPage: true });

  it('opens accounts of its own, pays, and shows the line as it is booked', { timeout: TIME }, async () => {
    const origins = new Set<string>();
    const { page, problems } = await suite.open('about:blank', LOOKS.light);
    page.on('request', (request) => origins.add(new URL(request.url()).origin));
    await page.goto(url);
    await ready(page);
    expect(await balances(page)).toEqual(['€100.00', '€100.00', '€200.00']);
    await page.getByLabel('Amount in euros').fill('12,50');
    await page.getByLabel('Note').fill('cinema');
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await page.getByText('€12.50 sent, booked exactly once.').waitFor();
    await page.locator('app-watch-panel td.note', { hasText: 'cinema' }).waitFor();
    await expect.poll(() => balances(page)).toEqual(['€87.50', '€112.50', '€200.00']);
    await page.getByRole('button', { name: /^Turn around/ }).click();
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await expect.poll(() => balances(page)).toEqual(['€100.00', '€100.00', '€200.00']);
    expect(problems).toEqual([]);
    expect([...origins]).toEqual([new URL(url).origin]);
  });

  it('says what is wrong with an amount, and what the server refuses', { timeout: TIME }, async () => {
    const { page, problems } = await open();
    const amount = page.getByLabel('Amount in euros');
    const send = page.getByRole('button', { name: 'Send', exact: true });
    for (const text of ['', '0', '-5', '1.005', 'five', '1e3']) {
      await amount.fill(text);
      await page.getByText('An amount is a number above zero').waitFor();
      expect(await send.isDisabled()).toBe(true);
    }
    await amount.fill('1000');
    await send.click();
    await page.locator('#pay-said', { hasText: 'The account has less than that.' }).waitFor();
    expect(await balances(page)).toEqual(['€100.00', '€100.00', '€200.00']);
    expect(problems).toEqual([]);
  });

  it('streams a statement, stops the live stream and watches again', { timeout: TIME }, async () => {
    const { page, problems } = await open();
    await page.locator('app-statement-panel').getByRole('button', { name: 'Ben' }).click();
    await page.getByText('1 line, €100.00 in all.').waitFor();
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await expect.poll(() => balances(page)).toEqual(['€95.00', '€105.00', '€200.00']);
    await page.getByRole('button', { name: 'Watch', exact: true }).click();
    await page.locator('app-watch-panel td.note', { hasText: 'lunch' }).waitFor();
    await page.locator('app-statement-panel').getByRole('button', { name: 'Ben' }).click();
    await page.getByText('2 lines, €105.00 in all.').waitFor();
    expect(problems).toEqual([]);
  });

  it('sends a document and gets it back, byte for byte', { timeout: TIME }, async () => {
    const { page, problems } = await open();
    await page.getByRole('button', { name: 'Send a sample' }).click();
    await page.getByText('contract.txt, 1.0 MB, is on the server.').waitFor();
    await page.locator('input[type=file]').setInputFiles({
      name: 'zeros.bin',
      mimeType: 'application/octet-stream',
      buffer: Buffer.alloc(3_000_000, 7),
    });
    await page.getByText('zeros.bin, 2.9 MB, is on the server.').waitFor();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Get it back' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('zeros.bin');
    expect(readFileSync(await download.path())).toEqual(Buffer.alloc(3_000_000, 7));
    await page.getByText('2.9 MB came back, byte for byte what was sent.').waitFor();
    expect(await page.locator('progress').evaluate((bar) => (bar as unknown as { value: number }).value)).toBe(1);
    expect(problems).toEqual([]);
  });

  describe('an attack', () => {
    const moved = ['€99.00', '€101.00', '€200.00'];
    it.each([
      ['flip', moved, 'The transfer went through, once.'],
      ['lose', moved, 'The transfer went through, once.'],
      ['replay', moved, 'The application was not even asked.'],
      ['swap', ['€100.00', '€100.00', '€200.00'], 'Both reads brought the right balance'],
      ['cut', ['€97.00', '€103.00', '€200.00'], 'Lines 1, 2, 3, 4 arrived: none is missing, none came twice.'],
      ['forge', moved, 'The transfer went through, once.'],
      ['elsewhere', moved, 'The transfer went through, once.'],
      ['revoke', moved, 'in a new session'],
      ['restart', moved, 'went through in the same session.'],
    ])('by "%s" changes nothing', { timeout: TIME }, async (id, expected, saw) => {
      const { page, problems, text } = await open();
      await page.locator(`[data-attack=${id}]`).click();
      await page.locator('.verdict').waitFor({ timeout: TIME });
      expect(await text('.verdict')).toMatch(
        /^(The money moved exactly once per transfer|No money moved), .*none was made or lost/,
      );
      expect(await text('.outcome dl')).toContain(saw);
      expect(await page.locator('.proof td:last-child').allTextContents()).toEqual(['€200.00', '€200.00']);
      await expect.poll(() => balances(page)).toEqual(expected);
      await page.locator('app-watch-panel .state[data-state=open]').waitFor();
      await shoot(page, `after-${id}`);
      // Chromium itself writes each request that failed on the console: there is no other way to attack one
      expect(problems.filter((problem) => !problem.startsWith('Failed to load resource'))).toEqual([]);
    });
  });
});
