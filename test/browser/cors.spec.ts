import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type Site, startPages, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

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
  open = await startSite({
    controllers: [ThingsController],
    prepare: (app) => {
      watch(app);
      app.enableCors({ origin: elsewhere.origin, methods: ['POST'], exposedHeaders: ['retry-after'], maxAge: 600 });
    },
  });
  closed = await startSite({ controllers: [ThingsController], prepare: watch });
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
  const outcomeOf = async (from: string, options: { url: string; serverKey: string }) => {
    const { run } = await suite.open(from);
    return run(async ({ createRemote, outcome }, options) => {
      const began = performance.now();
      return { ...(await outcome(createRemote<Api>(options).add(1, 2))), took: performance.now() - began };
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

  it('asks twice at most if CORS blocks the page, and says so', async () => {
    const got = await outcomeOf(elsewhere.origin, { url: `${closed.origin}/remote/things`, serverKey: closed.pin });
    expect(got).toMatchObject({ name: 'RemoteError', code: 'unreachable' });
    expect(got.message).toContain('CORS');
    expect(seen).toEqual(['OPTIONS', 'OPTIONS']);
  });
});
