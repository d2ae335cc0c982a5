import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type Site, startSite } from '../support/browser-site.js';
import { inChromium } from '../support/browser-suite.js';
import { endless } from '../support/endless.js';
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

  it.each([
    ['XMLHttpRequest', 'without a Content-Length', {}],
    ['XMLHttpRequest', 'with a Content-Length that goes far beyond', { 'content-length': 2 ** 40 }],
    ['XMLHttpRequest', 'that is compressed', { 'content-encoding': 'gzip' }],
    ['fetch', 'without a Content-Length', {}],
    ['fetch', 'that is compressed', { 'content-encoding': 'gzip' }],
  ] as const)(
    'HttpClient on %s ends an endless answer %s when it is longer than 64 MiB',
    async (backend, _, headers) => {
      const answers = endless(headers);
      const server = createServer(answers.answer).listen(0, '127.0.0.1');
      await once(server, 'listening');
      onTestFinished(() => {
        server.close();
        server.closeAllConnections();
      });
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const { run } = await suite.open(site.origin);
      const said = await run(
        async (_, { backend, serverKey, url }) => {
          const page = globalThis as unknown as { throughHttpClient: typeof throughHttpClient };
          const remote = await page.throughHttpClient(serverKey, backend, { url, streams: false });
          return String(await remote.count(1).catch((error: unknown) => error));
        },
        { backend, serverKey: site.pin, url },
      );
      expect(said).toContain('The answer is longer than 67108864 bytes.');
      await expect.poll(() => answers.open).toBe(0);
      expect(answers.longest).toBeLessThan(512 * 1024 * 1024);
    },
  );
});
