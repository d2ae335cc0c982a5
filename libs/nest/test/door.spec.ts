import 'reflect-metadata';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  type INestApplication,
  Injectable,
  type MiddlewareConsumer,
  Module,
  type NestInterceptor,
  type NestModule,
  type PipeTransform,
  Post,
  RequestMethod,
  Scope,
  SetMetadata,
  UnauthorizedException,
  VersioningType,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, APP_PIPE, ExternalContextCreator, Reflector } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { SkipThrottle, ThrottlerGuard, ThrottlerModule } from '@nestjs/throttler';
import { encodeCalls } from '@sealwire/core';
import { RemoteFunction, RemoteFunctions, remoteCall, SealwireModule, type SealwireOptions } from '@sealwire/nest';
import type { Observable } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { BodyReader } from '../src/http/index.js';
import { withGlobalPrefix } from '../src/quirks/index.js';
import { startStreams } from './streams-application.js';
import { only, PeerClient, post, serverKey, serverKeyText, urlOf } from './support.js';

const Public = () => SetMetadata('public', true);
/** who ran, and for what: `undefined` for anything that is no remote function */
const seen: [who: string, name: string | undefined][] = [];
const note = (who: string, context: ExecutionContext) => seen.push([who, remoteCall(context)?.functionName]);

@Injectable()
class TokenGuard implements CanActivate {
  constructor(private readonly reflector: Reflector) {}

  canActivate(context: ExecutionContext): boolean {
    note('guard', context);
    if (this.reflector.getAllAndOverride('public', [context.getHandler(), context.getClass()])) return true;
    throw new UnauthorizedException('jwt expired');
  }
}

@Injectable({ scope: Scope.REQUEST })
class ScopedGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    note('scoped guard', context);
    return true;
  }
}

@Injectable()
class Watcher implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    note('interceptor', context);
    return next.handle();
  }
}

@Injectable()
class Trim implements PipeTransform {
  transform(value: unknown): unknown {
    seen.push(['pipe', undefined]);
    return typeof value === 'string' ? value.trim() : value;
  }
}

@Catch(RangeError)
class Ranges implements ExceptionFilter {
  catch(_error: RangeError, host: ArgumentsHost): unknown {
    return host.switchToHttp().getResponse().status(422).json({ code: 'out_of_range', message: 'Too far.' });
  }
}

@RemoteFunctions('functions')
@Controller()
class Functions {
  @Public()
  @SkipThrottle()
  @RemoteFunction()
  open(text: string): string {
    return text;
  }

  @RemoteFunction()
  locked(): string {
    return 'never';
  }

  @Public()
  @RemoteFunction()
  far(): never {
    throw new RangeError('secret');
  }

  @Public()
  @Get('ordinary')
  ordinary(): string {
    return 'ordinary';
  }

  @Public()
  @Post('echo')
  echo(): string {
    return 'echoed';
  }
}

const middleware: string[] = [];

@Module({
  imports: [
    SealwireModule.forRootAsync({ useFactory: () => ({ serverKey: serverKeyText, ...Root.options }) }),
    SealwireModule.forFeature({ path: 'functions', forceEncryption: false }),
  ],
  controllers: [Functions],
})
class Root implements NestModule {
  static options: SealwireOptions = {};

  configure(consumer: MiddlewareConsumer): void {
    consumer
      .apply((request: { originalUrl: string }, _response: unknown, next: () => void) => {
        middleware.push(request.originalUrl);
        next();
      })
      .forRoutes({ path: '{*any}', method: RequestMethod.ALL });
  }
}

let app: INestApplication | undefined;
afterEach(async () => {
  await app?.close();
  app = undefined;
  Root.options = {};
  seen.length = 0;
  middleware.length = 0;
});

interface Settable {
  header(name: string, value: string): unknown;
}

const PLATFORMS = { express: undefined, fastify: () => new FastifyAdapter() };

interface Setup {
  readonly options?: SealwireOptions;
  readonly providers?: Parameters<typeof Test.createTestingModule>[0]['providers'];
  readonly imports?: Parameters<typeof Test.createTestingModule>[0]['imports'];
  readonly prepare?: (app: INestApplication) => void;
}

async function start(platform: keyof typeof PLATFORMS, { options = {}, providers, imports, prepare }: Setup = {}) {
  Root.options = { handshakeRate: false, ...options } as SealwireOptions;
  const module = await Test.createTestingModule({
    imports: [Root, ...(imports ?? [])],
    providers: providers ?? [],
  }).compile();
  const adapter = PLATFORMS[platform]?.();
  app = adapter ? module.createNestApplication(adapter) : module.createNestApplication();
  app.useLogger(false);
  prepare?.(app);
  await app.listen(0, '127.0.0.1');
  return app;
}

async function connected(running: INestApplication, path = '/remote/functions'): Promise<PeerClient> {
  const client = new PeerClient(urlOf(running, path), {
    modulePath: 'functions',
    keySize: 32,
    serverKey: serverKey.publicKey,
  });
  await client.connect();
  return client;
}

describe.each(Object.keys(PLATFORMS) as (keyof typeof PLATFORMS)[])('on %s, global enhancers', (platform) => {
  it('run once for each function with its plaintext, and never for the route of sealed bodies', async () => {
    const running = await start(platform, {
      providers: [
        { provide: APP_GUARD, useClass: TokenGuard },
        { provide: APP_GUARD, useClass: ScopedGuard },
        { provide: APP_INTERCEPTOR, useClass: Watcher },
        { provide: APP_PIPE, useClass: Trim },
      ],
    });
    const client = await connected(running);
    expect(seen).toEqual([]);
    expect(only(await client.call('open', ' x '))).toBe('x');
    const expected = ['guard', 'scoped guard', 'interceptor'].map((who) => [who, 'open']);
    expect(seen).toEqual(expect.arrayContaining([...expected, ['pipe', undefined]]));
    expect(seen).toHaveLength(4);
  });

  it('may be given to the application instead of a module', async () => {
    const running = await start(platform, {
      prepare: (prepared) => {
        prepared.useGlobalGuards(new TokenGuard(new Reflector()));
        prepared.useGlobalInterceptors(new Watcher());
        prepared.useGlobalPipes(new Trim());
        prepared.useGlobalFilters(new Ranges());
      },
    });
    const client = await connected(running);
    expect(only(await client.call('open', ' x '))).toBe('x');
    expect(seen).toEqual([
      ['guard', 'open'],
      ['interceptor', 'open'],
      ['pipe', undefined],
    ]);
    expect(only(await client.call('far'))).toMatchObject({ ok: false, code: 'out_of_range', message: 'Too far.' });
  });

  it('refuse under the seal, at once', async () => {
    const running = await start(platform, { providers: [{ provide: APP_GUARD, useClass: TokenGuard }] });
    const client = await connected(running);
    expect(only(await client.call('locked'))).toMatchObject({
      ok: false,
      code: 'unauthorized',
      message: 'jwt expired',
      details: { status: 401 },
    });
  });

  it('refuse first calls inside the handshake alike', async () => {
    const running = await start(platform, { providers: [{ provide: APP_GUARD, useClass: TokenGuard }] });
    const config = { modulePath: 'functions', keySize: 32, serverKey: serverKey.publicKey } as const;
    const client = new PeerClient(urlOf(running, '/remote/functions'), config);
    const reply = await client.connect([{ name: 'locked', args: [] }]);
    expect(only(reply)).toMatchObject({ ok: false, code: 'unauthorized' });
  });

  it('catch what functions throw', async () => {
    const running = await start(platform, { providers: [{ provide: APP_FILTER, useClass: Ranges }] });
    const client = await connected(running);
    expect(only(await client.call('far'))).toMatchObject({ ok: false, code: 'out_of_range', details: { status: 422 } });
  });

  it('throttle functions, but for those that skip it', async () => {
    const running = await start(platform, {
      imports: [ThrottlerModule.forRoot([{ ttl: 60_000, limit: 2 }])],
      providers: [{ provide: APP_GUARD, useClass: ThrottlerGuard }],
    });
    const client = await connected(running);
    for (let i = 0; i < 4; i++) expect(only(await client.call('open', 'x'))).toBe('x');
    expect(only(await client.call('locked'))).toBe('never');
    expect(only(await client.call('locked'))).toBe('never');
    expect(only(await client.call('locked'))).toMatchObject({ ok: false, code: 'too_many_requests' });
  });
});

describe.each(Object.keys(PLATFORMS) as (keyof typeof PLATFORMS)[])('on %s, the route', (platform) => {
  it.each([
    ['/api/remote/functions', (prepared: INestApplication) => prepared.setGlobalPrefix('api')],
    [
      '/remote/functions',
      (prepared: INestApplication) => prepared.setGlobalPrefix('api', { exclude: ['remote/{*path}'] }),
    ],
    [
      '/api/remote/functions',
      (prepared: INestApplication) =>
        prepared.setGlobalPrefix('/api/').enableVersioning({ type: VersioningType.URI, defaultVersion: '1' }),
    ],
  ])('is %s', async (path, prepare) => {
    const running = await start(platform, { prepare });
    const client = await connected(running, path);
    expect(only(await client.call('open', 'x'))).toBe('x');
  });

  it('lies where the factory says', async () => {
    const running = await start(platform, { options: { path: '/rpc/' } });
    expect(only(await (await connected(running, '/rpc/functions')).call('open', 'x'))).toBe('x');
    expect((await post(urlOf(running, '/remote/functions'), 'x')).status).toBe(404);
  });

  it('comes after the middleware of the application, whose headers stay', async () => {
    const running = await start(platform, {
      prepare: (prepared) => prepared.enableCors({ origin: 'https://app.example' }),
    });
    const client = await connected(running);
    expect(middleware).toEqual(['/remote/functions', '/remote/functions']);
    const answer = await post(client.url, client.frame([{ name: 'open', args: ['x'] }]), {
      origin: 'https://app.example',
    });
    expect(answer.status).toBe(200);
    expect(answer.headers['access-control-allow-origin']).toBe('https://app.example');
  });

  it('has its own headers once, whatever a hook has set before', async () => {
    const headers = { 'cache-control': 'private', 'content-type': 'text/html', 'x-of-hook': 'stays' };
    const running = await start(platform, {
      prepare: (prepared) => {
        const adapter = prepared.getHttpAdapter();
        const set = (response: Settable, next: () => void) => {
          for (const [name, value] of Object.entries(headers)) response.header(name, value);
          next();
        };
        if (platform === 'express')
          adapter.use((_: unknown, response: Settable, next: () => void) => set(response, next));
        else
          adapter
            .getInstance()
            .addHook('onRequest', (_: unknown, reply: Settable, done: () => void) => set(reply, done));
      },
    });
    const client = await connected(running);
    const answer = await post(client.url, client.frame([{ name: 'open', args: ['x'] }]));
    expect(answer.headers).toMatchObject({
      'cache-control': 'no-store, no-transform',
      'content-type': 'application/vnd.sealwire',
      'x-of-hook': 'stays',
    });
  });

  it('leaves all other routes as they are', async () => {
    const running = await start(platform);
    const response = await fetch(urlOf(running, '/ordinary'));
    expect(await response.text()).toBe('ordinary');
    const cbor = await post(urlOf(running, '/echo'), encodeCalls([{ name: 'open', args: ['x'] }]), {
      'content-type': 'application/cbor',
    });
    // Fastify knows no parser for it there, Express leaves the body alone
    expect(cbor.status).toBe(platform === 'fastify' ? 415 : 201);
  });

  it('answers plain calls, and what it cannot take with a problem', async () => {
    const running = await start(platform);
    const url = urlOf(running, '/remote/functions');
    const json = (body: string) => post(url, body, { 'content-type': 'application/json' });
    const answer = await json('{"calls":[{"name":"open","args":["x"]}]}');
    expect(JSON.parse(new TextDecoder().decode(answer.body))).toEqual({ outcomes: [{ ok: true, value: 'x' }] });
    expect((await post(url, 'x', { 'content-type': 'text/plain' })).code).toBe('unsupported_media_type');
    if (platform === 'fastify') expect((await json('{"calls":')).code).toBe('bad_frame');
  });
});

it('knows where Nest keeps the global prefix', async () => {
  const running = await start('express', { prepare: (prepared) => prepared.setGlobalPrefix('api') });
  expect(withGlobalPrefix(running.get(ExternalContextCreator), '/x')).toBe('/api/x');
});

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** Bytes in use after a collection. */
function memory(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

describe('a body', () => {
  const head = (length: number | 'chunked') =>
    `POST /remote/functions HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.sealwire\r\n${
      length === 'chunked' ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`
    }\r\n\r\n`;

  function open(running: INestApplication) {
    const socket = connect((running.getHttpServer().address() as AddressInfo).port, '127.0.0.1');
    let text = '';
    socket.setEncoding('latin1').on('data', (data) => {
      text += data;
    });
    socket.on('error', () => undefined);
    return { socket, answered: once(socket, 'data').then(() => text) };
  }

  it('is refused as busy while too many bytes of others wait for their end, and taken again afterwards', async () => {
    const running = await start('express', { options: { maxBody: 131_072, maxWaitingBytes: 180_000 } });
    const waiting = await Promise.all(
      [1, 2].map(async () => {
        const { socket } = open(running);
        socket.write(head(131_072));
        await new Promise((done) => socket.write(Buffer.alloc(90_000), done));
        return socket;
      }),
    );
    const client = await connected(running);
    await expect.poll(async () => (await post(client.url, new Uint8Array(100_000))).code).toBe('busy');
    // those that do not wait are taken
    expect(only(await client.call('open', 'x'))).toBe('x');
    for (const socket of waiting) socket.destroy();
    await expect.poll(async () => (await post(client.url, new Uint8Array(100_000))).code).toBe('bad_frame');
  });

  it('that is whole with its first part is taken however many bytes of others wait', async () => {
    const running = await start('express', { options: { maxBody: 131_072, maxWaitingBytes: 131_072 } });
    const client = await connected(running);
    running.get(BodyReader).hold(131_072);
    for (let i = 0; i < 10; i++) expect(only(await client.call('open', 'x'))).toBe('x');
    expect((await post(client.url, new Uint8Array(100_000))).code).toBe('busy');
    const { socket, answered } = open(running);
    socket.write(`${head(100)}half`);
    expect(await answered).toMatch(/^HTTP\/1.1 503 /);
    socket.destroy();
  });

  it('that is whole but for its end, over HTTP/2, waits as others do', async () => {
    const { app: running } = await startStreams({
      create: (testing) => testing.createNestApplication(new FastifyAdapter({ http2: true } as object) as never),
      options: { maxWaitingBytes: 1_048_576 },
    });
    running.get(BodyReader).hold(1_048_576);
    const session = connectHttp2(urlOf(running, ''));
    const headers = { 'content-type': 'application/vnd.sealwire', 'content-length': 3 };
    const stream = session.request({ ':method': 'POST', ':path': '/remote/live', ...headers });
    stream.write('abc');
    const [told] = (await once(stream.resume(), 'response')) as [Record<string, number>];
    expect(told[':status']).toBe(503);
    session.destroy();
  });

  it('has its time', async () => {
    const running = await start('express', { options: { bodyTimeout: 50 } });
    const { socket, answered } = open(running);
    socket.write(`${head(100)}half`);
    expect(await answered).toMatch(/^HTTP\/1.1 503 /);
    socket.destroy();
  });

  it('in chunks of a byte takes little more than its bytes', async () => {
    const running = await start('express');
    const { socket, answered } = open(running);
    const size = 200_000;
    socket.write(head('chunked'));
    const before = memory();
    const chunk = '1\r\nx\r\n'.repeat(1_000);
    for (let i = 0; i < size / 1_000; i++) {
      if (!socket.write(chunk)) await once(socket, 'drain');
    }
    // the body is not over: all of it is held now
    await expect.poll(() => socket.writableLength).toBe(0);
    // kept chunk by chunk it would be more than 100 bytes for each
    expect(memory() - before).toBeLessThan(40 * size);
    socket.write('0\r\n\r\n');
    expect(await answered).toMatch(/^HTTP\/1.1 400 /);
    socket.destroy();
  });
});
