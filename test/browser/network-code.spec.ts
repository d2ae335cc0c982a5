import type { RemoteApi } from '@sealwire/client';
import { RemoteFile, RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import type { Page, Route } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Site, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';

const noted: string[] = [];

@RemoteFunctions('notes')
class NotesController {
  @RemoteFunction()
  note(text: string): string {
    noted.push(text);
    return text;
  }

  @RemoteFunction()
  async *count(to: number): AsyncGenerator<number> {
    for (let i = 0; i < to; i++) yield i;
  }

  @RemoteFunction()
  async size(file: RemoteFile): Promise<number> {
    let size = 0;
    for await (const part of file.stream()) size += part.length;
    return size;
  }
}

type Api = RemoteApi<NotesController>;

let site: Site;
beforeAll(async () => {
  const modules = { notes: { forceEncryption: false } };
  site = await startSite({ controllers: [NotesController], modules });
});
afterAll(() => site.close());

/** Lets requests for a file of code fail, until it is called. */
async function without(page: Page, name: string): Promise<{ asked: () => number; restore: () => Promise<void> }> {
  let asked = 0;
  const abort = (route: Route) => {
    asked++;
    return route.abort('connectionreset');
  };
  const files = `**/${name}-*.js*`;
  await page.route(files, abort);
  return { asked: () => asked, restore: () => page.unroute(files, abort) };
}

inEveryBrowser((suite) => {
  describe('while the code that sends calls is not loaded', () => {
    it('calls, streams and files wait for the network, and go out in their order', async () => {
      const { page, run } = await suite.open(site.origin);
      noted.length = 0;
      await page.context().setOffline(true);
      const said = await run(async ({ createRemote, kept, outcome }, serverKey) => {
        const remote = createRemote<Api>({ url: '/remote/notes', serverKey });
        const states: string[] = [];
        remote.$events.on('connection', ({ state }) => states.push(state));
        const read = async () => {
          const items: number[] = [];
          for await (const item of await remote.count(5)) items.push(item);
          return items;
        };
        const all = [
          remote.note('a'),
          remote.note('b'),
          read(),
          remote.$batch((calls) => [calls.note('c'), calls.note('d')]),
          remote.size(new File(['x'.repeat(300_000)], 'x.txt')),
          remote.note('e'),
        ];
        const stop = new AbortController();
        const stopped = outcome(remote.$call({ signal: stop.signal }).note('stopped'));
        stop.abort();
        const late = await outcome(remote.$call({ timeout: 50 }).note('late'));
        Object.assign(kept, { remote, states, all: outcome(Promise.all(all)) });
        const now = remote.$connection();
        return { late, stopped: await stopped, message: now.state === 'waiting' ? String(now.cause) : now.state };
      }, site.pin);
      expect(said.message).toContain('this device is offline');
      expect(said.stopped.name).toBe('AbortError');
      expect(said.late).toMatchObject({
        code: 'unreachable',
        message: expect.stringMatching(/^Nothing was sent within the time of the call: this device is offline/),
      });
      await page.context().setOffline(false);
      const done = await run(({ kept }) => kept.all as Promise<{ value: unknown[] }>, undefined);
      const [, , items, batch, size] = done.value;
      expect(items).toEqual([0, 1, 2, 3, 4]);
      expect(batch).toHaveLength(2);
      expect(size).toBe(300_000);
      expect(noted).toEqual(['a', 'b', 'c', 'd', 'e']);
      expect(await run(({ kept }) => kept.states, undefined)).toEqual(['waiting', 'open']);
    });

    it('the last call that gives up ends the state of waiting', async () => {
      const { page, run } = await suite.open(site.origin);
      await page.context().setOffline(true);
      const states = await run(async ({ createRemote, outcome }, serverKey) => {
        const remote = createRemote<Api>({ url: '/remote/notes', serverKey });
        const states: string[] = [];
        remote.$events.on('connection', ({ state }) => states.push(state));
        await Promise.all([30, 60].map((timeout) => outcome(remote.$call({ timeout }).note('late'))));
        const closed = outcome(remote.note('closed'));
        remote.$close();
        return [...states, (await closed).code];
      }, site.pin);
      expect(states).toEqual(['waiting', 'idle', 'waiting', 'idle', 'closed']);
    });

    it('a call without encryption waits too', async () => {
      const { page, run } = await suite.open(site.origin);
      noted.length = 0;
      await page.context().setOffline(true);
      const said = await run(async ({ createRemote, kept, outcome }) => {
        const remote = createRemote<Api>({ url: '/remote/notes', keySize: 0 });
        kept.calls = Promise.all(['a', 'b'].map((text) => remote.note(text)));
        return { late: await outcome(remote.$call({ timeout: 50 }).note('late')), ...remote.$connection() };
      }, undefined);
      expect(said).toMatchObject({ state: 'idle', late: { code: 'unreachable' } });
      await page.context().setOffline(false);
      expect(await run(({ kept }) => kept.calls, undefined)).toEqual(['a', 'b']);
      // each has a connection of its own, and the network says which of them arrives first
      expect(noted.sort()).toEqual(['a', 'b']);
    });
  });

  describe('code that was not loaded', () => {
    it.each([
      ['delivery', 'sends calls'],
      ['noble-kem', 'keys of the handshake'],
    ])('is fetched twice, then the call says what to do, and a later call loads %s', async (name, what) => {
      const { page, run } = await suite.open(site.origin);
      // a platform with its own KEM loads none
      await page.evaluate(() => {
        const { importKey, generateKey } = SubtleCrypto.prototype;
        const no = (algorithm: unknown) => JSON.stringify(algorithm).includes('ML-KEM');
        Object.assign(SubtleCrypto.prototype, {
          importKey(this: SubtleCrypto, ...all: Parameters<typeof importKey>) {
            return no(all[2]) ? Promise.reject(new DOMException('', 'NotSupportedError')) : importKey.apply(this, all);
          },
          generateKey(this: SubtleCrypto, ...all: Parameters<typeof generateKey>) {
            return no(all[0])
              ? Promise.reject(new DOMException('', 'NotSupportedError'))
              : generateKey.apply(this, all);
          },
        });
      });
      const code = await without(page, name);
      const said = await run(async ({ createRemote, kept, outcome }, serverKey) => {
        const remote = createRemote<Api>({ url: '/remote/notes', serverKey });
        kept.remote = remote;
        return outcome(remote.note('a'));
      }, site.pin);
      expect(said).toMatchObject({ name: 'RemoteError', code: 'unreachable', message: expect.stringContaining(what) });
      expect(said.message).toContain('load the page again');
      expect(said.message).toContain(name);
      expect(code.asked()).toBeLessThanOrEqual(2);
      await code.restore();
      const later = await run(
        ({ kept }) => (kept.remote as ReturnType<typeof import('@sealwire/client').createRemote<Api>>).note('b'),
        undefined,
      );
      expect(later).toBe('b');
    });

    it('is loaded at the second try of the same call', async () => {
      const { page, run } = await suite.open(site.origin);
      let failed = 0;
      await page.route('**/delivery-*.js*', (route) =>
        failed++ === 0 ? route.abort('connectionreset') : route.continue(),
      );
      const said = await run(
        ({ createRemote }, serverKey) => createRemote<Api>({ url: '/remote/notes', serverKey }).note('a'),
        site.pin,
      );
      expect(said).toBe('a');
      expect(failed).toBe(2);
    });

    it('is none of streams: a file waits for the network alone', async () => {
      const { page, run } = await suite.open(site.origin);
      const loaded: string[] = [];
      await run(async ({ createRemote, kept }, serverKey) => {
        const remote = createRemote<Api>({ url: '/remote/notes', serverKey });
        kept.remote = remote;
        await remote.note('open');
      }, site.pin);
      page.on('request', (request) => loaded.push(...(request.url().match(/[^/]+\.js$/) ?? [])));
      await page.context().setOffline(true);
      const said = await run(async ({ kept, outcome }) => {
        const remote = kept.remote as ReturnType<typeof import('@sealwire/client').createRemote<Api>>;
        const file = () => new File(['x'.repeat(300_000)], 'x.txt');
        const late = await outcome(remote.$call({ timeout: 50 }).size(file()));
        const between = remote.$connection().state;
        kept.size = remote.size(file());
        return { ...late, states: [between, remote.$connection().state] };
      }, undefined);
      expect(said).toMatchObject({ code: 'unreachable', states: ['idle', 'waiting'] });
      await page.context().setOffline(false);
      expect(await run(({ kept }) => kept.size, undefined)).toBe(300_000);
      expect(loaded).toEqual([]);
    });
  });
});
