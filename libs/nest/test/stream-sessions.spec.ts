import 'reflect-metadata';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { type INestApplication, Injectable, type Type } from '@nestjs/common';
import { encodeCalls, encodeValue } from '@sealwire/core';
import { encodeUnit, UNIT } from '@sealwire/core/live';
import {
  type Injected,
  KeyStore,
  NumberLedger,
  RemoteFunction,
  RemoteFunctions,
  RemoteProgress,
  SealwireSessions,
  SessionData,
  SessionDirectory,
  SessionStore,
} from '@sealwire/nest';
import { finalize, type Observable, of } from 'rxjs';
import { expect, it, onTestFinished, vi } from 'vitest';
import { MemoryKeyStore, MemoryStore } from '../src/sessions/index.js';
import { callLive, LiveAnswer, LiveCall, sendLive } from './live-peer.js';
import { startStreams, Watch } from './streams-application.js';
import { only, type PeerClient, post, primitives } from './support.js';

@RemoteFunctions('live')
@Injectable()
class Gated {
  /** lets the function return */
  open: (() => void) | undefined;

  constructor(private readonly watch: Watch) {}

  @RemoteFunction()
  async gated(): Promise<Observable<number>> {
    await this.wait();
    return this.watch.subject.pipe(finalize(() => this.watch.closed++));
  }

  @RemoteFunction({ resumable: true })
  async few(): Promise<Observable<number>> {
    await this.wait();
    return of(1, 2);
  }

  @RemoteFunction()
  async count(items: AsyncIterable<number>): Promise<number> {
    let count = 0;
    for await (const _ of items) count++;
    return count;
  }

  @RemoteFunction()
  async reported(@RemoteProgress() progress: Injected<(value: unknown) => void>): Promise<string> {
    progress('begun');
    await this.wait();
    return 'done';
  }

  private wait(): Promise<void> {
    return new Promise((resolve) => {
      this.open = resolve;
    });
  }
}

@RemoteFunctions('live')
@Injectable()
class Summing {
  @RemoteFunction()
  async sum(items: AsyncIterable<number>): Promise<number> {
    let sum = 0;
    for await (const item of items) sum += item;
    return sum;
  }
}

/** An application whose sessions are in a store that the test holds, too. */
async function startStored(functions?: Type) {
  const [store, keys] = [new MemoryStore(primitives), new MemoryKeyStore(primitives)];
  const providers = [
    { provide: SessionStore, useValue: store },
    { provide: SessionDirectory, useValue: store },
    { provide: SessionData, useValue: store },
    { provide: KeyStore, useValue: keys },
  ];
  const start = vi.spyOn(store, 'start');
  const started = await startStreams({ ...(functions && { functions }), options: { store: { providers } } });
  const release = (id: Uint8Array): Promise<void> | undefined => start.mock.calls[0]?.[0].release(id);
  return { ...started, store, release };
}

/** A call whose function still runs. */
async function running(peer: PeerClient, gated: Gated, name = 'gated') {
  const sent = sendLive(peer, peer.frame([{ name, args: [] }]));
  await vi.waitFor(() => expect(gated.open).toBeDefined());
  return async (): Promise<LiveAnswer> => {
    gated.open?.();
    return (await sent) as LiveAnswer;
  };
}

async function begun(peer: PeerClient): Promise<{ answer: LiveAnswer; items: AsyncIterator<unknown> }> {
  const answer = await callLive(peer, { name: 'subject', args: [] });
  return { answer, items: (await answer.value<AsyncIterable<unknown>>())[Symbol.asyncIterator]() };
}

it('the end of a session ends its streams under seal within a second', async () => {
  const { app, client, watch } = await startStreams();
  const peer = await client();
  const { answer, items } = await begun(peer);
  watch.subject.next(1);
  await items.next();
  const next = items.next().catch((error) => error);
  const before = performance.now();
  await app.get(SealwireSessions).revoke(peer.id);
  expect(await next).toMatchObject({ code: 'session_ended' });
  expect(performance.now() - before).toBeLessThan(1_000);
  await answer.ended;
  expect([answer.status, watch.subject.observed]).toEqual(['session_ended', false]);
});

it('a client that does not read is cut off when its session ends', async () => {
  const { app, client, watch } = await startStreams();
  const peer = await client();
  const received: Promise<[IncomingMessage, ServerResponse]> = once(app.getHttpServer(), 'request') as never;
  const answer = await callLive(peer, { name: 'endless', args: [] });
  const [, response] = await received;
  await answer.value();
  expect(response.destroyed).toBe(false);
  await app.get(SealwireSessions).revoke(peer.id);
  await vi.waitFor(() => expect(watch.closed).toBe(1), { timeout: 1_000 });
  await vi.waitFor(() => expect(response.destroyed).toBe(true), { timeout: 2_000 });
});

it('a session ends with its lifetime though it streams, and a stream keeps it from being idle', async () => {
  const { client, watch } = await startStreams({ options: { sessionLifetime: 3, autoSessionsLive: 1, pulse: 1 } });
  const peer = await client();
  const { answer, items } = await begun(peer);
  setTimeout(() => watch.subject.next(1), 2_000);
  expect(await items.next()).toEqual({ done: false, value: 1 });
  await expect(items.next()).rejects.toMatchObject({ code: 'session_ended' });
  await answer.ended;
});

it('what its client sends keeps a session from being idle, and the lifetime ends it all the same', async () => {
  const { client } = await startStreams({
    options: { sessionLifetime: 4, autoSessionsLive: 1 },
    functions: Gated,
  });
  const peer = await client();
  const call = new LiveCall(peer, [{ name: 'count', args: [(async function* () {})()] }]);
  const item = setInterval(() => call.unit(UNIT.item, 0, encodeValue(1)), 300);
  onTestFinished(() => clearInterval(item));
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  // answered under its seal, so it is there
  expect(only(await peer.call('none'))).toMatchObject({ code: 'function_unknown' });
  await expect(call.value()).rejects.toMatchObject({ code: 'stream_cut', details: { items: expect.any(Number) } });
});

it('a renewal by its client leaves a stream running, which ends with the next session', async () => {
  const { app, client, watch } = await startStreams();
  const peer = await client();
  const { answer, items } = await begun(peer);
  const asked = { sessionId: peer.session.sessionId, key: peer.secrets.renewal, numbers: [] };
  await peer.connect([], [asked]);
  watch.subject.next(4);
  expect(await items.next()).toEqual({ done: false, value: 4 });
  await app.get(SealwireSessions).revoke(peer.id);
  await answer.ended;
  expect([answer.status, watch.subject.observed]).toEqual(['session_ended', false]);
});

it('the next epoch leaves a stream as it is', async () => {
  const { client, watch } = await startStreams();
  const peer = await client();
  const { items } = await begun(peer);
  peer.ratchet();
  expect(only(await peer.call('plain', 1))).toBe(1);
  peer.ratchet();
  expect(only(await peer.call('plain', 2))).toBe(2);
  watch.subject.next(7);
  expect(await items.next()).toEqual({ done: false, value: 7 });
  watch.subject.complete();
  expect(await items.next()).toEqual({ done: true, value: undefined });
});

it('a stopping server ends streams as busy, and does not wait for them', async () => {
  const { app, client, watch } = await startStreams();
  const { answer } = await begun(await client());
  const before = performance.now();
  await app.close();
  await answer.ended;
  expect([answer.status, watch.subject.observed]).toEqual(['busy', false]);
  expect(performance.now() - before).toBeLessThan(3_000);
});

it('a stopping server does not wait for the connection of a live result that ends meanwhile', async () => {
  const { app, client } = await startStreams({ functions: Gated });
  const peer = await client();
  const opened = await running(peer, app.get(Gated), 'reported');
  const before = performance.now();
  const closed = app.close();
  const answer = await opened();
  expect([await answer.value(), await answer.ended]).toEqual(['done', undefined]);
  await closed;
  expect(performance.now() - before).toBeLessThan(3_000);
});

it('a live result that leaves as one body closes its connection if the server listens no more', async () => {
  const { app, client } = await startStreams({ functions: Gated });
  const peer = await client();
  const opened = await running(peer, app.get(Gated), 'few');
  app.getHttpServer().close();
  const answer = await opened();
  await answer.ended;
  const { headers } = answer.response;
  expect([headers.connection, headers['content-length']]).toEqual(['close', String(answer.whole.length)]);
});

it('a retransmission of a call whose result is live is told that it runs, then that its result is gone', async () => {
  const { client, watch } = await startStreams();
  const peer = await client();
  const frame = peer.frame([{ name: 'subject', args: [] }]);
  const answer = (await sendLive(peer, frame)) as LiveAnswer;
  await answer.value();
  expect(await peer.send(frame)).toEqual({ status: 'running' });
  watch.subject.complete();
  await answer.ended;
  await vi.waitFor(async () => expect(await peer.send(frame)).toEqual({ status: 'result_gone' }));
});

it('a live batch without streams goes on without its connection, and is kept', async () => {
  const { client } = await startStreams();
  const peer = await client();
  const frame = peer.frame([
    { name: 'plain', args: [1] },
    { name: 'after', args: [300, 'two'] },
  ]);
  const answer = (await sendLive(peer, frame, 2)) as LiveAnswer;
  expect(await answer.value(0)).toBe(1);
  answer.cut();
  expect(await peer.send(frame)).toEqual({ status: 'running' });
  const outcomes = [1, 'two'].map((value) => ({ ok: true, value }));
  await vi.waitFor(async () => expect(await peer.send(frame)).toEqual({ outcomes }));
});

it('the stream of a first call waits until it is asked for', async () => {
  const { app, client, watch } = await startStreams();
  const peer = await client();
  const before = performance.now();
  await peer.steps1and2();
  const answer4 = await post(peer.url, peer.step3Of([encodeCalls([{ name: 'endless', args: [] }])]));
  expect(peer.step4(answer4.body)).toBeUndefined();
  expect(performance.now() - before).toBeLessThan(240);
  expect(peer.session.firstAnswers).toEqual([{ known: 'running' }]);
  const read = watch.yielded;
  expect(read).toBeLessThanOrEqual(32);
  const ask = peer.askFirst();
  const answer = (await sendLive(peer, ask)) as LiveAnswer;
  const items = (await answer.value<AsyncIterable<Uint8Array>>())[Symbol.asyncIterator]();
  expect((await items.next()).value).toHaveLength(1_024);
  answer.cut();
  await vi.waitFor(async () => expect(await peer.send(peer.askFirst())).toEqual({ status: 'result_gone' }));
  expect(app).toBeDefined();
});

it('no call of a first batch waits for a slow one', async () => {
  const { client } = await startStreams();
  const peer = await client();
  await peer.steps1and2();
  const batch = encodeCalls([
    { name: 'after', args: [700, 'slow'] },
    { name: 'plain', args: [1] },
  ]);
  peer.step4((await post(peer.url, peer.step3Of([batch]))).body);
  expect(peer.session.firstAnswers).toEqual([{ known: 'running' }]);
  const answer = (await sendLive(peer, peer.askFirst(), 2)) as LiveAnswer;
  const order: unknown[] = [];
  await Promise.all([0, 1].map(async (place) => order.push(await answer.value(place))));
  expect(order).toEqual([1, 'slow']);
  await answer.ended;
  // it is kept like any other result
  await vi.waitFor(async () => expect(await peer.send(peer.askFirst())).toHaveProperty('first'));
});

it('a first call whose stream nobody asks for is abandoned', { timeout: 15_000 }, async () => {
  const { client, watch } = await startStreams();
  const peer = await client();
  await peer.steps1and2();
  const answer4 = await post(peer.url, peer.step3Of([encodeCalls([{ name: 'subject', args: [] }])]));
  peer.step4(answer4.body);
  expect(watch.subject.observed).toBe(true);
  await vi.waitFor(() => expect(watch.subject.observed).toBe(false), { timeout: 8_000 });
  await vi.waitFor(async () => expect(await peer.send(peer.askFirst())).toEqual({ status: 'result_gone' }));
});

it('running streams count among the calls of a session', async () => {
  const { client } = await startStreams({ options: { sessionCalls: 2 } });
  const peer = await client();
  const streams = [await begun(peer), await begun(peer)];
  expect(await peer.call('plain', 1)).toEqual({ status: 'busy' });
  for (const { answer } of streams) answer.cut();
  await vi.waitFor(async () => expect(only(await peer.call('plain', 1))).toBe(1));
});

it('a session with a stream is not evicted from memory, and one without is', async () => {
  const { client, watch } = await startStreams({ options: { hotSessions: 1 } });
  const one = await client();
  const { items } = await begun(one);
  const two = await client();
  expect(only(await two.call('plain', 1))).toBe(1);
  const three = await client();
  expect(only(await three.call('plain', 1))).toBe(1);
  watch.subject.next(5);
  expect(await items.next()).toEqual({ done: false, value: 5 });
  expect(only(await one.call('plain', 2))).toBe(2);
});

it('a lane that moves to another instance leaves a stream where it runs, and the end of the session still ends it', async () => {
  const { app, client, watch, release } = await startStored();
  const peer = await client();
  const { answer, items } = await begun(peer);
  await release(peer.session.sessionId);
  watch.subject.next(3);
  expect(await items.next()).toEqual({ done: false, value: 3 });
  await app.get(SealwireSessions).revoke(peer.id);
  await answer.ended;
  expect(answer.status).toBe('session_ended');
});

it('the beginning of a live call of an earlier lane is enough to be told of the lane, and of its result', async () => {
  const { client, release } = await startStored();
  const peer = await client();
  const call = { name: 'plain', args: ['x'.repeat(70_000)] };
  const payload = encodeUnit(UNIT.payload, 0, encodeCalls([call]));
  const head = payload.subarray(0, 65_000);
  const [ran, never] = [new LiveCall(peer, [call], head), new LiveCall(peer, [call], head)];
  never.request.end();
  await expect(never.answer).rejects.toThrow('bad_frame');
  ran.piece(payload.subarray(head.length), true);
  expect(await ran.value()).toBe(call.args[0]);
  await release(peer.session.sessionId);
  peer.moveTo(peer.lane + 1);
  expect(only(await peer.call('plain', 1))).toBe(1);
  const again = async ({ first }: LiveCall): Promise<unknown> => peer.send(first);
  expect(await again(never)).toMatchObject({ status: 'lane_moved', known: 'never_ran' });
  expect(await again(ran)).toEqual({ outcomes: [{ ok: true, value: call.args[0] }] });
});

it('a live call whose session has to be found again is told of its lane', async () => {
  const { app, client } = await startStored(Summing);
  const peer = await client();
  const accept = vi.spyOn(app.get(NumberLedger), 'accept').mockReturnValueOnce({ kind: 'lane_moved' });
  const call = new LiveCall(peer, [{ name: 'sum', args: [Readable.from([1, 2])] }]);
  await call.rest();
  await expect(call.value()).rejects.toMatchObject({ code: 'lane_moved' });
  expect(accept).toHaveBeenCalledOnce();
});

it('a stream that is returned after its session was given back and ended is ended', async () => {
  const { app, client, watch, release } = await startStored(Gated);
  const peer = await client();
  const opened = await running(peer, app.get(Gated));
  const released = release(peer.session.sessionId);
  await app.get(SealwireSessions).revoke(peer.id);
  const answer = await opened();
  await answer.ended;
  expect([answer.status, watch.subject.observed]).toEqual(['session_ended', false]);
  await released;
});

it.each([
  ['goes on', undefined, undefined],
  ['is ended if the store cannot say of its session', new Error('no database'), 'busy'],
])('a stream that is returned after its session was given back %s', async (_, failure, status) => {
  const { app, client, watch, store, release } = await startStored(Gated);
  const peer = await client();
  const opened = await running(peer, app.get(Gated));
  const released = release(peer.session.sessionId);
  const find = vi.spyOn(store, 'find');
  if (failure) find.mockRejectedValue(failure);
  const answer = await opened();
  await vi.waitFor(() => expect(find).toHaveBeenCalledOnce());
  await Promise.allSettled([find.mock.results[0]?.value, released]);
  watch.subject.complete();
  await answer.ended;
  expect(answer.status).toBe(status);
});

it('a stream that is returned after its client has renewed the session goes on, and ends with the next session', async () => {
  const { app, client, watch } = await startStreams({ functions: Gated });
  const peer = await client();
  const opened = await running(peer, app.get(Gated));
  const asked = { sessionId: peer.session.sessionId, key: peer.secrets.renewal, numbers: [] };
  await peer.connect([], [asked]);
  const answer = await opened();
  const items = (await answer.value<AsyncIterable<unknown>>())[Symbol.asyncIterator]();
  watch.subject.next(4);
  expect(await items.next()).toEqual({ done: false, value: 4 });
  await app.get(SealwireSessions).revoke(peer.id);
  await answer.ended;
  expect([answer.status, watch.subject.observed]).toEqual(['session_ended', false]);
});

/** Cuts all connections, and waits until the responses under way know. */
async function cutAll(app: INestApplication, responses: ReadonlySet<ServerResponse>): Promise<void> {
  app.getHttpServer().closeAllConnections();
  await vi.waitFor(() => expect([...responses].every(({ closed }) => closed)).toBe(true));
}

it.each([
  [
    'session has ended',
    'nothing',
    async (app: INestApplication, peer: PeerClient) => app.get(SealwireSessions).revoke(peer.id),
  ],
  [
    'connection is gone',
    'nothing',
    (app: INestApplication, _: PeerClient, responses: ReadonlySet<ServerResponse>) => cutAll(app, responses),
  ],
  [
    'connection was gone before the first piece',
    undefined,
    (app: INestApplication, _: PeerClient, responses: ReadonlySet<ServerResponse>) => cutAll(app, responses),
  ],
])('a stream that is returned when its %s is closed', async (_, other, end) => {
  const { app, client, watch } = await startStreams({ functions: Gated });
  const peer = await client();
  const responses = new Set<ServerResponse>();
  app.getHttpServer().on('request', (_request: unknown, response: ServerResponse) => responses.add(response));
  const gated = app.get(Gated);
  const calls = [...(other ? [other] : []), 'gated'].map((name) => ({ name, args: [] }));
  const sent = sendLive(peer, peer.frame(calls), calls.length);
  await vi.waitFor(() => expect(gated.open).toBeDefined());
  // the outcome of the other call is there: its result is live
  if (other) expect(await ((await sent) as LiveAnswer).outcome()).toMatchObject({ code: 'function_unknown' });
  await end(app, peer, responses);
  gated.open?.();
  await vi.waitFor(() => expect(watch.closed).toBe(1));
  expect(watch.subject.observed).toBe(false);
});
