/** Pages that keep their sessions over reloads, for the specs of that. */
import type { RemoteApi } from '@sealwire/client';
import { formatKeyText, generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import type { BrowserContext, Page } from 'playwright-core';
import { expect } from 'vitest';
import { type OpenPage, watched } from '../support/browser.js';
import { type Site, type SiteOptions, startSite } from '../support/browser-site.js';
import { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

export const [ofAda, ofBob] = [generateKeyText('swk1', nodePrimitives), generateKeyText('swk1', nodePrimitives)];
export const otherPin = formatKeyText('swp1', nodePrimitives.random(32));
export const CALL = 0x11;

const pages = {
  scripts: { angular: 'test/browser/angular-page.ts' },
  html: '<script type="module" src="/angular.js"></script>',
};
export const startThings = (rest?: Partial<SiteOptions>): Promise<Site> =>
  startSite({
    controllers: [ThingsController],
    pages,
    modules: { things: { encryptionKey: 16, secureKeys: [ofAda, ofBob] } },
    ...rest,
  });
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

export interface Options {
  readonly serverKey: string | [string, string];
  readonly slots?: number;
  readonly secureKey?: string;
  readonly keySize?: 16;
}

export interface Tab {
  readonly page: Page;
  readonly sent: Sent[];
  /** Makes the remote of the page if there is none, and calls. */
  call(options?: Partial<Options>): Promise<number>;
  /** Loads the page anew, and forgets what was sent. */
  reload(): Promise<void>;
  /** Runs in the page, with its remote. */
  run: OpenPage['run'];
  /** errors on the console and uncaught exceptions, so far */
  readonly problems: string[];
}

export async function tabOf(context: BrowserContext, site: Site, address = `${site.origin}/`): Promise<Tab> {
  const page = await context.newPage();
  const sent = sentBy(page);
  const { run, problems } = await watched(page, address);
  return {
    ...{ page, sent, run, problems },
    call: (options = {}) =>
      run(
        async ({ createRemote, sessionPersistence, kept }, { slots, ...more }) => {
          const persistence = sessionPersistence(slots === undefined ? {} : { slots });
          if (!kept.remote) {
            // a call waits three seconds for the storage, which a browser that has just started may need for itself
            const first = createRemote<Api>({ url: '/remote/first', persistence: sessionPersistence(), ...more });
            await first.$prewarm();
            first.$close();
          }
          kept.remote ??= createRemote<Api>({ url: '/remote/things', persistence, ...more });
          return (kept.remote as Api).add(1, 2);
        },
        { serverKey: site.pin, secureKey: ofAda, ...options },
      ),
    async reload() {
      await page.reload();
      sent.length = 0;
    },
  };
}

export interface Kept {
  readonly slot: number;
  readonly counter: number;
  readonly epoch: number;
  readonly sessionId: string;
  readonly isExtractable: boolean;
}

/** Sessions in the database, once there are so many. */
export async function keptIn(page: Page, count: number): Promise<Kept[]> {
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
export function alter<T = undefined>(
  page: Page,
  change: (record: { version: number; state?: Record<string, unknown> }, argument: T) => unknown,
  argument?: T,
): Promise<void> {
  return page.evaluate(
    async ([text, argument]) => {
      const opening = indexedDB.open('sealwire');
      const database = await new Promise<IDBDatabase>((resolve) => {
        opening.onsuccess = () => resolve(opening.result);
      });
      const store = database.transaction('sessions', 'readwrite').objectStore('sessions');
      const change = new Function(`return (${text})`)();
      store.openCursor().onsuccess = ({ target }) => {
        const cursor = (target as IDBRequest<IDBCursorWithValue | null>).result;
        if (!cursor) return;
        if (cursor.value.state) cursor.update(change(cursor.value, argument));
        cursor.continue();
      };
      await new Promise((resolve) => {
        store.transaction.oncomplete = resolve;
      });
      database.close();
    },
    [String(change), argument] as const,
  );
}

export const types = (sent: readonly Sent[]) => sent.map(({ type }) => type);
export const HANDSHAKE = [1, 3];
