import type { RemoteApi } from '@sealwire/client';
import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { watched } from '../support/browser.js';
import { type Site, startSite } from '../support/browser-site.js';
import { inChromium, inEveryBrowser } from '../support/browser-suite.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

let site: Site;
beforeAll(async () => {
  site = await startSite({ controllers: [ThingsController] });
});
afterAll(() => site.close());

/** First bytes of the sealed requests of a page: 1 and 3 are steps of a handshake, 0x11 is a call. */
function framesOf(page: Page): number[] {
  const frames: number[] = [];
  page.on('request', (request) => {
    if (request.method() === 'POST') frames.push(request.postDataBuffer()?.[0] ?? 0);
  });
  return frames;
}

interface Options {
  readonly serverKey: string;
  readonly slots?: number;
  readonly secureKey?: string;
}

/** A page with a remote that calls once. */
async function opened(context: BrowserContext, options: Options, existing?: Page) {
  const page = existing ?? (await context.newPage());
  const frames = framesOf(page);
  const { run } = await watched(page, `${site.origin}/`);
  const call = () =>
    run(async ({ createRemote, sessionPersistence, kept }, { slots, ...more }) => {
      const persistence = sessionPersistence(slots === undefined ? {} : { slots });
      kept.remote ??= createRemote<Api>({ url: '/remote/things', persistence, ...more });
      return (kept.remote as Api).add(1, 2);
    }, options);
  return { page, frames, run, call };
}

/** Waits until a session is in the database, and gives what is there. */
async function records(
  page: Page,
  sessions = 1,
): Promise<{ key: unknown; owner: string; counter?: number; epoch?: number }[]> {
  const read = async () =>
    page.evaluate(async () => {
      const opening = indexedDB.open('sealwire');
      const database = await new Promise<IDBDatabase>((resolve) => {
        opening.onsuccess = () => resolve(opening.result);
      });
      const store = database.transaction('sessions').objectStore('sessions');
      const [keys, all] = [store.getAllKeys(), store.getAll()];
      await new Promise((resolve) => {
        store.transaction.oncomplete = resolve;
      });
      database.close();
      return all.result.map(({ owner, state }, i) => ({
        ...{ key: keys.result[i], owner, counter: state?.counter, epoch: state?.epoch.index },
        extractable:
          state &&
          [state.renewal, state.epoch.clientToServer, state.epoch.serverToClient].some((key) => key.extractable),
      }));
    });
  await expect.poll(async () => (await read()).filter(({ counter }) => counter !== undefined).length).toBe(sessions);
  return read();
}

inEveryBrowser((suite) => {
  it('goes on with its session after a reload, without a handshake', async () => {
    const context = await suite.browser.newContext();
    const first = await opened(context, { serverKey: site.pin });
    expect(await first.call()).toBe(3);
    expect(await records(first.page)).toMatchObject([{ extractable: false, counter: 4096 }]);
    first.frames.length = 0;
    await first.page.reload();
    const again = await opened(context, { serverKey: site.pin }, first.page);
    expect(await again.call()).toBe(3);
    expect(again.frames).toEqual([0x11]);
    await context.close();
  });
});
