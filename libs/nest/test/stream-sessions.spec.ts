import 'reflect-metadata';
import { encodeCalls } from '@sealwire/core';
import { KeyStore, SealwireSessions, SessionData, SessionDirectory, SessionStore } from '@sealwire/nest';
import { expect, it, vi } from 'vitest';
import { MemoryKeyStore, MemoryStore } from '../src/sessions/index.js';
import { callLive, LiveAnswer, sendLive } from './live-peer.js';
import { startStreams } from './streams-application.js';
import { only, type PeerClient, post, primitives } from './support.js';

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
  const answer = await callLive(peer, { name: 'endless', args: [] });
  await answer.value();
  await app.get(SealwireSessions).revoke(peer.id);
  await vi.waitFor(() => expect(watch.closed).toBe(1), { timeout: 1_000 });
  await vi
    .waitFor(() => expect(answer.response.socket?.destroyed).not.toBe(false), { timeout: 2_000 })
    .catch(() => undefined);
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
  const kept = await vi.waitFor(async () => {
    const again = await sendLive(peer, frame, 2);
    if (!(again instanceof LiveAnswer)) throw new Error('not yet');
    return again;
  });
  expect([await kept.value(0), await kept.value(1)]).toEqual([1, 'two']);
});

it('the stream of a first call waits until it is asked for', async () => {
  const { app, client, watch } = await startStreams();
  const peer = await client();
  const before = performance.now();
  await peer.steps1and2();
  const answer4 = await post(peer.url, peer.step3Of([encodeCalls([{ name: 'count', args: [3] }])]));
  expect(peer.step4(answer4.body)).toBeUndefined();
  expect(performance.now() - before).toBeLessThan(240);
  expect(peer.session.firstAnswers).toEqual([{ known: 'running' }]);
  expect(watch.yielded).toBe(0);
  const ask = peer.askFirst();
  const answer = (await sendLive(peer, ask)) as LiveAnswer;
  const items: unknown[] = [];
  for await (const item of await answer.value<AsyncIterable<unknown>>()) items.push(item);
  expect(items).toEqual([0, 1, 2]);
  await answer.ended;
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
  const [store, keys] = [new MemoryStore(primitives), new MemoryKeyStore(primitives)];
  const providers = [
    { provide: SessionStore, useValue: store },
    { provide: SessionDirectory, useValue: store },
    { provide: SessionData, useValue: store },
    { provide: KeyStore, useValue: keys },
  ];
  const listener = vi.spyOn(store, 'start');
  const { app, client, watch } = await startStreams({ options: { store: { providers } } });
  const peer = await client();
  const { answer, items } = await begun(peer);
  await listener.mock.calls[0]?.[0].release(peer.session.sessionId);
  watch.subject.next(3);
  expect(await items.next()).toEqual({ done: false, value: 3 });
  await app.get(SealwireSessions).revoke(peer.id);
  await answer.ended;
  expect(answer.status).toBe('session_ended');
});
