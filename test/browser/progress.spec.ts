import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Site, startSite } from '../support/browser-site.js';
import { inChromium } from '../support/browser-suite.js';
import type { throughHttpClient } from './angular-page.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

const SIZE = 8_000_000;

let site: Site;
beforeAll(async () => {
  const scripts = { angular: 'test/browser/angular-page.ts' };
  const pages = { scripts, html: '<script type="module" src="/angular.js"></script>' };
  site = await startSite({ controllers: [ThingsController], pages });
});
afterAll(() => site.close());

inChromium((suite) => {
  it.each(['fetch', 'HttpClient', 'HttpClient on fetch'] as const)('tells how far an upload is, by %s', async (how) => {
    const { page, run, problems } = await suite.open(site.origin);
    const session = await page.context().newCDPSession(page);
    await session.send('Network.enable');
    // two seconds for the file
    const network = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: SIZE / 2 };
    await session.send('Network.emulateNetworkConditions', network);
    const got = await run(
      async ({ createRemote }, { how, serverKey, size }) => {
        const page = globalThis as unknown as { throughHttpClient: typeof throughHttpClient };
        const remote =
          how === 'fetch'
            ? createRemote<Api>({ url: '/remote/things', serverKey })
            : await page.throughHttpClient(serverKey, how === 'HttpClient' ? 'XMLHttpRequest' : 'fetch');
        let sum = 0;
        for await (const item of await remote.count(100)) sum += item;
        const seen: number[] = [];
        const onProgress = ({ up }: { up: number }) => {
          if (up !== seen.at(-1)) seen.push(up);
        };
        const file = new File([new Uint8Array(size)], 'big');
        const stored = await remote.$call({ onProgress }).store(file);
        return { sum, seen, stored: stored.size };
      },
      { how, serverKey: site.pin, size: SIZE },
    );
    expect(got).toMatchObject({ sum: 4_950, stored: SIZE });
    expect(got.seen.length).toBeGreaterThan(3);
    expect(got.seen).toEqual([...got.seen].sort((a, b) => a - b));
    expect(got.seen.at(-1)).toBeGreaterThanOrEqual(SIZE);
    expect(problems).toEqual([]);
  });
});
