import type { RemoteApi } from '@sealwire/client';
import { generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type Site, startPages, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

const key = (tag: 'sws1' | 'swk1') => generateKeyText(tag, nodePrimitives);
const secureKey = key('swk1');

@RemoteFunctions('keyed')
class KeyedController {
  @RemoteFunction()
  add(a: number, b: number): number {
    return a + b;
  }
}

type Send = (status: number, headers: Record<string, string>, body: string) => void;

/** Methods of the requests below `/remote`, and what answers them instead of the application. */
const seen: string[] = [];
let instead: ((send: Send, go: () => void) => void) | undefined;
let elsewhere: Awaited<ReturnType<typeof startPages>>;
let open: Site;
let closed: Site;

beforeAll(async () => {
  elsewhere = await startPages();
  const watch = (site: { use(middleware: unknown): void }) =>
    site.use((request: { method: string; url: string }, response: never, next: () => void) => {
      if (!request.url.startsWith('/remote')) return next();
      seen.push(request.method);
      if (!instead || request.method === 'OPTIONS') return next();
      const raw = response as { writeHead(status: number, headers: object): { end(body: string): void } };
      instead((status, headers, body) => raw.writeHead(status, headers).end(body), next);
    });
  const options = {
    controllers: [ThingsController, KeyedController],
    modules: { things: {}, keyed: { secureKeys: [secureKey] } },
  };
  open = await startSite({
    ...options,
    prepare: (app) => {
      watch(app);
      app.enableCors({ origin: elsewhere.origin, methods: ['POST'], exposedHeaders: ['retry-after'], maxAge: 600 });
    },
  });
  closed = await startSite({ ...options, prepare: watch });
});
afterAll(async () => {
  elsewhere.close();
  await Promise.all([open.close(), closed.close()]);
});
beforeEach(() => {
  seen.length = 0;
  instead = undefined;
});

inEveryBrowser((suite) => {
  const outcomeOf = async (from: string, options: { url: string; serverKey?: string; secureKey?: string }) => {
    const { run } = await suite.open(from);
    return run(async ({ createRemote, outcome }, options) => {
      const began = performance.now();
      const { code, message, name, value } = await outcome(createRemote<Api>(options).add(1, 2));
      return { code, message, name, value, took: performance.now() - began };
    }, options);
  };

  it('asks once before calls of another origin that CORS allows', async () => {
    const { run, problems } = await suite.open(elsewhere.origin);
    const got = await run(
      async ({ createRemote }, options) => {
        const remote = createRemote<Api>(options);
        return [await remote.add(1, 2), await remote.add(3, 4), await remote.add(5, 6)];
      },
      { url: `${open.origin}/remote/things`, serverKey: open.pin },
    );
    expect(got).toEqual([3, 7, 11]);
    expect(seen.filter((method) => method === 'OPTIONS')).toHaveLength(1);
    expect(problems).toEqual([]);
  });

  it('waits as long as a busy server of another origin says', async () => {
    let answered = 0;
    instead = (send, go) => {
      if (answered++ > 0) return go();
      const headers = {
        'access-control-allow-origin': elsewhere.origin,
        'access-control-expose-headers': 'retry-after',
      };
      send(503, { ...headers, 'retry-after': '2', 'content-type': 'application/problem+json' }, '{"code":"busy"}');
    };
    const got = await outcomeOf(elsewhere.origin, { url: `${open.origin}/remote/things`, serverKey: open.pin });
    expect(got).toMatchObject({ value: 3 });
    expect(got.took).toBeGreaterThan(1_900);
  });

  it('says of a request that CORS blocks what to do, within two tries', async () => {
    const got = await outcomeOf(elsewhere.origin, { url: `${closed.origin}/remote/things`, serverKey: closed.pin });
    expect(got).toMatchObject({ name: 'RemoteError', code: 'unreachable' });
    expect(seen).toEqual(['OPTIONS', 'OPTIONS']);
  });

  it('says of a server that is not there what to do', async () => {
    const got = await outcomeOf(open.origin, { url: 'http://127.0.0.1:9/remote/things', serverKey: open.pin });
    expect(got).toMatchObject({ name: 'RemoteError', code: 'unreachable' });
  });

  it('refuses a server with another key', async () => {
    const got = await outcomeOf(open.origin, { url: '/remote/things', serverKey: closed.pin });
    expect(got).toMatchObject({ name: 'RemoteError', code: 'handshake_failed' });
    expect(seen.length).toBeLessThanOrEqual(2);
  });

  it('is refused with another SecureKey', async () => {
    const got = await outcomeOf(open.origin, { url: '/remote/keyed', secureKey: key('swk1') });
    expect(got).toMatchObject({ name: 'RemoteError', code: 'handshake_failed' });
    expect(seen.length).toBeLessThanOrEqual(2);
    const good = await outcomeOf(open.origin, { url: '/remote/keyed', secureKey });
    expect(good).toMatchObject({ value: 3 });
  });

  it.each([
    [502, '<h1>Bad Gateway</h1>'],
    [200, '<h1>Log in</h1>'],
  ])('is told from the page of a proxy (%d)', async (status, html) => {
    instead = (send) => send(status, { 'content-type': 'text/html' }, html);
    const got = await outcomeOf(open.origin, { url: '/remote/things', serverKey: open.pin });
    expect(got).toMatchObject({ name: 'RemoteError', code: 'unreachable' });
    expect(got.message).toContain(String(status));
    expect(seen).toEqual(['POST', 'POST']);
  });
});
