// @vitest-environment jsdom
import './support.js';
import { Blob as NodeBlob, File as NodeFile } from 'node:buffer';
import { provideHttpClient } from '@angular/common/http';
import { TestBed } from '@angular/core/testing';
import { injectRemote, provideSealwire } from '@sealwire/angular';
import { SealwireInspector, WireAttacks, withInspector } from '@sealwire/angular/inspector';
import { provideSealwireTesting } from '@sealwire/angular/testing';
import { expect, it, onTestFinished, vi } from 'vitest';
import { eventually } from './eventually.js';
import { shown } from './inspected-page.js';
import { Rates } from './server.js';

it('shows each message as it happens, left the call and right what a proxy sees', async () => {
  const { payments, fixture, all, texts, page } = await shown();
  expect(page.textContent).toContain('Nothing is recorded');
  await payments.balance({ account: 'a' });
  await payments.transfer('a', 'b', 5n);
  await fixture.whenStable();
  expect(texts('.call')).toEqual(['transfer("a", "b", 5n)', 'balance({ account: "a" })']);
  expect(texts('.outcome')).toEqual(['→ { receipt: "a-b", at: 1970-01-01T00:00:00.000Z }', '→ 100n']);
  expect(texts('.step')).toEqual([
    'connectsteps 3 and 4: the session opens',
    'connectsteps 1 and 2: both sides make fresh keys',
  ]);
  expect(all('.row')[0]?.querySelector('.wire')?.textContent).not.toContain('transfer');
  const bars = all('.row')[0]?.querySelectorAll('[role="img"]') ?? [];
  expect([...bars].map((bar) => bar.getAttribute('aria-label'))).toEqual([
    'header 36 B, payload 23 B, padding 41 B, tag 16 B',
    'header 12 B, payload 26 B, padding 38 B, tag 16 B',
  ]);
});

it('marks the padding inside the pieces of a live result', async () => {
  const { payments, fixture, all } = await shown();
  await payments.balance({ account: 'a' });
  for await (const _ of await payments.lines(100));
  await fixture.whenStable();
  const bars = all('.row')[0]?.querySelectorAll('[role="img"]') ?? [];
  expect([...bars].at(-1)?.getAttribute('aria-label')).toMatch(
    /^header 12 B, payload \d+ B, padding \d+ B, chunk heads and tags \d+ B$/,
  );
});

it('marks the padding inside the pieces of an upload', async () => {
  vi.stubGlobal('Blob', NodeBlob);
  onTestFinished(() => void vi.unstubAllGlobals());
  const { fixture, all } = await shown();
  const rates = TestBed.inject(Rates);
  await rates.measure(new NodeFile([new Uint8Array(1)], 'a') as unknown as File);
  await rates.measure(new NodeFile([new Uint8Array(300_000)], 'plan.pdf') as unknown as File);
  await fixture.whenStable();
  const bars = () => [...(all('.row')[0]?.querySelectorAll('[role="img"]') ?? [])];
  await eventually(() => bars()[0]?.getAttribute('aria-label')).toMatch(
    /^header 36 B, payload 300\.\d KB, padding [\d.,]+ K?B, chunk heads and tags \d+ B$/,
  );
});

it('shows the beginning of the ciphertext of each message', async () => {
  const { payments, fixture, texts, recorder } = await shown();
  await payments.balance({ account: 'a' });
  await payments.balance({ account: 'a' });
  await fixture.whenStable();
  const { request, answer } = recorder.exchanges().at(-1)!;
  const hex = (bytes: Uint8Array) =>
    Buffer.from(bytes)
      .toString('hex')
      .replaceAll(/..(?!$)/g, '$& ');
  expect(texts('.bytes').slice(0, 2)).toEqual([
    `${hex(request.body.head.subarray(36, 76))} …`,
    `${hex(answer!.body.head.subarray(12, 52))} …`,
  ]);
});

it('opens a message: fields by name, bytes in hexadecimal, and more of them when asked', async () => {
  const { payments, fixture, all, texts, recorder } = await shown();
  await payments.balance({ account: 'a' });
  await payments.echo(new Uint8Array(200));
  await fixture.whenStable();
  const [row] = all('button.row');
  row?.click();
  await fixture.whenStable();
  expect(row?.getAttribute('aria-expanded')).toBe('true');
  const request = recorder.exchanges().at(-1)?.request.body;
  const fields = texts('sealwire-wire-view:first-of-type tbody tr');
  expect(fields.slice(0, 2)).toEqual(['type0111 call', 'version111of the protocol']);
  expect(fields[2]).toBe('flags21none');
  expect(fields.at(-1)).toMatch(/^tag\d+16one altered bit/);
  const hex = () =>
    [...(all('sealwire-hex-view')[0]?.querySelectorAll('.run') ?? [])]
      .map(({ textContent }) => textContent)
      .join(' ')
      .split(' ').length;
  expect(hex()).toBe(96);
  all('sealwire-hex-view button')[0]?.click();
  await fixture.whenStable();
  expect(hex()).toBe(request?.size);
  row?.click();
  await fixture.whenStable();
  expect(all('sealwire-hex-view')).toEqual([]);
});

it('counts the items of a stream', async () => {
  const { fixture, texts } = await shown();
  const rates = TestBed.runInInjectionContext(() => injectRemote(Rates));
  for await (const one of await rates.count(1)) expect(one).toBe(1);
  for await (const one of await rates.count(3)) expect(one).toBeLessThan(4);
  await fixture.whenStable();
  expect(texts('.outcome').filter((text) => text.includes('item'))).toEqual(['→ 3 items', '→ 1 item', '→ 1 item']);
});

it('draws each handshake, and says it in words', async () => {
  const { payments, tab, all, texts } = await shown();
  await payments.balance({ account: 'a' });
  await tab('Handshake');
  const pills = texts('svg .text');
  expect(pills).toEqual([
    ...['e_c', 'ek_c', 'key names', 'C1', 'A', 'options'],
    ...['e_s', 'KEM ciphertext', 'cookie', 'S1', 'A', 'session id', 'options'],
    ...['salt', 'cookie', 'C2', 'B', 'renewals', '1 first call'],
    ...['e_f', 'S2', 'B', 'terms', 'first answers'],
  ]);
  const label = all('svg[role="img"]')[0]?.getAttribute('aria-label');
  expect(label).toMatch(
    /^Step 1 from the application to the server, 0 ms, 1,360 B\. Visible: e_c, ek_c, key names\. Sealed: C1/,
  );
  expect(label).toContain('Step 4 from the server to the application');
});

it('puts the log of plain JSON beside the log there is', async () => {
  const { payments, tab, texts } = await shown();
  await payments.balance({ account: 'a' });
  await payments.transfer('a', 'b', 5n);
  await tab('Proxy log');
  expect(texts('.plain')[0]).toMatch(/POST \/payments\/transfer\["a","b","5"\]200\{"receipt":"a-b"/);
  expect(texts('.sealed')[0]).toMatch(/POST \/remote\/payments116 B11 01 00 00/);
  expect(texts('.sealed').join()).not.toMatch(/transfer|receipt/);
});

it('puts calls that travelled as one message beside that message', async () => {
  const { payments, tab, texts, fixture } = await shown();
  await payments.balance({ account: 'a' });
  await tab('Proxy log');
  await payments.$batch((remote) => [remote.balance({ account: 'a' }), remote.balance({ account: 'b' })]);
  await fixture.whenStable();
  const count = (text: string, word: string) => text.split(word).length - 1;
  expect(texts('.plain').map((text) => count(text, 'POST /payments/balance'))).toEqual([2, 1]);
  expect(texts('.sealed').map((text) => count(text, 'POST /remote/payments'))).toEqual([1, 1]);
});

it('shows one view alone', async () => {
  await shown();
  const fixture = TestBed.createComponent(SealwireInspector);
  fixture.componentRef.setInput('tabs', false);
  fixture.componentRef.setInput('view', 'log');
  await fixture.whenStable();
  const host = fixture.nativeElement as HTMLElement;
  expect(host.querySelectorAll('[role="tab"]').length).toBe(0);
  expect(host.querySelectorAll('.tools').length).toBe(0);
  expect(host.querySelector('[role="region"]')?.getAttribute('aria-label')).toBe('Proxy log');
  expect(host.querySelector('sealwire-proxy-log')).not.toBeNull();
});

it('marks what a proxy did', async () => {
  const { payments, fixture, texts, all } = await shown();
  await payments.balance({ account: 'a' });
  const report = TestBed.inject(WireAttacks).arm('flip-request');
  await payments.transfer('a', 'b', 5n);
  await report;
  await fixture.whenStable();
  expect(texts('.badge')).toEqual(['sent again, 2', 'attacked']);
  all('button.row')[1]?.click();
  await fixture.whenStable();
  expect(texts('.run.altered')).toHaveLength(1);
  expect(texts('.wire .failed')).toContain('HTTP 400 bad_frame');
});

it('is worked by keys, pauses and clears', async () => {
  const { payments, fixture, all, recorder, texts } = await shown();
  await payments.balance({ account: 'a' });
  await fixture.whenStable();
  const tabs = all('[role="tab"]');
  document.body.append(fixture.nativeElement);
  tabs[0]?.focus();
  const press = async (key: string) => {
    document.activeElement?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    await fixture.whenStable();
    return document.activeElement?.textContent.trim();
  };
  expect(await press('ArrowRight')).toBe('Handshake');
  expect(await press('End')).toBe('Proxy log');
  expect(await press('ArrowRight')).toBe('Messages');
  expect(await press('ArrowLeft')).toBe('Proxy log');
  expect(await press('Home')).toBe('Messages');
  expect(tabs.map((tab) => tab.getAttribute('aria-selected'))).toEqual(['true', 'false', 'false']);
  const [pause, clear] = all('.tools button');
  pause?.click();
  expect(recorder.paused()).toBe(true);
  await fixture.whenStable();
  expect(texts('.paused')).toEqual(['Recording is paused: what travels now is not shown.']);
  pause?.click();
  expect(recorder.paused()).toBe(false);
  clear?.click();
  await fixture.whenStable();
  expect(texts('.paused')).toEqual([]);
  expect(texts('.total')).toEqual(['0 messages, 0 B']);
  // the session is there, and calls were made: what is empty is the record
  expect(texts('.panel .empty')).toEqual(['Nothing is recorded. Call a function, and watch what a proxy gets of it.']);
  await press('ArrowRight');
  expect(texts('.panel .empty')).toEqual(['No handshake is recorded. The first call of a page shakes hands.']);
  await press('End');
  expect(texts('.panel .empty')).toEqual(['No call is recorded.']);
});

it('says what is missing without withInspector(), and arms no attack that would wait for ever', async () => {
  TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
  const missing = 'Nothing is recorded: add withInspector() to provideSealwire().';
  const fixture = TestBed.createComponent(SealwireInspector);
  await fixture.whenStable();
  expect(fixture.nativeElement.querySelector('.panel').textContent.trim()).toBe(missing);
  const attacks = TestBed.inject(WireAttacks);
  await expect(attacks.arm('lose-answer')).rejects.toMatchObject({ code: 'bad_configuration', message: missing });
  expect(attacks.armed()).toBeUndefined();
});

it('waits for calls from the start with withInspector(), before the first remote is there', async () => {
  TestBed.configureTestingModule({ providers: [provideHttpClient(), provideSealwire({}, withInspector())] });
  const fixture = TestBed.createComponent(SealwireInspector);
  await fixture.whenStable();
  expect(fixture.nativeElement.querySelector('.panel').textContent).toContain('Call a function');
});
