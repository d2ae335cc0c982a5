import { Readable } from 'node:stream';
import {
  createRemote,
  fetchTransport,
  OutcomeUnknownError,
  RemoteFile,
  type SealedPieces,
  StreamBody,
  type WriteParts,
} from '@sealwire/client';
import { concat, describeFrame, FRAME_LAYOUT } from '@sealwire/core';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { LivePeerServer } from '../../../test/support/peer/live-server.js';
import { loopbackTransport } from '../src/testing/index.js';
import { type Any, collect, openedLive } from './support/live.js';
import { liveHttp } from './support/live-http.js';
import { gate } from './support/remote.js';

const once = <T>(value: T) => {
  let left = 1;
  return () => (left-- > 0 ? value : undefined);
};

function store(server: LivePeerServer) {
  server.live.store = async (_context, file: RemoteFile) => {
    const bytes = await file.bytes();
    return { name: file.name, size: bytes.length, first: bytes[0], last: bytes.at(-1) };
  };
}

const megabytes = (count: number) => new File([new Uint8Array(count * 1_000_000).fill(7)], 'big.bin');

describe.each([
  ['as a stream', true],
  ['as a Blob', false],
])('arguments that are streams, sent %s', (_name, requestStreams) => {
  const transport = (server: LivePeerServer, network = (_r: Any, next: () => Promise<Any>) => next()) => ({
    requestStreams,
    send: (request: Any) => network(request, () => server.answer(request)),
  });

  async function connect(network?: (request: Any, next: () => Promise<Any>) => Promise<Any>) {
    const server = new LivePeerServer();
    store(server);
    return openedLive({ server, transport: transport(server, network) as Any });
  }

  it('asks for new metadata if a guard refused them, also if they cannot be sent again', async () => {
    const server = new LivePeerServer();
    const refresh = vi.fn(async () => ({ authorization: 'new' }));
    const metadata = { authorization: 'old' };
    const { remote } = await openedLive({ server, transport: transport(server) as Any, metadata, refresh });
    server.live.whoami = ({ call }) => {
      if (call.metadata?.authorization === 'new') return 'new';
      throw Object.assign(new Error('Unauthorized'), { code: 'unauthorized', details: { status: 401, ran: false } });
    };
    async function* items() {
      yield 1;
    }
    const error = await remote.whoami(items()).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'unauthorized', details: { status: 401, ran: false } });
    expect((error as Error).message).toBe('Unauthorized. Its streams cannot be read again: call it once more.');
    expect(refresh).toHaveBeenCalledOnce();
    expect(await remote.whoami(items())).toBe('new');
    expect(refresh).toHaveBeenCalledOnce();
  });

  it('carries files, bytes and items, anywhere in the arguments', async () => {
    const { server, remote } = await connect();
    server.live.all = async (_context, { file, deep }: Any, items: AsyncIterable<number>) => [
      await file.blob().then((blob: Blob) => blob.text()),
      file.name,
      await new Response(deep[0].raw).text(),
      await new Response(deep[0].node).text(),
      await collect(items),
    ];
    async function* items() {
      yield 1;
      yield 2n;
    }
    const file = new File(['text'], 'a.txt');
    const deep = [
      {
        raw: new Response('raw').body,
        node: Readable.from([Buffer.from('no'), Buffer.from('de')], { objectMode: false }),
      },
    ];
    expect(await remote.all({ file, deep }, items())).toEqual(['text', 'a.txt', 'raw', 'node', [1, 2n]]);
  });

  it('takes no stream for an object without properties', async () => {
    const { server, remote } = await connect();
    server.live.sum = async (_context, items: AsyncIterable<number>) => (await collect(items)).length;
    class Source {
      async *[Symbol.asyncIterator]() {
        yield* [1, 2];
      }
    }
    expect(await remote.sum(new Source())).toBe(2);
    expect(await remote.sum({ [Symbol.asyncIterator]: () => new Source()[Symbol.asyncIterator]() })).toBe(2);
    const file = new RemoteFile(
      { name: 'r', type: '' },
      () => new Blob(['abc']).stream() as ReadableStream<Uint8Array>,
    );
    expect(await remote.store(file)).toMatchObject({ name: 'r', size: 3 });
  });

  it('sends a file of many pieces', async () => {
    const { server, remote } = await connect();
    expect(await remote.store(megabytes(3))).toEqual({ name: 'big.bin', size: 3_000_000, first: 7, last: 7 });
    await vi.waitFor(() => expect(server.liveCalls).toHaveLength(1));
  });

  it('sends a payload that is longer than a piece', async () => {
    const { server, remote } = await connect();
    server.live.both = async (_context, text: string, file: RemoteFile) => [text.length, (await file.bytes()).length];
    expect(await remote.both('x'.repeat(200_000), new File(['abc'], 'f'))).toEqual([200_000, 3]);
  });

  it('is sealed as it was when it was called', async () => {
    const { server, remote } = await connect();
    server.live.late = async (_context, options: Any, file: RemoteFile) => [options.cents, (await file.bytes()).length];
    const options = { cents: 1 };
    const call = remote.late(options, new File(['abc'], 'f'));
    options.cents = 2;
    expect(await call).toEqual([1, 3]);
  });

  it('sends the same bytes of a file again after a lost answer', async () => {
    let lost = 0;
    const { server, remote } = await connect(async (request, next) => {
      const answer = await next();
      if (request.body instanceof Uint8Array || lost++ > 0) return answer;
      while (!(await answer.body.read()).done);
      throw new Error('connection reset');
    });
    expect(await remote.store(megabytes(1))).toMatchObject({ size: 1_000_000 });
    expect(lost).toBe(2);
    expect(server.runs.map(({ name }) => name)).toEqual(['store']);
  });

  it('tells which bytes of its pieces are no padding, again if they are sealed again', async () => {
    const server = new LivePeerServer();
    store(server);
    const sent: Uint8Array[][] = [];
    const send = async (request: Any): Promise<Any> => {
      const { body } = request;
      if (body instanceof Uint8Array) return server.answer(request);
      const parts: Uint8Array[] = requestStreams ? [] : [new Uint8Array(await body.arrayBuffer())];
      sent.push(parts);
      const seen = new StreamBody(
        (write: WriteParts) =>
          body.pipe((some: readonly Uint8Array[]) => {
            parts.push(...some.map((part) => part.slice()));
            return write(some);
          }),
        (reason) => body.cancel(reason),
      );
      const answer: Any = await server.answer(requestStreams ? { ...request, body: seen } : request);
      if (sent.length > 1) return answer;
      while (!(await answer.body.read()).done);
      throw new Error('connection reset');
    };
    const { remote } = await openedLive({ server, transport: { requestStreams, send } as Any });
    const told: SealedPieces[] = [];
    const call = remote.$call({ onSealed: (pieces: SealedPieces) => told.push(pieces) }) as Any;
    await call.store(megabytes(1));
    const [bytes = new Uint8Array(0)] = sent.map((parts) => concat(...parts));
    const { header, padded, tag, lastChunk } = FRAME_LAYOUT;
    const heads = describeFrame(bytes)?.fields.filter(({ name }) => name === 'chunk head') ?? [];
    expect(heads.length).toBeGreaterThan(2);
    // the server knows the result, and takes no more of the second stream than it needs to see that
    const again = told.findIndex(({ first }, i) => i > 0 && first === 0);
    expect(again > 0).toBe(requestStreams);
    for (const part of again > 0 ? [told.slice(0, again), told.slice(again)] : [told]) {
      const lengths = part.flatMap(({ payloads }) => payloads).map((length) => padded(length) + tag);
      const those = part[0] === told[0] ? heads : heads.slice(0, lengths.length);
      expect(lengths).toEqual(those.map(({ value = 0 }) => value & ~lastChunk));
      expect(part.map(({ first }) => first)).toEqual(those.map((_, i) => i));
    }
    for (const { head } of told) expect(head).toEqual(bytes.subarray(0, header('call')));
  });

  it('has its time and no more if every connection is cut', async () => {
    const server = new LivePeerServer();
    store(server);
    let cuts = 0;
    const network = async (request: Any, next: () => Promise<Any>) => {
      if (request.body instanceof Uint8Array) return next();
      await new Response(request.body).arrayBuffer();
      cuts++;
      throw new Error('reset');
    };
    const { remote } = await openedLive({ server, transport: transport(server, network) as Any, timeout: 1_500 });
    const before = performance.now();
    await expect(remote.store(megabytes(1))).rejects.toBeInstanceOf(OutcomeUnknownError);
    expect(performance.now() - before).toBeLessThan(3_500);
    expect(cuts).toBeGreaterThan(1);
  });

  it('has the time of a slow line, of which nothing is seen', async () => {
    const server = new LivePeerServer();
    store(server);
    const network = async (request: Any, next: () => Promise<Any>) => {
      if (request.body instanceof Blob) await new Promise((resolve) => setTimeout(resolve, 1_500));
      return next();
    };
    const { remote } = await openedLive({ server, transport: transport(server, network) as Any, timeout: 700 });
    expect(await remote.store(megabytes(1))).toMatchObject({ size: 1_000_000 });
  });

  it('tells how far it is', async () => {
    const { remote } = await connect();
    const up: number[] = [];
    await remote.$call({ onProgress: (progress: Any) => up.push(progress.up) }).store(megabytes(4));
    expect(up.at(-1)).toBeGreaterThanOrEqual(4_000_000);
    expect(up).toEqual([...up].sort((a, b) => a - b));
    if (requestStreams) expect(new Set(up).size).toBeGreaterThan(10);
  });

  it('tells no byte as sent of a request that broke off, and at $close() that the call may have run', async () => {
    const tried = gate();
    const server = new LivePeerServer();
    const broken = transport(server, async (request: Any, next) => {
      if (request.body instanceof Uint8Array) return next();
      tried.open();
      throw new Error('reset');
    });
    // as one of a browser that says how far its bodies are
    const { remote } = await openedLive({ server, transport: { ...broken, uploadProgress: true } as Any });
    const up: number[] = [];
    const call = remote.$call({ onProgress: (progress: Any) => up.push(progress.up) }).store(megabytes(1));
    const told = expect(call).rejects.toMatchObject({
      code: 'closed',
      message: expect.stringMatching(/closed\. The call may have run\.$/),
    });
    await tried.passed;
    await vi.waitFor(() => expect(remote.$connection().state).not.toBe('idle'));
    await new Promise(setImmediate);
    remote.$close();
    await told;
    expect(up.filter((bytes) => bytes >= 1_000_000)).toEqual([]);
  });

  it('sends nothing of a file whose name is longer than a server takes', async () => {
    const { server, remote } = await connect();
    const file = new File(['a'], 'x'.repeat(1_025));
    await expect(remote.store(file)).rejects.toMatchObject({
      code: 'unsupported_value',
      message: 'Argument 1 of `store` cannot be sent: a file with such a name.',
    });
    expect(server.seen).toEqual([]);
  });

  it('tells the function of an item that is larger than the server takes', async () => {
    const { server, remote } = await connect();
    server.live.drain = (_context, items: AsyncIterable<number>) =>
      collect(items).catch((error: Error) => error.message);
    async function* items() {
      yield new Uint8Array(5_000_000);
    }
    expect(await remote.drain(items())).toMatch(/^An item has 5000005 bytes, and \d+ is what the other side takes\.$/);
  });

  it('sends nothing of files that are more than the server takes', async () => {
    const server = new LivePeerServer();
    server.maxUpload = 1_000_000;
    const { remote } = await openedLive({ server, transport: transport(server) as Any });
    const limit = { code: 'too_large', details: { limit: 1_000_000 } };
    await expect(remote.store(megabytes(2))).rejects.toMatchObject(limit);
    expect(server.seen).toEqual([]);
    expect(server.runs).toEqual([]);
  });

  it('ends a source of unknown length that is more than the server takes', async () => {
    const server = new LivePeerServer();
    server.maxUpload = 100_000;
    server.live.drain = (_context, items: AsyncIterable<Uint8Array>) => collect(items).then((all) => all.length);
    const { remote } = await openedLive({ server, transport: transport(server) as Any });
    const closed = vi.fn();
    async function* endless() {
      try {
        for (;;) yield new Uint8Array(10_000);
      } finally {
        closed();
      }
    }
    await expect(remote.drain(endless())).rejects.toMatchObject({ code: 'too_large' });
    expect(closed).toHaveBeenCalledOnce();
  });

  it('reads what can be read once for one call of a batch, and a Blob for each', async () => {
    const { server, remote } = await connect();
    server.live.drain = async (_context, items: AsyncIterable<number>) => (await collect(items)).length;
    async function* items() {
      yield* [1, 2, 3];
    }
    const [once, blob] = [items(), new Blob(['abc'])];
    const raw = new RemoteFile({ name: 'r', type: '' }, () => new Blob(['abc']).stream() as ReadableStream<Uint8Array>);
    const batch = remote.$batch((r: Any) => [
      ...[r.drain(once), r.drain(once), r.store(blob), r.store(blob), r.store(raw), r.store({ raw })],
      r.drain(once, once),
    ]);
    const refusal = (name: string, path = '') => ({
      reason: {
        code: 'unsupported_value',
        message: `Argument 1 of \`${name}\`${path} cannot be sent: a stream that the message has already.`,
      },
    });
    expect(await batch).toMatchObject([
      ...[{ value: 3 }, refusal('drain'), { value: { size: 3 } }, { value: { size: 3 } }, { value: { size: 3 } }],
      ...[refusal('store', ', at `.raw`,'), refusal('drain')],
    ]);
  });

  it('closes its sources when the call is given up', async () => {
    const { server, remote } = await connect();
    server.live.drain = (_context, items: AsyncIterable<number>) => collect(items);
    const closed = gate();
    const begun = gate();
    async function* slow() {
      try {
        yield 1;
        begun.open();
        for (;;) {
          await new Promise((resolve) => setTimeout(resolve, 5));
          yield 2;
        }
      } finally {
        closed.open();
      }
    }
    const controller = new AbortController();
    const call = remote.$call({ signal: controller.signal }).drain(slow());
    await begun.passed;
    controller.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    await closed.passed;

    const again = new AbortController();
    const why = new Promise((resolve) => {
      const pull = () => new Promise<void>(() => setTimeout(() => again.abort(new Error('also')), 50));
      const source = new ReadableStream({ pull, cancel: resolve });
      remote
        .$call({ signal: again.signal })
        .drain(source)
        .catch(() => undefined);
    });
    expect(await why).toMatchObject({ message: 'also' });
  });

  it('leaves no pulses behind if the call is given up before its body begins', async () => {
    const server = new LivePeerServer();
    server.pulse = 1;
    const { remote } = await openedLive({ server, transport: transport(server) as Any });
    const timers = vi.spyOn(globalThis, 'setTimeout');
    onTestFinished(() => timers.mockRestore());
    const giving = new AbortController();
    async function* items() {
      yield 1;
    }
    const onSent = () => giving.abort(new Error('enough'));
    await expect(remote.$call({ signal: giving.signal, onSent }).drain(items())).rejects.toThrow('enough');
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    // that of the call itself
    expect(timers.mock.calls.filter(([, ms = 0]) => ms < 5_000)).toEqual([]);
    expect(server.seen).toEqual([]);
  });

  it('has its time and no more if its source is silent, which sends pulses only where they leave', async () => {
    const server = new LivePeerServer();
    server.pulse = 1;
    server.live.drain = (_context, items: AsyncIterable<number>) => collect(items);
    const seen = (request: Any): Any => {
      const { body, onUpload } = request;
      if (!(body instanceof StreamBody) || !onUpload) return request;
      let left = 0;
      const pipe = (write: WriteParts) =>
        body.pipe((parts) => {
          for (const { length } of parts) left += length;
          onUpload(left);
          return write(parts);
        });
      return { ...request, body: new StreamBody(pipe, body.cancel) };
    };
    for (const uploadProgress of [false, true]) {
      const send = (request: Any) => server.answer(uploadProgress ? seen(request) : request);
      const carrier = { requestStreams, uploadProgress, send };
      const { remote } = await openedLive({ server, transport: carrier as Any, timeout: 1_300 });
      const lengths: number[] = [];
      const onSealed = ({ payloads }: SealedPieces) => void lengths.push(...payloads);
      async function* items() {
        yield 1;
        await new Promise((resolve) => setTimeout(resolve, 800));
        yield 2;
        await new Promise(() => {});
      }
      const before = performance.now();
      await expect(remote.$call({ onSealed }).drain(items())).rejects.toBeInstanceOf(OutcomeUnknownError);
      expect(performance.now() - before).toBeGreaterThan(1_900);
      // of a unit without content
      expect(lengths.includes(7)).toBe(requestStreams);
    }
  });

  it('closes its sources when the call is not made at all', async () => {
    const { remote } = await connect();
    const why: unknown[] = [];
    const source = () => new ReadableStream({ cancel: (reason) => void why.push(reason) });
    const aborted = remote.$call({ signal: AbortSignal.abort('enough') }).drain(source());
    await expect(aborted).rejects.toBe('enough');
    const failing = () => {
      throw new Error('no token');
    };
    await expect(remote.$call({ metadata: failing }).drain(source())).rejects.toThrow('no token');
    remote.$close();
    await expect(remote.drain(source())).rejects.toMatchObject({ code: 'closed' });
    expect(why).toEqual([
      'enough',
      expect.objectContaining({ code: 'metadata_failed' }),
      expect.objectContaining({ code: 'closed' }),
    ]);
  });

  it('ends its body when the outcome came before it was through', async () => {
    const { server, remote } = await connect();
    server.live.ignores = () => 'not read';
    const hold = gate();
    async function* items() {
      yield 1;
      await hold.passed;
    }
    const call = remote.ignores(items());
    // a Blob is complete before it is sent
    if (!requestStreams) hold.open();
    expect(await call).toBe('not read');
    await vi.waitFor(() => expect(server.liveCalls).toHaveLength(1));
  });

  it('tells the function of a source that failed', async () => {
    const { server, remote } = await connect();
    server.live.drain = (_context, items: AsyncIterable<number>) =>
      collect(items).catch((error: Error) => error.message);
    async function* fails() {
      yield 1;
      throw new Error('disk is gone');
    }
    expect(await remote.drain(fails())).toBe('disk is gone');
  });
});

it('sends pulses of a silent upload between its units, also if the connection stalls inside of one', async () => {
  const server = new LivePeerServer();
  server.pulse = 1;
  server.live.drain = (_context, items: AsyncIterable<string>) =>
    collect(items).then((all) => all.map(({ length }) => length));
  const pulsed = gate();
  let pieces = 0;
  let stalled = false;
  const slowly = (body: StreamBody) => (write: WriteParts) =>
    body.pipe(async (parts) => {
      // of an item that takes several pieces
      if (++pieces === 3) {
        await new Promise((resolve) => setTimeout(resolve, 1_500));
        stalled = true;
      }
      // head, padding and tag of a piece that holds a pulse alone
      if (stalled && concat(...parts).length === 19 + 64) pulsed.open();
      return write(parts);
    });
  const transport = loopbackTransport((request) => {
    const { body } = request;
    const isStream = !(body instanceof Uint8Array || body instanceof Blob);
    return server.answer(isStream ? { ...request, body: new StreamBody(slowly(body), body.cancel) } : request);
  });
  const { remote } = await openedLive({ server, transport });
  async function* items() {
    yield 'x'.repeat(400_000);
    await pulsed.passed;
    yield 'end';
  }
  expect(await remote.drain(items())).toEqual([400_000, 3]);
  expect(stalled).toBe(true);
});

describe('a source that can be read once', () => {
  it('is not sent again: whether its call ran is not known', async () => {
    let broken = 0;
    const { server, remote } = await openedLive({
      async network(request, next) {
        if (request.body instanceof Uint8Array) return next();
        broken++;
        await (request.body as StreamBody).stream().getReader().read();
        throw new Error('connection reset');
      },
    });
    server.onAsked = () => ({ known: 'unknown' });
    const source = new Response('x'.repeat(10)).body;
    await expect(remote.store(source)).rejects.toBeInstanceOf(OutcomeUnknownError);
    expect(broken).toBe(1);
  });

  it('did not run if the server says so', async () => {
    const { remote } = await openedLive({
      async network(request, next) {
        if (request.body instanceof Uint8Array) return next();
        await (request.body as StreamBody).stream().getReader().read();
        throw new Error('connection reset');
      },
    });
    // the peer says never_ran of numbers that it did not accept
    await expect(remote.store(new Response('x').body)).rejects.toMatchObject({ code: 'unreachable', retryable: true });
  });

  it('asks for its result with the first piece alone, once the server said that it runs', async () => {
    const sizes: (number | string)[] = [];
    const { server, remote } = await openedLive({
      async network(request, next) {
        sizes.push(request.body instanceof Uint8Array ? request.body.length : 'stream');
        const answer = await next();
        if (request.body instanceof Uint8Array) return answer;
        // the function goes on, though the answer is lost
        const reader = answer.body as ReadableStreamDefaultReader<Uint8Array>;
        while (!(await reader.read()).done);
        throw new Error('connection reset');
      },
    });
    server.live.store = async (_context, raw: ReadableStream) => (await new Response(raw).text()).length;
    server.onAsked = () => ({ known: 'running' });
    sizes.length = 0;
    expect(await remote.store(new Response('x'.repeat(1000)).body)).toBe(1000);
    expect(sizes[0]).toBe('stream');
    expect(sizes.at(-1)).toBeLessThan(300);
    expect(server.runs).toHaveLength(1);
  });

  it.each([
    ['result_gone', true],
    ['number_too_old', true],
    ['outcome_unknown', true],
    ['number_conflict', false],
  ] as const)(
    'after %s sends a file again as section 6.3.1 says, and nothing that can be read once',
    async (status, identified) => {
      const { server, remote } = await openedLive();
      const resends: unknown[] = [];
      server.live.store = async ({ call }, raw: RemoteFile | ReadableStream) => {
        resends.push(call.resend);
        return (await new Response(raw instanceof RemoteFile ? raw.stream() : raw).text()).length;
      };
      server.onCall = once({ status }) as Any;
      expect(await remote.store(new Blob(['abc']))).toBe(3);
      expect(resends).toEqual([identified ? { callId: expect.anything(), incarnation: expect.anything() } : undefined]);
      server.onCall = once({ status }) as Any;
      const failed = await remote.store(new Response('x').body).catch((error: unknown) => error);
      if (identified) expect(failed).toBeInstanceOf(OutcomeUnknownError);
      else expect(failed).toMatchObject({ code: 'unreachable', retryable: true });
      expect(resends).toHaveLength(1);
    },
  );

  it('fails as busy was told, without a second sending', async () => {
    const { server, remote } = await openedLive();
    server.onCall = once({ status: 'busy' }) as Any;
    await expect(remote.store(new Response('x').body)).rejects.toMatchObject({ code: 'unreachable', retryable: true });
  });
});

it('streams over HTTP in both directions at once, with fetch', async () => {
  const server = new LivePeerServer();
  const { url, keys } = await liveHttp(server);
  const remote = createRemote<Any>({ url, ...keys, transport: fetchTransport() });
  onTestFinished(() => remote.$close());
  await remote.add(0, 0);
  server.live.double = async function* (_context: Any, items: AsyncIterable<number>) {
    for await (const item of items) yield item * 2;
  } as Any;
  const turn = [gate(), gate(), gate()];
  async function* asked() {
    for (let i = 0; i < 3; i++) {
      await turn[i]?.passed;
      yield i;
    }
  }
  const doubled = (await remote.double(asked()))[Symbol.asyncIterator]();
  for (let i = 0; i < 3; i++) {
    turn[i]?.open();
    expect(await doubled.next()).toEqual({ done: false, value: i * 2 });
  }
  expect(await doubled.next()).toEqual({ done: true, value: undefined });

  store(server);
  expect(await remote.store(megabytes(5))).toMatchObject({ size: 5_000_000 });
  expect(await remote.add(1, 2)).toBe(3);
});
