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
});
