import 'reflect-metadata';
import {
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  Catch,
  createParamDecorator,
  type DynamicModule,
  type ExceptionFilter,
  Headers,
  type INestApplication,
  Inject,
  Injectable,
  Ip,
  type NestInterceptor,
  type PipeTransform,
  type Provider,
  Req,
  Scope,
  type Type,
  UnauthorizedException,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, APP_PIPE, REQUEST } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { type Injected, RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { map, type Observable, of } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { resultOf } from './live-peer.js';
import { only, PeerClient, serverKey, serverKeyText, urlOf } from './support.js';

@Injectable()
class Guard implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@Injectable()
class Interceptor implements NestInterceptor {
  intercept(_context: unknown, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map(() => 'intercepted'));
  }
}

@Injectable()
class Pipe implements PipeTransform {
  transform(): string {
    return 'piped';
  }
}

@Catch()
class Filter implements ExceptionFilter {
  catch(_error: unknown, host: ArgumentsHost): void {
    host.switchToHttp().getResponse().status(418).send('filtered');
  }
}

/** Scoped twins: Nest makes them for each call. */
const scoped = (type: Type): Type => {
  class Twin extends type {}
  Injectable({ scope: Scope.REQUEST })(Twin);
  if (type === (Filter as Type)) Catch()(Twin);
  return Twin;
};

const KINDS = {
  guard: {
    enhancer: Guard,
    token: APP_GUARD,
    use: UseGuards,
    hand: (app: INestApplication) => app.useGlobalGuards(new Guard()),
    becomes: { code: 'forbidden' },
  },
  interceptor: {
    enhancer: Interceptor,
    token: APP_INTERCEPTOR,
    use: UseInterceptors,
    hand: (app: INestApplication) => app.useGlobalInterceptors(new Interceptor()),
    becomes: 'intercepted',
  },
  pipe: {
    enhancer: Pipe,
    token: APP_PIPE,
    use: UsePipes,
    hand: (app: INestApplication) => app.useGlobalPipes(new Pipe()),
    becomes: 'piped',
  },
  filter: {
    enhancer: Filter,
    token: APP_FILTER,
    use: UseFilters,
    hand: (app: INestApplication) => app.useGlobalFilters(new Filter()),
    becomes: { code: 'i_m_a_teapot', message: 'filtered' },
  },
} as const;

/** A class of its own for each test: decorators stay. */
function functions(): Type {
  @RemoteFunctions('functions')
  @Injectable()
  class Functions {
    @RemoteFunction()
    run(text: string): string {
      if (text === 'fail') throw new Error('secret');
      return text;
    }

    @RemoteFunction()
    stream(): Observable<number> {
      return of(1, 2, 3);
    }

    @RemoteFunction()
    stack(first: unknown, second = 'default'): unknown {
      return [first, second, new Error('here').stack];
    }
  }
  return Functions;
}

async function start(
  providers: Provider[],
  prepare?: (app: INestApplication) => unknown,
  imports: (Type | DynamicModule)[] = [],
) {
  const module = await Test.createTestingModule({
    imports: [
      ...imports,
      SealwireModule.forRoot({ serverKey: serverKeyText, handshakeRate: false }),
      SealwireModule.forFeature({ path: 'functions' }),
    ],
    providers,
  }).compile();
  const app = module.createNestApplication();
  app.useLogger(false);
  prepare?.(app);
  await app.listen(0, '127.0.0.1');
  const url = urlOf(app, '/remote/functions');
  const client = new PeerClient(url, { modulePath: 'functions', keySize: 32, serverKey: serverKey.publicKey });
  await client.connect();
  return {
    app,
    call: async (name: string, ...args: unknown[]) => only(await client.call(name, ...args)),
    stream: (name: string) => resultOf<AsyncIterable<unknown>>(client, { name, args: [] }),
  };
}

describe.each(Object.entries(KINDS))('a %s runs for the function', (name, { enhancer, token, use, hand, becomes }) => {
  const argument = name === 'filter' ? 'fail' : 'plain';
  const runs = async (providers: Provider[], prepare?: (app: INestApplication) => unknown) => {
    const { app, call } = await start(providers, prepare);
    const result = await call('run', argument);
    await app.close();
    if (typeof becomes === 'string') expect(result).toBe(becomes);
    else expect(result).toMatchObject({ ok: false, ...becomes });
  };
  const decorated = (target: 'class' | 'method', it: unknown) => {
    const type = functions();
    const decorate = (use as (it: unknown) => ClassDecorator & MethodDecorator)(it);
    if (target === 'class') decorate(type);
    else decorate(type.prototype, 'run', Object.getOwnPropertyDescriptor(type.prototype, 'run') as never);
    return [type];
  };

  it('as a class, of the class', () => runs(decorated('class', enhancer)));
  it('as a class, of the method', () => runs(decorated('method', enhancer)));
  it('as an object, of the method', () => runs(decorated('method', new enhancer())));
  it('made for each call, of the method', () => runs(decorated('method', scoped(enhancer))));
  it('set by hand', () => runs([functions()], hand));
  it('provided for the application', () => runs([functions(), { provide: token, useClass: enhancer }]));
  it('provided for the application, made for each call', () =>
    runs([functions(), { provide: token, useClass: scoped(enhancer), scope: Scope.REQUEST }]));
});

describe('a function that nothing stands before', () => {
  it('is called at once', async () => {
    const { app, call, stream } = await start([functions()]);
    const [first, second, stack] = (await call('stack', 'one')) as [string, string, string];
    expect([first, second]).toEqual(['one', 'default']);
    expect(stack).not.toContain('@nestjs/core');
    const items: unknown[] = [];
    for await (const item of await stream('stream')) items.push(item);
    expect(items).toEqual([1, 2, 3]);
    expect(await call('run', 'fail')).toMatchObject({ code: 'internal' });
    await app.close();
  });

  it('is what one with a guard is not', async () => {
    const allow = { canActivate: () => true };
    const { app, call } = await start([functions()], (it) => it.useGlobalGuards(allow));
    const [, , stack] = (await call('stack', 'one')) as [string, string, string];
    expect(stack).toContain('external-context-creator');
    await app.close();
  });
});

describe('a function of a class that is made for each call', () => {
  class Tenantless extends Error {}

  @Injectable({ scope: Scope.REQUEST })
  class Tenant {
    constructor(@Inject(REQUEST) { headers }: { headers: Record<string, string> }) {
      if (headers['x-tenant'] === undefined) throw new Tenantless('secret');
    }
  }

  @Injectable({ scope: Scope.REQUEST })
  class Account {
    constructor() {
      throw new UnauthorizedException('expired');
    }
  }

  const seen: unknown[] = [];

  @Catch()
  class Observer implements ExceptionFilter {
    catch(error: unknown): void {
      seen.push(error);
    }
  }

  @Catch(Tenantless)
  class TenantFilter implements ExceptionFilter {
    catch(_error: unknown, host: ArgumentsHost): void {
      host.switchToHttp().getResponse().status(422).json({ code: 'no_tenant', message: 'No tenant.' });
    }
  }

  const needing = (Needed: Type, ...filters: Type[]): Type => {
    @RemoteFunctions('functions')
    @Injectable()
    class Needing {
      constructor(@Inject(Needed) readonly needed: unknown) {}

      @RemoteFunction()
      @UseFilters(...filters)
      run(): string {
        return 'ran';
      }
    }
    return Needing;
  };

  it.each([
    ['of the application', [needing(Tenant), Tenant, { provide: APP_FILTER, useClass: TenantFilter }]],
    ['of the method', [needing(Tenant, TenantFilter), Tenant]],
  ] as [string, Provider[]][])('has what its class needs refuse the call through filters %s', async (_whose, all) => {
    const { app, call } = await start(all);
    expect(await call('run')).toMatchObject({ ok: false, code: 'no_tenant', details: { status: 422 } });
    await app.close();
  });

  it('tells a client whose token was refused meanwhile that it may try another one', async () => {
    const { app, call } = await start([needing(Account), Account, { provide: APP_FILTER, useClass: Observer }]);
    const refusal = { code: 'unauthorized', message: 'expired', details: { status: 401, ran: false } };
    expect(await call('run')).toMatchObject(refusal);
    expect(seen).toEqual([expect.any(UnauthorizedException)]);
    await app.close();
  });

  it('runs on an instance of its own class, whatever another module has under the same token', async () => {
    const named = (name: string): DynamicModule => {
      @RemoteFunctions('functions')
      @Injectable({ scope: Scope.REQUEST })
      class Named {
        readonly name = name;

        @RemoteFunction({ name })
        tell(): string {
          return this.name;
        }
      }
      class Home {}
      return { module: Home, providers: [{ provide: 'functions', useClass: Named }] };
    };
    const { app, call } = await start([], undefined, [named('first'), named('second')]);
    expect([await call('first'), await call('second')]).toEqual(['first', 'second']);
    await app.close();
  });
});

it('pipes run on what they run on for a route: arguments and parameters of own decorators, nothing else', async () => {
  const Own = createParamDecorator(() => 'own');

  @RemoteFunctions('functions')
  @UsePipes(Pipe)
  @Injectable()
  class Piped {
    @RemoteFunction()
    run(
      argument: string,
      @Own() own: Injected<string>,
      @Headers('x-none') header: Injected<string>,
      @Ip() ip: Injected<string>,
      @Req() request: Injected<{ method: string }>,
    ): unknown {
      return [argument, own, header, ip, request.method];
    }
  }
  const { app, call } = await start([Piped]);
  expect(await call('run', 'sent')).toEqual(['piped', 'piped', undefined, '127.0.0.1', 'POST']);
  await app.close();
});
