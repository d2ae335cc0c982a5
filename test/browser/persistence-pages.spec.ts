import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { KEEPS_PAGES } from '../support/browser.js';
import { type Site, startPages } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { CALL, HANDSHAKE, keptIn, ofAda, startThings, tabOf, types } from './kept-tabs.js';
import type { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

const WORKER = `
  import { createRemote } from '@sealwire/client';
  import { sessionPersistence } from '@sealwire/client/persistence';
  let remote;
  self.onmessage = async ({ data }) => {
    remote ??= createRemote({ url: '/remote/things', persistence: sessionPersistence(), ...data });
    self.postMessage(await remote.add(1, 2));
  };
`;

let site: Site;
let elsewhere: Awaited<ReturnType<typeof startPages>>;
const common = () => ({ serverKey: site.pin, secureKey: ofAda });
beforeAll(async () => {
  site = await startThings({ pages: { scripts: { worker: { source: WORKER } } } });
  elsewhere = await startPages();
});
afterAll(async () => {
  elsewhere.close();
  await site.close();
});

inEveryBrowser((suite) => {
  const { user } = suite;

  it.each(['that has called', 'that has found its session, and not called yet'])(
    'shares no numbers with a page %s, and comes back from memory',
    async (which) => {
      const context = await user();
      const tab = await tabOf(context, site);
      await tab.call();
      await keptIn(tab.page, 1);
      if (which !== 'that has called') {
        await tab.reload();
        await tab.run(async ({ createRemote, sessionPersistence, kept }, options) => {
          const remote = createRemote<Api>({ url: '/remote/things', persistence: sessionPersistence(), ...options });
          kept.remote = remote;
          await remote.$prewarm();
        }, common());
      }
      await tab.page.evaluate(() => {
        addEventListener('pageshow', ({ persisted }) => Object.assign(globalThis, { persisted }));
      });
      await tab.page.goto(elsewhere.origin);
      const other = await tabOf(context, site);
      await other.call();
      expect(types(other.sent)).toEqual([CALL]);
      await tab.page.goBack({ waitUntil: 'commit' });
      const persisted = await tab.page.evaluate(() => (globalThis as { persisted?: boolean }).persisted);
      // the Chromium from npm is a headless shell, which keeps no pages
      if (!persisted) await tab.page.waitForFunction('globalThis.sealwire');
      tab.sent.length = 0;
      expect(await tab.call()).toBe(3);
      expect(types(tab.sent)).toEqual(HANDSHAKE);
      expect(await tab.call()).toBe(3);
      const kept = await keptIn(tab.page, 2);
      expect(new Set(kept.map(({ sessionId }) => sessionId)).size).toBe(2);
      if (!persisted)
        expect(suite.installed.executablePath === undefined || suite.installed.engine !== 'chromium').toBe(true);
    },
  );

  it('keeps the session of a dedicated worker, and one of the page beside it', async () => {
    const tab = await tabOf(await user(), site);
    const inWorker = () =>
      tab.page.evaluate((options) => {
        const worker = new Worker('/worker.js', { type: 'module' });
        return new Promise<number>((resolve) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.postMessage(options);
        });
      }, common());
    expect(await inWorker()).toBe(3);
    await keptIn(tab.page, 1);
    expect(await tab.call()).toBe(3);
    await keptIn(tab.page, 2);
    await tab.reload();
    expect([await inWorker(), await tab.call()]).toEqual([3, 3]);
    expect(types(tab.sent)).toEqual([CALL, CALL]);
    expect(tab.sent[0]?.number.slice(0, 32)).not.toBe(tab.sent[1]?.number.slice(0, 32));
  });

  it('has nothing left of a session whose page is left right after $close()', async () => {
    const tab = await tabOf(await user(), site);
    await tab.call();
    await keptIn(tab.page, 1);
    await Promise.all([
      tab.page.waitForURL(`${elsewhere.origin}/`),
      tab.run(({ kept }, address) => {
        (kept.remote as { $close(): void }).$close();
        location.href = address;
      }, `${elsewhere.origin}/`),
    ]);
    await tab.page.goto(`${site.origin}/`);
    expect(await keptIn(tab.page, 0)).toEqual([]);
  });

  it('takes no number that it has set aside when it loses its slot before its first call', async () => {
    const context = await user();
    const tab = await tabOf(context, site);
    await tab.call();
    await keptIn(tab.page, 1);
    await tab.reload();
    await tab.run(async ({ createRemote, sessionPersistence, kept }, options) => {
      const remote = createRemote<Api>({ url: '/remote/things', persistence: sessionPersistence(), ...options });
      kept.remote = remote;
      await remote.$prewarm();
      dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
    }, common());
    const other = await tabOf(context, site);
    await other.call();
    expect(types(other.sent)).toEqual([CALL]);
    expect(await tab.call()).toBe(3);
    expect(types(tab.sent)).toEqual(HANDSHAKE);
  });

  it('writes nothing over a slot that another page emptied, and begins anew', async () => {
    const context = await user();
    const [tab, other] = [await tabOf(context, site), await tabOf(context, site)];
    await tab.call();
    await keptIn(tab.page, 1);
    await other.call();
    await keptIn(tab.page, 2);
    await other.run(({ kept }) => (kept.remote as { $close(): void }).$close(), undefined);
    await keptIn(tab.page, 0);
    await tab.page.evaluate(() => {
      const { now } = Date;
      // it is time to write how long the session was idle
      Date.now = () => now() + 11_000;
    });
    await expect
      .poll(async () => {
        await tab.call();
        return types(tab.sent).filter((type) => type !== CALL);
      })
      .toEqual([...HANDSHAKE, ...HANDSHAKE]);
    const calls = tab.sent.filter(({ type }) => type === CALL).map(({ number }) => number);
    expect(new Set(calls).size).toBe(calls.length);
    expect((await keptIn(tab.page, 1))[0]?.slot).toBe(0);
  });
}, KEEPS_PAGES);
