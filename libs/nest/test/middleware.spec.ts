import 'reflect-metadata';
import {
  Controller,
  type INestApplication,
  Injectable,
  type MiddlewareConsumer,
  Module,
  type NestMiddleware,
  type NestModule,
  Post,
  RequestMethod,
  VersioningType,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { afterEach, describe, expect, it } from 'vitest';
import { bindingsOf } from '../src/quirks/index.js';
import { post, serverKeyText, urlOf } from './support.js';

@RemoteFunctions('payments')
@Controller('payments')
class Payments {
  @Post('pay')
  @RemoteFunction()
  pay(): string {
    return 'paid';
  }
}

/** No route of its own, so Nest binds to nothing what is bound to it. */
@RemoteFunctions('payments')
@Controller()
class Functions {
  @RemoteFunction()
  refund(): string {
    return 'refunded';
  }
}

@Controller('others')
class Others {
  @Post()
  add(): string {
    return 'added';
  }
}

interface Answering {
  statusCode: number;
  end(): void;
}

@Injectable()
class AuthMiddleware implements NestMiddleware {
  use({ headers }: { headers: Record<string, unknown> }, response: Answering, next: () => void): void {
    if (headers.authorization !== undefined) next();
    else Object.assign(response, { statusCode: 401 }).end();
  }
}

const auth = (...args: Parameters<NestMiddleware['use']>) => new AuthMiddleware().use(...args);

type Configure = (consumer: MiddlewareConsumer) => unknown;
type Prepare = (app: INestApplication) => unknown;
type Route = Parameters<ReturnType<MiddlewareConsumer['apply']>['forRoutes']>[number];

const versioned: Prepare = (it) => it.enableVersioning({ type: VersioningType.URI, defaultVersion: '1' });

const PLATFORMS = { Express: undefined, Fastify: () => new FastifyAdapter() };

let app: INestApplication | undefined;
afterEach(async () => {
  await app?.close();
  app = undefined;
});

/** Binds in a module of its own, as any module of an application may. */
async function start(platform: keyof typeof PLATFORMS, configure: Configure, prepare?: Prepare, path = 'remote') {
  @Module({})
  class Bindings implements NestModule {
    async configure(consumer: MiddlewareConsumer): Promise<void> {
      await Promise.resolve();
      configure(consumer);
    }
  }
  const module = await Test.createTestingModule({
    imports: [
      SealwireModule.forRoot({ serverKey: serverKeyText, handshakeRate: false, path }),
      SealwireModule.forFeature({ path: 'payments', forceEncryption: false }),
      Bindings,
    ],
    controllers: [Payments, Functions, Others],
  }).compile();
  const adapter = PLATFORMS[platform]?.();
  app = adapter ? module.createNestApplication(adapter) : module.createNestApplication();
  app.useLogger(false);
  prepare?.(app);
  await app.listen(0, '127.0.0.1');
  return app;
}

/** Status of a call and of a handshake, whose bytes are none. */
async function statuses(running: INestApplication, path: string): Promise<number[]> {
  const url = urlOf(running, path);
  const json = { 'content-type': 'application/json' };
  return [(await post(url, '{"calls":[{"name":"pay"}]}', json)).status, (await post(url, 'x')).status];
}

describe.each(Object.keys(PLATFORMS) as (keyof typeof PLATFORMS)[])('on %s, middleware of a controller', (platform) => {
  it.each([
    ['a class', /^AuthMiddleware of Payments would not run for Payments\.pay; use a guard/, AuthMiddleware, Payments],
    ['a function', /^auth of Payments would not run/, auth, Payments],
    ['without a name', /^A middleware of Payments would not run/, (() => auth)(), Payments],
    ['of a controller without routes', /^auth of Functions would not run for Functions\.refund/, auth, Functions],
  ] as const)('that would not run for its remote functions stops the start: %s', async (name, said, it, controller) => {
    const middleware =
      name === 'without a name' ? Object.defineProperty(it.bind(undefined), 'name', { value: '' }) : it;
    await expect(
      start(platform, (consumer) => consumer.apply(middleware).forRoutes(Others, controller)),
    ).rejects.toThrow(said);
  });

  it('names the path that it may be bound to', async () => {
    const bound = start(platform, (consumer) => consumer.apply(auth).forRoutes(Payments), undefined, '/rpc/');
    await expect(bound).rejects.toThrow(/forRoutes\(Payments, 'rpc\/payments'\).*exclude\('rpc\/payments'\)\.$/);
  });

  it.each([
    'remote',
    'remote/other',
    'remote/payments/pay',
    'payments',
    'other/*path',
    { path: 'remote/payments', method: RequestMethod.GET },
  ])('is not bound to their path by %o', async (route) => {
    await expect(start(platform, (consumer) => consumer.apply(auth).forRoutes(Payments, route))).rejects.toThrow(
      /would not run/,
    );
  });

  it('is not that of others', async () => {
    const others = (consumer: MiddlewareConsumer) => {
      consumer.apply(AuthMiddleware).forRoutes('remote/payments');
      consumer.apply(auth).forRoutes(Payments);
    };
    await expect(start(platform, others)).rejects.toThrow(/^auth of Payments/);
    const excluded = (consumer: MiddlewareConsumer) => {
      consumer.apply(auth).exclude('remote/payments').forRoutes('{*path}');
      consumer.apply(auth).forRoutes(Payments);
    };
    await expect(start(platform, excluded)).rejects.toThrow(/^auth of Payments/);
  });

  it.each([
    'remote/payments',
    '/remote/payments/',
    'remote/*path',
    'remote/{*path}',
    'remote/:module',
    '{*path}',
    '*path',
    '*',
    { path: 'remote/payments', method: RequestMethod.POST },
    { path: '{*path}', method: RequestMethod.ALL },
  ])('may be bound to their path too, and runs there: %o', async (route) => {
    const running = await start(platform, (consumer) => consumer.apply(auth).forRoutes(Payments, route));
    expect(await statuses(running, '/remote/payments')).toEqual([401, 401]);
  });

  it.each<[string, string, Prepare, Route]>([
    ['/api/remote/payments', 'remote/payments', (it) => it.setGlobalPrefix('api'), 'remote/payments'],
    ['/api/remote/payments', '{*path}', (it) => it.setGlobalPrefix('api'), '{*path}'],
    [
      '/remote/payments',
      'remote/payments',
      (it) => it.setGlobalPrefix('api', { exclude: ['remote/{*path}'] }),
      'remote/payments',
    ],
    ['/remote/payments', 'a path without a version', versioned, 'remote/payments'],
  ])('runs at %s, bound to %s', async (path, _name, prepare, route) => {
    const running = await start(platform, (it) => it.apply(auth).forRoutes(Payments, route), prepare);
    expect(await statuses(running, path)).toEqual([401, 401]);
  });

  it.each<[string, Prepare, Route]>([
    ['a version', versioned, { path: 'remote/payments', method: RequestMethod.POST, version: '1' }],
    ['the prefix twice', (it) => it.setGlobalPrefix('api'), 'api/remote/payments'],
  ])('is not bound to their path below %s', async (_name, prepare, route) => {
    const bound = start(platform, (it) => it.apply(auth).forRoutes(Payments, route), prepare);
    await expect(bound).rejects.toThrow(/would not run/);
  });

  it('may be bound to their path by another module', async () => {
    const running = await start(platform, (consumer) => {
      consumer.apply(auth).forRoutes(Payments);
      consumer.apply([AuthMiddleware, auth] as never).forRoutes('remote/payments');
    });
    expect(await statuses(running, '/remote/payments')).toEqual([401, 401]);
  });

  it.each(['remote/payments', 'remote/*path', { path: 'remote/payments', method: RequestMethod.POST }])(
    'may say that they do without it: %o',
    async (route) => {
      const running = await start(platform, (consumer) => consumer.apply(auth).exclude(route).forRoutes(Payments));
      expect((await post(urlOf(running, '/payments/pay'), '')).status).toBe(401);
      expect(await statuses(running, '/remote/payments')).toEqual([200, 400]);
    },
  );

  it('may be bound without a word to a controller without remote functions, or to paths', async () => {
    const running = await start(platform, (consumer) => consumer.apply(auth).forRoutes(Others, 'payments/pay'));
    expect((await post(urlOf(running, '/payments/pay'), '')).status).toBe(401);
    expect(await statuses(running, '/remote/payments')).toEqual([200, 400]);
  });
});

it('Nest has modules bind middleware through a consumer that tells where the platform runs it', async () => {
  const middleware = (): void => undefined;
  const routes = [Others, 'some', { path: 'other', method: RequestMethod.PUT }];
  @Module({ controllers: [Others] })
  class Binding implements NestModule {
    configure(consumer: MiddlewareConsumer): void {
      consumer
        .apply(middleware)
        .exclude('a')
        .exclude({ path: 'b', method: RequestMethod.POST }, { path: 'c', method: RequestMethod.PUT })
        .forRoutes(...routes);
    }
  }
  const running = await NestFactory.create(Binding, { logger: false });
  const other = await NestFactory.create(class {}, { logger: false });
  running.setGlobalPrefix('api');
  await running.init();
  // those for a POST
  const paths = ['/api/others/', '/api/some'];
  expect(bindingsOf(running.getHttpAdapter())).toEqual([
    { middleware: [middleware], excluded: ['a', 'b'], routes, paths },
  ]);
  expect(bindingsOf(other.getHttpAdapter())).toEqual([]);
  await running.close();
});
