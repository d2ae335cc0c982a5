import type { BrowserContext } from 'playwright-core';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { Site } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { CALL, HANDSHAKE, keptIn, startThings, tabOf, types } from './kept-tabs.js';

let site: Site;
beforeAll(async () => {
  site = await startThings();
});
afterAll(() => site.close());

inEveryBrowser((suite) => {
  const user = async (): Promise<BrowserContext> => {
    const context = await suite.browser.newContext();
    onTestFinished(() => context.close());
    return context;
  };

  it('renews a session that the server does not know any more', async () => {
    const tab = await tabOf(await user(), site);
    await tab.call();
    const [old] = await keptIn(tab.page, 1);
    await site.close();
    site = await startThings({ port: site.port, serverKey: site.serverKey });
    await tab.reload();
    expect(await tab.call()).toBe(3);
    expect(tab.sent[0]?.type).toBe(CALL);
    expect(types(tab.sent).filter((type) => type !== CALL)).toEqual(HANDSHAKE);
    await expect.poll(async () => (await keptIn(tab.page, 1))[0]?.sessionId).not.toBe(old?.sessionId);
  });

  it('takes no number any more when the page may rest in memory, or another one took its slot', async () => {
    const context = await user();
    for (const lose of [
      () => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })),
      async () => {
        const { held = [] } = await navigator.locks.query();
        for (const { name } of held) await navigator.locks.request(name!, { steal: true }, () => {});
      },
    ]) {
      const tab = await tabOf(context, site);
      await tab.call();
      await keptIn(tab.page, 1);
      const before = tab.sent.at(-1)?.number;
      await tab.page.evaluate(lose as () => unknown);
      tab.sent.length = 0;
      const other = await tabOf(context, site);
      expect(await other.call()).toBe(3);
      expect(types(other.sent)).toEqual([CALL]);
      expect(await tab.call()).toBe(3);
      expect(types(tab.sent)).toEqual(HANDSHAKE);
      expect(await tab.call()).toBe(3);
      expect(tab.sent.at(-1)?.number).not.toBe(before);
      await keptIn(tab.page, 2);
      await tab.page.close();
      await other.run(({ kept }) => (kept.remote as { $close(): void }).$close(), undefined);
      await keptIn(other.page, 0);
      await other.page.close();
    }
  });
});
