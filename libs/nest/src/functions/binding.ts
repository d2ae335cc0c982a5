import { type ArgumentsHost, HttpException, Logger, type Type } from '@nestjs/common';
import { ContextIdFactory, type ExternalContextCreator } from '@nestjs/core';
import { isObservable } from 'rxjs';
import { isDurable, isMadeOnce, moduleRefOf } from '../quirks/injector.js';
import {
  contextsOf,
  ExecutionContextHost,
  type InstanceWrapper,
  isBare,
  type ParamsFactory,
  type QuietFilters,
  quiet,
  REQUEST_CONTEXT_ID,
  RESPONSE_PASSTHROUGH_METADATA,
  RouteParamtypes,
  routeValue,
} from '../quirks/nest.js';
import { RemoteFunctionError } from './outcome.js';
import { CALL_ARGUMENT } from './remote-function.decorator.js';
import type { RunningCall } from './running-call.js';

/** Parameters of a remote function: Nest's own metadata of the decorated ones, and a `body` for every argument. */
export const ARGUMENTS = 'sealwire:arguments';

export type Method = (...args: unknown[]) => unknown;

/** Runs guards, pipes, interceptors, method and filters. */
type Invoke = (call: RunningCall) => Promise<unknown>;

/** A method that takes the arguments of a call as they are: nothing stands before it, and nothing is injected. */
export interface Bare {
  readonly host: object;
  readonly method: Method;
}

/** A method that is ready to run. */
export interface Bound {
  readonly invoke: Invoke;
  /** if nothing has to run but the method itself */
  readonly bare?: Bare;
}

export interface Home {
  readonly wrapper: InstanceWrapper;
  readonly type: { readonly prototype: object };
  /** of the Nest module that holds the class */
  readonly moduleKey: string;
}

interface Parameter {
  readonly index: number;
  readonly pipes: readonly unknown[];
  readonly schema?: unknown;
}

/** Makes methods ready to run as Nest runs those of a route. */
export class Binder {
  private readonly filters: QuietFilters;

  constructor(private readonly contexts: ExternalContextCreator) {
    this.filters = quiet(contexts, observe);
  }

  /**
   * A class that is made anew for each request is resolved for each call; all others are bound once.
   * @param positions of the parameters that are arguments of the call
   */
  bind(home: Home, method: Method, methodName: string, positions: readonly number[]): Bound {
    const { wrapper, type, moduleKey } = home;
    const contexts = contextsOf(this.contexts, this.filters, moduleKey);
    const params = this.paramsOf(positions, Reflect.getMetadata(RESPONSE_PASSTHROUGH_METADATA, type, methodName));
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
    if (!isMadeOnce(wrapper)) return { invoke: this.bindScoped(home, method, create) };
    const { instance } = wrapper;
    const run = create(instance);
    const invoke: Invoke = (call) => run(...invocation(call)) as Promise<unknown>;
    const isPlain =
      onlyArguments(type, methodName, positions) && isBare(this.contexts, instance, method, moduleKey, wrapper.id);
    return isPlain ? { invoke, bare: { host: instance, method } } : { invoke };
  }

  private bindScoped(
    { wrapper, type, moduleKey }: Home,
    method: Method,
    create: (instance: object, contextId: { id: number }) => Method,
  ): Invoke {
    const durable = isDurable(wrapper);
    const moduleRef = moduleRefOf(wrapper);
    // what the class needs may refuse a request, as a guard does
    const refused = this.filters.create(type.prototype, method, moduleKey);
    return async (call) => {
      const { request } = call;
      const args = invocation(call);
      let run: Method;
      try {
        // as Nest's router does it
        const contextId = ContextIdFactory.getByRequest(request as Record<string, unknown>);
        Object.defineProperty(request, REQUEST_CONTEXT_ID, { value: contextId, configurable: true });
        const provided = durable ? contextId.payload : Object.assign(request, contextId.payload);
        moduleRef.registerRequestByContextId(provided, contextId);
        run = create(await moduleRef.resolve(wrapper.token, contextId, { strict: true }), contextId);
      } catch (error) {
        return refused.next(error, new ExecutionContextHost(args, type as Type, method));
      }
      return run(...args);
    };
  }

  private paramsOf(positions: readonly number[], passthrough = false): ParamsFactory {
    return {
      exchangeKeyForValue: (type, data, [req, res, next, call]) => {
        const running = call as RunningCall;
        if (type === RouteParamtypes.BODY) return running.args[positions.indexOf(Number(data))];
        if (type === RouteParamtypes.RESPONSE && !passthrough) running.answers();
        return routeValue(type, data as string, { req, res, next });
      },
    };
  }
}

/** The arguments of an execution context: as on a route, then the call. */
function invocation(call: RunningCall): unknown[] {
  const args: unknown[] = [call.request, call.response];
  args[CALL_ARGUMENT] = call;
  return args;
}

/** Whether the parameters are the arguments of the call in their order, without pipes of their own. */
function onlyArguments(type: object, methodName: string, positions: readonly number[]): boolean {
  const parameters: Record<string, Parameter> = Reflect.getMetadata(ARGUMENTS, type, methodName) ?? {};
  return (
    positions.every((position, index) => position === index) &&
    Object.entries(parameters).every(
      ([key, { index, pipes, schema }]) =>
        key === `${RouteParamtypes.BODY}:${index}` && pipes.length === 0 && schema === undefined,
    )
  );
}

/**
 * Runs the filters. They may observe every error, and answer most: through the response, as on a route, or with a value. A
 * {@link RemoteFunctionError} is an answer already, so it goes on to the caller whatever they do. Everything else that no filter
 * answered is thrown on, and the dispatcher logs what nobody handled.
 *
 * A filter that only observes answers undefined, null or a promise of them, one for other transports a stream or an error, and one
 * that forgot to send the response itself: none of these is an answer. A refusal must not arrive as an empty success.
 */
async function observe(exception: unknown, host: ArgumentsHost, filter: () => unknown): Promise<unknown> {
  const call = host.getArgByIndex<RunningCall>(CALL_ARGUMENT);
  call.throws(exception, exception instanceof HttpException ? exception.getStatus() : 500);
  if (exception instanceof RemoteFunctionError) {
    try {
      await filter();
    } catch (error) {
      if (error !== exception) new Logger('Sealwire').error(error);
    }
    throw exception;
  }
  const answer = await filter();
  const none = answer === undefined || answer === null || answer === call.response;
  if (none || isObservable(answer) || answer instanceof Error) throw exception;
  return answer;
}
