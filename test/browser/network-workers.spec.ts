import type { Request, Response } from 'express';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bundle } from '../support/browser-bundle.js';
import { type Site, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { ThingsController } from './things.js';

/** Calls what it is told to, and tells outcomes and states. */
const WORKER = `
  import { createRemote } from '@sealwire/client';
  let remote;
  const answer = (port) => async ({ data: { url, serverKey, call } }) => {
    if (call === undefined) return port.postMessage({ onLine: navigator.onLine, document: typeof document });
    if (!remote) {
      remote = createRemote({ url, serverKey });
      remote.$events.on('connection', ({ state }) => port.postMessage({ state }));
    }
    try {
      port.postMessage({ value: await remote.add(...call) });
    } catch (error) {
      port.postMessage({ code: error.code, message: error.message });
    }
  };
  if ('onconnect' in self) self.onconnect = ({ ports: [port] }) => { port.onmessage = answer(port); };
  else self.onmessage = answer(self);
`;

interface Said {
  readonly onLine?: boolean;
  readonly document?: string;
  readonly state?: string;
  readonly value?: number;
  readonly code?: string;
  readonly message?: string;
}

interface Told {
  readonly send: (message: object) => void;
  readonly said: Said[];
}

/** Answers what it is told by what became of a call. */
const SERVICE = `
  import { createRemote } from '@sealwire/client';
  self.addEventListener('install', () => self.skipWaiting());
  self.addEventListener('message', ({ data: { call, ...options }, ports: [port] }) => {
    createRemote(options).add(...call).then(
      (value) => port.postMessage({ value }),
      ({ code, message }) => port.postMessage({ code, message }),
    );
  });
`;

let site: Site;
beforeAll(async () => {
  const whole = await bundle({ whole: { source: SERVICE } }, 'sources', { splitting: false });
  site = await startSite({
    controllers: [ThingsController],
    pages: { scripts: { worker: { source: WORKER }, split: { source: SERVICE } } },
    prepare: (app) =>
      app.use('/whole.js', (_: Request, response: Response) => {
        response.type('js').end(whole.files.get('whole.js'));
      }),
  });
});
afterAll(() => site.close());

inEveryBrowser((suite) => {
  it.each(['Worker', 'SharedWorker'] as const)('calls of a %s wait while it is offline', async (kind) => {
    const { page, problems } = await suite.open(site.origin);
    await page.evaluate((kind) => {
      const said: Said[] = [];
      const made =
        kind === 'Worker'
          ? new Worker('/worker.js', { type: 'module' })
          : new SharedWorker('/worker.js', { type: 'module' }).port;
      made.onmessage = ({ data }: MessageEvent) => void said.push(data);
      Object.assign(window, { told: { said, send: (message: object) => made.postMessage(message) } });
    }, kind);
    const said = () => page.evaluate(() => (window as never as { told: Told }).told.said);
    const send = (message: object) =>
      page.evaluate((message) => (window as never as { told: Told }).told.send(message), message);
    const options = { url: `${site.origin}/remote/things`, serverKey: site.pin };
    await send({});
    await expect.poll(said).toHaveLength(1);
    await page.context().setOffline(true);
    await send({});
    await expect.poll(said).toContainEqual({ onLine: false, document: 'undefined' });
    await send({ ...options, call: [1, 2] });
    await expect.poll(said).toContainEqual({ state: 'waiting' });
    await page.context().setOffline(false);
    await expect.poll(said, { timeout: 20_000 }).toContainEqual({ value: 3 });
    expect((await said()).slice(2)).toEqual([{ state: 'waiting' }, { state: 'open' }, { value: 3 }]);
    // its code is there now
    await page.context().setOffline(true);
    await send({ ...options, call: [3, 4] });
    await expect.poll(said).toHaveLength(6);
    await page.context().setOffline(false);
    await expect.poll(said, { timeout: 20_000 }).toContainEqual({ value: 7 });
    expect(problems).toEqual([]);
  });

  it.each([
    ['whole', { value: 3 }],
    ['split', { code: 'unreachable', message: expect.stringContaining('bundle it into one file, without splitting') }],
  ])('a service worker calls from one file, and is told so otherwise: %s', async (name, outcome) => {
    const { page } = await suite.open(site.origin);
    const said = await page.evaluate(
      async ({ script, message }) => {
        const { installing, waiting, active } = await navigator.serviceWorker.register(script, { type: 'module' });
        const worker = (installing ?? waiting ?? active)!;
        const { port1, port2 } = new MessageChannel();
        const said = new Promise((resolve) => {
          port1.onmessage = ({ data }) => resolve(data);
        });
        worker.postMessage(message, [port2]);
        return said;
      },
      { script: `/${name}.js`, message: { url: `${site.origin}/remote/things`, serverKey: site.pin, call: [1, 2] } },
    );
    expect(said).toEqual(outcome);
  });
});
