import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { balances, onDemoPage, ready, shoot, TIME } from './support/demo-page.js';

onDemoPage((demo) => {
  const { open } = demo;

  it('opens accounts of its own, pays, and shows the line as it is booked', { timeout: TIME }, async () => {
    const origins = new Set<string>();
    const { page, problems } = await demo.blank();
    page.on('request', (request) => origins.add(new URL(request.url()).origin));
    await page.goto(demo.url);
    await ready(page);
    expect(await balances(page)).toEqual(['€100.00', '€100.00', '€200.00']);
    await page.getByLabel('Amount in euros').fill('12,50');
    await page.getByLabel('Note').fill('cinema');
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await page.getByText('€12.50 sent, booked exactly once.').waitFor();
    await page.locator('app-watch-panel td.note', { hasText: 'cinema' }).waitFor();
    await expect.poll(() => balances(page)).toEqual(['€87.50', '€112.50', '€200.00']);
    await page.getByRole('button', { name: /turn around$/ }).click();
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await expect.poll(() => balances(page)).toEqual(['€100.00', '€100.00', '€200.00']);
    expect(problems).toEqual([]);
    expect([...origins]).toEqual([new URL(demo.url).origin]);
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

  it('says that a download broke off behind its answer, until the next one', { timeout: TIME }, async () => {
    const { page, problems } = await open();
    await page.getByRole('button', { name: 'Send a sample' }).click();
    const back = page.getByRole('button', { name: 'Get it back' });
    await back.waitFor();
    await page.evaluate(() => {
      const { blob } = Response.prototype;
      const broken = (): Promise<Blob> => {
        Object.assign(Response.prototype, { blob });
        return Promise.reject(new Error('The line broke.'));
      };
      Object.assign(Response.prototype, { blob: broken });
    });
    await back.click();
    await page.locator('.said.bad', { hasText: 'The line broke.' }).waitFor();
    await Promise.all([page.waitForEvent('download'), back.click()]);
    await page.getByText('1.0 MB came back, byte for byte what was sent.').waitFor();
    expect(await page.locator('.said.bad').count()).toBe(0);
    expect(problems).toEqual([]);
  });

  it('says that a file is too large, until the next thing is done', { timeout: TIME }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sealwire-large-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const large = join(folder, 'large.bin');
    writeFileSync(large, '');
    truncateSync(large, 64 * 2 ** 20 + 1);
    const { page, problems } = await open();
    await page.getByRole('button', { name: 'Send a sample' }).click();
    await page.getByText('contract.txt, 1.0 MB, is on the server.').waitFor();
    await page.locator('input[type=file]').setInputFiles(large);
    await page.getByText('A document has at most 64.0 MB; nothing was sent.').waitFor();
    await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Get it back' }).click()]);
    await page.getByText('1.0 MB came back, byte for byte what was sent.').waitFor();
    expect(await page.locator('.said.bad').count()).toBe(0);
    expect(problems).toEqual([]);
  });

  it('shows how far a document is on a slow line', { timeout: TIME }, async () => {
    const { page, problems } = await open();
    const session = await page.context().newCDPSession(page);
    await session.send('Network.enable');
    const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 400_000 };
    await session.send('Network.emulateNetworkConditions', slow);
    await page.getByRole('button', { name: 'Send a sample' }).click();
    // not all of it at once
    await page.getByText(/^Sending contract\.txt, [1-9]\d? %$/).waitFor();
    await page.getByText('contract.txt, 1.0 MB, is on the server.').waitFor();
    expect(problems).toEqual([]);
  });

  describe('an attack', () => {
    const moved = ['€99.00', '€101.00', '€200.00'];
    it.each([
      ['flip', moved, 'The transfer went through, once.'],
      ['lose', moved, 'The transfer went through, once.'],
      ['replay', moved, 'The application was not even asked.'],
      ['swap', moved, 'Both reads brought the right balance: Ada €99.00, Ben €101.00.'],
      ['cut', ['€97.00', '€103.00', '€200.00'], 'Lines 1, 2, 3, 4 arrived: none is missing, none came twice.'],
      ['forge', moved, 'The transfer went through, once.'],
      ['elsewhere', moved, 'The transfer went through, once.'],
      ['splice', moved, 'The transfer went through, once.'],
      ['revoke', moved, 'in a new session'],
      ['restart', moved, 'went through in the same session.'],
    ])('by "%s" changes nothing', { timeout: TIME }, async (id, expected, saw) => {
      const { page, problems, text } = await open();
      await page.locator(`[data-attack=${id}]`).click();
      await page.locator('.verdict').waitFor({ timeout: TIME });
      expect(await text('.verdict')).toMatch(/^The money moved exactly once per transfer, and none was made or lost/);
      expect(await text('.outcome dl')).toContain(saw);
      expect(await page.locator('.proof td:last-child').allTextContents()).toEqual(['€200.00', '€200.00']);
      await expect.poll(() => balances(page)).toEqual(expected);
      await page.locator('app-watch-panel .state[data-state=open]').waitFor();
      await shoot(page, `after-${id}`);
      // Chromium itself writes each request that failed on the console: there is no other way to attack one
      expect(problems.filter((problem) => !problem.startsWith('Failed to load resource'))).toEqual([]);
    });
  });

  it('restarts the server also while nothing streams, and for two tabs at once', { timeout: TIME }, async () => {
    const { page, problems } = await open();
    const other = await page.context().newPage();
    await other.goto(demo.url);
    await ready(other);
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await Promise.all([page, other].map((tab) => tab.locator('[data-attack=restart]').click()));
    for (const tab of [page, other]) {
      await tab.locator('.verdict').waitFor({ timeout: TIME });
      expect(await tab.textContent('.outcome dl')).toContain('a transfer of €1.00 went through in the same session.');
      await expect.poll(() => balances(tab)).toEqual(['€99.00', '€101.00', '€200.00']);
    }
    expect(problems.filter((problem) => !problem.startsWith('Failed to load resource'))).toEqual([]);
  });

  it('opens other accounts in each tab and after a reload', { timeout: TIME }, async () => {
    const { page, problems } = await open();
    const other = await page.context().newPage();
    await other.goto(demo.url);
    await ready(other);
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await expect.poll(() => balances(page)).toEqual(['€95.00', '€105.00', '€200.00']);
    expect(await balances(other)).toEqual(['€100.00', '€100.00', '€200.00']);
    await page.reload();
    await ready(page);
    expect(await balances(page)).toEqual(['€100.00', '€100.00', '€200.00']);
    expect(problems).toEqual([]);
  });

  it('says for what it waits as that changes', { timeout: TIME }, async () => {
    const { page } = await open();
    // nothing is tried again meanwhile, which would tell the page too
    const later = { status: 503, headers: { 'retry-after': '10' } };
    await page.route('**/remote/**', (route) => route.fulfill(later));
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await page.getByText('Waiting for the server.').waitFor();
    await page.context().setOffline(true);
    await page.getByText('Waiting for the network.').waitFor({ timeout: 5000 });
    await page.context().setOffline(false);
    await page.getByText('Waiting for the server.').waitFor({ timeout: 5000 });
  });

  it('waits for the network, and goes on by itself', { timeout: TIME }, async () => {
    const { page } = await open();
    await page.context().setOffline(true);
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await page.getByText('Waiting for the network.').waitFor();
    await shoot(page, 'offline');
    await page.context().setOffline(false);
    await page.getByText('€5.00 sent, booked exactly once.').waitFor({ timeout: TIME });
    await expect.poll(() => balances(page)).toEqual(['€95.00', '€105.00', '€200.00']);
    await expect.poll(() => page.locator('.banner').count()).toBe(0);
  });
});
