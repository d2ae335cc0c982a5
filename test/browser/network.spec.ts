import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { RemoteApi } from '@sealwire/client';
import { generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Site, startPages, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

const secureKey = generateKeyText('swk1', nodePrimitives);
let site: Site;
let other: Awaited<ReturnType<typeof startPages>>;
beforeAll(async () => {
  site = await startSite({ controllers: [ThingsController], modules: { things: { secureKeys: [secureKey] } } });
  other = await startPages();
});
afterAll(async () => {
  other.close();
  await site.close();
});

/** Where nobody listens. */
async function closedOrigin(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

inEveryBrowser((suite) => {
  it('posts large frames as Blobs, small ones as they are, and both arrive', async () => {
    const { run } = await suite.open(site.origin);
    const bodies = await run(
      async ({ createRemote, fetchTransport }, options) => {
        const seen: string[] = [];
        const transport = fetchTransport({
          fetch: (url, init) => {
            const { body } = init as { body: Blob | Uint8Array };
            seen.push(body instanceof Blob ? 'Blob' : 'bytes');
            return fetch(url, init);
          },
        });
        const remote = createRemote<Api>({ url: '/remote/things', ...options, transport });
        await remote.add(1, 2);
        seen.length = 0;
        for (const size of [200_000, 600_000]) {
          const bytes = new Uint8Array(size).map((_, i) => i * 7);
          const echoed = (await remote.echo(bytes)) as Uint8Array;
          if (echoed.length !== size || echoed.some((byte, i) => byte !== bytes[i])) seen.push('changed');
        }
        return seen;
      },
      { serverKey: site.pin, secureKey },
    );
    expect(bodies).toEqual(['bytes', 'Blob']);
  });

  it('waits while the browser is offline, and goes on when it is back', async () => {
    const { page, run } = await suite.open(site.origin);
    await run(
      async ({ createRemote, kept }, options) => {
        const remote = createRemote<Api>({ url: '/remote/things', ...options });
        const states: string[] = [];
        remote.$events.on('connection', ({ state }) => states.push(state));
        Object.assign(kept, { remote, states });
        await remote.add(0, 0);
      },
      { serverKey: site.pin, secureKey },
    );
    await page.context().setOffline(true);
    const cause = await run(async ({ kept, outcome }) => {
      const remote = kept.remote as ReturnType<typeof import('@sealwire/client').createRemote<Api>>;
      kept.call = outcome(remote.add(1, 2));
      const late = await outcome(remote.$call({ timeout: 50 }).add(3, 4));
      const now = remote.$connection();
      return { late, message: now.state === 'waiting' ? String(now.cause) : now.state };
    }, undefined);
    expect(cause.message).toContain('this device is offline');
    expect(cause.late).toMatchObject({ code: 'unreachable', message: expect.stringContaining('offline') });
    await page.context().setOffline(false);
    expect(await run(({ kept }) => kept.call, undefined)).toEqual({ value: 3 });
    expect(await run(({ kept }) => kept.states, undefined)).toEqual(['connecting', 'open', 'waiting', 'open']);
  });

  it('keeps small requests alive and asks for what the options say', async () => {
    const { run } = await suite.open(site.origin);
    const sums = await run(
      async ({ createRemote, fetchTransport }, options) => {
        const transport = fetchTransport({
          keepalive: true,
          credentials: 'omit',
          priority: 'high',
          mode: 'same-origin',
        });
        const remote = createRemote<Api>({ url: '/remote/things', ...options, transport });
        await remote.echo(new Uint8Array(100_000));
        return Promise.all(Array.from({ length: 20 }, (_, i) => remote.add(i, 1)));
      },
      { serverKey: site.pin, secureKey },
    );
    expect(sums.at(-1)).toBe(20);
  });

  describe('says within two tries what to do', () => {
    /** What the first call of a page ends with. */
    const firstCall = async (from: string, options: { url: string; serverKey: string; secureKey: string }) => {
      const { run } = await suite.open(from);
      const began = performance.now();
      const said = await run(async ({ createRemote, outcome }, options) => {
        const remote = createRemote<Api>(options);
        let tries = 1;
        remote.$events.on('retrying', () => tries++);
        return { ...(await outcome(remote.add(1, 2))), tries };
      }, options);
      expect(performance.now() - began).toBeLessThan(8_000);
      expect(said.name).toBe('RemoteError');
      expect(said.tries).toBeLessThanOrEqual(2);
      return said;
    };
    const right = () => ({ url: `${site.origin}/remote/things`, serverKey: site.pin, secureKey });

    it('about a wrong pin', async () => {
      const wrong = await startSite({ controllers: [ThingsController] });
      await wrong.close();
      const said = await firstCall(site.origin, { ...right(), serverKey: wrong.pin });
      expect(said).toMatchObject({ code: 'handshake_failed', message: expect.stringContaining('Compare serverKey') });
    });

    it('about a wrong SecureKey', async () => {
      const said = await firstCall(site.origin, { ...right(), secureKey: generateKeyText('swk1', nodePrimitives) });
      expect(said).toMatchObject({ code: 'handshake_failed', message: expect.stringContaining('secureKey') });
    });

    it('about CORS rules that refuse the page', async () => {
      const said = await firstCall(other.origin, right());
      expect(said.code).toBe('unreachable');
      expect(said.message).toMatch(
        new RegExp(`${site.origin} gave no answer .*no server is there.* or its CORS rules refuse ${other.origin}`),
      );
    });

    it('about a server that is not there', async () => {
      const closed = await closedOrigin();
      const said = await firstCall(site.origin, { ...right(), url: `${closed}/remote/things` });
      expect(said.code).toBe('unreachable');
      expect(said.message).toMatch(new RegExp(`${closed} gave no answer .*no server is there.*CORS rules refuse`));
    });

    it('about an HTML page that is no server', async () => {
      const page = await suite.open(site.origin);
      // as a proxy of the page's own origin would answer
      await page.page.route('**/remote/things', (route) =>
        route.fulfill({ status: 200, contentType: 'text/html', body: '<title>Log in</title>' }),
      );
      const said = await page.run(
        async ({ createRemote, outcome }, options) => outcome(createRemote<Api>(options).add(1, 2)),
        right(),
      );
      expect(said.code).toBe('unreachable');
      expect(said.message).toContain('answered HTTP 200 with an HTML page');
    });

    it.each([
      [
        'a log-in that the page is led to',
        { status: 302, headers: { location: 'https://login.test/' } },
        /redirect.*not followed/,
      ],
      [
        'a captive portal',
        { status: 511, contentType: 'text/html', body: '<title>Pay</title>' },
        /this network wants a log-in/,
      ],
      [
        'a proxy that refuses',
        { status: 403, contentType: 'text/html', body: 'no' },
        /HTTP 403 .*refuses these requests/,
      ],
      ['an answer from a cache', { status: 200, body: Buffer.from([0x02, 1, ...Array(300).fill(7)]) }, /does not open/],
    ])('about %s', async (_, answer, sentence) => {
      const page = await suite.open(site.origin);
      let asked = 0;
      await page.page.route('**/remote/things', (route) => {
        asked++;
        return route.fulfill(answer);
      });
      const said = await page.run(async ({ createRemote, outcome }, options) => {
        const remote = createRemote<Api>(options);
        return { ...(await outcome(remote.add(1, 2))), state: remote.$connection().state };
      }, right());
      expect(said.name).toBe('RemoteError');
      expect(said.message).toMatch(sentence);
      expect(asked).toBeLessThanOrEqual(2);
      expect(said.state).toBe('idle');
    });

    it('about a connection that breaks off in the middle of an answer', async () => {
      const broken = createServer((request, response) => {
        request.resume();
        const headers = { 'access-control-allow-origin': '*', 'access-control-allow-headers': 'content-type' };
        if (request.method === 'OPTIONS') return response.writeHead(204, headers).end();
        response.writeHead(200, { ...headers, 'content-length': 900 });
        return response.write(Buffer.from([0x02, 1, 0]), () => response.destroy());
      });
      await new Promise<void>((resolve) => broken.listen(0, '127.0.0.1', resolve));
      const { port } = broken.address() as AddressInfo;
      const said = await firstCall(site.origin, { ...right(), url: `http://127.0.0.1:${port}/remote/things` });
      broken.closeAllConnections();
      broken.close();
      expect(said.code).toBe('unreachable');
      expect(said.message).toMatch(/gave no whole answer \(.+\): check `url`/);
    });

    it('about a URL that is none, at once', async () => {
      const { run } = await suite.open(site.origin);
      const said = await run(
        ({ createRemote, outcome }, options) => outcome(Promise.resolve().then(() => createRemote<Api>(options))),
        { ...right(), url: 'http://:80/remote/things' },
      );
      expect(said).toMatchObject({
        code: 'bad_configuration',
        message: expect.stringContaining('which is no address'),
      });
    });
  });
});
