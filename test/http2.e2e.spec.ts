import 'reflect-metadata';
import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { type INestApplication, Injectable } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { createRemote, fetchTransport, type RemoteApi } from '@sealwire/client';
import { formatKeyText, generateKeyText, parseServerPrivateKey, type RemoteFile } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { RemoteFunction, RemoteFunctions, SealwireModule, type SealwireOptions } from '@sealwire/nest';
import { describe, expect, it, onTestFinished, vi } from 'vitest';

const serverKey = generateKeyText('sws1', nodePrimitives);
const pin = formatKeyText('swp1', parseServerPrivateKey(serverKey, nodePrimitives).publicKey);

/** What the function is doing that a test looks at. */
class Work {
  begun = 0;
  closed = 0;
  go: () => void = () => undefined;
  readonly gate = new Promise<void>((resolve) => {
    this.go = resolve;
  });
}

@RemoteFunctions('things')
@Injectable()
class Things {
  constructor(private readonly work: Work) {}

  @RemoteFunction()
  add(a: number, b: number): number {
    return a + b;
  }

  @RemoteFunction()
  async late(): Promise<string> {
    this.work.begun += 1;
    await this.work.gate;
    return 'late';
  }

  @RemoteFunction()
  async *count(to: number): AsyncGenerator<number> {
    for (let i = 0; i < to; i++) yield i;
  }

  /** Items without an end, once it may go on. */
  @RemoteFunction()
  async lateStream(): Promise<AsyncIterable<number>> {
    this.work.begun += 1;
    await this.work.gate;
    return this.endless();
  }

  @RemoteFunction()
  async *endless(): AsyncGenerator<number> {
    try {
      for (let i = 0; ; i++) {
        yield i;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } finally {
      this.work.closed += 1;
    }
  }

  @RemoteFunction()
  async size(file: RemoteFile): Promise<number> {
    return (await file.bytes()).length;
  }

  /** Answers before its file is there. */
  @RemoteFunction()
  unread(file: RemoteFile): string {
    return file.name;
  }
}

/** `fetch` over one connection of HTTP/2, without TLS. */
function fetchOver(session: ClientHttp2Session, sent: (stream: ClientHttp2Stream) => void): typeof fetch {
  return async (url, { body, headers, signal } = {}) => {
    const given = Object.fromEntries(new Headers(headers));
    const stream = session.request({ ':method': 'POST', ':path': new URL(String(url)).pathname, ...given });
    signal?.addEventListener('abort', () => stream.close(constants.NGHTTP2_CANCEL));
    sent(stream);
    Readable.fromWeb(new Response(body).body as never).pipe(stream);
    const [told] = (await once(stream, 'response')) as [Record<string, string>];
    const { ':status': status, ...rest } = told;
    return new Response(Readable.toWeb(stream) as never, { status: Number(status), headers: Object.entries(rest) });
  };
}

async function start(options: SealwireOptions = {}) {
  const testing = await Test.createTestingModule({
    imports: [
      SealwireModule.forRoot({
        serverKey,
        handshakeRate: false,
        handshakeRateTotal: false,
        abandonAfter: 1,
        ...options,
      }),
      SealwireModule.forFeature({ path: 'things' }),
    ],
    providers: [Things, Work],
  }).compile();
  const adapter = new FastifyAdapter({ http2: true, forceCloseConnections: true } as object);
  const app = testing.createNestApplication<INestApplication>(adapter as never);
  app.useLogger(false);
  await app.listen(0, '127.0.0.1');
  onTestFinished(() => app.close());
  const { port } = app.getHttpServer().address() as AddressInfo;
  const session = connect(`http://127.0.0.1:${port}`);
  onTestFinished(() => session.destroy());
  session.on('error', () => undefined);
  const streams: ClientHttp2Stream[] = [];
  const transport = fetchTransport({ fetch: fetchOver(session, (stream) => streams.push(stream)) });
  const url = `http://127.0.0.1:${port}/remote/things`;
  const remote = createRemote<RemoteApi<Things>>({ url, serverKey: pin, timeout: 10_000, transport });
  onTestFinished(() => remote.$close());
  return { app, work: app.get(Work), remote, session, streams };
}

describe('over HTTP/2', () => {
  it('calls, batches and streams go through one connection', async () => {
    const { remote, session } = await start();
    expect(await remote.add(1, 2)).toBe(3);
    const sums = Array.from({ length: 50 }, (_, i) => remote.add(i, 1));
    expect(await Promise.all(sums)).toEqual(sums.map((_, i) => i + 1));
    const seen: number[] = [];
    for await (const item of await remote.count(10_000)) seen.push(item);
    expect(seen).toHaveLength(10_000);
    expect(session.closed).toBe(false);
  });

  it.each([20, 300_000, 5_000_000])('a file of %i bytes is answered, read or not', async (length) => {
    const { remote } = await start();
    await remote.add(0, 0);
    const file = new File([new Uint8Array(length)], 'x.bin');
    expect(await remote.size(file)).toBe(length);
    expect(await remote.unread(file)).toBe('x.bin');
    expect(await remote.add(1, 2)).toBe(3);
  });

  it('a stream ends with its consumer, and at once if its client has left before', async () => {
    const { remote, work, streams } = await start();
    for await (const item of await remote.endless()) if (item === 3) break;
    await vi.waitFor(() => expect(work.closed).toBe(1));
    const controller = new AbortController();
    const call = remote.$call({ signal: controller.signal }).lateStream();
    await vi.waitFor(() => expect(work.begun).toBe(1));
    controller.abort(new Error('left'));
    await expect(call).rejects.toThrow('left');
    await vi.waitFor(() => expect(streams.at(-1)?.destroyed).toBe(true));
    work.go();
    expect(await remote.add(1, 2)).toBe(3);
    await vi.waitFor(() => expect(work.closed).toBe(2));
  });

  it('a server that stops answers what runs, ends streams, and takes no more on the connection', async () => {
    const { app, remote, work, session } = await start();
    const items = (await remote.endless())[Symbol.asyncIterator]();
    await items.next();
    const [first, second] = remote.$batch((r) => [r.add(1, 2), r.late()]).entries;
    expect(await first).toBe(3);
    const alone = remote.late();
    await vi.waitFor(() => expect(work.begun).toBe(2));
    const goaway = once(session, 'goaway');
    const closing = app.close();
    await vi.waitFor(() => expect(work.closed).toBe(1));
    work.go();
    expect(await second).toBe('late');
    expect(await alone).toBe('late');
    await goaway;
    await closing;
  });

  it('a body without its end leaves no stream behind, and keeps no server from stopping', async () => {
    const { app, remote, session } = await start({ bodyTimeout: 200 });
    await remote.add(0, 0);
    const half = (): ClientHttp2Stream => {
      const headers = { 'content-type': 'application/vnd.sealwire' };
      const stream = session.request({ ':method': 'POST', ':path': '/remote/things', ...headers });
      stream.on('error', () => undefined).resume();
      stream.write('abc');
      return stream;
    };
    const timed = half();
    const [told] = (await once(timed, 'response')) as [Record<string, number>];
    expect(told[':status']).toBe(503);
    await once(timed, 'close');
    expect(timed.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
    expect(await remote.add(1, 2)).toBe(3);
    const last = half();
    await once(last, 'response');
    await app.close();
  });
});
