// @vitest-environment jsdom
import './support.js';
import { Blob as NodeBlob, File as NodeFile } from 'node:buffer';
import { TestBed } from '@angular/core/testing';
import { WireAttacks } from '@sealwire/angular/inspector';
import { generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { shown } from './inspected-page.js';
import { Rates } from './server.js';

const OTHER_KEY = generateKeyText('swk1', nodePrimitives);

/** Whatever travels from the `from`th request on is answered by something else. */
function instead(answer: () => Promise<Response>, from = 0): void {
  const { fetch } = globalThis;
  let requests = 0;
  vi.stubGlobal('fetch', (...args: Parameters<typeof fetch>) => (requests++ < from ? fetch(...args) : answer()));
  onTestFinished(() => void vi.unstubAllGlobals());
}

const html = (status: number) => async () =>
  new Response('<h1>Blocked</h1>', { status, headers: { 'content-type': 'text/html' } });

describe('a refused handshake', () => {
  const STEPS = ['1\u00a0 start', '2\u00a0 answer', '3\u00a0 finish'];
  it.each([
    ['an HTML page, status 502', 0, 502, 'HTTP 502, 16 B'],
    ['an HTML page, status 200', 0, 200, 'HTTP 200, 16 B'],
    ['an HTML page to step 3', 1, 403, 'HTTP 403, 16 B'],
    ['problem JSON', undefined, 0, 'HTTP 400, '],
  ])('is drawn as one: %s', async (_, from, status, said) => {
    const { payments, tab, all } = await shown(from === undefined ? OTHER_KEY : undefined);
    if (from !== undefined) instead(html(status), from);
    await expect(payments.$call({ timeout: 2000 }).balance({ account: 'a' })).rejects.toThrow();
    await tab('Handshake');
    const before = from === 1 ? 3 : 1;
    const [figure] = all('figure');
    const own = (selector: string) => [...figure!.querySelectorAll(selector)].map((one) => one.textContent.trim());
    expect(own('figcaption')).toEqual(['payments: broken off']);
    expect(own('.title')).toEqual([...STEPS.slice(0, before), `${before + 1}\u00a0 refused`]);
    expect(own('.note').at(-1)).toContain(said);
    expect(own('g:last-of-type .pill, g:last-of-type .prefix')).toEqual([]);
    expect(figure?.querySelector('svg')?.getAttribute('aria-label')).toMatch(
      new RegExp(`Step ${before + 1} from the server to the application: refused, .+${said}[^:]*$`),
    );
  });
});

describe('the proxy log says of a call', () => {
  it('that its bytes are no longer kept', async () => {
    const { payments, tab, texts, recorder } = await shown();
    recorder.limit = 2;
    await payments.balance({ account: 'a' });
    TestBed.inject(WireAttacks).arm('lose-answer');
    await payments.transfer('a', 'b', 5n);
    await tab('Proxy log');
    expect(texts('.sealed .muted')).toEqual(['its bytes are no longer kept']);
  });

  it('that nothing has left yet', async () => {
    const { payments, tab, texts, fixture } = await shown();
    await tab('Proxy log');
    instead(() => new Promise(() => {}));
    void payments.balance({ account: 'a' }).catch(() => {});
    // a pending call keeps the page from being stable
    fixture.detectChanges();
    expect(texts('.sealed .muted')).toEqual(['nothing has left yet']);
  });

  it('that nothing left', async () => {
    const { payments, tab, texts } = await shown(OTHER_KEY);
    await expect(payments.balance({ account: 'a' })).rejects.toThrow();
    await tab('Proxy log');
    expect(texts('.sealed .muted')).toEqual(['nothing left this machine']);
  });

  it.each([
    ['lose-answer', ['… sent 2 times, the same bytes']],
    ['splice', []],
    ['flip-request', []],
  ] as const)('how often its bytes were sent: %s', async (kind, notes) => {
    const { payments, tab, texts } = await shown();
    await payments.balance({ account: 'a' });
    await payments.balance({ account: 'a' });
    const report = TestBed.inject(WireAttacks).arm(kind);
    await payments.transfer('a', 'b', 5n);
    await report;
    await tab('Proxy log');
    expect(texts('.sealed .who + .who, .sealed .hex + .who')).toEqual(notes);
  });

  it('that it went on with other bytes', async () => {
    const { tab, texts } = await shown();
    const rates = TestBed.inject(Rates);
    await rates.size(new Uint8Array(1));
    const report = TestBed.inject(WireAttacks).arm('cut-stream', { after: 400 });
    for await (const one of await rates.count(30)) expect(one).toBeLessThan(31);
    await report;
    await tab('Proxy log');
    expect(texts('.sealed .hex + .who')).toEqual(['… and 2 earlier messages of this call, with other bytes']);
  });
});

it('says that a call is no longer kept, and only of a replay that there was none', async () => {
  const { payments, fixture, recorder, texts, all } = await shown();
  await payments.balance({ account: 'a' });
  const { fetch } = globalThis;
  const lost = vi.fn(fetch).mockImplementationOnce(async () => {
    recorder.clear();
    throw new TypeError('The connection is lost.');
  });
  vi.stubGlobal('fetch', lost);
  onTestFinished(() => void vi.unstubAllGlobals());
  await payments.transfer('a', 'b', 5n);
  await TestBed.inject(WireAttacks).replay();
  await fixture.whenStable();
  expect(texts('.app.side > .muted')).toEqual(['nothing: no call of this application', 'its call is no longer kept']);
  for (const row of all('button.row')) row.click();
  await fixture.whenStable();
  expect(texts('section.app')).toEqual([
    'No call of this application travels in these bytes.',
    'The call in these bytes is no longer kept.',
  ]);
});

describe('chunks', () => {
  async function opened() {
    const made = await shown();
    const { fixture, all, texts, rates } = made;
    const remote = TestBed.inject(Rates);
    await remote.size(new Uint8Array(1));
    /** An answer of so many items, each in a chunk of its own, and its end. */
    const watched = async (count: number) => {
      const items = (await remote.watch('EUR'))[Symbol.asyncIterator]();
      for (let i = 0; i < count; i++) {
        rates.news.next(i);
        await items.next();
      }
      rates.news.complete();
      await items.next();
    };
    const open = async () => {
      await fixture.whenStable();
      all('button.row')[0]?.click();
      await fixture.whenStable();
    };
    const heads = () => texts('tbody tr').filter((text) => text.startsWith('chunk head'));
    return {
      ...made,
      remote,
      watched,
      open,
      heads,
      counts: () => texts('.inside').filter((text) => /chunk/.test(text)),
    };
  }

  it('of a live answer are counted, with their lengths and the last one', async () => {
    const { watched, open, heads, counts } = await opened();
    await watched(1);
    await open();
    expect(counts()).toEqual(['3 chunks. A pulse and a small item look alike.']);
    expect(heads()).toEqual([
      'chunk head12380length of the chunk',
      'chunk head95380length of the chunk',
      'chunk head178380, lastlength of the chunk',
    ]);
  });

  it('are counted so far while it goes on', async () => {
    const { remote, open, counts } = await opened();
    const items = await remote.watch('EUR');
    await open();
    expect(counts()).toEqual(['1 chunk so far. A pulse and a small item look alike.']);
    await items[Symbol.asyncIterator]().return?.();
  });

  it('of a request are no pulses', async () => {
    vi.stubGlobal('Blob', NodeBlob);
    onTestFinished(() => void vi.unstubAllGlobals());
    const { remote, open, counts } = await opened();
    await remote.measure(new NodeFile([new Uint8Array(300_000)], 'plan.pdf') as unknown as File);
    await open();
    expect(counts()[0]).toMatch(/^\d+ chunks\.$/);
  });

  it('and bytes are shown in part again, and the keyboard stays where it is', async () => {
    const { watched, open, fixture, page } = await opened();
    await watched(5);
    await open();
    document.body.append(page);
    for (const [what, host] of [
      ['bytes', 'sealwire-hex-view'],
      ['fields', 'sealwire-wire-view'],
    ] as const) {
      const buttons = [...page.querySelectorAll<HTMLElement>(`${host} > button`)];
      const button = buttons.find(({ textContent }) => textContent.includes(`more ${what}`))!;
      const more = button.textContent;
      button.focus();
      for (const text of [` Show fewer ${what} `, more]) {
        button.click();
        await fixture.whenStable();
        expect(document.activeElement).toBe(button);
        expect(button.textContent).toBe(text);
      }
    }
  });
});
