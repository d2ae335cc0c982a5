import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { hasOwnKem, OWN_KEM } from '../support/browser.js';
import { type Site, startSite } from '../support/browser-site.js';
import { inChromium } from '../support/browser-suite.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

let site: Site;
beforeAll(async () => {
  site = await startSite({ controllers: [ThingsController] });
});
afterAll(() => site.close());

inChromium(
  (suite) => {
    beforeEach(async (context) => {
      // the one from npm has it for certain
      if (suite.installed.executablePath !== undefined && !(await hasOwnKem(suite.browser, site.origin)))
        context.skip();
    });

    it.each([
      ['a call', 1],
      // which tries once in vain
      ['a prewarmed call', 2],
    ])("%s shakes hands with keys of the browser's own ML-KEM, and loads no other", async (_, pairs) => {
      const { run, problems } = await suite.open(site.origin);
      const got = await run(
        async ({ createRemote }, { serverKey, prewarmed }) => {
          const subtle = SubtleCrypto.prototype as unknown as Record<string, (...all: unknown[]) => Promise<unknown>>;
          const used: unknown[][] = [];
          for (const name of ['generateKey', 'decapsulateBits', 'exportKey']) {
            const original = subtle[name]!;
            subtle[name] = async function (...all) {
              const result = await original.apply(this, all);
              const kem = JSON.stringify(all[0]).includes('ML-KEM-768') || all[0] === 'raw-public';
              if (kem) used.push([name, (result as Partial<CryptoKeyPair>).privateKey?.extractable]);
              return result;
            };
          }
          const remote = createRemote<Api>({ url: '/remote/things', serverKey });
          if (prewarmed) await remote.$prewarm();
          const sums = await Promise.all([remote.add(1, 2), remote.add(3, 4)]);
          const files = performance.getEntriesByType('resource').map(({ name }) => name);
          return { used, sums, files };
        },
        { serverKey: site.pin, prewarmed: pairs > 1 },
      );
      expect(got.sums).toEqual([3, 7]);
      const pair = [
        ['generateKey', false],
        ['exportKey', undefined],
      ];
      expect(got.used).toEqual([...Array(pairs).fill(pair).flat(), ['decapsulateBits', undefined]]);
      expect(got.files.filter((name) => name.includes('delivery'))).toHaveLength(1);
      expect(got.files.filter((name) => name.includes('noble'))).toEqual([]);
      expect(problems).toEqual([]);
    });

    it('tells a wrong pin as with any other', async () => {
      const { run } = await suite.open(site.origin);
      const other = await startSite({ controllers: [ThingsController] });
      await other.close();
      const got = await run(
        ({ createRemote, outcome }, serverKey) =>
          outcome(createRemote<Api>({ url: '/remote/things', serverKey }).add(1, 2)),
        other.pin,
      );
      expect(got).toMatchObject({ code: 'handshake_failed', message: expect.stringContaining('Compare serverKey') });
    });
  },
  { args: [OWN_KEM] },
);
