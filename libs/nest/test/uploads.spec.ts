import 'reflect-metadata';
import { createHash } from 'node:crypto';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger, Res, StreamableFile, ValidationPipe } from '@nestjs/common';
import { CONTENT_TYPE, encodeCalls, RemoteFile } from '@sealwire/core';
import { encodeUnit, UNIT } from '@sealwire/core/live';
import { type Injected, RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import { IsInstance, IsInt } from 'class-validator';
import { expect, it, onTestFinished, vi } from 'vitest';
import { LiveAnswer, LiveCall, sendLive } from './live-peer.js';
import { type StartOptions, startStreams, Watch } from './streams-application.js';
import { only } from './support.js';

class DocumentDto {
  @IsInt()
  year!: number;

  @IsInstance(RemoteFile)
  file!: RemoteFile;
}

@RemoteFunctions('live')
@Injectable()
class Up {
  begun = 0;
  readonly failures: unknown[] = [];
  received = 0;

  constructor(private readonly watch: Watch) {}

  @RemoteFunction()
  plain(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  async document(dto: DocumentDto, note: string): Promise<unknown> {
    const { file } = dto;
    const text = Buffer.from(await file.bytes()).toString();
    return {
      note,
      year: dto.year,
      name: file.name,
      type: file.type,
      size: file.size,
      text,
      typed: dto instanceof DocumentDto,
    };
  }

  @RemoteFunction()
  async sum(items: AsyncIterable<number>): Promise<number> {
    this.begun += 1;
    let sum = 0;
    try {
      for await (const item of items) {
        sum += item;
        this.received += 1;
      }
    } catch (error) {
      this.failures.push(error);
      throw error;
    }
    return sum;
  }

  @RemoteFunction()
  early(_content: ReadableStream<Uint8Array>, @Res() response: Injected<{ json(body: unknown): unknown }>): unknown {
    return response.json('early');
  }

  @RemoteFunction({ maxUpload: 1_000 })
  async small(file: RemoteFile): Promise<number> {
    return (await file.bytes()).length;
  }

  @RemoteFunction()
  async hash(bytes: ReadableStream<Uint8Array>): Promise<unknown> {
    const hash = createHash('sha256');
    let length = 0;
    for await (const chunk of bytes as unknown as AsyncIterable<Uint8Array>) {
      hash.update(chunk);
      length += chunk.length;
    }
    return { length, hash: hash.digest('hex') };
  }

  @RemoteFunction()
  unread(_bytes: ReadableStream<Uint8Array>): string {
    return 'unread';
  }

  @RemoteFunction()
  async idle(_bytes: ReadableStream<Uint8Array>): Promise<string> {
    this.begun += 1;
    await new Promise((resolve) => this.watch.subject.subscribe(resolve));
    return 'never read';
  }

  @RemoteFunction()
  async *echo(items: AsyncIterable<unknown>): AsyncGenerator<unknown> {
    for await (const item of items) yield [item];
  }
}

async function start(more: Partial<StartOptions> = {}) {
  const started = await startStreams({ functions: Up, ...more });
  return { ...started, up: started.app.get(Up), peer: await started.client() };
}

it('a DTO holds a file, which pipes leave whole', async () => {
  const { peer } = await start();
  const file = new File(['hello'], 'a.txt', { type: 'text/plain' });
  const call = new LiveCall(peer, [{ name: 'document', args: [{ year: 2024, file, more: 1 }, 'x'] }]);
  await call.rest();
  const facts = { name: 'a.txt', type: 'text/plain', size: 5, text: 'hello' };
  expect(await call.value()).toEqual({ note: 'x', year: 2024, typed: true, ...facts });
  const invalid = new LiveCall(peer, [{ name: 'document', args: [{ year: 'x', file: new File(['h'], 'b') }, 'x'] }]);
  await invalid.rest();
  await expect(invalid.value()).rejects.toMatchObject({ code: 'bad_request' });
});

it('pipes that validate without transforming leave it whole as well', async () => {
  const { peer } = await start({ prepare: (app) => app.useGlobalPipes(new ValidationPipe({ whitelist: true })) });
  const call = new LiveCall(peer, [{ name: 'document', args: [{ year: 1, file: new File(['hi'], 'a') }, 'x'] }]);
  await call.rest();
  expect(await call.value()).toMatchObject({ text: 'hi' });
});

it('the function begins when the first piece has opened, and gets items as they come', async () => {
  const { peer, up } = await start();
  const source = (async function* () {
    yield 1;
    await vi.waitFor(() => expect(up.received).toBe(1));
    yield 2;
  })();
  const call = new LiveCall(peer, [{ name: 'sum', args: [source] }]);
  await vi.waitFor(() => expect(up.begun).toBe(1));
  await call.rest();
  expect(await call.value()).toBe(3);
});

it('bytes of a payload longer than a piece, and of an upload of some MiB, arrive as they were', async () => {
  const { peer } = await start();
  const bytes = new Uint8Array(5_000_000).map((_, i) => i * 7);
  const stream = new Blob([bytes]).stream();
  const call = new LiveCall(peer, [{ name: 'hash', args: [stream] }]);
  await call.rest();
  expect(await call.value()).toEqual({ length: bytes.length, hash: createHash('sha256').update(bytes).digest('hex') });
});

it('an upload that breaks off, or stays silent, is an error in the function', async () => {
  const { peer, up } = await start({ options: { bodyTimeout: 200 } });
  const endless = (async function* () {
    yield 1;
  })();
  const cut = new LiveCall(peer, [{ name: 'sum', args: [endless] }]);
  await vi.waitFor(() => expect(up.begun).toBe(1));
  cut.request.destroy();
  await vi.waitFor(() => expect(up.failures).toMatchObject([{ code: 'stream_cut', details: { items: 0 } }]));
  const silent = new LiveCall(peer, [{ name: 'sum', args: [(async function* () {})()] }]);
  await expect(silent.value()).rejects.toMatchObject({ code: 'stream_cut' });
});

it('an upload lives by the pieces that open, not by a byte now and then', async () => {
  const { peer, up } = await start({ options: { bodyTimeout: 1_000 } });
  const call = (): LiveCall => new LiveCall(peer, [{ name: 'sum', args: [(async function* () {})()] }]);
  const slow = call();
  for (let i = 0; i < 5; i++) {
    await sleep(300);
    slow.unit(UNIT.pulse, 0);
  }
  await slow.rest();
  expect(await slow.value()).toBe(0);
  const held = call();
  held.request.write(Uint8Array.of(0, 0xff, 0xff));
  const byte = setInterval(() => held.request.write(Uint8Array.of(7)), 20);
  onTestFinished(() => clearInterval(byte));
  await expect(held.value()).rejects.toMatchObject({ code: 'stream_cut' });
  expect(up.failures).toHaveLength(1);
});

it('more than maxUpload of the function or the module is refused under seal as soon as it is over', async () => {
  const { peer } = await start({ live: { maxUpload: 100_000 } });
  expect(peer.answered.serverOptions).toMatchObject({ maxUpload: 100_000, pulse: 15 });
  const over = new LiveCall(peer, [{ name: 'small', args: [new Blob([new Uint8Array(1_001)])] }]);
  void over.rest().catch(() => undefined);
  await expect(over.value()).rejects.toMatchObject({ code: 'too_large', details: { limit: 1_000 } });
  const fits = new LiveCall(peer, [{ name: 'small', args: [new Blob([new Uint8Array(1_000)])] }]);
  await fits.rest();
  expect(await fits.value()).toBe(1_000);
  // in a batch each call has its own
  const batch = new LiveCall(peer, [
    { name: 'hash', args: [new Blob([new Uint8Array(50_000)]).stream()] },
    { name: 'small', args: [new Blob([new Uint8Array(1_001)])] },
  ]);
  void batch.rest().catch(() => undefined);
  const outcome = await batch.answer.then((it) =>
    it instanceof LiveAnswer ? it.outcome(1) : batch.outcomes().then((all) => all[1]),
  );
  expect(outcome).toMatchObject({ code: 'too_large' });
  const endless = new LiveCall(peer, [{ name: 'hash', args: [new Blob([new Uint8Array(1_000_000)]).stream()] }]);
  void endless.rest().catch(() => undefined);
  await expect(endless.value()).rejects.toMatchObject({ code: 'too_large', details: { limit: 100_000 } });
});

it('a function that does not read its stream keeps little of it, and its answer arrives', async () => {
  const { peer, up, watch } = await start();
  let sent = 0;
  const source = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      sent += 65_536;
      controller.enqueue(new Uint8Array(65_536));
    },
  });
  const call = new LiveCall(peer, [{ name: 'idle', args: [source] }]);
  void call.rest().catch(() => undefined);
  await vi.waitFor(() => expect(up.begun).toBe(1));
  await vi.waitFor(
    async () => {
      const before = sent;
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(sent).toBe(before);
    },
    { timeout: 10_000 },
  );
  expect(sent).toBeLessThan(20 * 1_048_576);
  watch.subject.next(1);
  expect(await call.value()).toBe('never read');
});

it('an early answer reaches a caller on a slow line, who reads it when all has left, and nobody else keeps a connection', async () => {
  const { peer } = await start();
  const call = new LiveCall(peer, [{ name: 'nothing', args: [new Blob([new Uint8Array(10)])] }]);
  await expect(call.value()).rejects.toMatchObject({ code: 'function_unknown' });
  /** Sends it as a browser does: the rest, of which nothing is used any more, in two seconds. */
  const slowly = async (first: Uint8Array): Promise<Buffer> => {
    const { hostname, port, pathname } = new URL(peer.url);
    const socket = connect(Number(port), hostname);
    onTestFinished(() => void socket.destroy());
    const parts: Buffer[] = [];
    socket.on('data', (part) => parts.push(part)).on('error', () => undefined);
    const PARTS = 10;
    const length = first.length + PARTS * 1_000;
    socket.write(
      `POST ${pathname} HTTP/1.1\r\nhost: x\r\ncontent-type: ${CONTENT_TYPE}\r\ncontent-length: ${length}\r\n\r\n`,
    );
    socket.write(first);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    for (let i = 0; i < PARTS && !socket.destroyed; i++) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      socket.write(new Uint8Array(1_000));
    }
    await closed;
    return socket.bytesWritten > length ? Buffer.concat(parts) : Buffer.alloc(0);
  };
  const answer = await slowly(call.first);
  const body = answer.subarray(answer.indexOf('\r\n\r\n') + 4);
  expect(only(peer.open(call.first, new Uint8Array(body)))).toMatchObject({ code: 'function_unknown' });
  const forged = call.first.slice();
  forged.fill(0, 40);
  expect(await slowly(forged)).toHaveLength(0);
}, 20_000);

it('an early answer reaches a browser, which reads none before it has sent all of a long file', async () => {
  const { peer } = await start();
  const { first, request } = new LiveCall(peer, [{ name: 'small', args: [new Blob([new Uint8Array(20_000_000)])] }]);
  request.on('error', () => undefined).destroy();
  const { hostname, port, pathname } = new URL(peer.url);
  const socket = connect(Number(port), hostname);
  const parts: Buffer[] = [];
  const length = first.length + 20_000_000;
  const head = `POST ${pathname} HTTP/1.1\r\nhost: x\r\ncontent-type: ${CONTENT_TYPE}\r\ncontent-length: ${length}\r\n\r\n`;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const sent = new Promise<unknown>((resolve) => {
    socket.once('error', resolve);
    socket.write(head);
    socket.write(first);
    socket.write(new Uint8Array(20_000_000), resolve);
  });
  expect(await sent).toBeFalsy();
  socket.on('data', (part) => parts.push(part));
  await closed;
  const answer = Buffer.concat(parts);
  const body = answer.subarray(answer.indexOf('\r\n\r\n') + 4);
  expect(peer.open(first, new Uint8Array(body))).toBeDefined();
});

it('an answer through the response comes while an upload goes on, although the function returns the response', async () => {
  const { peer } = await start();
  const call = new LiveCall(peer, [{ name: 'early', args: [new ReadableStream()] }]);
  expect(await call.value()).toBe('early');
});

it('items go up and down at the same time', async () => {
  const { peer } = await start();
  const source = (async function* () {
    yield 1;
    yield 'two';
  })();
  const call = new LiveCall(peer, [{ name: 'echo', args: [source] }]);
  const answer = (await call.answer) as LiveAnswer;
  const items = (await answer.value<AsyncIterable<unknown>>())[Symbol.asyncIterator]();
  void call.rest();
  expect(await items.next()).toEqual({ done: false, value: [1] });
  expect(await items.next()).toEqual({ done: false, value: ['two'] });
  expect(await items.next()).toEqual({ done: true, value: undefined });
});

it('a retransmission of a live call runs nothing again', async () => {
  const { peer, up } = await start();
  const call = new LiveCall(peer, [{ name: 'sum', args: [(async function* () {})()] }]);
  await vi.waitFor(() => expect(up.begun).toBe(1));
  // no more than header and first chunk: it runs, and a duplicate waits for the result like any other
  const again = sendLive(peer, call.first);
  await call.rest();
  expect(await call.value()).toBe(0);
  expect(only(peer.open(call.first, (await again) as Uint8Array))).toBe(0);
  expect(only(peer.open(call.first, (await sendLive(peer, call.first)) as Uint8Array))).toBe(0);
  expect(up.begun).toBe(1);
});

it('what is malformed under the seal ends the call, and what is not sealed is refused', async () => {
  const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
  const { peer, up } = await start();
  const call = (): LiveCall => new LiveCall(peer, [{ name: 'sum', args: [(async function* () {})()] }]);
  const unannounced = call();
  unannounced.unit(UNIT.item, 7, Uint8Array.of(1));
  await expect(unannounced.value()).rejects.toMatchObject({ code: 'stream_cut' });
  const unended = call();
  unended.piece(new Uint8Array(0), true);
  await expect(unended.value()).rejects.toMatchObject({ code: 'stream_cut' });
  const behind = call();
  behind.unit(UNIT.end, 0, undefined, true);
  expect(await behind.value()).toBe(0);
  const altered = call();
  altered.request.write(Uint8Array.of(0, 0, 80));
  altered.request.end(new Uint8Array(80));
  await expect(altered.value()).rejects.toMatchObject({ code: 'stream_cut' });
  expect(up.failures).toHaveLength(3);
  const malformed = call();
  malformed.unit(UNIT.item, 0, Uint8Array.of(0xff));
  await expect(malformed.value()).rejects.toMatchObject({ code: 'stream_failed' });
  expect(logged).not.toHaveBeenCalled();

  const noPayload = new LiveCall(peer, [], encodeUnit(UNIT.end, 0, new Uint8Array(0)));
  await expect(noPayload.answer).rejects.toThrow('bad_frame');
  const references = Array.from({ length: 10_000 }, () => (async function* () {})());
  expect(() => new LiveCall(peer, [{ name: 'plain', args: [references] }])).toThrow();
  const forged = new LiveCall(peer, [{ name: 'plain', args: [1] }]).first;
  forged[forged.length - 1]! ^= 1;
  await expect(sendLive(peer, forged)).rejects.toThrow('bad_frame');
  const flagged = peer.frame([{ name: 'plain', args: [1] }]);
  flagged[2] = 3;
  await expect(sendLive(peer, flagged)).rejects.toThrow('bad_frame');
  // what a resuming call saw last is a value, and nobody would count the bytes of a stream in it
  const position = new LiveCall(peer, [
    { name: 'sum', args: [references[0]], resume: { run: new Uint8Array(16), position: { deep: [references[1]] } } },
  ]);
  await expect(position.answer).rejects.toThrow('bad_frame');
  // a reference without a live call
  const payload = encodeCalls([{ name: 'plain', args: [references[0]] }], {
    replace: (value) => (value === references[0] ? ['items', 0] : undefined),
  });
  await expect(peer.send(peer.sealAs(payload).frame)).rejects.toThrow('bad_frame');
  expect(only(await peer.call('plain', 1))).toBe(1);
  logged.mockRestore();
});

it('an argument that has to be a stream is refused if it is none', async () => {
  const { peer } = await start();
  const refused = { code: 'bad_request', message: 'Argument 1 of small has to be a RemoteFile.' };
  expect(only(await peer.call('small', 'text'))).toMatchObject(refused);
  const bytes = new LiveCall(peer, [{ name: 'small', args: [new Blob(['a']).stream()] }]);
  await bytes.rest();
  await expect(bytes.value()).rejects.toMatchObject(refused);
  const call = new LiveCall(peer, [{ name: 'hash', args: [Readable.from([Buffer.from('a')])] }]);
  await call.rest();
  await expect(call.value()).rejects.toMatchObject({ message: expect.stringContaining('Readable.from()') });
});

@RemoteFunctions('live')
@Injectable()
class TakesBlob {
  @RemoteFunction()
  store(_name: string, _file: Blob): void {}
}

@RemoteFunctions('live')
@Injectable()
class TakesReadable {
  @RemoteFunction()
  store(_bytes: Readable): void {}
}

@RemoteFunctions('live')
@Injectable()
class TakesStreamableFile {
  @RemoteFunction()
  store(_file: StreamableFile): void {}
}

it.each([
  [TakesBlob, 'Parameter 2 of TakesBlob.store is a Blob, which never arrives; take RemoteFile.'],
  [TakesReadable, /is a Readable, which never arrives; take ReadableStream<Uint8Array>\.$/],
  [TakesStreamableFile, /is a StreamableFile, .* take RemoteFile\.$/],
])('a parameter of a type that never arrives stops the start: %o', async (functions, sentence) => {
  await expect(startStreams({ functions })).rejects.toThrow(sentence);
});

it('an empty live call without streams is a call', async () => {
  const { peer } = await start();
  const call = new LiveCall(peer, [{ name: 'plain', args: [5] }]);
  await call.rest();
  expect(await call.value()).toBe(5);
});

it('a stopped server waits no longer for more of an upload', async () => {
  const timers = vi.spyOn(globalThis, 'setTimeout');
  onTestFinished(() => timers.mockRestore());
  const { app, peer, up } = await start({ options: { bodyTimeout: 54_321 } });
  const items = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => undefined) }) };
  const call = new LiveCall(peer, [{ name: 'sum', args: [items] }]);
  call.answer.catch(() => undefined);
  call.request.on('error', () => undefined);
  await vi.waitFor(() => expect(up.begun).toBe(1));
  const waits = () => timers.mock.results.filter((_, i) => timers.mock.calls[i]?.[1] === 54_321);
  const running = () => waits().filter(({ value }) => !(value as { _destroyed: boolean })._destroyed);
  await vi.waitFor(() => expect(running()).not.toEqual([]));
  await app.close();
  expect(running()).toEqual([]);
});

it('the beginning of a payload that is sent again without its end takes its place among waiting bodies, and a time', async () => {
  const { peer } = await start({ options: { bodyTimeout: 400, maxBody: 200_000, maxWaitingBytes: 600_000 } });
  const payload = encodeUnit(UNIT.payload, 0, encodeCalls([{ name: 'plain', args: ['x'.repeat(150_000)] }]));
  const { first, request, answer } = new LiveCall(peer, [], payload.subarray(0, 65_532));
  const path = { port: new URL(peer.url).port, path: '/remote/live', method: 'POST' };
  const replay = () => {
    const headers = { 'content-type': CONTENT_TYPE, 'content-length': 200_000 };
    const again = httpRequest({ ...path, headers }).on('error', () => undefined);
    again.write(first);
    // the head of a piece that never comes whole
    const trickle = [0, 255, 255, ...Array<number>(1_000).fill(0)].map((byte) => Uint8Array.of(byte)).values();
    const timer = setInterval(() => again.write(trickle.next().value as Uint8Array), 50);
    again.on('close', () => clearInterval(timer));
    return new Promise<number | undefined>((resolve) => {
      again.on('response', (response) => resolve(response.resume().statusCode)).on('close', () => resolve(undefined));
    });
  };
  const all = await Promise.all([replay(), replay(), replay(), replay()]);
  expect(all.sort()).toEqual([400, 503, 503, 503]);
  await expect(answer).rejects.toThrow('bad_frame');
  request.destroy();
  // what they held is free again
  const long = new LiveCall(peer, [{ name: 'plain', args: [] }], payload.subarray(0, 65_532));
  for (let at = 65_532; at < payload.length; at += 65_532) {
    long.piece(payload.subarray(at, at + 65_532), at + 65_532 >= payload.length);
  }
  expect(await long.value()).toHaveLength(150_000);
});

it.each(['a part of the first chunk', 'a payload without its end'])(
  '%s, which anybody can replay, keeps no server from stopping',
  async (kind) => {
    const { app, peer } = await start({ options: { bodyTimeout: 60_000 } });
    const unit = encodeUnit(UNIT.payload, 0, encodeCalls([{ name: 'plain', args: ['x'.repeat(90_000)] }]));
    const { first, request, answer } = new LiveCall(peer, [{ name: 'plain', args: [] }], unit.subarray(0, 60_000));
    request.destroy();
    await answer.catch(() => undefined);
    const arrived = new Promise((resolve) => app.getHttpServer().once('request', resolve));
    const replay = httpRequest(peer.url, { method: 'POST', headers: { 'content-type': CONTENT_TYPE } });
    const status = new Promise((resolve) => {
      replay.on('response', (response) => resolve(response.resume().statusCode)).on('error', resolve);
    });
    replay.write(kind === 'a part of the first chunk' ? first.subarray(0, 20_000) : first);
    await arrived;
    const before = performance.now();
    await app.close();
    expect(performance.now() - before).toBeLessThan(2_500);
    expect(await status).toBe(503);
  },
);

it('what is left of an upload that nobody reads is read if it is short, and its connection takes no other request', async () => {
  const { peer, app } = await start();
  const connections: unknown[] = [];
  app.getHttpServer().on('connection', (socket: unknown) => connections.push(socket));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  const path = { agent, port: new URL(peer.url).port, path: '/remote/live', method: 'POST' };
  const send = (begin: Uint8Array, rest?: Uint8Array) =>
    new Promise<Uint8Array>((resolve, reject) => {
      const request = httpRequest({ ...path, headers: { 'content-type': CONTENT_TYPE } }, async (response) => {
        const chunks: Buffer[] = [];
        if (rest) expect(response.headers.connection).toBe('close');
        if (rest) request.end(rest);
        for await (const chunk of response) chunks.push(chunk);
        resolve(new Uint8Array(Buffer.concat(chunks)));
      });
      request.on('error', reject);
      if (rest) request.write(begin);
      else request.end(begin);
    });
  const bytes = new Blob([new Uint8Array(10)]).stream();
  const { first, request } = new LiveCall(peer, [{ name: 'unread', args: [bytes] }]);
  request.on('error', () => undefined).destroy();
  connections.length = 0;
  // the function answers while the rest is on its way
  const answer = await send(first, new Uint8Array(900_000));
  expect(only(peer.open(first, answer))).toBe('unread');
  const next = peer.frame([{ name: 'plain', args: [1] }]);
  expect(only(peer.open(next, await send(next)))).toBe(1);
  expect(connections).toHaveLength(2);
});
