import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PLAIN_HOST, watched } from '../support/browser.js';
import { type Site, startSite } from '../support/browser-site.js';
import { inChromium, inEveryBrowser } from '../support/browser-suite.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

/** Runs by itself: what a debugger evaluates is outside of a page's CSP. */
const ON_ITS_OWN = `
  import { createRemote } from '@sealwire/client';
  const serverKey = new URLSearchParams(location.search).get('key') ?? '';
  const remote = createRemote({ url: '/remote/things', serverKey });
  Promise.resolve().then(async () => {
    let sum = 0;
    for await (const item of await remote.count(10)) sum += item;
    const { size } = await remote.store(new File(['abc'], 'a.txt'));
    return [await remote.add(1, 2), sum, size].join();
  }).then((text) => { document.title = text; }, (error) => { document.title = String(error.code ?? error); });
`;
const WORKER = `
  import { createRemote } from '@sealwire/client';
  onmessage = async ({ data: { url, serverKey } }) => {
    const remote = createRemote({ url, serverKey });
    let sum = 0;
    for await (const item of await remote.count(10)) sum += item;
    postMessage([await remote.add(1, 2), sum]);
  };
`;
const STRICT = [
  "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'",
  "require-trusted-types-for 'script'; trusted-types 'none'",
].join('; ');

let site: Site;
let strict: Site;
beforeAll(async () => {
  const scripts = { worker: { source: WORKER }, alone: { source: ON_ITS_OWN } };
  const html = '<script type="module" src="/alone.js"></script>';
  site = await startSite({ controllers: [ThingsController], pages: { scripts } });
  const headers = { 'content-security-policy': STRICT };
  strict = await startSite({ controllers: [ThingsController], pages: { scripts, html, headers } });
});
afterAll(() => Promise.all([site.close(), strict.close()]));

inEveryBrowser((suite) => {
  it('runs under a strict CSP with Trusted Types', async () => {
    const { page, problems } = await suite.open(`${strict.origin}/?key=${strict.pin}`);
    await expect.poll(() => page.title(), { timeout: 60_000 }).toBe('3,45,3');
    expect(problems).toEqual([]);
    // the CSP is in force: text is not taken as a script's address
    const refused = await page.evaluate(() => {
      try {
        document.createElement('script').src = '/page.js';
        return false;
      } catch {
        return true;
      }
    });
    expect(refused).toBe(suite.installed.engine === 'chromium');
  });

  it('runs in a module worker', async () => {
    const { page } = await suite.open(site.origin);
    const got = await page.evaluate(
      (message) =>
        new Promise((resolve, reject) => {
          const worker = new Worker('/worker.js', { type: 'module' });
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = reject;
          worker.postMessage(message);
        }),
      { url: `${site.origin}/remote/things`, serverKey: site.pin },
    );
    expect(got).toEqual([3, 45]);
  });

  it('runs on a page that came over plain HTTP and has no crypto.subtle', async () => {
    if (suite.installed.engine !== 'chromium') return;
    const { run, problems } = await suite.open(`http://${PLAIN_HOST}:${site.port}/`);
    const got = await run(async ({ createRemote }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      const { size } = await remote.store(new File(['abc'], 'a.txt'));
      let sum = 0;
      for await (const item of await remote.count(10)) sum += item;
      return { subtle: typeof crypto.subtle, sum, size, added: await remote.add(1, 2) };
    }, site.pin);
    expect(got).toEqual({ subtle: 'undefined', sum: 45, size: 3, added: 3 });
    expect(problems).toEqual([]);
  });
});

inChromium((suite) => {
  it('opens a session again after a reload, and keeps tabs apart', async () => {
    const first = await suite.open(site.origin);
    const call = ({ run }: typeof first, a: number) =>
      run(
        async ({ createRemote, kept }, { serverKey, a }) => {
          kept.remote ??= createRemote<Api>({ url: '/remote/things', serverKey });
          return (kept.remote as Api).add(a, 1);
        },
        { serverKey: site.pin, a },
      );
    expect(await call(first, 1)).toBe(2);
    const second = await watched(await first.page.context().newPage(), site.origin);
    expect(await Promise.all([call(first, 2), call(second, 3)])).toEqual([3, 4]);
    await first.page.reload();
    expect(await Promise.all([call(first, 4), call(second, 5)])).toEqual([5, 6]);
  });
});
