import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import { balances, LOOKS, onDemoPage, shoot, TIME } from './support/demo-page.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** what moved so far although nobody touched it; in the list of messages the newest one moves the others down */
const SHIFTS = `new Promise((resolve) => {
  new PerformanceObserver((list) => {
    const sources = list.getEntries().flatMap((entry) => (entry.hadRecentInput ? [] : [...entry.sources]));
    const moved = sources.map(({ node }) => node?.parentElement ?? node).filter((node) => !node?.closest?.('sealwire-inspector'));
    resolve(moved.map((node) => node?.outerHTML?.slice(0, 200)));
  }).observe({ type: 'layout-shift', buffered: true });
  setTimeout(() => resolve([]), 500);
})`;

async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const found = await page.evaluate<{ id: string; nodes: { html: string; failureSummary: string }[] }[]>(
    'axe.run().then(({ violations }) => violations)',
  );
  return found.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
}

onDemoPage((demo) => {
  const { open } = demo;

  it.each(Object.keys(LOOKS) as (keyof typeof LOOKS)[])(
    'is accessible and does not move by itself: %s',
    { timeout: TIME },
    async (look) => {
      const { page, problems } = await open(LOOKS[look]);
      await shoot(page, `idle-${look}`);
      expect(await violations(page)).toEqual([]);
      const { width } = LOOKS[look]!.viewport!;
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
      expect(await page.evaluate(SHIFTS)).toEqual([]);
      await page.locator('[data-attack=lose]').click();
      await page.locator('.verdict').waitFor();
      await page.locator('app-statement-panel').getByRole('button', { name: 'Ben' }).click();
      await page.getByText('2 lines, €101.00 in all.').waitFor();
      await shoot(page, `after-lose-${look}`);
      expect(await violations(page)).toEqual([]);
      for (const tab of ['Handshake', 'Proxy log']) {
        await page.locator('.pane-proxy').getByRole('tab', { name: tab }).click();
        expect(await violations(page)).toEqual([]);
        await shoot(page, `${tab.toLowerCase().replace(' ', '-')}-${look}`);
      }
      expect(problems).toEqual([]);
    },
  );

  it('is used by the keyboard alone, and shows where it is', { timeout: TIME }, async () => {
    const { page, text } = await open();
    const focused = () =>
      page.evaluate<{ name: string; outline: string }>(`(() => {
        const { activeElement: element } = document;
        return {
          name: element.dataset.attack ?? element.getAttribute('aria-label') ?? element.textContent.trim(),
          outline: getComputedStyle(element.closest('label.button') ?? element).outlineStyle,
        };
      })()`);
    const names: string[] = [];
    // a way past the left side
    for (const name of ['What you see', 'Be the proxy', 'Its log']) {
      await page.keyboard.press('Tab');
      const link = await focused();
      expect(link.name).toBe(name);
      expect(link.outline).not.toBe('none');
      expect(
        await page.evaluate('document.activeElement.checkVisibility() && document.activeElement.offsetHeight > 20'),
      ).toBe(true);
    }
    for (let at = 0; at < 40 && names.at(-1) !== 'revoke'; at++) {
      await page.keyboard.press('Tab');
      const { name, outline } = await focused();
      names.push(name);
      expect(outline, name).not.toBe('none');
      if (name === 'Send') {
        await page.keyboard.press('Enter');
        await page.getByText('€5.00 sent, booked exactly once.').waitFor();
      }
      if (name === 'flip') {
        await page.keyboard.press('Space');
        await page.locator('.verdict').waitFor();
      }
    }
    expect(names).toEqual([
      'Ada → to Ben, turn around',
      ...['', '', 'Send', 'Stop', 'Ada', 'Ben', 'Send a sample', ''],
      ...['flip', 'lose', 'replay', 'swap', 'cut', 'forge', 'elsewhere', 'splice', 'restart', 'revoke'],
    ]);
    expect(await text('.verdict')).toContain('exactly once');
    expect(await balances(page)).toEqual(['€94.00', '€106.00', '€200.00']);
  });

  it('stays on what was pressed, while it is busy and after it', { timeout: TIME }, async () => {
    const { page } = await open();
    const focused = () => page.evaluate<string>('document.activeElement.textContent.trim()');
    for (const [name, after, over] of [
      ['Send', 'Send', '€5.00 sent, booked exactly once.'],
      ['Send a sample', 'Send a sample', 'contract.txt, 1.0 MB, is on the server.'],
      ['Get it back', 'Get it back', '1.0 MB came back, byte for byte what was sent.'],
      ['Stop', 'Watch', 'stopped'],
    ] as const) {
      await page.getByRole('button', { name, exact: true }).focus();
      await page.keyboard.press('Enter');
      await page.getByText(over, { exact: true }).waitFor();
      await expect.poll(focused).toBe(after);
    }
    const busy = '[...document.querySelectorAll("button:disabled, [aria-disabled=true]")].map((one) => one.outerHTML)';
    await expect.poll(() => page.evaluate(busy)).toEqual([]);
  });

  it.each([320, 390, 720, 1024])(
    'has the attacks one step away, and nothing cut off, at %i px',
    { timeout: TIME },
    async (width) => {
      const { page, text } = await open({ viewport: { width, height: 800 } });
      // in the list of messages long arguments end in an ellipsis
      const cut = `[...document.querySelectorAll('main *')].filter((element) => {
      const { right, width, height } = element.getBoundingClientRect();
      const isShown = width > 1 && height > 1 && !element.closest('sealwire-inspector .panel');
      return isShown && (right > innerWidth || element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX === 'visible' && getComputedStyle(element).display !== 'inline');
    }).map((element) => element.outerHTML.slice(0, 120))`;
      expect(await page.evaluate(cut)).toEqual([]);
      await page.keyboard.press('Tab');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await expect
        .poll(() => page.locator('[data-attack=flip]').evaluate((button) => button.getBoundingClientRect().top))
        .toBeLessThan(400);
      await page.keyboard.press('Tab');
      await page.keyboard.press('Space');
      await page.locator('.verdict').waitFor();
      // the outcome is in sight without scrolling
      await expect
        .poll(() => page.locator('.verdict').evaluate((one) => one.getBoundingClientRect().bottom))
        .toBeLessThan(800);
      expect(await text('.verdict')).toContain('exactly once');
      expect(await page.evaluate(cut)).toEqual([]);
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
      await shoot(page, `attacked-${width}`);
      // a diagram that is smaller than drawn has no empty space around it
      await page.locator('.pane-proxy').getByRole('tab', { name: 'Handshake' }).click();
      const ratios = `[...document.querySelectorAll('figure svg')].flatMap((svg) => {
        const { width, height } = svg.getBoundingClientRect();
        return [width / height, svg.viewBox.baseVal.width / svg.viewBox.baseVal.height].map((ratio) => ratio.toFixed(2));
      })`;
      await expect
        .poll(() => page.evaluate<string[]>(ratios).then(([shown, drawn]) => shown !== undefined && shown === drawn))
        .toBe(true);
    },
  );

  it('stands still for whoever wants less motion', { timeout: TIME }, async () => {
    const { page } = await open({ ...LOOKS.light, reducedMotion: 'reduce' });
    const moving = `[...document.querySelectorAll('*')].filter((element) => {
      const { animationName, transitionDuration } = getComputedStyle(element);
      return animationName !== 'none' || !/^0s/.test(transitionDuration);
    }).map(({ className }) => String(className))`;
    expect(await page.evaluate(moving)).toEqual([]);
  });
});
