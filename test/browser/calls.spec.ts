import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Site, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

let site: Site;
beforeAll(async () => {
  site = await startSite({ controllers: [ThingsController] });
});
afterAll(() => site.close());

inEveryBrowser((suite) => {
  it('shakes hands and calls', async () => {
    const { run, problems } = await suite.open(site.origin);
    const got = await run(async ({ createRemote }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      const sums = await Promise.all([remote.add(1, 2), remote.add(3, 4)]);
      const account = await remote.account('alice');
      return { sums, account, kind: account.tags.get('kind'), later: await remote.add(5, 6) };
    }, site.pin);
    expect(got).toMatchObject({ sums: [3, 7], kind: 'current', later: 11 });
    const since = new Date('2026-01-02T03:04:05Z');
    expect(got.account).toMatchObject({ name: 'alice', cents: 12_345_678_901_234_567n, since });
    expect(problems).toEqual([]);
  });

  it('rejects with the errors that the server threw', async () => {
    const { run } = await suite.open(site.origin);
    const [conflict, own, missing] = await run(async ({ createRemote, outcome }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      const unknown = remote as unknown as { nothing(): Promise<void> };
      return Promise.all([outcome(remote.fail('conflict')), outcome(remote.fail('own')), outcome(unknown.nothing())]);
    }, site.pin);
    expect(conflict).toMatchObject({ name: 'RemoteError', code: 'conflict', message: 'The account is locked.' });
    expect(own).toMatchObject({ code: 'no_money', details: { missing: 5 } });
    expect(missing).toMatchObject({ code: 'function_unknown' });
  });

  it('keeps calls as they were made until the code that sends them is loaded', async () => {
    const { page, run } = await suite.open(site.origin);
    let load = (): void => {};
    const loading = new Promise<void>((resolve) => {
      load = resolve;
    });
    await page.route('**/*.js', async (route) => {
      await loading;
      await route.continue();
    });
    const made = run(async ({ createRemote, outcome }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      const list = [1, 2];
      const controller = new AbortController();
      const given = remote.$call({ signal: controller.signal }).add(1, 1);
      const late = outcome(remote.$call({ timeout: 50 }).add(1, 1));
      const echoed = remote.echo(list);
      list.push(3);
      controller.abort(new Error('no more'));
      const closing = createRemote<Api>({ url: '/remote/things', serverKey });
      const closed = outcome(closing.add(1, 2));
      closing.$close();
      const ended = [await outcome(given), await late, await closed];
      Object.assign(globalThis, { ended: true });
      return { ended, echoed: await echoed };
    }, site.pin);
    await page.waitForFunction(() => 'ended' in globalThis);
    load();
    expect(await made).toMatchObject({
      ended: [{ message: 'no more' }, { code: 'timeout' }, { code: 'closed' }],
      echoed: [1, 2],
    });
  });

  it('is unreachable while the code that sends calls cannot be loaded', async () => {
    const { page, run } = await suite.open(site.origin);
    await page.route('**/*.js', (route) => route.abort());
    const got = await run(async ({ createRemote, outcome }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      await remote.$prewarm();
      return outcome(remote.add(1, 2));
    }, site.pin);
    expect(got).toMatchObject({ name: 'RemoteError', code: 'unreachable' });
  });
});
