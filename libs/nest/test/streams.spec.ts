import 'reflect-metadata';
import type { ServerResponse } from 'node:http';
import { type INestApplication, Injectable, Logger } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { RemoteFile } from '@sealwire/core';
import { UNIT } from '@sealwire/core/live';
import { RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import compression from 'compression';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { callLive, type LiveAnswer, listOf, type PeerError, resultOf } from './live-peer.js';
import { startStreams } from './streams-application.js';
import { only } from './support.js';

async function textOf(stream: ReadableStream<Uint8Array>): Promise<string> {
  return new Response(stream).text();
}

async function returned<T>(answer: LiveAnswer): Promise<T> {
  return answer.value<T>();
}

describe.each([
  ['Express', undefined],
  [
    'Fastify',
    (module: { createNestApplication(adapter: FastifyAdapter): never }) =>
      module.createNestApplication(new FastifyAdapter()),
  ],
])('results that stream, on %s', (_, create) => {
  it('are items of a generator, an Observable, or bytes of a web or Node stream', async () => {
    const { client } = await startStreams({ create: create as never });
    const peer = await client();
    const items = async (name: string, ...args: unknown[]) =>
      listOf(await resultOf<AsyncIterable<unknown>>(peer, { name, args }));
    expect(await items('count', 3)).toEqual([0, 1, 2]);
    expect(await items('observable')).toEqual([1, 2, 3]);
    const web = await returned<ReadableStream<Uint8Array>>(await callLive(peer, { name: 'web', args: [] }));
    expect((await new Response(web).arrayBuffer()).byteLength).toBe(3 * 65_536);
    const readable = await returned<ReadableStream<Uint8Array>>(await callLive(peer, { name: 'readable', args: [] }));
    expect(await textOf(readable)).toBe('one two');
    expect(only(await peer.call('plain', 5n))).toBe(5n);
  });

  it('tell proxies not to hold them back, and are not compressed', async () => {
    const { client } = await startStreams({ create: create as never });
    const answer = await callLive(await client(), { name: 'count', args: [20_000] });
    const { response } = answer;
    expect(response.headers).toMatchObject({
      'content-type': 'application/vnd.sealwire',
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
    });
    expect(response.headers['content-length']).toBeUndefined();
    expect(await listOf(await returned<AsyncIterable<unknown>>(answer))).toHaveLength(20_000);
  });

  it('leave as one body if all of them comes in one turn, and no proxy needs to be told', async () => {
    const { client } = await startStreams({ create: create as never });
    const peer = await client();
    vi.spyOn(performance, 'now').mockReturnValue(performance.now());
    onTestFinished(() => void vi.restoreAllMocks());
    const { response, ended } = await callLive(peer, { name: 'count', args: [40] });
    expect(response.headers).toMatchObject({ 'content-length': expect.any(String) });
    expect(response.headers).not.toHaveProperty('x-accel-buffering');
    expect(await ended).toBeUndefined();
  });
});

describe('results that stream', () => {
  it('are files with what is known of them', async () => {
    const { client } = await startStreams();
    const peer = await client();
    const file = async (name: string) => returned<RemoteFile>(await callLive(peer, { name, args: [] }));
    const streamable = await file('streamable');
    expect(streamable).toMatchObject({ name: 'plän.txt', type: 'text/plain', size: 6 });
    expect(await textOf(streamable.stream())).toBe('a file');
    const blob = await file('blob');
    expect(blob).toBeInstanceOf(RemoteFile);
    expect([blob.type, blob.size, await textOf(blob.stream())]).toEqual(['text/plain', 6, 'a blob']);
  });

  it('stand where they stood in an object', async () => {
    const { client } = await startStreams();
    const answer = await callLive(await client(), { name: 'holding', args: [] });
    const value = await returned<{ name: string; list: [AsyncIterable<unknown>, RemoteFile]; when: Date }>(answer);
    expect([value.name, value.when]).toEqual(['both', new Date(0)]);
    expect(await listOf(value.list[0])).toEqual(['a', { b: 2n }]);
    expect(value.list[1]).toMatchObject({ name: 'x.bin', type: 'a/b', size: 2 });
    expect(await textOf(value.list[1].stream())).toBe('xy');
    expect(await answer.ended).toBeUndefined();
    expect(answer.run).toMatch(/^[0-9a-f]{32}$/);
  });

  it('have the small items of a turn in one piece', async () => {
    const { client } = await startStreams();
    const answer = await callLive(await client(), { name: 'count', args: [40] });
    expect(await listOf(await returned<AsyncIterable<unknown>>(answer))).toHaveLength(40);
    expect(await answer.ended).toBeUndefined();
    expect(answer.pieces).toBeLessThanOrEqual(2);
  });

  it('that fail while they are closed, of which no client learns, are logged', async () => {
    const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
    const { client } = await startStreams();
    const answer = await callLive(await client(), { name: 'spoiled', args: [] });
    await ((await answer.value()) as AsyncGenerator<number>).next();
    answer.cut();
    const sentence = 'Down.spoiled, while what it streams was closed: The file is locked.';
    await vi.waitFor(() => expect(logged.mock.calls.map(([text]) => text)).toEqual([sentence]));
    logged.mockRestore();
  });

  it('end with the typed error that came midway, and with internal for every other, which is logged', async () => {
    const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
    const { client } = await startStreams();
    const peer = await client();
    const failure = async (kind: string) => {
      const items: unknown[] = [];
      const stream = await returned<AsyncIterable<unknown>>(await callLive(peer, { name: 'failing', args: [kind] }));
      try {
        for await (const item of stream) items.push(item);
      } catch (error) {
        const { code, message, details } = error as PeerError;
        return { items, code, message, details };
      }
      throw new Error('ended well');
    };
    expect(await failure('typed')).toEqual({ items: [1, 2], code: 'dry', message: 'No more.', details: { at: 2n } });
    expect(await failure('http')).toMatchObject({ items: [1, 2], code: 'conflict', details: { status: 409 } });
    expect(logged).not.toHaveBeenCalled();
    expect(await failure('other')).toMatchObject({ items: [1, 2], code: 'internal', details: undefined });
    expect(logged).toHaveBeenCalledOnce();
    logged.mockRestore();
  });

  it('stop a generator whose consumer does not read, and close it once when the consumer is gone', async () => {
    const { client, watch } = await startStreams();
    const answer = await callLive(await client(), { name: 'endless', args: [] });
    const items = await returned<AsyncIterable<unknown>>(answer);
    const iterator = items[Symbol.asyncIterator]();
    await iterator.next();
    // nobody reads from here on: buffers of both sides fill
    await vi.waitFor(
      async () => {
        const before = watch.yielded;
        await new Promise((resolve) => setTimeout(resolve, 200));
        expect(watch.yielded).toBe(before);
      },
      { timeout: 10_000 },
    );
    expect(watch.yielded).toBeLessThan(40_000);
    expect(watch.closed).toBe(0);
    answer.cut();
    await vi.waitFor(() => expect(watch.closed).toBe(1));
    const { yielded } = watch;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([watch.yielded, watch.closed]).toEqual([yielded, 1]);
  });

  it('close their sources if something beside them cannot be sent', async () => {
    const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
    const { client, watch } = await startStreams();
    const reply = await callLive(await client(), { name: 'unfit', args: [] });
    await expect(reply.value()).rejects.toMatchObject({ code: 'internal' });
    expect(await reply.ended).toBeUndefined();
    expect(watch.yielded).toBe(0);
    logged.mockRestore();
  });

  it('are refused, or end as an error, if what is said of a file is not so, and the log says why', async () => {
    const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
    const { client } = await startStreams();
    const peer = await client();
    const misnamed = (...args: unknown[]) => callLive(peer, { name: 'misnamed', args });
    await expect((await misnamed('x'.repeat(1_025), 3)).value()).rejects.toMatchObject({ code: 'internal' });
    expect(logged.mock.lastCall?.[0]).toBe('Down.misnamed: The result cannot be sent: a file with such a name.');
    const file = await returned<RemoteFile>(await misnamed('x', 10));
    await expect(file.bytes()).rejects.toMatchObject({ code: 'internal' });
    expect(logged.mock.lastCall?.[0]).toMatch(/^Down\.misnamed, .*: A file of 10 bytes had 3 bytes\.$/);
    logged.mockRestore();
  });

  it('unsubscribe from an Observable whose consumer is gone', async () => {
    const { client, watch } = await startStreams();
    const answer = await callLive(await client(), { name: 'subject', args: [] });
    const items = await returned<AsyncIterable<number>>(answer);
    watch.subject.next(1);
    expect(await items[Symbol.asyncIterator]().next()).toEqual({ done: false, value: 1 });
    expect(watch.subject.observed).toBe(true);
    answer.cut();
    await vi.waitFor(() => expect(watch.subject.observed).toBe(false));
  });

  it('send a pulse in silence', async () => {
    const { client, watch } = await startStreams({ options: { pulse: 1 } });
    const answer = await callLive(await client(), { name: 'subject', args: [] });
    await answer.value();
    await vi.waitFor(() => expect(answer.units.filter(({ kind }) => kind === UNIT.pulse).length).toBe(2), 5_000);
    watch.subject.complete();
    expect(await answer.ended).toBeUndefined();
  });
});

describe('behind middleware that compresses', () => {
  it('items come as they are yielded', async () => {
    const prepare = (app: INestApplication) => app.use(compression({ threshold: 0, filter: () => true }));
    const { client, watch } = await startStreams({ prepare });
    const answer = await callLive(await client(), { name: 'subject', args: [] });
    const items = (await returned<AsyncIterable<number>>(answer))[Symbol.asyncIterator]();
    expect(answer.response.headers['content-encoding']).toBeUndefined();
    for (const item of [1, 2]) {
      watch.subject.next(item);
      expect(await items.next()).toEqual({ done: false, value: item });
    }
    answer.cut();
  });
});

describe('an Observable', () => {
  it('whose items are not read fails above a bound, and is unsubscribed from', async () => {
    const { client, watch } = await startStreams();
    const answer = await callLive(await client(), { name: 'subject', args: [] });
    const items = await returned<AsyncIterable<number>>(answer);
    for (let i = 0; i < 20_000; i++) watch.subject.next(i);
    expect(watch.subject.observed).toBe(false);
    await expect(
      (async () => {
        for await (const _ of items);
      })(),
    ).rejects.toMatchObject({ code: 'consumer_slow' });
  });
});

describe('interceptors', () => {
  it('see each item of an Observable, one value of anything else, and an announced stream before its first item', async () => {
    const { client } = await startStreams();
    const peer = await client();
    const items = await resultOf<AsyncIterable<unknown>>(peer, { name: 'intercepted', args: [] });
    expect(await listOf(items)).toEqual([2, 4, 6]);
    expect(only(await peer.call('one'))).toBe(8);
    const silent = await callLive(peer, { name: 'silent', args: [] });
    expect(Symbol.asyncIterator in (await silent.value<object>())).toBe(true);
    silent.cut();
  });
});

describe('a batch', () => {
  it('hands out each outcome as it is ready, and streams beside them', async () => {
    const { client } = await startStreams();
    const answer = await callLive(
      await client(),
      { name: 'after', args: [200, 'slow'] },
      { name: 'plain', args: ['fast'] },
      { name: 'count', args: [2] },
    );
    expect(await answer.value(1)).toBe('fast');
    expect(await listOf(await answer.value<AsyncIterable<unknown>>(2))).toEqual([0, 1]);
    expect(answer.units.some(({ kind, stream }) => kind === UNIT.outcome && stream === 0)).toBe(false);
    expect(await answer.value(0)).toBe('slow');
    expect(await answer.ended).toBeUndefined();
  });

  it('whose calls are ready together is an ordinary result', async () => {
    const { client } = await startStreams();
    const peer = await client();
    const reply = await peer.send(peer.frame([1, 2, 3].map((value) => ({ name: 'plain', args: [value] }))));
    expect(reply).toMatchObject({ outcomes: [{ value: 1 }, { value: 2 }, { value: 3 }] });
  });
});

it.each([
  ['one', 'a stream'],
  ['few', 'a stream that has ended already'],
])('%s: %s whose response the application has ended itself is lost, and the server goes on', async (name) => {
  let current: ServerResponse | undefined;
  let closing = true;
  @RemoteFunctions('live')
  @Injectable()
  class Ending {
    @RemoteFunction({ resumable: true })
    async *one(): AsyncGenerator<number> {
      current?.end();
      yield 1;
    }

    @RemoteFunction()
    async *few(): AsyncGenerator<number> {
      current?.end();
      yield 1;
    }
  }
  const { client } = await startStreams({
    functions: Ending,
    prepare: (app) =>
      app.use((_request: unknown, response: ServerResponse, next: () => void) => {
        current = closing ? response : undefined;
        next();
      }),
  });
  const peer = await client();
  await expect(resultOf(peer, { name, args: [] })).rejects.toThrow();
  closing = false;
  const other = await client();
  expect(await listOf(await resultOf<AsyncIterable<number>>(other, { name, args: [] }))).toEqual([1]);
});
