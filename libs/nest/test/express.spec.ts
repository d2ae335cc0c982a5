import 'reflect-metadata';
import { tracingChannel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer, request as httpRequest, IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  type MiddlewareConsumer,
  Module,
  type NestModule,
  Post,
  UseGuards,
} from '@nestjs/common';
import type { ExpressAdapter, NestExpressApplication } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import { CONTENT_TYPE } from '@sealwire/core';
import { RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import express, { type NextFunction, type Request, type Response } from 'express';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { only, PeerClient, post, serverKey, serverKeyText, urlOf } from './support.js';

let seen: Record<string, unknown> = {};

/** Reads what guards read of a request of Express. */
class Reader implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<Request>();
    const { app, ip, ips, query, originalUrl, url, path, baseUrl, params, protocol, secure, hostname, xhr } = request;
    const { method, body, route, fresh, subdomains, res, headers } = request;
    seen = { ip, ips, query: { ...query }, originalUrl, url, path, baseUrl, protocol, secure, hostname, xhr };
    Object.assign(seen, { method, body, fresh, subdomains, params: { ...params }, route: route?.path });
    Object.assign(seen, { name: app.get('name'), sameApp: app === instance(), locals: res?.locals });
    Object.assign(seen, {
      host: request.get('x-name'),
      is: request.is(CONTENT_TYPE),
      accepts: request.accepts('json'),
    });
    Object.assign(seen, { isMessage: request instanceof IncomingMessage, proto: headers['x-forwarded-proto'] });
    Object.assign(seen, { keys: Object.keys(request).includes('originalUrl'), complete: request.complete });
    return true;
  }
}

@RemoteFunctions('functions')
@Controller('others')
class Functions {
  @RemoteFunction()
  open(text: string): string {
    return text;
  }

  @RemoteFunction()
  @UseGuards(Reader)
  guarded(text: string): string {
    return text;
  }

  @Get(':id')
  one(): string {
    return 'one';
  }

  @Post()
  add(): string {
    return 'added';
  }
}

@Module({
  imports: [
    SealwireModule.forRoot({ serverKey: serverKeyText, handshakeRate: false }),
    SealwireModule.forFeature({ path: 'functions', forceEncryption: false }),
  ],
  controllers: [Functions],
})
class Root implements NestModule {
  static configure: (consumer: MiddlewareConsumer) => void = () => undefined;

  configure(consumer: MiddlewareConsumer): void {
    Root.configure(consumer);
  }
}

let app: NestExpressApplication | undefined;
// biome-ignore lint/suspicious/noExplicitAny: its insides are looked at
const instance = (): any => app?.getHttpAdapter().getInstance();
afterEach(async () => {
  vi.restoreAllMocks();
  Root.configure = () => undefined;
  await app?.close();
  app = undefined;
});

type Prepare = (prepared: NestExpressApplication) => void;

async function start(prepare: Prepare = () => undefined, path = '/remote/functions'): Promise<PeerClient> {
  const module = await Test.createTestingModule({ imports: [Root] }).compile();
  app = module.createNestApplication<NestExpressApplication>();
  app.useLogger(false);
  prepare(app);
  await app.listen(0, '127.0.0.1');
  const config = { modulePath: 'functions', keySize: 32, serverKey: serverKey.publicKey } as const;
  const client = new PeerClient(urlOf(app, path), config);
  await client.connect();
  return client;
}

/** How many requests Express was given while `work` ran. */
async function passed(work: () => Promise<unknown>): Promise<number> {
  const handle = vi.spyOn(instance(), 'handle');
  await work();
  return handle.mock.calls.length;
}

const step = (_request: unknown, _response: unknown, next: () => void) => next();

const WAYS: Record<string, Prepare> = {
  'before Express': () => undefined,
  'through Express': (prepared) => prepared.use(step),
};

describe.each(Object.entries(WAYS))('a sealed call %s', (way, prepare) => {
  it('shows guards the request of Express', async () => {
    const client = await start((prepared) => {
      prepare(prepared);
      prepared.set('trust proxy', true).set('name', 'bank');
    });
    const headers = { 'x-forwarded-for': '198.51.100.7', 'x-forwarded-proto': 'https', host: 'a.example.com' };
    const frame = client.frame([{ name: 'guarded', args: ['x'] }]);
    const count = await passed(() => post(client.url, frame, { ...headers, 'x-name': 'ann' }));
    expect(count).toBe(way === 'before Express' ? 0 : 1);
    expect(seen).toEqual({
      ip: '198.51.100.7',
      ips: ['198.51.100.7'],
      query: {},
      originalUrl: '/remote/functions',
      url: '/remote/functions',
      path: '/remote/functions',
      baseUrl: '',
      protocol: 'https',
      secure: true,
      hostname: 'a.example.com',
      xhr: false,
      method: 'POST',
      body: undefined,
      fresh: false,
      subdomains: ['a'],
      params: { module: 'functions' },
      route: '/remote/:module',
      name: 'bank',
      sameApp: true,
      locals: {},
      host: 'ann',
      is: CONTENT_TYPE,
      accepts: 'json',
      isMessage: true,
      proto: 'https',
      keys: true,
      complete: true,
    });
  });

  it('is answered with the same head', async () => {
    const client = await start(prepare);
    const answer = await post(client.url, client.frame([{ name: 'open', args: ['x'] }]));
    expect({ ...answer.headers, date: '' }).toEqual({
      'x-powered-by': 'Express',
      'cache-control': 'no-store, no-transform',
      'content-type': CONTENT_TYPE,
      'content-length': String(answer.body.length),
      date: '',
      connection: 'keep-alive',
      'keep-alive': 'timeout=5',
    });
    const problem = await post(client.url, 'no frame');
    expect([problem.status, problem.code, problem.headers['x-powered-by']]).toEqual([400, 'bad_frame', 'Express']);
    app?.disable('x-powered-by');
    expect((await post(client.url, 'no frame')).headers).not.toHaveProperty('x-powered-by');
  });

  it('that does not open is charged to the address that a trusted proxy tells of', async () => {
    const client = await start((prepared) => {
      prepare(prepared);
      prepared.set('trust proxy', true);
    });
    const frame = client.frame([{ name: 'open', args: ['x'] }]);
    frame[40] = (frame[40] ?? 0) ^ 1;
    const from = (address: string) => post(client.url, frame, { 'x-forwarded-for': address });
    const codes = await Promise.all(Array.from({ length: 60 }, () => from('198.51.100.7')));
    expect(codes.map(({ code }) => code)).toContain('busy');
    expect((await from('198.51.100.8')).code).toBe('bad_frame');
  });
});

const hooksOf = (prepared: NestExpressApplication) => prepared.getHttpAdapter() as unknown as ExpressAdapter;
const handler = express.Router().use(step);
const THROUGH: Record<string, Prepare> = {
  'middleware of all routes': (prepared) => prepared.use(step),
  'middleware below the path': (prepared) => prepared.use('/remote', step),
  'middleware of the path in other letters': (prepared) => prepared.use('/REMOTE/functions', step),
  'a router': (prepared) => prepared.use(handler),
  'middleware that Nest applies': () => {
    Root.configure = (consumer) => consumer.apply(step).forRoutes('{*any}');
  },
  CORS: (prepared) => prepared.enableCors(),
  'a parser of all bodies': (prepared) => prepared.use(express.raw({ type: 'application/x-other' })),
  'a function that has a name of a parser': (prepared) =>
    prepared.use(function jsonParser(_request: unknown, _response: unknown, next: () => void) {
      next();
    }),
  'a parser that something wraps': (prepared) => {
    const json = express.json();
    prepared.use((request: Request, response: Response, next: NextFunction) => json(request, response, next));
  },
  'a route of the same path': (prepared) => prepared.getHttpAdapter().getInstance().all('/remote/functions', step),
  'a parameter callback': (prepared) =>
    prepared
      .getHttpAdapter()
      .getInstance()
      .router.param('module', (_request: unknown, _response: unknown, next: () => void) => next()),
  'a hook of requests': (prepared) =>
    hooksOf(prepared).setOnRequestHook((_request: unknown, _response: unknown, done: () => void) => done()),
  'a hook of responses': (prepared) => hooksOf(prepared).setOnResponseHook(() => undefined),
  'another listener of the server': (prepared) => prepared.getHttpServer().prependListener('request', () => undefined),
};

const BEFORE: Record<string, Prepare> = {
  'middleware of another path': (prepared) => prepared.use('/others', step),
  'body parsers of other types': (prepared) => {
    prepared.useBodyParser('json', { limit: '5mb' }).useBodyParser('urlencoded', { extended: true });
  },
  'a handler of errors': (prepared) =>
    prepared.use((_error: unknown, _request: Request, _response: Response, next: NextFunction) => next()),
  'middleware of Nest for other routes': () => {
    Root.configure = (consumer) => consumer.apply(step).exclude('remote/functions').forRoutes(Functions);
  },
  'a route of the same path and another method': (prepared) =>
    prepared.getHttpAdapter().getInstance().get('/remote/functions', step),
};

describe('a sealed call', () => {
  it.each(Object.entries(THROUGH))('passes Express if there is %s', async (_, prepare) => {
    const client = await start(prepare);
    expect(await passed(async () => expect(only(await client.call('open', 'x'))).toBe('x'))).toBe(1);
  });

  it.each(Object.entries(BEFORE))('passes no Express if there is %s', async (_, prepare) => {
    const client = await start(prepare);
    expect(await passed(async () => expect(only(await client.call('open', 'x'))).toBe('x'))).toBe(0);
  });

  it('passes Express as soon as something is put before the door, and while somebody traces', async () => {
    const client = await start();
    const call = () => passed(async () => expect(only(await client.call('open', 'x'))).toBe('x'));
    expect(await call()).toBe(0);
    const tracer = { start() {}, end() {}, asyncStart() {}, asyncEnd() {}, error() {} };
    const channel = tracingChannel('express.router.request');
    channel.subscribe(tracer);
    expect(await call()).toBe(1);
    channel.unsubscribe(tracer);
    vi.restoreAllMocks();
    expect(await call()).toBe(0);
    const { stack, params } = instance().router;
    instance().param('module', (_request: unknown, _response: unknown, next: () => void) => next());
    expect(await call()).toBe(1);
    delete params.module;
    vi.restoreAllMocks();
    expect(await call()).toBe(0);
    instance().use(step);
    stack.unshift(stack.pop());
    expect(await call()).toBe(1);
  });

  it.each([
    ['another path of it', '/remote/functions/'],
    ['other letters', '/Remote/functions'],
    ['a query', '/remote/functions?a=1'],
    ['a path with its host', 'http://x/remote/functions'],
  ])('passes Express for %s', async (_, path) => {
    const client = await start();
    const frame = client.frame([{ name: 'open', args: ['x'] }]);
    const send = () =>
      new Promise((resolve) => {
        const headers = { 'content-type': CONTENT_TYPE, 'content-length': frame.length };
        const { port } = new URL(client.url);
        httpRequest({ port, host: '127.0.0.1', path, method: 'POST', headers }, (response) => {
          response.resume().on('end', () => resolve(response.statusCode));
        }).end(frame);
      });
    expect(await passed(async () => expect(await send()).toBe(200))).toBe(1);
  });

  it('alone passes no Express: all else does', async () => {
    const client = await start();
    const json = { 'content-type': 'application/json' };
    expect(await passed(() => post(client.url, '{"calls":[{"name":"open"}]}', json))).toBe(1);
    vi.restoreAllMocks();
    expect(await passed(() => fetch(urlOf(app as NestExpressApplication, '/others/1')))).toBe(1);
    vi.restoreAllMocks();
    expect(await passed(() => fetch(client.url, { method: 'OPTIONS' }))).toBe(1);
    vi.restoreAllMocks();
    expect(await passed(() => post(urlOf(app as NestExpressApplication, '/remote/unknown'), 'x'))).toBe(1);
  });

  it('passes no Express below a global prefix, and does below one with parameters', async () => {
    const client = await start((prepared) => prepared.setGlobalPrefix('api/v1'), '/api/v1/remote/functions');
    expect(await passed(() => client.call('open', 'x'))).toBe(0);
    await app?.close();
    const other = await start((prepared) => prepared.setGlobalPrefix(':tenant'), '/:tenant/remote/functions');
    expect(await passed(() => other.call('open', 'x'))).toBe(1);
  });
});

it('keeps the connections of another server that hands requests to Express, until the application stops', async () => {
  const module = await Test.createTestingModule({ imports: [Root] }).compile();
  app = module.createNestApplication<NestExpressApplication>();
  app.useLogger(false);
  await app.init();
  const server = createServer(instance()).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/remote/functions`;
  const client = new PeerClient(url, { modulePath: 'functions', keySize: 32, serverKey: serverKey.publicKey });
  await client.connect();
  const connection = async () => (await post(url, client.frame([{ name: 'open', args: ['x'] }]))).headers.connection;
  expect(await connection()).toBe('keep-alive');
  await app.close();
  expect(await connection()).toBe('close');
});
