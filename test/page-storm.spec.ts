/** Attacks while the user does other things: whatever is pressed, the page says what happened, and the balances prove it. */
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import { balances, LOOKS, onDemoPage, TIME } from './support/demo-page.js';

/** A receipt of 108 bytes has 100 if it was booked at a whole second. */
const SAW: Readonly<Record<string, RegExp>> = {
  flip: /flipped one bit of the answer \(HTTP 200, 10[08] bytes of ciphertext\)/,
  lose: /threw the answer \(HTTP 200, 10[08] bytes of ciphertext\) away/,
  replay: /10[08] bytes of ciphertext: the answer of the first time, byte for byte/,
  swap: /exchanged two sealed answers of 92 and 92 bytes/,
  cut: /none is missing, none came twice/,
  forge: /wrote 409 session_unknown instead/,
  elsewhere: /got back HTTP 409 session_unknown/,
  splice: /behind this header\. It got back HTTP 400 bad_frame/,
  revoke: /in a new session/,
  restart: /in the same session/,
};
/** End every stream of the session. An upload or a statement that is under way is told of as cut, so none is begun before. */
const ENDING = new Set(['revoke', 'restart']);
const BUSY = 'button:disabled, button[aria-disabled=true]';
const NARROW = { width: 390, height: 844 };
const WIDE = { width: 1280, height: 800 };

/** All in one turn of the page, faster than any hand. */
function press(page: Page, ...selectors: string[]): Promise<void> {
  return page.evaluate((all) => {
    const { document } = globalThis as unknown as { document: { querySelector(one: string): { click(): void } } };
    for (const one of all) document.querySelector(one).click();
  }, selectors);
}

onDemoPage((demo) => {
  it.each([
    ['390 px, light', { ...LOOKS.phone, viewport: NARROW }, Object.keys(SAW)],
    ['390 px, dark', { ...LOOKS['dark-phone'], viewport: NARROW }, ['replay', 'cut', 'revoke']],
    ['1280 px, light', { ...LOOKS.light, viewport: WIDE }, ['flip', 'lose', 'forge', 'splice']],
    ['1280 px, dark', { ...LOOKS.dark, viewport: WIDE }, ['swap', 'elsewhere', 'replay']],
  ])('at %s', { timeout: 2 * TIME }, async (_, look, ids) => {
    const { page, problems, text } = await demo.open(look);
    for (const id of ids) {
      const other = id === 'flip' ? 'lose' : 'flip';
      const button = (name: string) => `[data-attack=${name}]`;
      const sent = page.getByText('contract.txt, 1.0 MB, is on the server.');
      const statement = 'app-statement-panel button';
      const sample = page.getByRole('button', { name: 'Send a sample' });
      const beside = ENDING.has(id) ? [] : [statement];
      if (!ENDING.has(id)) await sample.click();
      await press(page, 'app-pay-panel button[type=submit]', button(id), button(id), button(other));
      for (let i = 0; i < 6; i++) {
        await press(page, 'app-pay-panel button[type=submit]', 'app-watch-panel button', ...beside);
        await page.waitForTimeout(30);
      }
      await page.locator('.verdict').waitFor({ timeout: TIME });
      expect(await text('.outcome dl'), id).toMatch(SAW[id] as RegExp);
      expect(await text('.verdict'), id).toMatch(
        /^The money moved exactly once per transfer, and none was made or lost/,
      );
      expect(await page.locator('app-attack-panel .outcome > .hint').textContent()).toMatch(
        /^One attack at a time: “.+” was not begun beside it\.$/,
      );
      await expect.poll(() => balances(page)).toMatchObject({ 2: '€200.00' });
      await press(page, statement);
      if (ENDING.has(id)) await sample.click();
      await sent.waitFor();
      await expect
        .poll(() => page.locator(`${BUSY}, [role=alert], .bad`).allTextContents(), { message: id })
        .toEqual([]);
      expect(problems.filter((problem) => !problem.startsWith('Failed to load resource'))).toEqual([]);
    }
  });

  it('an upload that a restart breaks off on a slow line is told of in seconds', { timeout: TIME }, async () => {
    const { page } = await demo.open(LOOKS.phone);
    const session = await page.context().newCDPSession(page);
    await session.send('Network.enable');
    // two seconds for the document
    const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 500_000 };
    await session.send('Network.emulateNetworkConditions', slow);
    await page.getByRole('button', { name: 'Send a sample' }).click();
    await page.getByText(/^Sending contract\.txt, [1-9]\d? %$/).waitFor();
    await page.locator('[data-attack=restart]').click();
    await page.locator('.verdict').waitFor({ timeout: TIME });
    // the server took its number before, and says so: not only when the time of the call is over
    const said = page.getByText('The call ran, but its result is not kept any more. Look at what it has changed');
    await said.waitFor({ timeout: 15_000 });
    await expect.poll(() => page.locator(BUSY).count()).toBe(0);
  });

  it('an empty account pays nothing: the other one does', { timeout: TIME }, async () => {
    const { page, text } = await demo.open(LOOKS.phone);
    await page.getByLabel('Amount in euros').fill('99.50');
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await expect.poll(() => balances(page)).toEqual(['€0.50', '€199.50', '€200.00']);
    await page.locator('[data-attack=lose]').click();
    await page.locator('.verdict').waitFor({ timeout: TIME });
    expect(await text('.verdict')).toMatch(/^The money moved exactly once/);
    await expect.poll(() => balances(page)).toEqual(['€1.50', '€198.50', '€200.00']);
  });
});
