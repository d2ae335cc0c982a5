import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Site } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import type { keptSession } from './angular-page.js';
import {
  alter,
  CALL,
  HANDSHAKE,
  keptIn,
  type Options,
  ofAda,
  ofBob,
  otherPin,
  startThings,
  type Tab,
  tabOf,
  types,
} from './kept-tabs.js';
import type { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;
const common = () => ({ serverKey: site.pin, secureKey: ofAda });

let site: Site;
beforeAll(async () => {
  site = await startThings();
});
afterAll(() => site.close());

inEveryBrowser((suite) => {
  const { user } = suite;

  it('goes on with its session after each reload, without a handshake and under new numbers', async () => {
    const tab = await tabOf(await user(), site);
    const numbers = new Set<string>();
    expect(await tab.call()).toBe(3);
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    const [first] = await keptIn(tab.page, 1);
    expect(first).toMatchObject({ slot: 0, isExtractable: false });
    for (let reload = 1; reload <= 8; reload++) {
      await tab.reload();
      expect(await tab.call()).toBe(3);
      expect(types(tab.sent)).toEqual([CALL]);
      numbers.add(tab.sent[0]!.number);
    }
    expect(numbers.size).toBe(8);
    expect(await keptIn(tab.page, 1)).toMatchObject([{ slot: 0, sessionId: first!.sessionId }]);
  });

  it('tells of a session that goes on, and runs nothing that is for a new one', async () => {
    const tab = await tabOf(await user(), site);
    const call = () =>
      tab.run(async ({ createRemote, sessionPersistence }, options) => {
        const told: string[] = [];
        const remote = createRemote<Api>({
          ...{ url: '/remote/things', ...options, persistence: sessionPersistence() },
          onSession: () => told.push('greeted'),
        });
        for (const name of ['opened', 'restored'] as const) remote.$events.on(name, () => told.push(name));
        await remote.$prewarm();
        await remote.add(1, 2);
        return [...told, remote.$connection().state];
      }, common());
    expect(await call()).toEqual(['opened', 'greeted', 'open']);
    await keptIn(tab.page, 1);
    await tab.reload();
    expect(await call()).toEqual(['restored', 'open']);
  });

  it('never uses a number again that an earlier page may have used', async () => {
    const context = await user();
    const all: string[] = [];
    const page = async (calls: number) => {
      const tab = await tabOf(context, site);
      for (let i = 0; i < calls; i++) await tab.call();
      await keptIn(tab.page, 1);
      all.push(...tab.sent.filter(({ type }) => type === CALL).map(({ number }) => number));
      return tab;
    };
    await (await page(5)).page.close();
    const idle = await tabOf(context, site);
    const [{ counter } = { counter: 0 }] = await keptIn(idle.page, 1);
    // it sets numbers aside, and is gone before it takes one
    await idle.run(async ({ createRemote, sessionPersistence }, options) => {
      await createRemote<Api>({ url: '/remote/things', ...options, persistence: sessionPersistence() }).$prewarm();
    }, common());
    expect(await keptIn(idle.page, 1)).toMatchObject([{ counter: counter + 4096 }]);
    await idle.page.close();
    const last = await page(5);
    expect(types(last.sent)).toEqual(Array(5).fill(CALL));
    expect(last.sent[0]?.counter).toBe(counter + 4096 + 1);
    expect(new Set(all).size).toBe(9);
  });

  it('gives each tab a session of its own, and a tab without a slot one that is not kept', async () => {
    const context = await user();
    const tabs = [await tabOf(context, site), await tabOf(context, site), await tabOf(context, site)];
    for (const tab of tabs) expect(await tab.call({ slots: 2 })).toBe(3);
    const kept = await keptIn(tabs[0]!.page, 2);
    expect(kept.map(({ slot }) => slot)).toEqual([0, 1]);
    expect(new Set(kept.map(({ sessionId }) => sessionId)).size).toBe(2);
    for (const tab of tabs) await tab.reload();
    const [first, second, third] = tabs as [Tab, Tab, Tab];
    await Promise.all([first.call({ slots: 2 }), second.call({ slots: 2 })]);
    await third.call({ slots: 2 });
    expect([types(first.sent), types(second.sent), types(third.sent)]).toEqual([[CALL], [CALL], HANDSHAKE]);
    expect(first.sent[0]!.number.slice(0, 32)).not.toBe(second.sent[0]!.number.slice(0, 32));
  });

  it('keeps the keys of the last epoch alone', async () => {
    const tab = await tabOf(await user(), site);
    await tab.call();
    await keptIn(tab.page, 1);
    await tab.page.goto('about:blank');
    await tab.page.goto(`${site.origin}/`);
    await alter(tab.page, (record) => {
      const epoch = record.state?.epoch as { since: number };
      epoch.since -= 1_000_000;
      return record;
    });
    tab.sent.length = 0;
    expect(await tab.call()).toBe(3);
    expect(tab.sent).toMatchObject([{ type: CALL, epoch: 1 }]);
    await expect.poll(async () => (await keptIn(tab.page, 1))[0]?.epoch).toBe(1);
    await tab.reload();
    expect(await tab.call()).toBe(3);
    expect(tab.sent).toMatchObject([{ type: CALL, epoch: 1 }]);
  });

  it.each<[string, Partial<Options>, Partial<Options>]>([
    ['another pin', {}, { serverKey: otherPin }],
    ['another SecureKey', {}, { secureKey: ofBob }],
    ['another size of keys', {}, { keySize: 16 }],
  ])('shakes hands with %s, and forgets what was kept', async (_, before, after) => {
    const options = 'serverKey' in after ? { serverKey: [site.pin, otherPin] as [string, string] } : after;
    const tab = await tabOf(await user(), site);
    await tab.call(before);
    const [old] = await keptIn(tab.page, 1);
    await tab.reload();
    expect(await tab.call(options)).toBe(3);
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    expect((await keptIn(tab.page, 1))[0]?.sessionId).not.toBe(old?.sessionId);
    await tab.reload();
    await tab.call(options);
    expect(types(tab.sent)).toEqual([CALL]);
  });

  it('forgets the session at $close(), also on a page that has made no call', async () => {
    const tab = await tabOf(await user(), site);
    await tab.call();
    await keptIn(tab.page, 1);
    await tab.run(({ kept }) => (kept.remote as { $close(): void }).$close(), undefined);
    await keptIn(tab.page, 0);
    await tab.reload();
    await tab.call();
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    await keptIn(tab.page, 1);
    await tab.reload();
    await tab.run(({ createRemote, sessionPersistence }, options) => {
      createRemote<Api>({ url: '/remote/things', ...options, persistence: sessionPersistence() }).$close();
    }, common());
    await keptIn(tab.page, 0);
  });

  it('is kept by an Angular application until its user logs out', async () => {
    const tab = await tabOf(await user(), site);
    const application = (what: 'call' | 'log out' | 'call, then log out') =>
      tab.run(
        async (_, { serverKey, secureKey, what }) => {
          const page = globalThis as unknown as { keptSession: typeof keptSession };
          const { remote, logOut } = await page.keptSession(serverKey, secureKey);
          const sum = what === 'log out' ? 3 : await remote.add(1, 2);
          if (what !== 'call') logOut();
          return sum;
        },
        { ...common(), what },
      );
    expect(await application('call')).toBe(3);
    for (const what of ['call', 'call, then log out'] as const) {
      await keptIn(tab.page, 1);
      await tab.reload();
      expect(await application(what)).toBe(3);
      expect(types(tab.sent)).toEqual([CALL]);
    }
    await keptIn(tab.page, 0);
    await tab.reload();
    expect(await application('call')).toBe(3);
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    await keptIn(tab.page, 1);
    await tab.reload();
    // before anything was called
    await application('log out');
    await keptIn(tab.page, 0);
  });
});
