import { afterAll, beforeAll, expect, it } from 'vitest';
import { PLAIN_HOST } from '../support/browser.js';
import type { Site } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { alter, HANDSHAKE, keptIn, startThings, tabOf, types } from './kept-tabs.js';

let site: Site;
beforeAll(async () => {
  site = await startThings();
});
afterAll(() => site.close());

inEveryBrowser((suite) => {
  const { user } = suite;

  it.each<[string, Parameters<typeof alter>[1]]>([
    ['of another version', (record) => ({ ...record, version: 2 })],
    ['without keys', ({ state, ...record }) => ({ ...record, state: { ...state, renewal: 'none' } })],
    ['with a negative counter', ({ state, ...record }) => ({ ...record, state: { ...state, counter: -1 } })],
    ['of a clock that was ahead', ({ state, ...record }) => ({ ...record, state: { ...state, began: 9e15 } })],
    ['with a bigint among its numbers', ({ state, ...record }) => ({ ...record, state: { ...state, accepted: 1n } })],
    [
      'that would last for ever',
      ({ state, ...record }) => ({
        ...record,
        state: { ...state, terms: { ...(state?.terms as object), lifetime: 2 ** 50 } },
      }),
    ],
    [
      'that lets no call pass',
      ({ state, ...record }) => ({
        ...record,
        state: { ...state, options: { ...(state?.options as object), maxBody: 0 } },
      }),
    ],
    ['whose time is over', (record) => ({ ...record, until: 1 })],
    ['that is none', () => 'nothing'],
  ])('drops a record %s without an error', async (_, change) => {
    const tab = await tabOf(await user(), site);
    await tab.call();
    const [old] = await keptIn(tab.page, 1);
    await tab.reload();
    await alter(tab.page, change);
    expect(await tab.call()).toBe(3);
    expect(types(tab.sent)).toEqual(HANDSHAKE);
    expect((await keptIn(tab.page, 1))[0]?.sessionId).not.toBe(old?.sessionId);
  });

  it.each([
    'indexedDB',
    'navigator.locks',
    'crypto.subtle',
    'a database that opens',
    'a database that answers',
    'a database of this version',
  ])('is an ordinary session without %s', async (what) => {
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
      if (missing === 'a database that answers') IDBFactory.prototype.open = () => ({}) as IDBOpenDBRequest;
      if (missing === 'a database of this version') indexedDB.open('sealwire', 99);
    }, what);
    const address = what === 'crypto.subtle' ? `http://${PLAIN_HOST}:${site.port}/` : undefined;
    const tab = await tabOf(context, site, address);
    for (let i = 0; i < 2; i++) {
      expect(await tab.call()).toBe(3);
      expect(types(tab.sent)).toEqual(HANDSHAKE);
      await tab.reload();
    }
  });
});
