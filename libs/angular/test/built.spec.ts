import '@angular/compiler';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { launch } from '../../../test/support/browser.js';
import { bundle } from '../../../test/support/browser-bundle.js';
import { installedChromiums } from '../../../test/support/browser-install.js';
import { buildPackages, root, run } from './packages.js';
import { openServer, serverKey } from './server.js';

const application = fileURLToPath(new URL('ssr', import.meta.url));
const NG = join(root, 'node_modules/@angular/cli/bin/ng.js');
const TIME = 400_000;
const folder = mkdtempSync(join(tmpdir(), 'sealwire-ssr-'));
let backend: Awaited<ReturnType<typeof openServer>>;
let browser: Browser;

/** Builds the application by the Angular CLI, with its prerendered page. */
function build(out: string, env: Record<string, string>, ...options: string[]) {
  const define = `SERVER_KEY="${serverKey}"`;
  const path = join(folder, out);
  return run(application, env, NG, 'build', '--output-path', path, '--define', define, ...options);
}

/** Serves the built application until the test ends. */
async function serve(env: Record<string, string>) {
  const child: ChildProcessWithoutNullStreams = spawn(process.execPath, [join(folder, 'app/server/server.mjs')], {
    env: { ...process.env, BACKEND: backend.url, ...env },
  });
  onTestFinished(() => void child.kill());
  const [line] = await once(child.stdout, 'data');
  const url = `http://127.0.0.1:${/port (\d+)/.exec(String(line))?.[1]}`;
  return { url, page: async (path: string) => (await fetch(`${url}/${path}`)).text() };
}

/** An element's text in the source of a page. */
const text = (html: string, id: string) => new RegExp(`id="${id}"[^>]*>([^<]*)<`).exec(html)?.[1]?.trim();
const everything = `${2n ** 70n + 1n} 2023-11-14T22:13:20.000Z 1700000000000 true 0-255`;

beforeAll(async () => {
  backend = await openServer();
  await buildPackages();
  const { code, output } = await build('app', { SEALWIRE_URL: backend.url, SEALWIRE_TRANSFER: 'yes' });
  expect(code, output).toBe(0);
  const [chromium] = installedChromiums();
  browser = await launch(chromium!);
}, TIME);

afterAll(async () => {
  await browser?.close();
  await backend?.app.close();
  rmSync(folder, { recursive: true, force: true });
}, TIME);

/** Opens a page in the browser, and tells what it asked of the server and what became of its nodes. */
async function open(url: string) {
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  page.setDefaultTimeout(TIME / 4);
  const requests: string[] = [];
  const said: string[] = [];
  page.on('request', (request) => requests.push(new URL(request.url()).pathname));
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(error.message));
  // marks the node that the server rendered
  await page.addInitScript(() => {
    new MutationObserver((_, observer) => {
      const node = document.getElementById('rate');
      if (!node) return;
      Object.assign(node, { rendered: true });
      observer.disconnect();
    }).observe(document, { childList: true, subtree: true });
  });
  await page.goto(url, { waitUntil: 'networkidle' });
  return { page, said, remote: () => requests.filter((path) => path.startsWith('/remote')) };
}

describe('a page that was rendered with withServerCalls({ transfer: true })', () => {
  it.each(['prerendered', 'values'])(
    'has its values in the HTML, and the browser makes no call: /%s',
    async (path) => {
      const { url, page } = await serve({ SEALWIRE_URL: backend.url, SEALWIRE_TRANSFER: 'yes' });
      const html =
        path === 'values' ? await page(path) : readFileSync(join(folder, 'app/browser/prerendered/index.html'), 'utf8');
      expect([text(html, 'rate'), text(html, 'everything')]).toEqual(['CHF 2', everything]);
      // the cache of HttpClient holds no sealed bytes, although it takes POST
      const state = JSON.parse(/<script id="ng-state"[^>]*>(.*?)<\/script>/s.exec(html)?.[1] ?? '{}');
      expect(Object.keys(state).map((key) => key.split(' ')[0])).toEqual(['sealwire', 'sealwire', '__nghData__']);

      const { page: opened, said, remote } = await open(`${url}/${path}`);
      expect(await opened.textContent('#everything')).toBe(everything);
      expect(await opened.evaluate(() => 'rendered' in (document.getElementById('rate') ?? {}))).toBe(true);
      expect(remote()).toEqual([]);
      await opened.click('#reload');
      await opened.waitForFunction(() => document.getElementById('reload')?.textContent === 'open');
      expect(remote()).toEqual(['/remote/public', '/remote/public']);
      expect(await opened.textContent('#rate')).toBe('CHF 2');
      expect(said).toEqual([]);
    },
    TIME,
  );
});

it(
  'renders values and hands none over without transfer',
  async () => {
    const { url, page } = await serve({ SEALWIRE_URL: backend.url });
    const html = await page('values');
    expect(text(html, 'rate')).toBe('CHF 2');
    expect(html).not.toContain('sealwire ');
    const { page: opened, said, remote } = await open(`${url}/values`);
    await opened.waitForFunction(() => document.getElementById('reload')?.textContent === 'open');
    expect(remote()).toHaveLength(2);
    expect([await opened.textContent('#rate'), said]).toEqual(['CHF 2', []]);
  },
  TIME,
);

it(
  'renders at once without withServerCalls(), and the browser loads',
  async () => {
    const { url, page } = await serve({});
    const before = backend.seen.length;
    const html = await page('values');
    expect([text(html, 'rate'), text(html, 'everything')]).toEqual(['idle', 'idle']);
    expect(backend.seen.length).toBe(before);
    const { page: opened, said } = await open(`${url}/values`);
    await opened.waitForFunction(() => document.getElementById('rate')?.textContent === 'CHF 2');
    expect([await opened.textContent('#everything'), said]).toEqual([everything, []]);
  },
  TIME,
);

it(
  'leaves streams to the browser, which reads them',
  async () => {
    const { url, page } = await serve({ SEALWIRE_URL: backend.url, SEALWIRE_TRANSFER: 'yes' });
    const html = await page('streams');
    expect([text(html, 'items'), text(html, 'report')]).toEqual(['idle', 'resolved']);
    expect(html).not.toContain('sealwire ');
    const { page: opened, said } = await open(`${url}/streams`);
    await opened.waitForFunction(() => document.getElementById('items')?.textContent === 'ended 1,2,3');
    expect(said).toEqual([]);
  },
  TIME,
);

describe('a server of remote functions that is not there', () => {
  it.each(['refuses', 'hangs'])(
    'shows as the error of the resource: it %s',
    async (how) => {
      const silent = createServer().listen(0, '127.0.0.1');
      await once(silent, 'listening');
      const { port } = silent.address() as AddressInfo;
      if (how === 'refuses') silent.close();
      else onTestFinished(() => void silent.close());
      const { page } = await serve({ SEALWIRE_URL: `http://127.0.0.1:${port}/remote` });
      const began = performance.now();
      const html = await page('values');
      expect(text(html, 'rate')).toMatch(/^error unreachable No Sealwire server was reached at http:/);
      if (how === 'refuses')
        expect(text(html, 'rate')).toMatch(/start the server or correct `url`: connect ECONNREFUSED [\d.:]+$/);
      expect(performance.now() - began).toBeLessThan(20_000);
    },
    TIME,
  );
});

it(
  'ends a build that prerenders with an address that leads nowhere, and says what to write',
  async () => {
    const { code, output } = await build('broken', { SEALWIRE_URL: '/remote' }, '--no-optimization');
    expect(output).toContain(`"/remote" is relative to. Give the whole address: withServerCalls({ url: `);
    expect(code).not.toBe(0);
  },
  TIME,
);

/** What the built package brings into a production build that imports so much of it. */
async function code(names: string, ngDevMode = 'false'): Promise<string> {
  const source = `import { ${names} } from '@sealwire/angular';\nconsole.log(${names});`;
  const options = { external: ['@angular/*', 'rxjs'], define: { ngDevMode } };
  const { files } = await bundle({ app: { source } }, 'packages', options);
  return [...files.values()].map((bytes) => Buffer.from(bytes).toString()).join('\n');
}

/** Words that show that a part of the package is there. */
const parts = {
  action: 'another run of this action is under way',
  stream: 'returned no stream of items',
  warnings: 'replaced the body of a sealed request',
  testing: 'Calls that nothing expected',
  inspector: 'sealwire-inspector',
};
const partsOf = (text: string) => Object.keys(parts).filter((part) => text.includes(parts[part as keyof typeof parts]));

it('an application carries what it imports, and of nothing else the words', async () => {
  expect(partsOf(await code('remoteResource'))).toEqual([]);
  expect(partsOf(await code('remoteAction'))).toEqual(['action']);
  expect(partsOf(await code('remoteStream'))).toEqual(['stream']);
  // with all that connects it
  expect(partsOf(await code('remoteResource, provideSealwire, withModule, sealwireStreams, withServerCalls'))).toEqual(
    [],
  );
  // the words are the right ones
  expect(partsOf(await code('provideSealwire', 'true'))).toContain('warnings');
  for (const part of ['testing', 'inspector'] as const) {
    expect(
      partsOf(readFileSync(join(root, `libs/angular/dist/fesm2022/sealwire-angular-${part}.mjs`), 'utf8')),
    ).toContain(part);
  }
});
