import 'reflect-metadata';
import { once } from 'node:events';
import { OutgoingMessage, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  type CallHandler,
  type CanActivate,
  ConflictException,
  type ExecutionContext,
  type INestApplication,
  Injectable,
  Logger,
  type NestInterceptor,
  Res,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { type Injected, RemoteFunction, RemoteFunctionError, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import type { Observable } from 'rxjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { only, PeerClient, serverKey, serverKeyText, urlOf } from './support.js';

// biome-ignore lint/suspicious/noExplicitAny: of either platform
type Any = any;

const require = createRequire(import.meta.url);
// what Express, morgan and compression hear the end of a response with, and what writes `Vary` for them
const onFinished: (response: object, listener: (error: unknown, response: object) => void) => void =
  require('on-finished');
const vary: (response: object, field: string) => void = require('vary');

/** The methods of a response of Node, Express and Fastify; their insides left out, and `then`, which would make it a promise. */
const METHODS = [
  ServerResponse.prototype,
  OutgoingMessage.prototype,
  require('express').response,
  require('fastify/lib/reply').prototype,
]
  .flatMap((it) => Object.entries(Object.getOwnPropertyDescriptors(it)))
  .filter(
    ([name, { value }]) => typeof value === 'function' && /^(?!_|(constructor|then|pipe|getDecorator)$)/.test(name),
  )
  .map(([name]) => name);

const log: unknown[] = [];

/** As loggers of requests are made, in Node's words. */
@Injectable()
class AccessLog implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request: Any = context.switchToHttp().getRequest();
    const response: Any = context.switchToHttp().getResponse();
    const never = () => log.push('never');
    response.on('finish', never).off('finish', never);
    response.raw?.once('finish', function (this: unknown) {
      log.push(['finish', response.statusCode, response.statusMessage, this === response]);
    });
    response.once('close', () => log.push(['close', response.headersSent, response.writableEnded, response.finished]));
    onFinished(response, (error, it) => log.push(['over', error, it === response]));
    onFinished(request.raw ?? request, () => undefined);
    vary(response, 'Accept');
    return next.handle();
  }
}

/** Sets a cookie before the function. */
@Injectable()
class Baker implements CanActivate, NestInterceptor {
  canActivate(context: ExecutionContext): boolean {
    context.switchToHttp().getResponse().cookie('a', 'b');
    return true;
  }

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    context.switchToHttp().getResponse().cookie('a', 'b');
    return next.handle();
  }
}

const overs: (() => void)[] = [];

function brokenRead(this: Readable): void {
  this.destroy(new Error('the source is broken'));
}

@RemoteFunctions('functions')
@UseInterceptors(AccessLog)
@Injectable()
class Functions {
  @RemoteFunction()
  value(): string {
    return 'value';
  }

  @RemoteFunction()
  refusing(how: string): never {
    if (how === 'typed') throw new RemoteFunctionError('no', 'No.');
    if (how === 'http') throw new ConflictException();
    throw new Error('secret');
  }

  @RemoteFunction()
  deaf(@Res() response: Injected<Any>): string {
    response.on('finish', () => {
      throw new Error('a listener is broken');
    });
    return 'value';
  }

  @RemoteFunction()
  headers(@Res() response: Injected<Any>): unknown {
    response.setHeader('X-One', '1').set({ 'x-two': 2 }).header('x-three', '3').headers({ 'x-four': '4' });
    response
      .append('X-One', 'more')
      .appendHeader('x-five', '5')
      .type('text/plain')
      .location('/a')
      .removeHeader('x-four');
    response.setHeaders(new Map([['x-six', '6']])).links({ next: '/b' });
    response.vary('Origin');
    response.flushHeaders();
    return {
      all: { ...response.getHeaders() },
      names: response.getHeaderNames(),
      has: [response.hasHeader('X-ONE'), response.hasHeader('x-four')],
      get: [response.getHeader('x-two'), response.get('X-Three')],
      state: [response.headersSent, response.sent, response.writableEnded, response.finished, response.statusCode],
      locals: response.locals,
      request: response.req === response.request && response.req.res === (response.req.raw ? undefined : response),
    };
  }

  @RemoteFunction()
  refused(method: string, @Res() response: Injected<Any>): string {
    response[method]('a', 'b');
    return 'not refused';
  }

  /** Streams to its response as routes do, or calls it when nobody is there to catch an error. */
  @RemoteFunction()
  async streamed(how: string, @Res() response: Injected<Any>): Promise<unknown> {
    const source = Readable.from(['a', 'b']);
    if (how === 'pipeline') await pipeline(source, response);
    if (how === 'caught') await pipeline(source, response).catch(() => undefined);
    if (how === 'pipe') await once(source.pipe(response), 'finish');
    if (how === 'closed') await new Promise((resolve) => source.pipe(response).on('close', resolve));
    if (how === 'piping') source.pipe(response);
    if (how === 'drain' && !response.write('a')) await once(response, 'drain');
    if (how === 'called back') await new Promise((resolve) => response.write('a', resolve));
    if (how === 'destroyed') pipeline(new Readable({ read: brokenRead }), response).catch(() => undefined);
    return how === 'caught' ? 'value' : undefined;
  }

  /** Its response is used when the call is over. */
  @RemoteFunction()
  late(method: string, @Res({ passthrough: true }) response: Injected<Any>): string {
    response.on('close', () =>
      setImmediate(() => {
        try {
          log.push(['late', response[method]('a', 'b') === (method === 'write' ? false : response)]);
          response[method]('a', 'b');
        } catch (error) {
          log.push(new Error(`${method}: ${error}`));
        }
        setImmediate(() => overs.shift()?.());
      }),
    );
    return 'value';
  }

  @RemoteFunction()
  answering(how: string, @Res() response: Injected<Any>): void {
    if (how === 'later') setImmediate(() => response.status(201).json({ a: 1 }));
    if (how === 'failing') setImmediate(() => response.status(404).send('none'));
    if (how === 'refused') setImmediate(() => response.redirect('/a'));
  }

  @RemoteFunction()
  passing(@Res({ passthrough: true }) response: Injected<Any>): void {
    response.status(201);
  }

  @RemoteFunction()
  @UseGuards(Baker)
  guarded(): void {
    log.push('ran');
  }

  @RemoteFunction()
  @UseInterceptors(Baker)
  intercepted(): void {
    log.push('ran');
  }

  @RemoteFunction()
  written(how: string, @Res() response: Injected<Any>): void {
    if (how === 'json') response.json({ a: 1 }).send('again');
    if (how === 'end') response.end('text', () => log.push('ended'));
    if (how === 'status') response.sendStatus(404);
    if (how === 'head') response.writeHead(409, 'No', { 'x-a': '1' }).end('taken');
    if (how === 'code') response.code(202).send(Buffer.from('ab'));
    if (how === 'nothing') response.end();
  }
}

describe.each([
  ['Express', (): undefined => undefined],
  ['Fastify', () => new FastifyAdapter()],
] as const)('the response of a call on %s', (_platform, adapter) => {
  let app: INestApplication;
  let client: PeerClient;
  const call = async (name: string, ...args: unknown[]) => only(await client.call(name, ...args));

  beforeAll(async () => {
    const module = await Test.createTestingModule({
      imports: [
        SealwireModule.forRoot({ serverKey: serverKeyText, handshakeRate: false }),
        SealwireModule.forFeature({ path: 'functions' }),
      ],
      providers: [Functions],
    }).compile();
    const platform = adapter();
    app = platform ? module.createNestApplication(platform) : module.createNestApplication();
    app.useLogger(false);
    await app.listen(0, '127.0.0.1');
    const url = urlOf(app, '/remote/functions');
    client = new PeerClient(url, { modulePath: 'functions', keySize: 32, serverKey: serverKey.publicKey });
    await client.connect();
  });
  afterAll(() => app.close());
  beforeEach(() => {
    log.length = 0;
  });

  it.each([
    ['value', [], 200, 'OK'],
    ['refusing', ['typed'], 400, 'Bad Request'],
    ['refusing', ['http'], 409, 'Conflict'],
    ['refusing', ['unexpected'], 500, 'Internal Server Error'],
  ])('ends once the call is over: %s %j', async (name, args, status, message) => {
    await call(name, ...args);
    expect(log).toHaveLength(3);
    expect(log).toEqual(
      expect.arrayContaining([
        ['finish', status, message, true],
        ['close', true, true, true],
        ['over', null, true],
      ]),
    );
  });

  it('takes no harm from a listener', async () => {
    expect(await call('deaf')).toBe('value');
  });

  it('keeps headers for whoever asks for them again', async () => {
    expect(await call('headers')).toEqual({
      all: {
        vary: 'Accept, Origin',
        'x-one': ['1', 'more'],
        'x-two': 2,
        'x-three': '3',
        'x-five': '5',
        'x-six': '6',
        'content-type': 'text/plain',
        location: '/a',
        link: '</b>; rel="next"',
      },
      names: expect.arrayContaining(['x-one', 'vary']),
      has: [true, false],
      get: [2, '3'],
      state: [false, false, false, false, 200],
      locals: {},
      request: true,
    });
  });

  it.each([
    ['json', { a: 1 }],
    ['end', 'text'],
    ['code', new Uint8Array(Buffer.from('ab'))],
    ['nothing', undefined],
    ['status', { ok: false, code: 'not_found', message: 'Not Found', details: { status: 404 } }],
    ['head', { ok: false, code: 'conflict', message: 'taken', details: { status: 409 } }],
  ])('becomes the outcome once it is written: %s', async (how, expected) => {
    expect(await call('written', how)).toEqual(expected);
    expect(log.includes('ended')).toBe(how === 'end');
  });

  it.each([
    ['cookie', 'a sealed result carries no cookies'],
    ['setCookie', 'a sealed result carries no cookies'],
    ['clearCookie', 'a sealed result carries no cookies'],
    ['redirect', 'a sealed result cannot redirect'],
    ['write', 'a sealed result is one value'],
    ['render', 'a sealed result is one value'],
    ['sendFile', 'a sealed result is one value'],
    ['hijack', 'a sealed result is one value'],
  ])('refuses %s() in a sentence that names the function', async (method, reason) => {
    const logged = errors();
    expect(await call('refused', method)).toMatchObject({ ok: false, code: 'internal' });
    expect(logged()).toEqual([
      expect.stringContaining(`Functions.refused called ${method}() on its response: ${reason}`),
    ]);
  });

  it.each(['pipeline', 'caught', 'pipe', 'closed', 'piping', 'drain', 'called back'])(
    'fails a call that streams to it, and nothing else: %s',
    async (how) => {
      const logged = errors();
      expect(await call('streamed', how)).toMatchObject({ ok: false, code: 'internal' });
      expect(logged()).toEqual([
        expect.stringContaining('Functions.streamed called write() on its response: a sealed result is one value'),
      ]);
    },
  );

  it('fails a call that destroys it', async () => {
    const logged = errors();
    expect(await call('streamed', 'destroyed')).toMatchObject({ ok: false, code: 'internal' });
    expect(logged()).toEqual([expect.stringContaining('the source is broken')]);
  });

  it.each(['write', 'redirect', 'sendFile'])('tells in the log of %s() when the call is over', async (method) => {
    const logged = errors();
    const over = new Promise<void>((resolve) => overs.push(resolve));
    expect(await call('late', method)).toBe('value');
    await over;
    expect(log).toContainEqual(['late', true]);
    expect(logged()).toEqual([expect.stringContaining(`Functions.late called ${method}() on its response`)]);
  });

  it('has the methods of every platform, and none throws when the call is over', async () => {
    errors();
    for (const method of METHODS) {
      const over = new Promise<void>((resolve) => overs.push(resolve));
      expect(await call('late', method)).toBe('value');
      await over;
    }
    expect(log.filter((it) => it instanceof Error)).toEqual([]);
  });

  it.each([
    ['later', { a: 1 }],
    ['failing', { ok: false, code: 'not_found', message: 'none', details: { status: 404 } }],
    ['refused', { ok: false, code: 'internal', message: 'Internal server error' }],
  ])('is waited for if the function returns nothing: %s', async (how, expected) => {
    errors();
    expect(await call('answering', how)).toEqual(expected);
  });

  it('is waited for as long as the caller waits', async () => {
    const call = client.frame([{ name: 'answering', args: ['never'], deadline: 50 }]);
    expect(only(await client.send(call))).toMatchObject({ ok: false, code: 'deadline' });
  });

  it('is not waited for if it is passed through', async () => {
    expect(await call('passing')).toBeUndefined();
  });

  it.each(['guarded', 'intercepted'])('keeps the function from running if it was misused before: %s', async (name) => {
    const logged = errors();
    expect(await call(name)).toMatchObject({ ok: false, code: 'internal' });
    expect(log).not.toContain('ran');
    expect(logged()).toEqual([expect.stringContaining(`Functions.${name} called cookie() on its response`)]);
  });
});

/** What is logged in this test. */
function errors(): () => string[] {
  const error = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
  onTestFinished(() => error.mockRestore());
  return () => error.mock.calls.map(([logged]) => String(logged));
}
