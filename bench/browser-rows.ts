import type { RemoteApi } from '@sealwire/client';
import type { OpenPage } from '../test/support/browser.js';
import type { BrowserController } from './servers/browser.js';

type Api = RemoteApi<BrowserController>;

interface Server {
  readonly url: string;
  readonly pin: string;
}

type Work = (page: OpenPage, server: Server) => Promise<number>;

export interface Row {
  readonly name: string;
  /** milliseconds of the main thread that it shall cost at most; with the browser's own ML-KEM the second */
  readonly goal?: readonly [number, number];
  /** the page's scripts tell the browser to compile all their functions as they are loaded */
  readonly compiled?: true;
  /** operations that one run measures */
  readonly operations: number;
  /** what has happened before, not measured */
  readonly before?: Work;
  /** gives milliseconds, as the page saw them */
  readonly sealed: Work;
  readonly plain: Work;
}

const WARM = 50;

/** Makes the remote and its session, and does every kind of thing once. */
const connect: Work = ({ run }, { url, pin }) =>
  run(
    async ({ createRemote, kept }, [url, serverKey]) => {
      const remote = createRemote<Api>({ url, serverKey, timeout: 300_000 });
      kept.remote = remote;
      for (let i = 0; i < 5; i++) await remote.echo('x'.repeat(200));
      return 0;
    },
    [url, pin] as const,
  );

const prewarm: Work = ({ run }, { url, pin }) =>
  run(
    async ({ createRemote, kept }, [url, serverKey]) => {
      const remote = createRemote<Api>({ url, serverKey, timeout: 300_000 });
      kept.remote = remote;
      await remote.$prewarm();
      return 0;
    },
    [url, pin] as const,
  );

/** Makes the remote, as an application does when it starts, and waits for the code that it begins to load. */
const created: Work = ({ run }, { url, pin }) =>
  run(
    async ({ createRemote, kept }, [url, serverKey]) => {
      const loaded = () => performance.getEntriesByType('resource').length;
      const before = loaded();
      kept.remote = createRemote<Api>({ url, serverKey, timeout: 300_000 });
      while (loaded() === before) await new Promise((resolve) => setTimeout(resolve, 10));
      return 0;
    },
    [url, pin] as const,
  );

const oneCall: Work = ({ run }) =>
  run(async ({ kept }) => {
    const began = performance.now();
    await (kept.remote as Api).echo('x'.repeat(200));
    return performance.now() - began;
  }, undefined);

const firstCall: Work = ({ run }, { url, pin }) =>
  run(
    async ({ createRemote }, [url, serverKey]) => {
      const began = performance.now();
      await createRemote<Api>({ url, serverKey, timeout: 300_000 }).echo('x'.repeat(200));
      return performance.now() - began;
    },
    [url, pin] as const,
  );

const plainCalls =
  (count: number, length: number): Work =>
  ({ run }) =>
    run(
      async (_, { count, length }) => {
        const body = JSON.stringify({ value: 'x'.repeat(length) });
        const headers = { 'content-type': 'application/json' };
        const began = performance.now();
        for (let i = 0; i < count; i++) {
          await (await fetch('/plain/echo', { method: 'POST', headers, body })).json();
        }
        return performance.now() - began;
      },
      { count, length },
    );

export const ROWS: readonly Row[] = [
  { name: 'first call', goal: [45, 20], operations: 1, sealed: firstCall, plain: plainCalls(1, 200) },
  {
    name: 'first call, loaded',
    goal: [45, 20],
    operations: 1,
    before: created,
    sealed: oneCall,
    plain: plainCalls(1, 200),
  },
  {
    name: 'first call, compiled',
    goal: [45, 20],
    compiled: true,
    operations: 1,
    sealed: firstCall,
    plain: plainCalls(1, 200),
  },
  {
    name: 'first call, prewarmed',
    operations: 1,
    before: prewarm,
    sealed: oneCall,
    plain: plainCalls(1, 200),
  },
  {
    name: 'warm call, 200 B',
    operations: WARM,
    before: connect,
    sealed: ({ run }) =>
      run(async ({ kept }, count) => {
        const remote = kept.remote as Api;
        const began = performance.now();
        for (let i = 0; i < count; i++) await remote.echo('x'.repeat(200));
        return performance.now() - began;
      }, WARM),
    plain: plainCalls(WARM, 200),
  },
  {
    name: 'echo of 1 MB',
    goal: [30, 30],
    operations: 1,
    before: connect,
    sealed: ({ run }) =>
      run(async ({ kept }, length) => {
        const bytes = new Uint8Array(length);
        const began = performance.now();
        await (kept.remote as Api).echo(bytes);
        return performance.now() - began;
      }, 1_000_000),
    plain: plainCalls(1, 1_000_000),
  },
  {
    name: 'upload of 8 MB',
    operations: 1,
    before: connect,
    sealed: ({ run }) =>
      run(async ({ kept }, length) => {
        const file = new Blob([new Uint8Array(length)]);
        const began = performance.now();
        await (kept.remote as Api).up(file);
        return performance.now() - began;
      }, 8_000_000),
    plain: ({ run }) =>
      run(async (_, length) => {
        const body = new Blob([new Uint8Array(length)]);
        const began = performance.now();
        await (await fetch('/plain/up', { method: 'POST', body })).json();
        return performance.now() - began;
      }, 8_000_000),
  },
  {
    name: 'download of 50 MB',
    operations: 1,
    before: connect,
    sealed: ({ run }) =>
      run(async ({ kept }) => {
        const began = performance.now();
        await (await (kept.remote as Api).down()).blob();
        return performance.now() - began;
      }, undefined),
    plain: ({ run }) =>
      run(async () => {
        const began = performance.now();
        await (await fetch('/plain/down')).blob();
        return performance.now() - began;
      }, undefined),
  },
  {
    name: '1,000 items',
    operations: 1,
    before: connect,
    sealed: ({ run }) =>
      run(async ({ kept }) => {
        const began = performance.now();
        for await (const _ of await (kept.remote as Api).items());
        return performance.now() - began;
      }, undefined),
    plain: ({ run }) =>
      run(async () => {
        const began = performance.now();
        await (await fetch('/plain/items')).json();
        return performance.now() - began;
      }, undefined),
  },
];
