import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PLAIN_HOST } from '../support/browser.js';
import { startPages } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import type { Checked, checkVectors } from './vectors-page.js';

const folder = new URL('../vectors/', import.meta.url);
const files = Object.fromEntries(
  readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => [name.slice(0, -5), JSON.parse(readFileSync(new URL(name, folder), 'utf8'))]),
);

let site: Awaited<ReturnType<typeof startPages>>;
beforeAll(async () => {
  const scripts = { vectors: 'test/browser/vectors-page.ts' };
  site = await startPages({ scripts, html: '<script type="module" src="/vectors.js"></script>' });
});
afterAll(() => site.close());

inEveryBrowser((suite) => {
  it.each([
    ['noble', '127.0.0.1'],
    ['webcrypto', '127.0.0.1'],
    // without crypto.subtle
    ['webcrypto', PLAIN_HOST],
  ] as const)('agrees with the vectors by %s on %s', async (kind, host) => {
    if (host === PLAIN_HOST && suite.installed.engine !== 'chromium') return;
    const { run, problems } = await suite.open(site.origin.replace('127.0.0.1', host));
    const check = (changed: typeof files) =>
      run(
        (_, { kind, changed }): Promise<Checked> => {
          const page = globalThis as unknown as { checkVectors: typeof checkVectors };
          return page.checkVectors(kind, changed);
        },
        { kind, changed },
      );
    const { values, wrong } = await check(files);
    expect(wrong).toEqual([]);
    expect(values).toBeGreaterThan(150);
    const other = structuredClone(files);
    other['handshake-pinned-32'].step3.frame = '00';
    other.messages['epoch 258'].result.payload = '00';
    expect((await check(other)).wrong).toHaveLength(2);
    expect(problems).toEqual([]);
  });
});
