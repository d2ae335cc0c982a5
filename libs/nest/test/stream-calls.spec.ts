import 'reflect-metadata';
import type { IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type CanActivate,
  type ExecutionContext,
  ForbiddenException,
  Headers,
  type INestApplication,
  Injectable,
  Logger,
  Req,
  UnauthorizedException,
  UseGuards,
} from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { AuthGuard, PassportStrategy } from '@nestjs/passport';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  at,
  type Injected,
  type Progress,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteProgress,
  RemoteResume,
  RemoteSignal,
  type Resume,
  remoteBytes,
  remoteCall,
} from '@sealwire/nest';
import { ExtractJwt, Strategy } from 'passport-jwt';
import { of } from 'rxjs';
import { describe, expect, it, vi } from 'vitest';
import { callLive, LiveAnswer, sendLive } from './live-peer.js';
import { startStreams } from './streams-application.js';
import { only } from './support.js';

const SECRET = 'of the test';

@Injectable()
class JwtStrategy extends PassportStrategy(Strategy) {
  constructor() {
    super({ jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(), secretOrKey: SECRET });
  }

  validate(payload: { sub: string }): object {
    return { name: payload.sub };
  }
}

@Injectable()
class TokenGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    if (remoteCall(context)?.metadata.authorization !== 'Bearer good') throw new UnauthorizedException();
    return true;
  }
}

/** Bodies of other applications, and details that another server of remote functions gave. */
const REFUSALS = {
  jsend: () => new UnauthorizedException({ status: 'error', message: 'expired' }),
  forbidden: () => new ForbiddenException({ status: 401, message: 'no' }),
  upstream: () => new UnauthorizedException({ ran: false, message: 'expired' }),
  relayed: () => new RemoteFunctionError('unauthorized', 'expired', { status: 401, ran: false }),
};

@Injectable()
class Refusing implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    throw REFUSALS[remoteCall(context)?.args[0] as keyof typeof REFUSALS]();
  }
}

@RemoteFunctions('live')
@Injectable()
class Calls {
  readonly reasons: unknown[] = [];
  began = 0;

  @RemoteFunction()
  async wait(@RemoteSignal() signal: Injected<AbortSignal>): Promise<never> {
    this.began += 1;
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    this.reasons.push(signal.reason);
    throw signal.reason;
  }

  @RemoteFunction()
  async sleep(@RemoteSignal() signal: Injected<AbortSignal>): Promise<void> {
    await delay(60_000, undefined, { signal });
  }

  @RemoteFunction()
  async *ticks(@RemoteSignal() signal: Injected<AbortSignal>): AsyncGenerator<number> {
    signal.addEventListener('abort', () => this.reasons.push(signal.reason));
    yield 1;
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  }

  @RemoteFunction()
  async work(@RemoteProgress() progress: Injected<Progress>, steps: number): Promise<string> {
    for (let i = 1; i <= steps; i++) progress({ step: i });
    await delay(10);
    progress('almost');
    return 'done';
  }

  @RemoteFunction({ resumable: true })
  async *from(@RemoteResume() resume: Injected<Resume | undefined>, to: number): AsyncGenerator<unknown> {
    for (let i = Number(resume?.position ?? -1) + 1; i < to; i++) yield at(i, { i, run: resume?.run });
  }

  @RemoteFunction({ resumable: true })
  bytes(@RemoteResume() resume: Injected<Resume | undefined>): ReadableStream<Uint8Array> {
    const offset = Number(resume?.position ?? 0);
    return remoteBytes(new Blob(['0123456789'.slice(offset)]), { version: resume?.version ?? 'v1', offset });
  }

  @RemoteFunction()
  plain(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  @UseGuards(AuthGuard('jwt'))
  who(@Req() request: Injected<{ user: unknown }>): unknown {
    return request.user;
  }

  @RemoteFunction()
  headers(
    @Headers() all: Injected<Record<string, string>>,
    @Headers('accept-language') language: Injected<string>,
    @Req() request: Injected<{ ip: string; headers: Record<string, string> }>,
  ): unknown {
    return { language, trace: all.traceparent, host: all.host, same: request.headers.traceparent, ip: request.ip };
  }

  @RemoteFunction()
  @UseGuards(TokenGuard)
  guarded(): string {
    return 'in';
  }

  @RemoteFunction()
  @UseGuards(Refusing)
  refused(_by: keyof typeof REFUSALS): string {
    return 'in';
  }

  @RemoteFunction()
  throwing(by: keyof typeof REFUSALS): never {
    throw REFUSALS[by]();
  }

  @RemoteFunction()
  throwingToo(by: keyof typeof REFUSALS, @Req() _request: Injected<object>): never {
    throw REFUSALS[by]();
  }

  @RemoteFunction()
  unauthorized(@Req() _request: Injected<object>): never {
    throw new UnauthorizedException();
  }
}

async function start(options = {}, create?: unknown) {
  const started = await startStreams({
    functions: Calls,
    options,
    providers: [JwtStrategy],
    ...(create ? { create: create as never } : {}),
  });
  return { ...started, calls: started.app.get(Calls), peer: await started.client() };
}

/** Resolves when the next request is there as a whole. */
function nextRequest(app: INestApplication): Promise<void> {
  return new Promise((resolve) => {
    app.getHttpServer().once('request', (request: IncomingMessage) => {
      request.once('end', () => setImmediate(resolve));
    });
  });
}

describe('a signal', () => {
  it('fires when nobody has waited for a call for abandonAfter, and not while a retransmission waits', async () => {
    const { app, peer, calls } = await start({ abandonAfter: 150 });
    const frame = peer.frame([{ name: 'wait', args: [] }]);
    const first = new AbortController();
    const options = { method: 'POST', headers: { 'content-type': 'application/vnd.sealwire' } };
    const send = (signal: AbortSignal) =>
      fetch(peer.url, { ...options, body: Buffer.from(frame), signal }).catch(() => undefined);
    void send(first.signal);
    await vi.waitFor(() => expect(calls.began).toBe(1));
    const second = new AbortController();
    const joined = nextRequest(app);
    void send(second.signal);
    await joined;
    first.abort();
    await delay(400);
    expect(calls.reasons).toEqual([]);
    second.abort();
    await vi.waitFor(() => expect(calls.reasons).toMatchObject([{ code: 'cancelled' }]));
    expect(only(await peer.send(frame))).toMatchObject({ code: 'cancelled' });
  });

  it('fires at the deadline of the caller', async () => {
    const { peer } = await start();
    const reply = peer.send(peer.frame([{ name: 'wait', args: [], deadline: 50 }]));
    expect(only(await reply)).toMatchObject({ ok: false, code: 'deadline' });
    const wrapped = await peer.send(peer.frame([{ name: 'sleep', args: [], deadline: 50 }]));
    expect(only(wrapped)).toMatchObject({ ok: false, code: 'deadline' });
  });

  it('fires at the deadline of the caller, whoever replays the call meanwhile', async () => {
    const { app, peer, calls } = await start({ abandonAfter: 100 });
    const frame = peer.frame([{ name: 'wait', args: [], deadline: 600 }]);
    const gone = new AbortController();
    const send = (signal?: AbortSignal) =>
      fetch(peer.url, {
        method: 'POST',
        headers: { 'content-type': 'application/vnd.sealwire' },
        body: Buffer.from(frame),
        ...(signal ? { signal } : {}),
      }).catch(() => undefined);
    void send(gone.signal);
    await vi.waitFor(() => expect(calls.began).toBe(1));
    // somebody without keys holds on to it
    const joined = nextRequest(app);
    const replayed = send();
    await joined;
    gone.abort();
    await replayed;
    expect(calls.reasons).toMatchObject([{ code: 'deadline' }]);
    expect(calls.began).toBe(1);
  });

  it('of a stream fires as soon as its connection is gone, and not at the deadline', async () => {
    const { peer, calls } = await start();
    const answer = await callLive(peer, { name: 'ticks', args: [], deadline: 50 });
    await answer.value();
    await delay(200);
    expect(calls.reasons).toEqual([]);
    answer.cut();
    await vi.waitFor(() => expect(calls.reasons).toMatchObject([{ code: 'cancelled' }]), { timeout: 1_000 });
  });
});

describe('progress', () => {
  it('comes before the result of a unary call, which is kept for duplicates', async () => {
    const { peer } = await start();
    const frame = peer.frame([{ name: 'work', args: [3] }]);
    const answer = (await sendLive(peer, frame)) as LiveAnswer;
    expect(await answer.value()).toBe('done');
    expect(await answer.ended).toBeUndefined();
    expect(answer.progress).toEqual([{ step: 1 }, { step: 2 }, { step: 3 }, 'almost']);
    expect(await peer.send(frame)).toEqual({ outcomes: [{ ok: true, value: 'done' }] });
  });
});

describe('a resumable function', () => {
  it('is told the run and the last position, and its items carry theirs', async () => {
    const { peer } = await start();
    const first = await callLive(peer, { name: 'from', args: [3] });
    const stream = await first.value<AsyncIterable<unknown>>();
    const items: unknown[] = [];
    for await (const item of stream) items.push(item);
    expect(items).toEqual([0, 1, 2].map((i) => ({ i, run: undefined })));
    const run = new Uint8Array(Buffer.from(first.run ?? '', 'hex'));
    const second = await callLive(peer, { name: 'from', args: [4], resume: { run, position: 2 } });
    const rest: unknown[] = [];
    for await (const item of await second.value<AsyncIterable<unknown>>()) rest.push(item);
    expect(rest).toEqual([{ i: 3, run: first.run }]);
    expect(second.run).not.toBe(first.run);
    expect(first.streams.list[0]?.info).toEqual({ resumable: true });
  });

  it('of bytes is told offset and version', async () => {
    const { peer } = await start();
    const resume = { run: new Uint8Array(16), position: 4, version: 'v1' };
    const answer = await callLive(peer, { name: 'bytes', args: [], resume });
    expect(await new Response(await answer.value<ReadableStream>()).text()).toBe('456789');
    expect(answer.streams.list[0]?.info).toEqual({ resumable: true, version: 'v1', offset: 4 });
  });

  it('may be sent again under its identity; another may not go on', async () => {
    const { peer } = await start();
    const resend = { callId: new Uint8Array(16), incarnation: new Uint8Array(8) };
    const again = await callLive(peer, { name: 'from', args: [1], resend });
    expect(await again.value()).toBeTypeOf('object');
    const resume = { run: new Uint8Array(16), position: 1 };
    const refused = await peer.send(peer.frame([{ name: 'plain', args: [1], resume }]));
    expect(only(refused)).toMatchObject({ code: 'bad_request' });
  });
});

describe.each([
  ['Express', undefined],
  [
    'Fastify',
    ((module: never) =>
      (module as { createNestApplication(it: object): never }).createNestApplication(new FastifyAdapter())) as never,
  ],
])('metadata on %s', (_, create) => {
  it('is what guards and decorators see as headers, over those on the wire', async () => {
    const { peer } = await start({}, create);
    const token = await new JwtService({ secret: SECRET }).signAsync({ sub: 'ann' });
    const metadata = { authorization: `Bearer ${token}`, 'accept-language': 'de', traceparent: '00-1' };
    const call = async (name: string, more = {}) => only(await peer.send(peer.frame([{ name, args: [], ...more }])));
    expect(await call('who', { metadata })).toEqual({ name: 'ann' });
    expect(await call('who')).toMatchObject({ code: 'unauthorized', details: { status: 401, ran: false } });
    const { host } = new URL(peer.url);
    const seen = { language: 'de', trace: '00-1', same: '00-1', host, ip: '127.0.0.1' };
    expect(await call('headers', { metadata })).toEqual(seen);
  });
});

describe('metadata', () => {
  it('says nothing of the connection', async () => {
    const { peer } = await start({ refusedMetadata: ['X-Tenant'] });
    const names = [
      'host content-length transfer-encoding connection x-forwarded-for forwarded cookie origin x-tenant',
      // of whom a gateway lets pass, and with which certificate
      'client-cert client-cert-chain ssl_client_verify x-consumer-username x-credential-identifier x-endpoint-api-userinfo',
      'x-apigateway-api-userinfo l5d-client-id oidc_claim_sub x-userinfo x-jwt-payload x-rewrite-url x-host x-scheme x-cdn-src-ip ali-cdn-real-ip',
      'x-arr-clientcert x-azure-clientip x-tls-client-subject x-nf-client-connection-ip do-connecting-ip x-webauth-user',
    ];
    for (const name of names.join(' ').split(' ')) {
      const reply = await peer.send(peer.frame([{ name: 'plain', args: [1], metadata: { [name]: 'x' } }]));
      expect(only(reply)).toMatchObject({ code: 'bad_request', message: `The metadata may not hold '${name}'.` });
    }
  });

  it('refused by a guard may be tried anew; what the function itself refuses has run', async () => {
    const { peer } = await start();
    const call = async (name: string, authorization?: string) =>
      only(await peer.send(peer.frame([{ name, args: [], ...(authorization && { metadata: { authorization } }) }])));
    expect(await call('guarded')).toMatchObject({ code: 'unauthorized', details: { ran: false } });
    expect(await call('guarded', 'Bearer good')).toBe('in');
    expect(((await call('unauthorized')) as { details: object }).details).toEqual({ status: 401 });
  });

  it.each([
    ['jsend', 401],
    ['forbidden', 403],
    ['upstream', 401],
    ['relayed', 401],
  ])('may be tried anew by the status of the refusal, whatever a body says: %s', async (by, status) => {
    const { peer } = await start();
    const details = async (name: string) =>
      (only(await peer.send(peer.frame([{ name, args: [by] }]))) as { details: object }).details;
    expect(await details('refused')).toEqual(status === 401 ? { status, ran: false } : { status });
    expect(await details('throwing')).toEqual({ status });
    expect(await details('throwingToo')).toEqual({ status });
  });
});

it('the log says of which function and which item an item is that cannot be sent', async () => {
  @RemoteFunctions('live')
  @Injectable()
  class Unfit {
    @RemoteFunction()
    async *items(): AsyncGenerator<unknown> {
      yield 0;
      yield { at: [() => 1] };
    }

    @RemoteFunction()
    value(): unknown {
      return { at: [() => 1] };
    }

    @RemoteFunction()
    closed(): AsyncIterable<unknown> {
      return {
        [Symbol.asyncIterator]() {
          throw new Error('no cursor');
        },
      };
    }
  }
  const error = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
  const { client } = await startStreams({ functions: Unfit });
  const peer = await client();
  for (const calls of [1, 2]) {
    const reply = await peer.send(peer.frame(Array.from({ length: calls }, () => ({ name: 'value', args: [] }))));
    expect(reply).toMatchObject({ outcomes: Array(calls).fill({ code: 'internal' }) });
    expect(error.mock.lastCall?.[0]).toMatch(/^Unfit\.value: .*at `\.at\[0\]`, cannot be sent/);
  }
  error.mockClear();
  const answer = await callLive(peer, { name: 'items', args: [] });
  const items = (await answer.value<AsyncIterable<unknown>>())[Symbol.asyncIterator]();
  expect(await items.next()).toEqual({ done: false, value: 0 });
  await expect(items.next()).rejects.toMatchObject({ code: 'internal' });
  const closed = await callLive(peer, { name: 'closed', args: [] });
  const none = (await closed.value<AsyncIterable<unknown>>())[Symbol.asyncIterator]();
  await expect(none.next()).rejects.toMatchObject({ code: 'internal' });
  expect(error.mock.calls.map(([sentence]) => String(sentence))).toEqual([
    expect.stringMatching(/^Unfit\.items, item 1 \(from 0\) of what it streams: .*at\[0\]/),
    'Unfit.closed, the beginning of what it streams: no cursor',
  ]);
  error.mockRestore();
});

it('an iterable that stands twice in a result is refused, an Observable is subscribed to twice', async () => {
  @RemoteFunctions('live')
  @Injectable()
  class Twice {
    @RemoteFunction()
    iterable(): unknown {
      const one = { [Symbol.asyncIterator]: () => (async function* () {})() };
      return [one, one];
    }

    @RemoteFunction()
    observable(): unknown {
      const one = of(1, 2);
      return [one, one];
    }
  }
  const error = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
  const { client } = await startStreams({ functions: Twice });
  const peer = await client();
  const refused = await callLive(peer, { name: 'iterable', args: [] });
  await expect(refused.value()).rejects.toMatchObject({ code: 'internal' });
  expect(String(error.mock.calls[0]?.[0])).toMatch(/^Twice\.iterable: .* a stream that the message has already/);
  error.mockRestore();
  const answer = await callLive(peer, { name: 'observable', args: [] });
  const seen: unknown[] = [];
  for (const items of await answer.value<AsyncIterable<unknown>[]>()) for await (const item of items) seen.push(item);
  expect(seen).toEqual([1, 2, 1, 2]);
});

it('a resumable function whose result holds several streams is refused with a sentence, and none of them is read', async () => {
  let begun = 0;
  @RemoteFunctions('live')
  @Injectable()
  class Two {
    @RemoteFunction({ resumable: true })
    both(): unknown {
      const items = async function* () {
        begun++;
        yield 1;
      };
      return [items(), items()];
    }
  }
  const error = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
  const { client } = await startStreams({ functions: Two });
  const answer = await callLive(await client(), { name: 'both', args: [] });
  await expect(answer.value()).rejects.toMatchObject({ code: 'internal' });
  expect(await answer.ended).toBeUndefined();
  expect(begun).toBe(0);
  expect(String(error.mock.calls[0]?.[0])).toMatch(
    /^Two\.both: .*The function is resumable and returned several streams/,
  );
  error.mockRestore();
});

it('a function that takes a resume has to be resumable', async () => {
  @RemoteFunctions('live')
  @Injectable()
  class Wrong {
    @RemoteFunction()
    *from(@RemoteResume() _resume: Injected<Resume>): Generator<number> {}
  }
  const error = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
  await expect(startStreams({ functions: Wrong })).rejects.toThrow('so it must be resumable');
  error.mockRestore();
});
