import { type ArgumentsHost, RequestMethod } from '@nestjs/common';
import { RouteParamtypes } from '@nestjs/common/enums/route-paramtypes.enum.js';
import type { ApplicationConfig } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { ExternalContextCreator } from '@nestjs/core/helpers/external-context-creator.js';
import type { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import { RouteParamsFactory } from '@nestjs/core/router/route-params-factory.js';
import { RouterExecutionContext } from '@nestjs/core/router/router-execution-context.js';
import { isObservable } from 'rxjs';
import { keepingValues, pipeType, refuseLoss } from '../functions/codec-values.js';
import { CALL_ARGUMENT } from '../functions/remote-function.decorator.js';
import type { RunningCall } from '../functions/running-call.js';
import { restoreKept } from '../streams/kept-values.js';
import { Intercepted, Observed } from '../streams/observed.js';

/*
 * All that is used of Nest beneath its documented API, for Nest 11 and 12. Nothing else in this package imports by a path into
 * Nest; test/quirks.spec.ts holds what is assumed here against the Nest that is installed.
 */

// each from where both versions have it: `@nestjs/common/internal.js` is new in 12
export {
  ENTRY_PROVIDER_WATERMARK,
  EXCEPTION_FILTERS_METADATA,
  GUARDS_METADATA,
  INTERCEPTORS_METADATA,
  PATH_METADATA,
  PIPES_METADATA,
  RESPONSE_PASSTHROUGH_METADATA,
  ROUTE_ARGS_METADATA,
} from '@nestjs/common/constants.js';
export type { ParamsFactory } from '@nestjs/core/helpers/external-context-creator.js';
export { REQUEST_CONTEXT_ID } from '@nestjs/core/router/request/request-constants.js';
export { ExecutionContextHost, ExternalContextCreator, type InstanceWrapper, RouteParamtypes };

type Filters = ExternalContextCreator['filtersContextCreator'];

/** Makes the filters of a method ready to be asked; its first argument is a host, or the prototype of one. */
export interface QuietFilters {
  create(...args: Parameters<Filters['create']>): {
    next(exception: unknown, host: ArgumentsHost): Promise<unknown>;
  };
}

/** For hosts of one Nest module, from what {@link quiet} answered. */
export function contextsOf(
  contexts: ExternalContextCreator,
  filters: QuietFilters,
  moduleKey: string,
): ExternalContextCreator {
  const { interceptorsContextCreator: interceptors, interceptorsConsumer: consumer } = inside(contexts);
  const intercept = async (list: unknown[], ...rest: InterceptRest) => {
    const [args, instance, callback, next, type] = rest;
    const call = args[CALL_ARGUMENT] as RunningCall;
    call.admit();
    if (list.length === 0) return call.returned(await next());
    const intercepted = new Intercepted(call);
    const outcome = await consumer.intercept(list, args, instance, callback, intercepted.noting(next), type);
    return intercepted.result(outcome);
  };
  const createInterceptors = (...args: unknown[]) => (interceptors.create(...args) as unknown[]).map(keepingValues);
  const getParamValue: ExternalContextCreator['getParamValue'] = async (value, metadata, pipes) => {
    if (!isPipeable(metadata.type)) return value;
    const received = await contexts.getParamValue(value, { ...metadata, metatype: pipeType(metadata.metatype) }, pipes);
    if ((metadata.type as unknown) === RouteParamtypes.BODY && pipes.length > 0) {
      refuseLoss(value, received, metadata.metatype);
      restoreKept(value, received);
    }
    return received;
  };
  return Object.create(contexts, {
    getParamValue: { value: getParamValue },
    interceptorsContextCreator: { value: Object.create(interceptors, { create: { value: createInterceptors } }) },
    interceptorsConsumer: { value: { intercept } },
    // what a function returns as an Observable streams, where Nest would wait for its last item
    transformToResult: { value: (result: unknown) => (isObservable(result) ? new Observed(result) : result) },
    // it looks for a host among providers only; without its module a controller would lose its guards
    getContextModuleKey: { value: () => moduleKey },
    filtersContextCreator: { value: filters },
    // Nest 11 keeps what it knows of a method by its name alone, so another library's parameters could be taken for ours
    handlerMetadataStorage: { value: { get: () => undefined, set: () => undefined } },
  });
}

/**
 * Makes filters run inside `observe`, which alone decides what becomes of an error: Nest would log what a filter answered through the
 * response alone, and what says that no filter fits is null in Nest 11 and undefined in Nest 12.
 */
export function quiet(
  contexts: ExternalContextCreator,
  observe: (exception: unknown, host: ArgumentsHost, filter: () => unknown) => Promise<unknown>,
): QuietFilters {
  const filters = inside(contexts).filtersContextCreator;
  const create = (...args: Parameters<Filters['create']>) => {
    const handler = filters.create(...args);
    const next = (exception: Error, host: ArgumentsHost): Promise<unknown> =>
      observe(exception, host, () => handler.invokeCustomFilters(exception, host));
    return { next };
  };
  return Object.create(filters, { create: { value: create } });
}

/** Whether no guard, pipe, interceptor or filter, global ones included, stands before a method of a host that is made once. */
export function isBare(
  contexts: ExternalContextCreator,
  instance: object,
  method: (...args: unknown[]) => unknown,
  moduleKey: string,
  hostId: string,
): boolean {
  const creators = inside(contexts);
  const args = [instance, method, moduleKey, undefined, hostId] as const;
  const handler = creators.filtersContextCreator.create(...(args as never as Parameters<Filters['create']>));
  const { filters } = handler as unknown as { filters: unknown[] };
  const lists = [creators.guardsContextCreator, creators.pipesContextCreator, creators.interceptorsContextCreator].map(
    (creator) => creator.create(...args) as unknown[],
  );
  return [filters, ...lists].every(({ length }) => length === 0);
}

type Creator = { create(...args: unknown[]): object };

type InterceptRest = [args: unknown[], instance: unknown, callback: unknown, next: () => unknown, type: unknown];

/** Private to the compiler only. */
function inside(contexts: ExternalContextCreator): {
  readonly filtersContextCreator: Filters;
  readonly guardsContextCreator: Creator;
  readonly pipesContextCreator: Creator;
  readonly interceptorsContextCreator: Creator;
  readonly interceptorsConsumer: { intercept(list: unknown[], ...rest: InterceptRest): Promise<unknown> };
} {
  return contexts as never;
}

/**
 * The path of a route below the global prefix of the application. Nest gives the prefix to controllers only, and does not document
 * where it keeps it. `test/door.spec.ts` holds what is assumed here.
 */
export function withGlobalPrefix(contexts: ExternalContextCreator, path: string): string {
  const { config } = (contexts as unknown as { guardsContextCreator: { config: ApplicationConfig } })
    .guardsContextCreator;
  const prefix = trimmed(config.getGlobalPrefix());
  const excluded = config
    .getGlobalPrefixOptions()
    .exclude?.some(
      ({ pathRegex, requestMethod }) =>
        (requestMethod === RequestMethod.ALL || requestMethod === RequestMethod.POST) && pathRegex.test(path),
    );
  return prefix && !excluded ? `/${prefix}${path}` : path;
}

export function trimmed(path: string): string {
  return path.replace(/^\/+|\/+$/g, '');
}

/** Whether pipes run on a parameter of a route that comes from there. In external contexts Nest runs them on every one. */
export function isPipeable(type: unknown): boolean {
  return (RouterExecutionContext.prototype as { isPipeable(type: unknown): boolean }).isPipeable(type);
}

const routeParams = new RouteParamsFactory();

/** What a decorator such as `@Headers()` takes out of a request. */
export function routeValue(...args: Parameters<RouteParamsFactory['exchangeKeyForValue']>): unknown {
  return routeParams.exchangeKeyForValue(...args);
}
