import { Readable } from 'node:stream';
import type { INestApplication } from '@nestjs/common';
import { CanActivate, ExecutionContext, Injectable, UnauthorizedException, UseGuards } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { createRemote, type Injected, type RemoteApi, RemoteFile, type RemoteOptions } from '@sealwire/client';
import { formatKeyText, generateKeyText, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import {
  at,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteProgress,
  RemoteResume,
  RemoteSignal,
  type Resume,
  remoteBytes,
  SealwireModule,
  SealwireSessions,
} from '@sealwire/nest';
import { from, type Observable } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { cutAfter, StreamProxy } from './support/stream-proxy.js';
import { TcpProxy } from './support/tcp-proxy.js';

const CONTENT = new Uint8Array(8_000_000).map((_, i) => i * 31);
const state = { yielded: 0, aborted: 0, runs: 0, closed: 0 };

@Injectable()
class TokenGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest();
    if (headers.authorization !== 'Bearer new') throw new UnauthorizedException();
    return true;
  }
}

@RemoteFunctions('streams')
class StreamsController {
  @RemoteFunction()
  add(a: number, b: number): number {
    return a + b;
  }

  @RemoteFunction()
  async *count(to: number): AsyncGenerator<number> {
    for (let i = 0; i < to; i++) {
      state.yielded++;
      yield i;
    }
  }

  /** Without an end. */
  @RemoteFunction()
  async *numbers(@RemoteSignal() signal: Injected<AbortSignal>): AsyncGenerator<Uint8Array> {
    signal.addEventListener('abort', () => state.aborted++);
    try {
      for (;;) {
        state.yielded++;
        yield new Uint8Array(50_000);
      }
    } finally {
      state.closed++;
    }
  }

  @RemoteFunction()
  async *ticks(): AsyncGenerator<number> {
    for (let i = 0; ; i++) {
      yield i;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  @RemoteFunction()
  observable(): Observable<string> {
    return from(['a', 'b']);
  }

  @RemoteFunction()
  report(): { name: string; rows: AsyncIterable<number>; content: Readable; file: File } {
    const content = Readable.from([Buffer.from('one '), Buffer.from('two')], { objectMode: false });
    return { name: 'r', rows: this.count(3), content, file: new File(['f'], 'f.txt', { type: 'text/plain' }) };
  }

  @RemoteFunction()
  async store(file: RemoteFile, note: string): Promise<{ name: string; size: number; note: string }> {
    state.runs++;
    return { name: file.name, size: (await file.bytes()).length, note };
  }

  @RemoteFunction({ idempotent: true })
  async keep(file: RemoteFile | AsyncIterable<Uint8Array>): Promise<number> {
    state.runs++;
    let bytes = 0;
    for await (const chunk of file instanceof RemoteFile ? file.stream() : file) bytes += chunk.length;
    return bytes;
  }

  /** Answers without reading what is sent. */
  @RemoteFunction()
  async unread(_content: AsyncIterable<Uint8Array>): Promise<never> {
    throw new RemoteFunctionError('unwanted', 'Nobody wants it.');
  }

  @RemoteFunction()
  async *echo(items: AsyncIterable<number>): AsyncGenerator<number> {
    for await (const item of items) yield item * 2;
  }

  @RemoteFunction({ resumable: true })
  async *watch(
    to: number,
    @RemoteResume() resume: Injected<Resume | undefined>,
  ): AsyncGenerator<{ i: number; filler: string }> {
    for (let i = resume ? (resume.position as number) + 1 : 0; i < to; i++) {
      yield at(i, { i, filler: 'x'.repeat(2_000) });
      if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  @RemoteFunction({ resumable: true })
  document(@RemoteResume() resume: Injected<Resume | undefined>): ReadableStream<Uint8Array> {
    const offset = (resume?.position as number) ?? 0;
    return remoteBytes(new Blob([CONTENT.subarray(offset)]).stream() as ReadableStream<Uint8Array>, {
      version: 'v1',
      offset,
    });
  }

  @RemoteFunction()
  async job(@RemoteProgress() progress: Injected<(value: unknown) => void>): Promise<string> {
    progress({ percent: 50 });
    await new Promise((resolve) => setTimeout(resolve, 50));
    progress({ percent: 90 });
    return 'done';
  }

  @RemoteFunction()
  async waits(@RemoteSignal() signal: Injected<AbortSignal>): Promise<void> {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    state.aborted++;
    // a client whose own clock runs late must not take a value for the outcome
    throw signal.reason;
  }

  /** Reads nothing of what is sent. */
  @RemoteFunction()
  async holds(_file: RemoteFile, @RemoteSignal() signal: Injected<AbortSignal>): Promise<void> {
    state.runs++;
    await this.waits(signal);
  }

  @RemoteFunction()
  async after(milliseconds: number): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    return milliseconds;
  }

  @RemoteFunction()
  async late(milliseconds: number): Promise<AsyncGenerator<number>> {
    state.runs++;
    await this.after(milliseconds);
    return this.count(3);
  }

  @RemoteFunction()
  ignores(_file: RemoteFile): string {
    return 'not read';
  }

  @RemoteFunction()
  @UseGuards(TokenGuard)
  guarded(_file: RemoteFile): string {
    return 'taken';
  }

  @RemoteFunction()
  @UseGuards(TokenGuard)
  secret(): string {
    return 'secret';
  }
}

const serverKey = generateKeyText('sws1', nodePrimitives);
const pin = formatKeyText('swp1', parseServerPrivateKey(serverKey, nodePrimitives).publicKey);

async function start(options: Partial<RemoteOptions> = {}, abandonAfter?: number) {
  const testing = await Test.createTestingModule({
    imports: [
      SealwireModule.forRoot({
        serverKey,
        handshakeRate: false,
        handshakeRateTotal: false,
        ...(abandonAfter ? { abandonAfter } : {}),
      } as never),
      SealwireModule.forFeature({ path: 'streams' }),
    ],
    controllers: [StreamsController],
  }).compile();
  const app: INestApplication = testing.createNestApplication();
  app.useLogger(false);
  await app.listen(0, '127.0.0.1');
  onTestFinished(() => app.close());
  const url = `${(await app.getUrl()).replace('[::1]', '127.0.0.1')}/remote/streams`;
  const remote = createRemote<RemoteApi<StreamsController>>({ url, serverKey: pin, ...options });
  onTestFinished(() => remote.$close());
  return { remote, url, app };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('streams between the client and the server', () => {
  it('come as first calls and as later ones', async () => {
    const { remote } = await start();
    expect(await collect(await remote.count(5))).toEqual([0, 1, 2, 3, 4]);
    expect(await collect(await remote.count(3))).toEqual([0, 1, 2]);
    expect(await collect(await remote.observable())).toEqual(['a', 'b']);
    const { name, rows, content, file } = await remote.report();
    expect(name).toBe('r');
    expect(file).toBeInstanceOf(RemoteFile);
    expect(await new Response(content).text()).toBe('one two');
    expect(await collect(rows)).toEqual([0, 1, 2]);
    expect(new TextDecoder().decode(await file.bytes())).toBe('f');
  });

  it.each([0, 1, 31, 32, 33, 1_000])(
    'bring all of %i items, as a first call, a later one and in a batch',
    async (to) => {
      const { remote } = await start();
      const items = Array.from({ length: to }, (_, i) => i);
      expect(await collect(await remote.count(to))).toEqual(items);
      expect(await collect(await remote.count(to))).toEqual(items);
      const [first, slow] = remote.$batch((batch) => [batch.count(to), batch.after(20)]).entries;
      expect([await collect(await first), await slow]).toEqual([items, 20]);
      const [whole, sum] = await remote.$batch((batch) => [batch.count(to), batch.add(1, 2)]);
      expect(sum).toMatchObject({ value: 3 });
      expect(await collect((whole as { value: AsyncIterable<number> }).value)).toEqual(items);
    },
  );

  it('come again if their answer is lost, once they have ended before it left', async () => {
    const { url } = await start();
    let lose = false;
    const proxy: TcpProxy = await TcpProxy.start(url, (chunk) => {
      if (!lose) return chunk;
      lose = false;
      queueMicrotask(() => proxy.cut());
      return Buffer.alloc(0);
    });
    onTestFinished(() => proxy.close());
    const remote = createRemote<RemoteApi<StreamsController>>({ url: proxy.url, serverKey: pin });
    onTestFinished(() => remote.$close());
    await remote.add(1, 2);
    state.yielded = 0;
    lose = true;
    expect(await collect(await remote.count(3))).toEqual([0, 1, 2]);
    expect([state.yielded, lose]).toEqual([3, false]);
  });

  it('go up as first calls and as later ones', async () => {
    const { remote } = await start();
    expect(await remote.store(new File(['abc'], 'a.txt'), 'n')).toEqual({ name: 'a.txt', size: 3, note: 'n' });
    const big = new File([new Uint8Array(5_000_000)], 'big');
    expect(await remote.store(big, 'n')).toEqual({ name: 'big', size: 5_000_000, note: 'n' });
    async function* items() {
      for (let i = 0; i < 100; i++) yield i;
    }
    expect(await collect(await remote.echo(items()))).toEqual(Array.from({ length: 100 }, (_, i) => i * 2));
    expect(await remote.add(1, 2)).toBe(3);
  });

  it('stop the generator of a consumer that stops reading', async () => {
    const { remote } = await start();
    state.yielded = 0;
    const items = (await remote.count(10_000_000))[Symbol.asyncIterator]();
    await items.next();
    let before = -1;
    await vi.waitFor(
      async () => {
        await new Promise((resolve) => setTimeout(resolve, 200));
        const now = state.yielded;
        const still = now === before;
        before = now;
        expect(still).toBe(true);
      },
      { timeout: 20_000 },
    );
    expect(state.yielded).toBeLessThan(2_000_000);
    await items.return?.();
  });

  /** Two streams over one connection: one without an end, and one that is read on. */
  async function together() {
    const { remote } = await start();
    await remote.add(1, 2);
    Object.assign(state, { yielded: 0, closed: 0, aborted: 0 });
    const [numbers, ticks] = await remote.$batch((batch) => [batch.numbers(), batch.ticks()]);
    const values = [numbers, ticks].map((one) => (one as unknown as { value: AsyncIterable<unknown> }).value);
    const [left, read] = values.map((value) => value[Symbol.asyncIterator]()) as [
      AsyncIterator<unknown>,
      AsyncIterator<unknown>,
    ];
    return { left, read };
  }

  it('stop the generator of a consumer that left, while another one reads on over the same connection', async () => {
    const { left, read } = await together();
    await left.next();
    await left.return?.();
    await vi.waitFor(async () => {
      await read.next();
      expect([state.closed, state.aborted]).toEqual([1, 1]);
    });
    const { yielded } = state;
    const { value } = await read.next();
    expect(await read.next()).toEqual({ done: false, value: (value as number) + 1 });
    expect(state.yielded).toBe(yielded);
    await read.return?.();
  });

  it('stop the generator of a stream that nobody reads, once it is in the way of one that is read', async () => {
    const { left, read } = await together();
    await vi.waitFor(
      async () => {
        await read.next();
        expect([state.closed, state.aborted]).toEqual([1, 1]);
      },
      { timeout: 10_000 },
    );
    await expect(left.next()).rejects.toMatchObject({ code: 'stream_cut' });
    expect((await read.next()).done).toBe(false);
    await read.return?.();
  });

  it('go on after a proxy cut them, items and bytes', async () => {
    const { url } = await start();
    const proxy = await TcpProxy.start(url);
    onTestFinished(() => proxy.close());
    const remote = createRemote<RemoteApi<StreamsController>>({ url: proxy.url, serverKey: pin });
    onTestFinished(() => remote.$close());
    await remote.add(0, 0);
    let resumed = 0;
    remote.$events.on('streamResumed', () => resumed++);
    const seen: number[] = [];
    for await (const item of await remote.watch(2_000)) {
      seen.push(item.i);
      if (item.i % 500 === 250) proxy.cut();
    }
    expect(seen).toEqual(Array.from({ length: 2_000 }, (_, i) => i));
    expect(resumed).toBeGreaterThan(0);

    const chunks: Uint8Array[] = [];
    for await (const chunk of await remote.document()) {
      chunks.push(chunk);
      if (chunks.length % 40 === 20) proxy.cut();
    }
    const bytes = Buffer.concat(chunks);
    expect(Buffer.compare(bytes, CONTENT)).toBe(0);
  });

  it('hands out a batch as it comes, with progress of each call', async () => {
    const { remote } = await start();
    await remote.add(0, 0);
    const values: unknown[] = [];
    const batch = remote.$batch((r) => [r.after(300), r.after(1), r.job()], {
      onProgress: ({ value, call }) => value !== undefined && values.push([call, value]),
    });
    const order: unknown[] = [];
    await Promise.all(batch.entries.map((entry) => entry.then((value) => order.push(value))));
    expect(order).toEqual([1, 'done', 300]);
    expect(values).toEqual([
      [2, { percent: 50 }],
      [2, { percent: 90 }],
    ]);
    expect((await batch).map((one) => one.status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
  });

  it('takes an outcome that comes before the upload is through, and goes on with other calls', async () => {
    const { remote } = await start();
    const big = new File([new Uint8Array(20_000_000)], 'big');
    expect(await remote.ignores(big)).toBe('not read');
    await expect(remote.guarded(big)).rejects.toMatchObject({ code: 'unauthorized' });
    async function* endless() {
      for (;;) yield 1;
    }
    const items = (await remote.echo(endless()))[Symbol.asyncIterator]();
    expect(await items.next()).toEqual({ done: false, value: 2 });
    await items.return?.();
    expect(await Promise.all([remote.add(1, 2), remote.add(3, 4)])).toEqual([3, 7]);
  });

  it('sends a file again in a new session if the old one is gone', async () => {
    const { remote, app } = await start();
    await remote.add(0, 0);
    state.runs = 0;
    const sessions = app.get(SealwireSessions, { strict: false });
    expect(await sessions.revokeModule('streams')).toBe(1);
    const file = new File([new Uint8Array(2_000_000)], 'big');
    expect(await remote.store(file, 'again')).toMatchObject({ size: 2_000_000 });
    expect(state.runs).toBe(1);
  });

  it('sends a file again to a function that may run again, if a proxy cut it on its way', async () => {
    const { url } = await start();
    const { origin, pathname } = new URL(url);
    const proxy = await StreamProxy.start({ upstreams: [{ url: origin }] });
    onTestFinished(() => proxy.close());
    const remote = createRemote<RemoteApi<StreamsController>>({ url: proxy.url + pathname, serverKey: pin });
    onTestFinished(() => remote.$close());
    await remote.add(0, 0);
    const cutOnce = () => {
      let left = 1;
      proxy.up = cutAfter(() => (left-- > 0 ? 700_000 : Number.POSITIVE_INFINITY));
      state.runs = 0;
    };
    cutOnce();
    const file = new File([new Uint8Array(2_000_000)], 'big');
    expect(await remote.keep(file)).toBe(2_000_000);
    expect(state.runs).toBe(2);
    cutOnce();
    await expect(remote.store(file, 'once')).rejects.toMatchObject({ code: 'stream_cut', retryable: false });
    expect(state.runs).toBe(1);
    cutOnce();
    async function* chunks() {
      for (let i = 0; i < 100; i++) yield new Uint8Array(20_000);
    }
    await expect(remote.keep(chunks())).rejects.toMatchObject({ code: 'unavailable', retryable: true });
    expect(state.runs).toBe(1);
  });

  it('sends the next stream over a connection that stays, after one that was answered early', async () => {
    const { remote } = await start();
    await remote.add(0, 0);
    async function* chunks(count: number) {
      for (let i = 0; i < count; i++) yield new Uint8Array(60_000);
    }
    for (const count of [1, 20, 50, 200, 800]) {
      await expect(remote.unread(chunks(count))).rejects.toMatchObject({ code: 'unwanted' });
      expect(await remote.keep(chunks(count))).toBe(count * 60_000);
    }
  });

  it('hand out what a function returns after its client has asked again', async () => {
    const { remote } = await start();
    await remote.add(1, 2);
    state.runs = 0;
    // it is asked again after a third of its time
    expect(await collect(await remote.$call({ timeout: 1_500 }).late(800))).toEqual([0, 1, 2]);
    expect(state.runs).toBe(1);
  });

  it('tells the function its deadline, and that nobody waits any more', async () => {
    const { remote } = await start();
    await remote.add(0, 0);
    state.aborted = 0;
    const began = performance.now();
    await expect(remote.$call({ timeout: 300 }).waits()).rejects.toMatchObject({
      code: expect.stringMatching(/^(deadline|outcome_unknown)$/),
    });
    await vi.waitFor(() => expect(state.aborted).toBe(1), { timeout: 3_000 });
    expect(performance.now() - began).toBeLessThan(2_500);
  });

  it('tells the function that its client has gone, though it reads nothing of what is sent', async () => {
    const { remote } = await start({}, 50);
    const runs = state.runs;
    const aborted = state.aborted;
    const controller = new AbortController();
    let up = 0;
    const onProgress = (progress: { up: number }) => {
      up = progress.up;
    };
    const call = remote
      .$call({ signal: controller.signal, onProgress })
      .holds(new File([new Uint8Array(50_000_000)], 'a'));
    await vi.waitFor(() => expect(state.runs).toBe(runs + 1));
    // until what buffers hold is full
    for (let before = -1; before < up; await new Promise((resolve) => setTimeout(resolve, 200))) before = up;
    controller.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    await vi.waitFor(() => expect(state.aborted).toBe(aborted + 1), { timeout: 10_000 });
  });

  it('lets a guard see what travelled under the seal, and asks for it anew once', async () => {
    const refresh = vi.fn(() => ({ authorization: 'Bearer new' }));
    const { remote } = await start({ metadata: { Authorization: 'Bearer old' }, refresh });
    expect(await Promise.all([remote.secret(), remote.secret()])).toEqual(['secret', 'secret']);
    expect(refresh).toHaveBeenCalledOnce();
    expect(await remote.secret()).toBe('secret');
    const { remote: other } = await start();
    await expect(other.secret()).rejects.toMatchObject({ code: 'unauthorized' });
    expect(await other.$call({ metadata: async () => ({ authorization: 'Bearer new' }) }).secret()).toBe('secret');
  });
});
