import 'reflect-metadata';
import { request as httpRequest } from 'node:http';
import type { Socket } from 'node:net';
import { Injectable } from '@nestjs/common';
import { CONTENT_TYPE, concat, encodeCalls, encodeValue } from '@sealwire/core';
import { encodeUnit, UNIT } from '@sealwire/core/live';
import {
  type Injected,
  NumberLedger,
  RemoteFile,
  RemoteFunction,
  RemoteFunctions,
  RemoteSignal,
  type SealwireOptions,
  SealwireSessions,
} from '@sealwire/nest';
import { expect, it, onTestFinished, vi } from 'vitest';
import { callLive, LiveAnswer, LiveCall, sendLive } from './live-peer.js';
import { startStreams } from './streams-application.js';
import { only, type PeerClient } from './support.js';

@RemoteFunctions('live')
@Injectable()
class Target {
  readonly failures: unknown[] = [];
  begun = 0;
  aborted = 0;

  @RemoteFunction()
  plain(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  async sum(items: AsyncIterable<number>): Promise<number> {
    this.begun++;
    let sum = 0;
    try {
      for await (const item of items) sum += item;
    } catch (error) {
      this.failures.push(error);
      throw error;
    }
    return sum;
  }

  @RemoteFunction()
  async size(file: RemoteFile): Promise<number> {
    this.begun++;
    return (await file.bytes()).length;
  }

  @RemoteFunction()
  async *ticks(@RemoteSignal() signal: Injected<AbortSignal>): AsyncGenerator<number> {
    signal.addEventListener('abort', () => this.aborted++);
    for (let i = 0; !signal.aborted; i++) {
      yield i;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

async function start(options: SealwireOptions = {}) {
  const started = await startStreams({ functions: Target, options });
  return { ...started, target: started.app.get(Target), peer: await started.client() };
}

const none = (async function* () {})();
const item = (value: unknown) => encodeUnit(UNIT.item, 0, encodeValue(value));

class Reference {
  constructor(readonly parts: readonly unknown[]) {}
}

/** The first piece of a live call whose arguments hold those references. */
function referring(
  peer: PeerClient,
  name: string,
  references: readonly (readonly unknown[])[],
  wrap = (all: unknown[]) => all,
) {
  const places = references.map((reference) => new Reference(reference));
  const replace = (value: object) => (value instanceof Reference ? value.parts : undefined);
  const payload = encodeUnit(UNIT.payload, 0, encodeCalls([{ name, args: wrap(places) }], { replace }));
  const call = new LiveCall(peer, [{ name, args: [] }], payload.subarray(0, 65_532));
  for (let at = 65_532; at < payload.length; at += 65_532) call.piece(payload.subarray(at, at + 65_532));
  return call;
}

it.each([
  ['257 streams', Array.from({ length: 257 }, (_, k) => ['items', k])],
  ['10,000 streams', Array.from({ length: 10_000 }, (_, k) => ['items', k])],
  [
    'one number twice',
    [
      ['items', 3],
      ['bytes', 3],
    ],
  ],
  ['a number above 65535', [['items', 65_536]]],
  ['a kind that does not exist', [['queue', 0]]],
  ['a file without a name', [['file', 0, { type: 'a/b' }]]],
  ['a size below zero', [['file', 0, { name: 'a', type: 'b', size: -1 }]]],
  ['a size of items', [['items', 0, { size: 1 }]]],
  ['a name of 1,025 characters', [['file', 0, { name: 'x'.repeat(1_025), type: 'b' }]]],
] as const)('a call that announces %s runs nothing and takes no number', async (_, references) => {
  const { peer, target } = await start();
  const list = references as readonly (readonly unknown[])[];
  const call = referring(peer, 'sum', list, (all) => [all]);
  await expect(call.answer).rejects.toThrow('bad_frame');
  expect(target.begun).toBe(0);
  expect(only(await peer.call('plain', 1))).toBe(1);
});

it('pulses without an end keep nothing and count as no item', async () => {
  const { peer, target } = await start();
  const call = new LiveCall(peer, [{ name: 'sum', args: [none] }]);
  const pulses = concat(...Array.from({ length: 9_000 }, () => encodeUnit(UNIT.pulse, 0, new Uint8Array(0))));
  for (let i = 0; i < 100; i++) call.piece(pulses);
  for (let i = 0; i < 5_000; i++) call.piece(new Uint8Array(0));
  call.piece(concat(item(2), encodeUnit(UNIT.end, 0, new Uint8Array(0))), true);
  expect(await call.value()).toBe(2);
  expect(target.failures).toEqual([]);
});

it.each([
  [
    'an item above the limit',
    concat(encodeUnit(UNIT.item, 0, new Uint8Array(1)).subarray(0, 3), Uint8Array.of(0x7f, 0xff, 0xff, 0xff)),
  ],
  ['an item of nothing', encodeUnit(UNIT.item, 0, new Uint8Array(0))],
  ['an item of a stream that nobody announced', encodeUnit(UNIT.item, 7, Uint8Array.of(1))],
  ['data in a stream of items', encodeUnit(UNIT.data, 0, Uint8Array.of(1))],
  ['an item that is no value', encodeUnit(UNIT.item, 0, Uint8Array.of(0xff))],
  [
    'an item with a stream in it',
    encodeUnit(UNIT.item, 0, Uint8Array.of(0xd8, 27, 0x82, 0x65, 0x69, 0x74, 0x65, 0x6d, 0x73, 9)),
  ],
  ['a second payload', encodeUnit(UNIT.payload, 0, encodeCalls([{ name: 'plain', args: [] }]))],
  ['an outcome', encodeUnit(UNIT.outcome, 0, Uint8Array.of(0x82, 0, 1))],
  ['a run id', encodeUnit(UNIT.run, 0, new Uint8Array(16))],
  ['a stream that has ended', concat(encodeUnit(UNIT.end, 0, new Uint8Array(0)), item(1))],
  ['an end with bytes', encodeUnit(UNIT.end, 0, Uint8Array.of(1))],
  ['an error that is none', encodeUnit(UNIT.error, 0, encodeValue(['a']))],
  ['bytes of a unit and no more', Uint8Array.of(3, 0)],
])('%s in an upload ends that call, and no other', async (_, body) => {
  const { peer, target } = await start();
  const call = new LiveCall(peer, [{ name: 'sum', args: [none] }]);
  call.piece(body, true);
  const outcome = await call.value().catch((error) => error);
  // an end that came before what is malformed stands
  if (outcome !== 0) expect(outcome).toHaveProperty('code');
  else expect(_).toBe('a stream that has ended');
  expect(target.begun).toBe(1);
  expect(only(await peer.call('plain', 1))).toBe(1);
});

it('parts of items have one bound over all sessions, and take no room once they are whole or over', async () => {
  const { client, target } = await start({ maxWaitingBytes: 1_048_576 });
  const unit = item(new Uint8Array(900_000));
  const up = async (): Promise<LiveCall> => {
    const call = new LiveCall(await client(), [{ name: 'sum', args: [none] }]);
    call.request.on('error', () => undefined);
    for (let at = 0; at < 800_000; at += 65_000) call.piece(unit.subarray(at, Math.min(at + 65_000, 800_000)));
    return call;
  };
  const calls = await Promise.all([up(), up(), up(), up(), up()]);
  await vi.waitFor(() => expect(target.failures).toHaveLength(4), 10_000);
  expect(target.failures).toMatchObject(Array(4).fill({ code: 'stream_cut' }));
  for (const call of calls) call.request.destroy();
  await vi.waitFor(() => expect(target.failures).toHaveLength(5));
  const last = await up();
  last.piece(unit.subarray(800_000));
  last.piece(encodeUnit(UNIT.end, 0, new Uint8Array(0)), true);
  expect(await last.value()).toBeTypeOf('string');
});

it('empty pieces inside of an item are no sign of life, pulses are', async () => {
  const { peer, target } = await start({ bodyTimeout: 800 });
  const calls = [0, 1].map(() => new LiveCall(peer, [{ name: 'sum', args: [none] }]));
  const [inside, between] = calls as [LiveCall, LiveCall];
  inside.request.on('error', () => undefined);
  inside.piece(item(1).subarray(0, 3));
  const timer = setInterval(() => {
    inside.piece(new Uint8Array(0));
    between.unit(UNIT.pulse, 0);
  }, 250);
  onTestFinished(() => clearInterval(timer));
  await vi.waitFor(() => expect(target.failures).toMatchObject([{ code: 'stream_cut' }]), 5_000);
  clearInterval(timer);
  between.unit(UNIT.end, 0, undefined, true);
  expect(await between.value()).toBe(0);
});

it('half-open uploads take the places of their own session, and end with it within a second', async () => {
  const { app, peer, target, client } = await start();
  const calls = Array.from({ length: 40 }, () => new LiveCall(peer, [{ name: 'sum', args: [none] }]));
  for (const call of calls) call.request.on('error', () => undefined);
  await vi.waitFor(() => expect(target.begun).toBe(40));
  const other = await client();
  expect(only(await other.call('plain', 'other'))).toBe('other');
  const before = performance.now();
  await app.get(SealwireSessions).revoke(peer.id);
  await vi.waitFor(() => expect(target.failures).toHaveLength(40), { timeout: 2_000, interval: 10 });
  expect(performance.now() - before).toBeLessThan(1_000);
  expect(target.failures[0]).toMatchObject({ code: 'stream_cut' });
});

it('whoever replays a live call, without keys, runs nothing, cuts nothing and gets the same answer', async () => {
  const { app, peer, target } = await start();
  const up = new LiveCall(peer, [{ name: 'sum', args: [none] }]);
  up.piece(item(1));
  await vi.waitFor(() => expect(target.begun).toBe(1));
  const down = await callLive(peer, { name: 'ticks', args: [] });
  const ticks = (await down.value<AsyncIterable<number>>())[Symbol.asyncIterator]();
  await ticks.next();
  const sockets = new Set<Socket>();
  const replay = (rest: Uint8Array): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const again = httpRequest(peer.url, { method: 'POST', headers: { 'content-type': CONTENT_TYPE } });
      again
        .on('error', reject)
        .on('socket', (socket) => sockets.add(socket))
        .on('response', async (response) => resolve(Buffer.concat(await response.toArray())));
      again.write(concat(up.first, rest));
    });
  const replays = Array.from({ length: 8 }, (_, i) => replay(new Uint8Array(i * 4_000)));
  const entered = vi.spyOn(app.get(NumberLedger), 'accept');
  await vi.waitFor(() => expect(entered).toHaveBeenCalledTimes(8));
  expect([target.begun, target.failures.length, target.aborted]).toEqual([1, 0, 0]);
  up.piece(concat(item(2), encodeUnit(UNIT.end, 0, new Uint8Array(0))), true);
  expect(await up.value()).toBe(3);
  expect(await ticks.next()).toMatchObject({ done: false });
  const answer = await up.answer;
  for (const same of await Promise.all(replays)) expect(new Uint8Array(same)).toEqual(answer);
  // their bodies have no end, and nobody waits for it
  await vi.waitFor(() => expect([...sockets].every(({ destroyed }) => destroyed)).toBe(true));
  // over: the beginning is enough to be told
  expect(await sendLive(peer, up.first)).toEqual(answer);
  await ticks.return?.();
  down.cut();
});

it('a live flag on a handshake, a question in lane 0 or an ordinary call is refused', async () => {
  const { peer } = await start();
  for (const type of [1, 3]) {
    const frame = new Uint8Array(400);
    frame.set([type, 1, 3]);
    await expect(sendLive(peer, frame)).rejects.toThrow(/handshake_failed|bad_frame/);
  }
  const frame = peer.frame([{ name: 'plain', args: ['x'.repeat(70_000)] }]);
  frame[2] = 3;
  await expect(sendLive(peer, frame)).rejects.toThrow('bad_frame');
  expect(only(await peer.call('plain', 1))).toBe(1);
});

it('whoever was told the id of a run stops its streams, in any session, and whatever else is named is no stream', async () => {
  const { client, app } = await startStreams({ functions: Target, options: { sessionCalls: 2 } });
  const target = app.get(Target);
  const one = await client();
  const [first, second] = [
    await callLive(one, { name: 'ticks', args: [] }),
    await callLive(one, { name: 'ticks', args: [] }),
  ];
  await Promise.all([first?.value(), second?.value()]);
  const id = (answer: LiveAnswer | undefined) => Buffer.from(answer?.run ?? '', 'hex');
  const odd = [
    [],
    [1],
    ['1', 0],
    [id(first)],
    [id(first), 7],
    [id(first), -1],
    [id(first), 0.5],
    [id(first), Number.NaN, '0', 2n ** 70n],
  ];
  for (const args of [...odd, [new Uint8Array(16), 0], [id(first).subarray(1), 0], [{}, [], new Map()]]) {
    expect(only(await one.call('$stop', ...args))).toBeUndefined();
  }
  expect(target.aborted).toBe(0);
  // the session runs as many calls as it may
  expect(await one.call('plain', 1)).toEqual({ status: 'busy' });
  expect(only(await (await client()).call('$stop', id(first), 0))).toBeUndefined();
  await first?.ended;
  expect(target.aborted).toBe(1);
  expect(only(await one.call('$stop', id(first), 0))).toBeUndefined();
  second?.cut();
});

it('clients that do not read are held at what buffers hold, and let go when they go', async () => {
  const { client, app } = await startStreams();
  const watch = app.get((await import('./streams-application.js')).Watch);
  const peer = await client();
  const answers: LiveAnswer[] = await Promise.all(
    Array.from({ length: 50 }, () => callLive(peer, { name: 'endless', args: [] })),
  );
  let before = -1;
  await vi.waitFor(
    async () => {
      const now = watch.yielded;
      const still = now === before;
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(still).toBe(true);
    },
    { timeout: 20_000 },
  );
  // a KiB each
  expect(watch.yielded / 50).toBeLessThan(12_000);
  for (const answer of answers) answer.cut();
  await vi.waitFor(() => expect(watch.closed).toBe(50), { timeout: 5_000 });
});
