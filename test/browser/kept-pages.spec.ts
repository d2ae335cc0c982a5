import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { KEEPS_PAGES } from '../support/browser.js';
import { type Site, startPages, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

let site: Site;
let elsewhere: Awaited<ReturnType<typeof startPages>>;
beforeAll(async () => {
  site = await startSite({ controllers: [ThingsController] });
  elsewhere = await startPages();
});
afterAll(async () => {
  elsewhere.close();
  await site.close();
});

// the Chromium from npm is a headless shell, which keeps no pages; a whole Chromium does
inEveryBrowser((suite) => {
  it('goes on with calls and subscriptions on a page that comes back from memory', async ({ skip }) => {
    const { page, run } = await suite.open(site.origin);
    await run(async ({ createRemote, kept }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      kept.remote = remote;
      await remote.add(0, 0);
      const items = await remote.watch(400);
      const seen: number[] = [];
      kept.watched = (async () => {
        for await (const item of items) seen.push(item);
        return seen;
      })();
      const shown = new Promise((resolve) => addEventListener('pageshow', ({ persisted }) => resolve(persisted)));
      Object.assign(globalThis, { shown });
    }, site.pin);
    await page.goto(elsewhere.origin);
    await page.goBack({ waitUntil: 'commit' });
    const persisted = await page.evaluate(() => (globalThis as unknown as { shown?: Promise<boolean> }).shown);
    skip(!persisted, `${suite.installed.name} keeps no pages`);
    const got = await run(
      async ({ kept }) => ({ sum: await (kept.remote as Api).add(1, 2), seen: (await kept.watched) as number[] }),
      undefined,
    );
    expect(got.sum).toBe(3);
    expect(got.seen).toEqual(Array.from({ length: 400 }, (_, i) => i));
  });
}, KEEPS_PAGES);
