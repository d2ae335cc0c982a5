import type { RemoteApi } from '@sealwire/client';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { OpenPage } from '../support/browser.js';
import { type Site, startSite } from '../support/browser-site.js';
import { inChromium } from '../support/browser-suite.js';
import { costOf } from '../support/browser-trace.js';
import { fileHash, ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

const MB = 1_000_000;
const SIZE = 50 * MB;

let site: Site;
beforeAll(async () => {
  site = await startSite({ controllers: [ThingsController] });
});
afterAll(() => site.close());

/** Keeps a remote with a session, and a file with the content of `fetchFile` that lies outside of the page's memory. */
function prepare({ run }: OpenPage): Promise<void> {
  return run(
    async ({ createRemote, kept }, { serverKey, size }) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey, timeout: 120_000 });
      await remote.add(0, 0);
      kept.remote = remote;
      const part = new Blob([new Uint8Array(65_536).map((_, i) => i * 31 + (i >> 8))]);
      const parts = Array.from({ length: Math.ceil(size / part.size) }, () => part);
      kept.file = new File([new Blob(parts).slice(0, size)], 'big.bin');
    },
    { serverKey: site.pin, size: SIZE },
  );
}

function upload({ run }: OpenPage) {
  return run(({ kept }) => (kept.remote as Api).store(kept.file as File), undefined);
}

function download({ run }: OpenPage) {
  return run(async ({ kept }, size) => {
    kept.blob = await (await (kept.remote as Api).fetchFile(size)).blob();
  }, SIZE);
}

/**
 * Bytes that the page's memory grew by in three of four moments of something: JavaScript objects and what they hold elsewhere.
 * In the others it may hold what is garbage since the last collection.
 */
async function growth(page: Page, work: () => Promise<unknown>): Promise<number> {
  const session = await page.context().newCDPSession(page);
  const used = async () => {
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize = 0, backingStorageSize = 0 }: Record<string, number> = await session.send('Runtime.getHeapUsage');
    return usedSize + backingStorageSize;
  };
  // between collecting and counting the page goes on, on a busy machine for long: what it holds is counted each time
  const held = async () => Math.min(await used(), await used(), await used());
  const before = await held();
  const grown: number[] = [];
  let ended = false;
  const finished = work().finally(() => {
    ended = true;
  });
  while (!ended) {
    grown.push((await held()) - before);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await finished;
  return grown.sort((a, b) => a - b)[Math.floor(grown.length * 0.75)]!;
}

inChromium((suite) => {
  it('sends and receives a file of 50 MB in short tasks', async () => {
    const opened = await suite.open(site.origin);
    await prepare(opened);
    const up = await costOf(suite.browser, opened.page, async () => {
      expect(await upload(opened)).toMatchObject({ name: 'big.bin', size: SIZE, sha256: fileHash(SIZE) });
      return 0;
    });
    const down = await costOf(suite.browser, opened.page, async () => {
      await download(opened);
      return 0;
    });
    const hash = await opened.run(async ({ kept }) => {
      const digest = await crypto.subtle.digest('SHA-256', await (kept.blob as Blob).arrayBuffer());
      return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
    }, undefined);
    expect(hash).toBe(fileHash(SIZE));
    expect(opened.problems).toEqual([]);
    expect(up.longest).toBeLessThan(50);
    expect(down.longest).toBeLessThan(50);
  });

  it('never holds a file of 50 MB in the memory of the page', async () => {
    const opened = await suite.open(site.origin);
    await prepare(opened);
    // a Blob lies elsewhere, but what it is made of does not
    await opened.run(({ kept }) => {
      kept.largest = 0;
      globalThis.Blob = new Proxy(Blob, {
        construct(target, [parts = [], options]: ConstructorParameters<typeof Blob>) {
          for (const part of parts) {
            const length = (part as ArrayBuffer).byteLength ?? (part as string).length ?? 0;
            kept.largest = Math.max(kept.largest as number, length);
          }
          return new target(parts, options);
        },
      });
    }, undefined);
    const up = await growth(opened.page, () => upload(opened));
    const down = await growth(opened.page, () => download(opened));
    expect(await opened.run(({ kept }) => kept.largest, undefined)).toBeLessThan(MB);
    expect(up).toBeLessThan(20 * MB);
    expect(down).toBeLessThan(20 * MB);
  });
});
