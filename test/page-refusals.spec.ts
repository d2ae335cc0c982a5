import { generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import type { Page } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { LOOKS, onDemoPage, ready, shoot, TIME } from './support/demo-page.js';

onDemoPage((demo) => {
  describe('says what to do', () => {
    const answered = async (status: number, body: (keys: Record<string, string>) => unknown) => {
      const { page } = await demo.blank();
      await page.route('**/demo', async (route) => {
        const real = await route.fetch();
        await route.fulfill({ status, json: body(await real.json()) });
      });
      await page.goto(demo.url);
      return page;
    };

    it('if the server is not the demo', { timeout: TIME }, async () => {
      const page = await answered(404, () => ({ message: 'Cannot GET /demo' }));
      await page.getByText('Start the demo with "npm start".').waitFor();
      await shoot(page, 'no-demo');
      await page.unroute('**/demo');
      await page.getByRole('button', { name: 'Try again' }).click();
      await ready(page);
    });

    it('if something else answers for the demo', { timeout: TIME }, async () => {
      const { page } = await demo.blank();
      await page.route('**/demo', (route) => route.fulfill({ contentType: 'text/html', body: '<h1>Log in</h1>' }));
      await page.goto(demo.url);
      await page.getByText('open the page where "npm start" printed its address').waitFor();
    });

    type Prepare = (page: Page) => Promise<unknown>;
    const withKeys =
      (change: Record<string, string>): Prepare =>
      (page) =>
        page.route('**/demo', async (route) => {
          const real = await route.fetch();
          await route.fulfill({ json: { ...(await real.json()), ...change } });
        });
    const answering =
      (status: number): Prepare =>
      (page) =>
        page.route('**/remote/**', (route) =>
          route.fulfill({ status, contentType: 'text/html', body: '<!doctype html><h1>Blocked by the firewall</h1>' }),
        );
    const aborting =
      (reason: string): Prepare =>
      (page) =>
        page.route('**/remote/**', (route) => route.abort(reason));
    /** The functions at another origin, which knows nothing of this page. */
    const elsewhere: Prepare = (page) =>
      page.route('**/*.js', async (route) => {
        const response = await route.fetch();
        const { port } = new URL(demo.url);
        const body = (await response.text()).replaceAll('"/remote"', `"http://localhost:${port}/remote"`);
        await route.fulfill({ response, body });
      });
    const look = 'See whether the server runs ("npm start") and whether something stands between it and this page';

    it.each<[string, number, string, Prepare]>([
      [
        'wrong-pin',
        1,
        'The server has other keys than this page: reload the page',
        withKeys({ serverKey: 'swp1.TdahZWCaFdEE1ZUbpxAd6YAUZ9JTux-zoZeau1SY9G8.2ea29692' }),
      ],
      [
        'wrong-secure-key',
        1,
        'The server has other keys than this page: reload the page',
        withKeys({ secureKey: generateKeyText('swk1', nodePrimitives) }),
      ],
      ['damaged-secure-key', 0, 'reload the page', withKeys({ secureKey: 'swk1.AAECAwQFBgcICQoLDA0ODw.00000000' })],
      ['no-pin', 0, 'reload the page', withKeys({ serverKey: 'swp1.nonsense' })],
      ['no-server', 2, look, aborting('connectionrefused')],
      ['blocked', 2, look, aborting('accessdenied')],
      ['cors', 2, look, elsewhere],
      ['html-403', 2, look, answering(403)],
      ['html-502', 2, look, answering(502)],
      ['html-200', 2, look, answering(200)],
    ])('within two tries: %s', { timeout: TIME }, async (name, most, advice, prepare) => {
      // the policy of the page knows no other origin
      const { page, problems } = await demo.blank({ ...LOOKS.light, bypassCSP: name === 'cors' });
      await prepare(page);
      let tries = 0;
      page.on('request', (request) => {
        if (request.url().includes('/remote/')) tries++;
      });
      await page.goto(demo.url);
      const alert = page.getByRole('alert');
      await alert.filter({ hasText: advice }).waitFor();
      expect(await alert.count()).toBe(1);
      await alert.getByRole('button', { name: 'Try again' }).waitFor();
      expect(tries).toBeLessThanOrEqual(most);
      await shoot(page, `bad-${name}`);
      expect(problems.filter((problem) => !/Failed to load|CORS policy/.test(problem))).toEqual([]);
      // as soon as it is well again, so is the page
      if (most < 2 || name === 'cors') return;
      await page.unroute('**/remote/**');
      await alert.getByRole('button', { name: 'Try again' }).click();
      await ready(page);
      expect(await alert.count()).toBe(0);
    });
  });
});
