import type { RemoteApi } from '@sealwire/client';
import { formatKeyText, generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { PLAIN_HOST, watched } from '../support/browser.js';
import { type Site, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import type { keptSession } from './angular-page.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

const [ofAda, ofBob] = [generateKeyText('swk1', nodePrimitives), generateKeyText('swk1', nodePrimitives)];
const otherPin = formatKeyText('swp1', nodePrimitives.random(32));
const CALL = 0x11;

let site: Site;
const pages = {
  scripts: { angular: 'test/browser/angular-page.ts' },
  html: '<script type="module" src="/angular.js"></script>',
};
const start = (rest?: { port: number; serverKey: string }) =>
  startSite({
    controllers: [ThingsController],
    pages,
    modules: { things: { encryptionKey: 16, secureKeys: [ofAda, ofBob] } },
    ...rest,
  });
const common = () => ({ serverKey: site.pin, secureKey: ofAda });
beforeAll(async () => {
  site = await start();
});
afterAll(() => site.close());

/** The sealed requests of a page: what they are (1 and 3 are steps of a handshake), and the number of a call. */
interface Sent {
  readonly type: number;
  /** session, lane and counter */
  readonly number: string;
  readonly counter: number;
  readonly epoch: number;
}

function sentBy(page: Page): Sent[] {
  const sent: Sent[] = [];
  page.on('request', (request) => {
    const body = request.method() === 'POST' ? request.postDataBuffer() : undefined;
    if (!body) return;
    const number = body.subarray(4, 28).toString('hex');
    sent.push({ type: body[0]!, number, counter: body.readUInt32BE(24), epoch: body[3]! });
  });
  return sent;
}

interface Options {
  readonly serverKey: string | [string, string];
  readonly slots?: number;
  readonly secureKey?: string;
  readonly keySize?: 16;
}

interface Tab {
  readonly page: Page;
  readonly sent: Sent[];
  /** Makes the remote of the page if there is none, and calls. */
  call(options?: Partial<Options>): Promise<number>;
  /** Loads the page anew, and forgets what was sent. */
  reload(): Promise<void>;
  /** Runs in the page, with its remote. */
  run: Awaited<ReturnType<typeof watched>>['run'];
}

async function tabOf(context: BrowserContext, address = `${site.origin}/`): Promise<Tab> {
  const page = await context.newPage();
  const sent = sentBy(page);
  const { run } = await watched(page, address);
  return {
    ...{ page, sent, run },
    call: (options = {}) =>
      run(
        async ({ createRemote, sessionPersistence, kept }, { slots, ...more }) => {
          const persistence = sessionPersistence(slots === undefined ? {} : { slots });
          kept.remote ??= createRemote<Api>({ url: '/remote/things', persistence, ...more });
          return (kept.remote as Api).add(1, 2);
        },
        { ...common(), ...options },
      ),
    async reload() {
      await page.reload();
      sent.length = 0;
    },
  };
}

interface Kept {
  readonly slot: number;
  readonly counter: number;
  readonly epoch: number;
  readonly sessionId: string;
  readonly isExtractable: boolean;
}

/** Sessions in the database, once there are so many. */
async function keptIn(page: Page, count: number): Promise<Kept[]> {
  const read = () =>
    page.evaluate(async () => {
      const opening = indexedDB.open('sealwire');
      const database = await new Promise<IDBDatabase>((resolve) => {
        opening.onsuccess = () => resolve(opening.result);
      });
      const store = database.transaction('sessions').objectStore('sessions');
      const [keys, all] = [store.getAllKeys(), store.getAll()];
      await new Promise((resolve) => {
        store.transaction.oncomplete = resolve;
      });
      database.close();
      return all.result.flatMap(({ state }, i) => {
        if (!state) return [];
        const { epoch, renewal, counter, sessionId } = state;
        const secrets: CryptoKey[] = [renewal, epoch.clientToServer, epoch.serverToClient];
        const isExtractable = secrets.some(({ extractable }) => extractable);
        const slot = (keys.result[i] as [string, number])[1];
        return [{ slot, counter, epoch: epoch.index, sessionId: String(sessionId), isExtractable }];
      });
    });
  await expect.poll(async () => (await read()).length).toBe(count);
  return read();
}

/** Changes what is in the database, with a function that is sent to the page. */
function alter(page: Page, change: (record: { version: number; state?: Record<string, unknown> }) => unknown) {
  return page.evaluate(async (text) => {
    const opening = indexedDB.open('sealwire');
    const database = await new Promise<IDBDatabase>((resolve) => {
      opening.onsuccess = () => resolve(opening.result);
    });
    const store = database.transaction('sessions', 'readwrite').objectStore('sessions');
    const change = new Function(`return (${text})`)();
    store.openCursor().onsuccess = ({ target }) => {
      const cursor = (target as IDBRequest<IDBCursorWithValue | null>).result;
      if (!cursor) return;
      if (cursor.value.state) cursor.update(change(cursor.value));
      cursor.continue();
    };
    await new Promise((resolve) => {
      store.transaction.oncomplete = resolve;
    });
    database.close();
  }, String(change));
}

const types = (sent: readonly Sent[]) => sent.map(({ type }) => type);
const HANDSHAKE = [1, 3];

inEveryBrowser((suite) => {
  const user = async (): Promise<BrowserContext> => {
    const context = await suite.browser.newContext();
    onTestFinished(() => context.close());
    return context;
  };

  it('goes on with its session after each reload, without a handshake and under new numbers', async () => {
    const tab = await tabOf(await user());
    const numbers = new Set<string>();
    expect(await tab.call()).toBe(3);
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    const [first] = await keptIn(tab.page, 1);
    expect(first).toMatchObject({ slot: 0, isExtractable: false });
    for (let reload = 1; reload <= 8; reload++) {
      await tab.reload();
      expect(await tab.call()).toBe(3);
      expect(types(tab.sent)).toEqual([CALL]);
      numbers.add(tab.sent[0]!.number);
    }
    expect(numbers.size).toBe(8);
    expect(await keptIn(tab.page, 1)).toMatchObject([{ slot: 0, sessionId: first!.sessionId }]);
  });

  it('tells of a session that goes on, and runs nothing that is for a new one', async () => {
    const tab = await tabOf(await user());
    const call = () =>
      tab.run(async ({ createRemote, sessionPersistence }, options) => {
        const told: string[] = [];
        const remote = createRemote<Api>({
          ...{ url: '/remote/things', ...options, persistence: sessionPersistence() },
          onSession: () => told.push('greeted'),
        });
        for (const name of ['opened', 'restored'] as const) remote.$events.on(name, () => told.push(name));
        await remote.$prewarm();
        await remote.add(1, 2);
        return [...told, remote.$connection().state];
      }, common());
    expect(await call()).toEqual(['opened', 'greeted', 'open']);
    await keptIn(tab.page, 1);
    await tab.reload();
    expect(await call()).toEqual(['restored', 'open']);
  });

  it('never uses a number again that an earlier page may have used', async () => {
    const context = await user();
    const all: string[] = [];
    const page = async (calls: number) => {
      const tab = await tabOf(context);
      for (let i = 0; i < calls; i++) await tab.call();
      await keptIn(tab.page, 1);
      all.push(...tab.sent.filter(({ type }) => type === CALL).map(({ number }) => number));
      return tab;
    };
    await (await page(5)).page.close();
    const idle = await tabOf(context);
    const [{ counter } = { counter: 0 }] = await keptIn(idle.page, 1);
    // it sets numbers aside, and is gone before it takes one
    await idle.run(async ({ createRemote, sessionPersistence }, options) => {
      await createRemote<Api>({ url: '/remote/things', ...options, persistence: sessionPersistence() }).$prewarm();
    }, common());
    expect(await keptIn(idle.page, 1)).toMatchObject([{ counter: counter + 4096 }]);
    await idle.page.close();
    const last = await page(5);
    expect(types(last.sent)).toEqual(Array(5).fill(CALL));
    expect(last.sent[0]?.counter).toBe(counter + 4096 + 1);
    expect(new Set(all).size).toBe(9);
  });

  it('gives each tab a session of its own, and a tab without a slot one that is not kept', async () => {
    const context = await user();
    const tabs = [await tabOf(context), await tabOf(context), await tabOf(context)];
    for (const tab of tabs) expect(await tab.call({ slots: 2 })).toBe(3);
    const kept = await keptIn(tabs[0]!.page, 2);
    expect(kept.map(({ slot }) => slot)).toEqual([0, 1]);
    expect(new Set(kept.map(({ sessionId }) => sessionId)).size).toBe(2);
    for (const tab of tabs) await tab.reload();
    const [first, second, third] = tabs as [Tab, Tab, Tab];
    await Promise.all([first.call({ slots: 2 }), second.call({ slots: 2 })]);
    await third.call({ slots: 2 });
    expect([types(first.sent), types(second.sent), types(third.sent)]).toEqual([[CALL], [CALL], HANDSHAKE]);
    expect(first.sent[0]!.number.slice(0, 32)).not.toBe(second.sent[0]!.number.slice(0, 32));
  });

  it('keeps the keys of the last epoch alone', async () => {
    const tab = await tabOf(await user());
    await tab.call();
    await keptIn(tab.page, 1);
    await tab.page.goto('about:blank');
    await tab.page.goto(`${site.origin}/`);
    await alter(tab.page, (record) => {
      const epoch = record.state?.epoch as { since: number };
      epoch.since -= 1_000_000;
      return record;
    });
    tab.sent.length = 0;
    expect(await tab.call()).toBe(3);
    expect(tab.sent).toMatchObject([{ type: CALL, epoch: 1 }]);
    await expect.poll(async () => (await keptIn(tab.page, 1))[0]?.epoch).toBe(1);
    await tab.reload();
    expect(await tab.call()).toBe(3);
    expect(tab.sent).toMatchObject([{ type: CALL, epoch: 1 }]);
  });

  it.each<[string, Partial<Options>, Partial<Options>]>([
    ['another pin', {}, { serverKey: otherPin }],
    ['another SecureKey', {}, { secureKey: ofBob }],
    ['another size of keys', {}, { keySize: 16 }],
  ])('shakes hands with %s, and forgets what was kept', async (_, before, after) => {
    const options = 'serverKey' in after ? { serverKey: [site.pin, otherPin] as [string, string] } : after;
    const tab = await tabOf(await user());
    await tab.call(before);
    const [old] = await keptIn(tab.page, 1);
    await tab.reload();
    expect(await tab.call(options)).toBe(3);
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    expect((await keptIn(tab.page, 1))[0]?.sessionId).not.toBe(old?.sessionId);
    await tab.reload();
    await tab.call(options);
    expect(types(tab.sent)).toEqual([CALL]);
  });

  it('forgets the session at $close(), also on a page that has made no call', async () => {
    const tab = await tabOf(await user());
    await tab.call();
    await keptIn(tab.page, 1);
    await tab.run(({ kept }) => (kept.remote as { $close(): void }).$close(), undefined);
    await keptIn(tab.page, 0);
    await tab.reload();
    await tab.call();
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    await keptIn(tab.page, 1);
    await tab.reload();
    await tab.run(({ createRemote, sessionPersistence }, options) => {
      createRemote<Api>({ url: '/remote/things', ...options, persistence: sessionPersistence() }).$close();
    }, common());
    await keptIn(tab.page, 0);
  });

  it.each<[string, Parameters<typeof alter>[1]]>([
    ['of another version', (record) => ({ ...record, version: 2 })],
    ['without keys', ({ state, ...record }) => ({ ...record, state: { ...state, renewal: 'none' } })],
    ['with a negative counter', ({ state, ...record }) => ({ ...record, state: { ...state, counter: -1 } })],
    ['of a clock that was ahead', ({ state, ...record }) => ({ ...record, state: { ...state, began: 9e15 } })],
    ['whose time is over', (record) => ({ ...record, until: 1 })],
    ['that is none', () => 'nothing'],
  ])('drops a record %s without an error', async (_, change) => {
    const tab = await tabOf(await user());
    await tab.call();
    const [old] = await keptIn(tab.page, 1);
    await tab.reload();
    await alter(tab.page, change);
    expect(await tab.call()).toBe(3);
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    expect((await keptIn(tab.page, 1))[0]?.sessionId).not.toBe(old?.sessionId);
  });

  it('renews a session that the server does not know any more', async () => {
    const tab = await tabOf(await user());
    await tab.call();
    const [old] = await keptIn(tab.page, 1);
    await site.close();
    site = await start({ port: site.port, serverKey: site.serverKey });
    await tab.reload();
    expect(await tab.call()).toBe(3);
    expect(tab.sent[0]?.type).toBe(CALL);
    expect(types(tab.sent).filter((type) => type !== CALL)).toEqual(HANDSHAKE);
    await expect.poll(async () => (await keptIn(tab.page, 1))[0]?.sessionId).not.toBe(old?.sessionId);
  });

  it('is kept by an Angular application until its user logs out', async () => {
    const tab = await tabOf(await user());
    const application = (what: 'call' | 'log out' | 'call, then log out') =>
      tab.run(
        async (_, { serverKey, secureKey, what }) => {
          const page = globalThis as unknown as { keptSession: typeof keptSession };
          const { remote, logOut } = await page.keptSession(serverKey, secureKey);
          const sum = what === 'log out' ? 3 : await remote.add(1, 2);
          if (what !== 'call') logOut();
          return sum;
        },
        { ...common(), what },
      );
    expect(await application('call')).toBe(3);
    for (const what of ['call', 'call, then log out'] as const) {
      await keptIn(tab.page, 1);
      await tab.reload();
      expect(await application(what)).toBe(3);
      expect(types(tab.sent)).toEqual([CALL]);
    }
    await keptIn(tab.page, 0);
    await tab.reload();
    expect(await application('call')).toBe(3);
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    await keptIn(tab.page, 1);
    await tab.reload();
    // before anything was called
    await application('log out');
    await keptIn(tab.page, 0);
  });

  it('takes no number any more when the page may rest in memory, or another one took its slot', async () => {
    const context = await user();
    for (const lose of [
      () => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })),
      async () => {
        const { held = [] } = await navigator.locks.query();
        for (const { name } of held) await navigator.locks.request(name!, { steal: true }, () => {});
      },
    ]) {
      const tab = await tabOf(context);
      await tab.call();
      await keptIn(tab.page, 1);
      const before = tab.sent.at(-1)?.number;
      await tab.page.evaluate(lose as () => unknown);
      tab.sent.length = 0;
      const other = await tabOf(context);
      expect(await other.call()).toBe(3);
      expect(types(other.sent)).toEqual([CALL]);
      expect(await tab.call()).toBe(3);
      expect(types(tab.sent)).toEqual(HANDSHAKE);
      expect(await tab.call()).toBe(3);
      expect(tab.sent.at(-1)?.number).not.toBe(before);
      await keptIn(tab.page, 2);
      await tab.page.close();
      await other.run(({ kept }) => (kept.remote as { $close(): void }).$close(), undefined);
      await keptIn(other.page, 0);
      await other.page.close();
    }
  });

  it.each(['indexedDB', 'navigator.locks', 'crypto.subtle', 'a database that opens', 'a database of this version'])(
    'is an ordinary session without %s',
    async (what) => {
      const context = await user();
      await context.addInitScript((missing) => {
        const hide = (object: object, name: string) => Object.defineProperty(object, name, { value: undefined });
        if (missing === 'indexedDB') hide(globalThis, 'indexedDB');
        if (missing === 'navigator.locks') hide(navigator, 'locks');
        if (missing === 'a database that opens') {
          IDBFactory.prototype.open = () => {
            throw new DOMException('denied', 'SecurityError');
          };
        }
        if (missing === 'a database of this version') indexedDB.open('sealwire', 99);
      }, what);
      const address = what === 'crypto.subtle' ? `http://${PLAIN_HOST}:${site.port}/` : undefined;
      const tab = await tabOf(context, address);
      for (let i = 0; i < 2; i++) {
        expect(await tab.call()).toBe(3);
        expect(types(tab.sent)).toEqual(HANDSHAKE);
        await tab.reload();
      }
    },
  );
});
