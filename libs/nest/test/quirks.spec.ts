import 'reflect-metadata';
import { readdirSync, readFileSync } from 'node:fs';
import {
  type ArgumentsHost,
  Body,
  type CallHandler,
  Catch,
  Controller,
  type ExceptionFilter,
  Get,
  Injectable,
  Module,
  RequestMethod,
  Res,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import {
  ContextIdFactory,
  DiscoveryModule,
  DiscoveryService,
  ModuleRef,
  ModulesContainer,
  NestFactory,
} from '@nestjs/core';
import { describe, expect, it } from 'vitest';
import * as quirks from '../src/quirks/index.js';

@Catch()
class Nothing implements ExceptionFilter {
  catch(): void {}
}

@Injectable()
class Enhancer {
  canActivate(): boolean {
    return true;
  }
  intercept(_context: unknown, next: CallHandler): unknown {
    return next.handle();
  }
  transform(value: unknown): unknown {
    return value;
  }
}

@Controller('somewhere')
class Host {
  @Get()
  @UseGuards(Enhancer as never)
  @UseInterceptors(Enhancer as never)
  @UsePipes(Enhancer as never)
  @UseFilters(Nothing)
  method(@Body('b') _body: unknown): void {}

  passing(@Res({ passthrough: true }) _response: unknown): void {}
}

@Injectable({ scope: Scope.REQUEST })
class ForRequest {}

@Injectable({ scope: Scope.REQUEST, durable: true })
class Durable {}

@Module({ imports: [DiscoveryModule], controllers: [Host], providers: [Nothing, ForRequest, Durable] })
class HostModule {}

async function contexts(): Promise<{ creator: quirks.ExternalContextCreator; discovery: DiscoveryService }> {
  const app = await NestFactory.createApplicationContext(HostModule, { logger: false });
  return { creator: app.get(quirks.ExternalContextCreator), discovery: app.get(DiscoveryService) };
}

type Observed = [exception: unknown, host: ArgumentsHost, filter: () => unknown];

/** What is handed on for an error in a host whose filters are these. */
function handlerOf(creator: quirks.ExternalContextCreator, filters: readonly ExceptionFilter[]) {
  class Throwing {
    method(): void {}
  }
  UseFilters(...filters)(Throwing);
  const answer = quirks.quiet(creator, async (...observed) => observed) as {
    create(...args: unknown[]): { next(exception: unknown, host: ArgumentsHost): Promise<Observed> };
  };
  return answer.create(new Throwing(), Throwing.prototype.method, '').next;
}

describe("Nest's undocumented insides", () => {
  it('are imported in one file', () => {
    const folder = new URL('../src/', import.meta.url);
    const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
    const inside = paths.filter((path) =>
      /'@nestjs\/(common|core)\//.test(readFileSync(new URL(path, folder), 'utf8')),
    );
    expect(inside).toEqual(['quirks/nest.ts']);
  });

  it('keep what decorators say under these names', () => {
    for (const key of [quirks.GUARDS_METADATA, quirks.INTERCEPTORS_METADATA, quirks.PIPES_METADATA]) {
      expect(Reflect.getMetadata(key, Host.prototype.method)).toEqual([Enhancer]);
    }
    expect(Reflect.getMetadata(quirks.EXCEPTION_FILTERS_METADATA, Host.prototype.method)).toEqual([Nothing]);
    expect(Reflect.getMetadata(quirks.PATH_METADATA, Host)).toBe('somewhere');
    expect(Reflect.getMetadata('method', Host.prototype.method)).toBe(RequestMethod.GET);
    expect(Reflect.getMetadata(quirks.ROUTE_ARGS_METADATA, Host, 'method')).toMatchObject({
      [`${quirks.RouteParamtypes.BODY}:0`]: { index: 0, data: 'b', pipes: [] },
    });
    expect(Reflect.getMetadata(quirks.RESPONSE_PASSTHROUGH_METADATA, Host, 'passing')).toBe(true);
    expect(quirks.ENTRY_PROVIDER_WATERMARK).toBe('__entryProvider__');
  });

  it('know the module of a host by its token, and its enhancers by their class', async () => {
    const { discovery } = await contexts();
    const host = discovery.getControllers().find(({ metatype }) => metatype === Host)!;
    expect(host.host?.token).toEqual(expect.any(String));
    expect(quirks.moduleKeyOf(host)).toBe(host.host?.token);
    expect(quirks.hasEnhancer(host, Nothing)).toBe(true);
    expect(quirks.hasEnhancer(host, Enhancer)).toBe(true);
    expect(quirks.hasEnhancer(host, class {})).toBe(false);
  });

  it('make a class in the module that holds it', async () => {
    const { discovery } = await contexts();
    const wrapper = discovery.getProviders().find(({ metatype }) => metatype === ForRequest)!;
    const moduleRef = quirks.moduleRefOf(wrapper);
    expect(moduleRef).toBeInstanceOf(ModuleRef);
    expect(await moduleRef.resolve(ForRequest, undefined, { strict: true })).toBeInstanceOf(ForRequest);
    await expect(moduleRef.resolve(DiscoveryService, undefined, { strict: true })).rejects.toThrow();
  });

  it('tell whether a class is made once, for each request, or for requests of one kind', async () => {
    const { discovery } = await contexts();
    const told = [Nothing, ForRequest, Durable].map((type) => {
      const wrapper = discovery.getProviders().find(({ metatype }) => metatype === type)!;
      return [quirks.isMadeOnce(wrapper), quirks.isDurable(wrapper)];
    });
    expect(told).toEqual([
      [true, false],
      [false, false],
      [false, true],
    ]);
  });

  it('list modules with the classes that they hold', async () => {
    const app = await NestFactory.createApplicationContext(HostModule, { logger: false });
    const module = quirks.modulesIn(app.get(ModulesContainer)).find(({ type }) => type === HostModule);
    expect(module?.classes).toEqual(expect.arrayContaining([Host, Nothing]));
    await app.close();
  });

  it('find parameters through the factory of routes', () => {
    const value = quirks.routeValue(quirks.RouteParamtypes.IP, '', {
      req: { ip: '192.0.2.1' },
      res: {},
      next: () => undefined,
    });
    expect(value).toBe('192.0.2.1');
  });

  it('tell on which parameters of a route pipes run', () => {
    const { BODY, RAW_BODY, REQUEST, RESPONSE, NEXT, HEADERS, SESSION, HOST, IP } = quirks.RouteParamtypes;
    expect([BODY, RAW_BODY, 'custom'].map(quirks.isPipeable)).toEqual([true, true, true]);
    const others = [REQUEST, RESPONSE, NEXT, HEADERS, SESSION, HOST, IP];
    expect(others.filter(quirks.isPipeable)).toEqual([]);
  });

  it('hold what a filter is told of', () => {
    const [request, response] = [{}, {}];
    const host = new quirks.ExecutionContextHost([request, response, 'more'], Host, Host.prototype.method);
    expect([host.getType(), host.getClass(), host.getArgByIndex(2)]).toEqual(['http', Host, 'more']);
    expect(host.switchToHttp().getResponse()).toBe(response);
  });

  it('ask the module of a host, its filters and its stored parameters of these', async () => {
    const { creator } = await contexts();
    expect(creator.getContextModuleKey).toEqual(expect.any(Function));
    const inner = creator as unknown as Record<'filtersContextCreator' | 'handlerMetadataStorage', object>;
    expect(inner.filtersContextCreator).toMatchObject({ create: expect.any(Function) });
    expect(inner.handlerMetadataStorage).toMatchObject({ get: expect.any(Function), set: expect.any(Function) });
  });

  it('hand an error and the filters for it to whoever decides', async () => {
    const { creator } = await contexts();
    @Catch(TypeError)
    class Substitute implements ExceptionFilter {
      catch(): unknown {
        return 'instead';
      }
    }
    const host = {} as ArgumentsHost;
    for (const error of [new TypeError('refused'), new RangeError('refused')]) {
      const [seen, where, filter] = await handlerOf(creator, [new Substitute()])(error, host);
      expect([seen, where]).toEqual([error, host]);
      // null in Nest 11 and undefined in Nest 12 say that none fits
      expect(await filter()).toEqual(
        error instanceof TypeError ? 'instead' : expect.toSatisfy((none) => none === undefined || none === null),
      );
    }
  });

  it('tell whether something stands before a method', async () => {
    const { creator, discovery } = await contexts();
    const wrapper = discovery.getControllers().find(({ metatype }) => metatype === Host);
    const bare = (method: (...args: unknown[]) => unknown) =>
      quirks.isBare(creator, wrapper?.instance, method, wrapper?.host?.token ?? '', wrapper?.id ?? '');
    expect(bare(Host.prototype.method)).toBe(false);
    expect(bare(() => undefined)).toBe(true);
  });

  it('keep the scope of a request under this key', () => {
    const request = {};
    const scope = ContextIdFactory.create();
    Object.defineProperty(request, quirks.REQUEST_CONTEXT_ID, { value: scope });
    expect(ContextIdFactory.getByRequest(request)).toBe(scope);
  });
});
