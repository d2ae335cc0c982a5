// @vitest-environment jsdom
import './support.js';
import { Blob as NodeBlob, File as NodeFile } from 'node:buffer';
import { provideHttpClient, withFetch as withFetchBackend, withInterceptors } from '@angular/common/http';
import { effect } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  type ApiOf,
  injectRemote,
  provideSealwire,
  sealwireStreams,
  withFetch,
  withHttpClient,
  withModule,
} from '@sealwire/angular';
import { type Exchange, WireRecorder, withInspector } from '@sealwire/angular/inspector';
import {
  encodeReply,
  fetchTransport,
  type Remote,
  type StreamBody,
  type Transport,
  type TransportRequest,
  ɵFRAME_LAYOUT,
} from '@sealwire/client';
import { SealwireSessions } from '@sealwire/nest';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { streamBody } from '../../../test/support/stream-body.js';
import { eventually } from './eventually.js';
import { connect, transports } from './inspected.js';
import { Payments, secureKeys, serverKey, startServer } from './server.js';

/** A session is open, and nothing of it is recorded. */
async function opened(...how: Parameters<typeof connect>) {
  const made = await connect(...how);
  await made.payments.balance({ account: 'a' });
  made.recorder.clear();
  return made;
}

const text = new TextDecoder('latin1');
/** All that a proxy got of these exchanges. */
const seen = (exchanges: readonly Exchange[]): string =>
  exchanges
    .flatMap(({ request, answer }) => [request, answer ?? []].flat())
    .map(({ line, headers, body }) => `${line}\n${headers.join('\n')}\n${text.decode(body.head)}`)
    .join('\n');

describe.each(transports)('the recorder over %s', (_name, feature, http) => {
  it('finds each call in the bytes that carry it', async () => {
    const { payments, recorder } = await connect(feature, http);
    const [first] = await Promise.all([payments.balance({ account: 'a' }), payments.balance({ account: 'b' })]);
    expect(first).toBe(100n);
    await payments.transfer('a', 'b', 5n);
    await payments.$batch((r) => [r.balance({ account: 'a' }), r.balance({ account: 'b' })]);
    const calls = recorder.calls();
    expect(calls.map(({ name }) => name)).toEqual(['balance', 'balance', 'transfer', 'balance', 'balance']);
    expect(calls[2]).toMatchObject({
      module: 'payments',
      args: ['"a"', '"b"', '5n'],
      json: '["a","b","5"]',
      state: 'done',
      outcome: '{ receipt: "a-b", at: 1970-01-01T00:00:00.000Z }',
    });
    const ids = calls.map(({ id }) => id);
    const exchanges = recorder.exchanges();
    expect(exchanges.map(({ kind, calls }) => [kind, calls.map((id) => ids.indexOf(id))])).toEqual([
      ['start', []],
      ['finish', [0, 1]],
      ['call', [2]],
      ['call', [3, 4]],
    ]);
    const [handshake] = recorder.handshakes();
    expect(handshake).toMatchObject({ module: 'payments', sessionId: expect.stringMatching(/^[0-9a-f]{32}$/) });
    expect(exchanges.map((one) => one.handshake)).toEqual([handshake?.id, handshake?.id, undefined, undefined]);
  });

  it('shows what a proxy sees: line, headers, fields and sizes, and nothing of the calls', async () => {
    const { payments, recorder, url } = await opened(feature, http);
    await payments.transfer('a', 'b', 5n);
    const error = await payments.transfer('confidential', 'b', 500n).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'insufficient_funds' });
    const [exchange, failed] = recorder.exchanges();
    expect(exchange?.request).toMatchObject({
      line: 'POST /remote/payments',
      headers: expect.arrayContaining([
        ['host', new URL(url).host],
        ['content-type', 'application/vnd.sealwire'],
      ]),
    });
    expect(exchange?.answer?.line).toBe('HTTP 200');
    expect(exchange?.answer?.headers).toContainEqual(['cache-control', 'no-store, no-transform']);
    expect(exchange?.request.body.fields.map(({ name }) => name)).toEqual([
      ...['type', 'version', 'flags', 'epoch', 'session id', 'lane', 'counter', 'salt', 'sealed', 'tag'],
    ]);
    const outcomes = [{ ok: true as const, value: { receipt: 'a-b', at: new Date(0) } }];
    const reply = encodeReply({ outcomes }).length;
    expect(exchange?.request.body).toMatchObject({ size: 36 + 64 + 16, payload: 19, complete: true });
    expect(exchange?.answer?.body).toMatchObject({ size: 12 + 64 + 16, payload: reply });
    expect(failed?.answer?.body.payload).toBeGreaterThan(reply);
    expect(recorder.calls()[1]).toMatchObject({ state: 'failed', outcome: 'insufficient_funds: Not enough money.' });
    expect(JSON.stringify(recorder.calls())).toContain('confidential');
    expect(seen(recorder.exchanges())).not.toMatch(/transfer|receipt|confidential|insufficient|Not enough/);
  });

  it('hands a live result on as it comes, and counts its pieces and items', async () => {
    const { rates, recorder } = await connect(feature, http);
    const items: number[] = [];
    const payloads: number[] = [];
    const own = rates.$call({ onOpened: (opened) => payloads.push(...opened.payloads) });
    for await (const one of await own.count(50)) items.push(one);
    expect(items).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    const [call] = recorder.calls();
    expect(call).toMatchObject({ name: 'count', state: 'done', items: 50 });
    expect(call?.lastItems.at(-1)).toBe('50');
    const live = recorder.exchanges().findLast(({ answer }) => (answer?.body.pieceCount ?? 0) > 0);
    expect(live?.calls).toEqual([call?.id]);
    expect(live?.answer?.body.pieces.at(-1)).toMatchObject({ last: true });
    expect(live).toMatchObject({ state: 'done' });
    const { pieces = [], pieceCount, payload } = live?.answer?.body ?? {};
    expect([pieceCount, payload]).toEqual([payloads.length, payloads.reduce((sum, one) => sum + one, 0)]);
    const { padded, tag } = ɵFRAME_LAYOUT;
    expect(pieces.map(({ length }) => length)).toEqual(payloads.slice(-pieces.length).map((one) => padded(one) + tag));
  });
});

it.each([
  ['a stream', withFetch(), provideHttpClient()],
  ['a Blob', withHttpClient(), provideHttpClient(withFetchBackend(), withInterceptors([sealwireStreams]))],
] as const)('follows a file that goes up as %s', async (_name, feature, http) => {
  // jsdom's own can neither be read nor be sent by Node's fetch, and its XMLHttpRequest sends no other
  vi.stubGlobal('Blob', NodeBlob);
  vi.stubGlobal('XMLHttpRequest', undefined);
  onTestFinished(() => void vi.unstubAllGlobals());
  const { rates, recorder } = await connect(feature, http);
  await rates.size(new Uint8Array(1));
  const file = new NodeFile([new Uint8Array(300_000)], 'plan.pdf') as unknown as File;
  const payloads: number[] = [];
  const own = rates.$call({ onSealed: (sealed) => payloads.push(...sealed.payloads) });
  expect(await own.measure(file)).toBe('plan.pdf 300000');
  const call = recorder.calls().at(-1);
  expect(call).toMatchObject({ args: ['File "plan.pdf" (300000 bytes)'], outcome: '"plan.pdf 300000"' });
  await eventually(() => recorder.exchanges().at(-1)).toMatchObject({
    calls: [call?.id],
    request: { body: { complete: true, head: { length: 4096 }, pieces: { length: expect.any(Number) } } },
  });
  const body = recorder.exchanges().at(-1)?.request.body;
  expect(body?.size).toBeGreaterThan(300_000);
  expect(body?.pieces.reduce((sum, { length }) => sum + length + 3, 36)).toBe(body?.size);
  expect([body?.pieceCount, body?.payload]).toEqual([payloads.length, payloads.reduce((sum, one) => sum + one, 0)]);
  expect((body?.payload ?? 0) - 300_000).toBeGreaterThan(50);
  expect((body?.payload ?? 0) - 300_000).toBeLessThan(200);
  const { padded, tag } = ɵFRAME_LAYOUT;
  expect(body?.pieces.map(({ length }) => length)).toEqual(payloads.map((one) => padded(one) + tag));
});

it('tells a stream that the application left from one that was cut', async () => {
  const { rates, recorder } = await connect();
  for await (const one of await rates.count(1_000_000)) if (one === 3) break;
  const left = () => recorder.exchanges().findLast(({ answer }) => (answer?.body.pieceCount ?? 0) > 0);
  await eventually(() => left()?.state).toBe('closed');
  expect(recorder.calls().at(-1)).toMatchObject({ state: 'done', items: 3 });
});

it('names the handshake that replaced a session, and why', async () => {
  const { payments, recorder, app } = await opened();
  const sessions = app.get(SealwireSessions);
  for (const { id } of await sessions.list()) await sessions.revoke(id);
  await payments.balance({ account: 'a' });
  await eventually(() => recorder.handshakes().at(-1)?.reason).toMatch(/^session_/);
});

it('knows the padding of whatever length a payload has', async () => {
  const { payments, recorder } = await opened();
  for (const size of [0, 1, 30, 45, 60, 200, 1_000, 5_000, 65_000, 66_000, 200_000]) {
    const bytes = await payments.echo(new Uint8Array(size));
    const outcomes = [{ ok: true as const, value: bytes }];
    const [request, answer] = [recorder.exchanges().at(-1)?.request.body, recorder.exchanges().at(-1)?.answer?.body];
    expect(answer?.payload, `${size}`).toBe(encodeReply({ outcomes }).length);
    expect((request?.payload ?? 0) - size).toBeGreaterThan(8);
    expect((request?.payload ?? 0) - size).toBeLessThan(20);
  }
  await payments.$batch((r) => Array.from({ length: 30 }, (_, i) => r.balance({ account: i % 2 ? 'a' : 'b' })));
  expect(recorder.exchanges().at(-1)?.answer?.body.payload).toBeGreaterThan(100);
  expect(recorder.exchanges().at(-1)?.calls).toHaveLength(30);
});

it('records what onSession calls', async () => {
  const { url } = await startServer();
  const module = withModule(Payments, {
    secureKey: secureKeys[0],
    onSession: (remote) => (remote as unknown as Remote<ApiOf<typeof Payments>>).balance({ account: 'b' }),
  });
  TestBed.configureTestingModule({
    providers: [provideSealwire({ url, serverKey }, module, withFetch(), withInspector())],
  });
  const payments = TestBed.runInInjectionContext(() => injectRemote(Payments));
  await payments.balance({ account: 'a' });
  const calls = TestBed.inject(WireRecorder).calls();
  expect(calls.map(({ args, outcome }) => [args[0], outcome])).toEqual([
    ['{ account: "a" }', '100n'],
    ['{ account: "b" }', '7n'],
  ]);
});

it('makes no effect that calls depend on it', async () => {
  const { payments, recorder } = await opened();
  let runs = 0;
  let call: Promise<bigint> | undefined;
  TestBed.runInInjectionContext(() =>
    effect(() => {
      runs++;
      call = payments.balance({ account: 'a' });
    }),
  );
  TestBed.tick();
  await call;
  recorder.pause();
  recorder.resume();
  TestBed.tick();
  expect(runs).toBe(1);
  expect(recorder.calls()).toHaveLength(1);
});

it('refuses what it has no use for', () => {
  expect(() => withInspector({ keep: 0 })).toThrow(
    expect.objectContaining({ code: 'bad_configuration', message: expect.stringContaining('1 to 10,000') }),
  );
  expect(() => withInspector({ bodies: 1 } as never)).toThrow(
    'withInspector(): unknown option `bodies`; it takes keep.',
  );
});

it('leaves it to the call to tell of an argument that cannot be read', async () => {
  const { payments, recorder } = await opened();
  const argument = {
    get account(): string {
      throw new Error('not now');
    },
  };
  const recorded = await payments.balance(argument).catch((error: unknown) => error);
  expect(recorder.calls().at(-1)).toMatchObject({ args: ['…'], json: '…', state: 'failed' });
  recorder.pause();
  expect(recorded).toEqual(await payments.balance(argument).catch((error: unknown) => error));
});

it('keeps the last exchanges and 4096 bytes of each body, and stops while it is paused', async () => {
  const { payments, recorder } = await opened();
  const bytes = new Uint8Array(300_000).map((_, i) => i * 7);
  expect(Buffer.from(await payments.echo(bytes)).equals(Buffer.from(bytes))).toBe(true);
  const [echo] = recorder.exchanges();
  for (const side of [echo?.request, echo?.answer]) {
    expect(side?.body.size).toBeGreaterThan(300_000);
    expect(side?.body.head.length).toBe(4096);
    expect(side?.body.pieceCount).toBe(5);
    const end = side?.body.fields.at(-1);
    expect((end?.offset ?? 0) + (end?.length ?? 0)).toBe(side?.body.size);
  }
  expect(recorder.calls()[0]?.args).toEqual(['Uint8Array(300000)']);
  recorder.limit = 10;
  for (let i = 0; i < 30; i++) await payments.balance({ account: 'a' });
  expect(recorder.exchanges().length).toBe(10);
  expect(recorder.calls().length).toBe(10);
  recorder.pause();
  const last = recorder.calls().at(-1);
  expect(await payments.balance({ account: 'b' })).toBe(7n);
  expect(recorder.calls().at(-1)).toBe(last);
  recorder.resume();
  await payments.balance({ account: 'b' });
  expect(recorder.calls().at(-1)?.args).toEqual(['{ account: "b" }']);
  recorder.clear();
  expect([recorder.exchanges(), recorder.calls(), recorder.handshakes()]).toEqual([[], [], []]);
});

it('keeps of the headers of an answer no more than a developer reads', async () => {
  const recorder = TestBed.inject(WireRecorder);
  const headers = Array.from({ length: 1_000 }, (_, i) => [`x-${i}`, 'a'.repeat(100_000)] as const);
  const body = new Uint8Array(0);
  const transport = recorder.record(
    { send: async () => ({ status: 502, contentType: 'text/html', headers, body }) },
    'payments',
  );
  const { signal } = new AbortController();
  const url = 'http://localhost/remote/payments';
  const answer = await transport.send({ url, body, contentType: 'application/vnd.sealwire', signal });
  expect([...(answer.headers ?? [])]).toEqual(headers);
  const kept = recorder.exchanges()[0]?.answer?.headers ?? [];
  expect([kept.length, kept[0]?.[0], kept[0]?.[1].length]).toEqual([100, 'x-0', 2_001]);
});

it('is the transport that it wraps: same bytes, same limits, no read before its time', async () => {
  const recorder = TestBed.inject(WireRecorder);
  let pulled = 0;
  const parts = [new Uint8Array([0x12, 1, 3]), new Uint8Array(500)];
  const [head, rest] = parts;
  const got: Uint8Array[] = [];
  const inner: Transport = {
    ...fetchTransport(),
    maxResponse: 1234,
    requestStreams: true,
    async send({ body }) {
      const reader = (body as StreamBody).stream().getReader();
      for (let next = await reader.read(); next.value; next = await reader.read()) got.push(next.value);
      const read = async () => {
        const value = parts.shift();
        return value ? { done: false, value } : { done: true };
      };
      return { status: 200, contentType: 'application/vnd.sealwire', body: { read, cancel: async () => {} } };
    },
  };
  const transport = recorder.record(inner, 'payments');
  expect([transport.maxResponse, transport.requestStreams]).toEqual([1234, true]);
  expect(() => transport.check?.('ftp://x')).toThrow('http');
  const source = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (++pulled > 3) controller.close();
        else controller.enqueue(new Uint8Array(100).fill(pulled));
      },
    },
    { highWaterMark: 0 },
  );
  const request: TransportRequest = {
    url: 'http://localhost/remote/payments',
    body: streamBody(source),
    contentType: 'application/vnd.sealwire',
    signal: new AbortController().signal,
  };
  const response = await transport.send(request);
  expect(got.map((part) => [part.length, part[0]])).toEqual([
    [100, 1],
    [100, 2],
    [100, 3],
  ]);
  const reader = response.body as { read(): Promise<{ value?: Uint8Array }> };
  expect(recorder.exchanges()[0]?.answer?.body.size).toBe(0);
  expect((await reader.read()).value).toBe(head);
  expect(recorder.exchanges()[0]?.answer?.body).toMatchObject({ size: 3, complete: false });
  expect((await reader.read()).value).toBe(rest);
  await reader.read();
  expect(recorder.exchanges()[0]).toMatchObject({ state: 'done', request: { body: { size: 300 } } });
  onTestFinished(() => recorder.clear());
});
