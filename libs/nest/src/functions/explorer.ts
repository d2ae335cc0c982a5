import { type ArgumentsHost, Injectable } from '@nestjs/common';
import {
  EXCEPTION_FILTERS_METADATA,
  GUARDS_METADATA,
  INTERCEPTORS_METADATA,
  PIPES_METADATA,
  ROUTE_ARGS_METADATA,
} from '@nestjs/common/constants.js';
import { RouteParamtypes } from '@nestjs/common/internal.js';
import { ContextIdFactory, DiscoveryService, MetadataScanner, ModuleRef } from '@nestjs/core';
import type { ParamsFactory } from '@nestjs/core/helpers/external-context-creator.js';
import { ExternalContextCreator } from '@nestjs/core/helpers/external-context-creator.js';
import type { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import { RouteParamsFactory } from '@nestjs/core/router/route-params-factory.js';
import { misconfigured } from '../options.js';
import { ExactlyOnce } from '../ports/index.js';
import { ModuleRegistry, type RegisteredFunction } from './registry.js';
import {
  CALL_ARGUMENT,
  REMOTE_FUNCTION,
  REMOTE_FUNCTIONS,
  type RemoteCall,
  type RemoteFunctionOptions,
  transactionOf,
} from './remote-function.decorator.js';

/** Parameters of a remote function: Nest's own metadata of the decorated ones, and a `body` for every argument. */
const ARGUMENTS = 'sealwire:arguments';

const ENHANCERS = [GUARDS_METADATA, INTERCEPTORS_METADATA, PIPES_METADATA, EXCEPTION_FILTERS_METADATA];

type Invoke = RegisteredFunction['invoke'];
type Method = (...args: unknown[]) => unknown;
interface Host {
  readonly wrapper: InstanceWrapper;
  readonly type: { readonly name: string; readonly prototype: Record<string, Method | undefined> };
  readonly module: string | undefined;
  /** of the Nest module that holds the class */
  readonly moduleKey: string;
}

/** Finds `@RemoteFunction()` on controllers and providers at start-up and makes each ready to run. */
@Injectable()
export class RemoteFunctionExplorer {
  private readonly routeParams = new RouteParamsFactory();
  private readonly filters: object;

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly contexts: ExternalContextCreator,
    private readonly moduleRef: ModuleRef,
    private readonly registry: ModuleRegistry,
  ) {
    // biome-ignore lint/complexity/useLiteralKeys: private to the compiler only
    this.filters = quietly(contexts['filtersContextCreator']);
  }

  explore(): void {
    for (const wrapper of [...this.discovery.getControllers(), ...this.discovery.getProviders()]) {
      const type = wrapper.isAlias ? undefined : (wrapper.instance?.constructor ?? wrapper.metatype);
      if (typeof type !== 'function' || !type.prototype || type === Object) continue;
      const module = Reflect.getMetadata(REMOTE_FUNCTIONS, type);
      const host = { wrapper, type, module, moduleKey: wrapper.host?.token ?? '' };
      for (const methodName of this.scanner.getAllMethodNames(type.prototype)) this.register(host, methodName);
    }
  }

  private register(host: Host, methodName: string): void {
    const { type, module } = host;
    const method = type.prototype[methodName];
    const options: RemoteFunctionOptions | undefined = method && Reflect.getMetadata(REMOTE_FUNCTION, method);
    if (!method || !options) return;
    const origin = `${type.name}.${methodName}`;
    if (module === undefined) {
      throw misconfigured(
        `${origin} is decorated with @RemoteFunction(), but its class has no @RemoteFunctions('module').`,
      );
    }
    if (options.exactlyOnce && !this.hasTransactions()) {
      throw misconfigured(`${origin} is exactlyOnce, which needs a store with transactions, such as typeOrmStore().`);
    }
    if (!options.exactlyOnce && injectsTransaction(type.prototype, methodName)) {
      throw misconfigured(
        `${origin} has @RemoteTransaction(), so it must be exactlyOnce: other functions run in none.`,
      );
    }
    this.refuseLostEnhancers(host, method, origin);
    const positions = describeParameters(type.prototype, methodName, method.length);
    this.registry.addFunction(module, {
      ...options,
      name: options.name ?? methodName,
      arity: positions.length,
      origin,
      invoke: this.bind(host, method, methodName, positions),
    });
  }

  /** A class that is made anew for each request is resolved for each call; all others are bound once. */
  private bind({ wrapper, moduleKey }: Host, method: Method, methodName: string, positions: readonly number[]): Invoke {
    const params: ParamsFactory = {
      exchangeKeyForValue: (type, data, [req, res, next, call]) =>
        type === RouteParamtypes.BODY
          ? (call as RemoteCall).args[positions.indexOf(Number(data))]
          : this.routeParams.exchangeKeyForValue(type, data as string, { req, res, next }),
    };
    // the creator looks for a host among providers only; without its module a controller would lose its guards
    const contexts: ExternalContextCreator = Object.create(this.contexts, {
      getContextModuleKey: { value: () => moduleKey },
      filtersContextCreator: { value: this.filters },
    });
    const create = (instance: object, contextId?: { id: number }): Method =>
      contexts.create(
        instance as never,
        method,
        methodName,
        ARGUMENTS,
        params,
        contextId,
        wrapper.id,
        undefined,
        'http',
      );
    if (wrapper.isDependencyTreeStatic()) {
      const run = create(wrapper.instance);
      return (...args) => run(...invocation(args)) as Promise<unknown>;
    }
    return async (request, response, call) => {
      const contextId = ContextIdFactory.getByRequest(request as object);
      this.moduleRef.registerRequestByContextId(request, contextId);
      const instance = await this.moduleRef.resolve(wrapper.token, contextId, { strict: false });
      return create(instance, contextId)(...invocation([request, response, call]));
    };
  }

  /**
   * Nest drops an enhancer that is given by its class and not registered in the host's module, without a word; it
   * registers them for classes that it makes itself, not for what a factory hands out. A lost guard must not go unnoticed.
   */
  private refuseLostEnhancers({ wrapper, type }: Host, method: Method, origin: string): void {
    for (const key of ENHANCERS) {
      const listed = [type, method].flatMap((target) => Reflect.getMetadata(key, target) ?? []);
      const lost = listed.find((item) => typeof item === 'function' && !wrapper.host?.injectables.has(item));
      if (lost) {
        throw misconfigured(
          `${lost.name} of ${origin} would not run; let Nest make the class, list it among the providers or controllers of its module.`,
        );
      }
    }
  }

  private hasTransactions(): boolean {
    try {
      return Boolean(this.moduleRef.get(ExactlyOnce, { strict: false }));
    } catch {
      return false;
    }
  }
}

/**
 * Nest logs as unhandled whatever a filter answered through the response alone, and nothing that is no Error. So here what no
 * filter gave a value for is thrown on, and the dispatcher logs what nobody handled.
 */
function quietly(filters: ExternalContextCreator['filtersContextCreator']): object {
  const create = (...args: Parameters<typeof filters.create>) => {
    const handler = filters.create(...args);
    const next = (exception: Error, host: ArgumentsHost) => {
      const answer = handler.invokeCustomFilters(exception, host);
      if (answer === undefined) throw exception;
      return answer;
    };
    return { next };
  };
  return Object.create(filters, { create: { value: create } });
}

/** The arguments of an execution context: as on a route, then the call. */
function invocation([request, response, call]: Parameters<Invoke>): unknown[] {
  const args: unknown[] = [request, response];
  args[CALL_ARGUMENT] = call;
  return args;
}

/**
 * Writes down where each parameter comes from, for Nest. Undecorated parameters and those with a bare `@Body()` are the
 * arguments of the call; like a body they go through the pipes with their type. Answers their positions.
 */
function describeParameters(prototype: object, methodName: string, length: number): number[] {
  const types: unknown[] = Reflect.getMetadata('design:paramtypes', prototype, methodName) ?? [];
  const decorated = decoratedParameters(prototype, methodName);
  const injected = Object.entries(decorated).filter(([key, { data }]) => !isBody(key) || data !== undefined);
  const taken = new Set(injected.map(([, { index }]) => index));
  const positions = Array.from({ length: Math.max(types.length, length) }, (_, i) => i).filter((i) => !taken.has(i));
  const args = positions.map((index) => {
    const key = `${RouteParamtypes.BODY}:${index}`;
    return [key, { pipes: [], ...decorated[key], index, data: String(index) }];
  });
  const metadata = { ...Object.fromEntries(injected), ...Object.fromEntries(args) };
  Reflect.defineMetadata(ARGUMENTS, metadata, prototype.constructor, methodName);
  return positions;
}

function injectsTransaction(prototype: object, methodName: string): boolean {
  return Object.values(decoratedParameters(prototype, methodName)).some(({ factory }) => factory === transactionOf);
}

function decoratedParameters(
  prototype: object,
  methodName: string,
): Record<string, { index: number; data?: unknown; factory?: unknown }> {
  return Reflect.getMetadata(ROUTE_ARGS_METADATA, prototype.constructor, methodName) ?? {};
}

function isBody(key: string): boolean {
  return key.startsWith(`${RouteParamtypes.BODY}:`);
}
