import { createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import { ENTRY_PROVIDER_WATERMARK, PATH_METADATA } from '../quirks/nest.js';
import type { CallSession } from '../sessions/call-session.js';
import type { Resume } from '../streams/decorators.js';

/** Options of {@link RemoteFunction}. */
export interface RemoteFunctionOptions {
  /** name on the wire, the method's by default */
  readonly name?: string;
  /** running it twice does no harm, so a call without an answer is sent again */
  readonly idempotent?: boolean;
  /** runs in a transaction that also stores the outcome, so it happens once however often it is sent; needs a store with transactions */
  readonly exactlyOnce?: boolean;
  /** refuse plaintext for this function of a module that is not forced; implied by exactlyOnce */
  readonly sealedOnly?: boolean;
  /**
   * Its stream goes on after a cut: called again with a `@RemoteResume()`, it yields `at(position, item)` from there on, or bytes
   * from an offset (`remoteBytes()`, `remoteFile()`).
   */
  readonly resumable?: boolean;
  /** bytes of all streams among the arguments of one call; at most that of the module counts */
  readonly maxUpload?: number;
}

/** One running call, as guards, interceptors and parameter decorators see it: {@link remoteCall}. */
export interface RemoteCall {
  readonly module: string;
  readonly functionName: string;
  readonly args: readonly unknown[];
  /** undefined for a plaintext call */
  readonly session: RemoteSession | undefined;
  /** the transaction of an exactlyOnce function */
  readonly transaction: unknown;
  /** what the caller sent under the seal, names in lower case; it is part of the request's headers */
  readonly metadata: Readonly<Record<string, string>>;
  /** as `@RemoteSignal()` injects it; made when it is first asked for */
  readonly signal: AbortSignal;
  /** as `@RemoteResume()` injects it */
  readonly resume: Resume | undefined;
  /** as `@RemoteProgress()` injects it */
  progress(value: unknown): void;
}

export const REMOTE_FUNCTIONS = 'sealwire:functions';
export const REMOTE_FUNCTION = 'sealwire:function';
/** Place of the {@link RemoteCall} in the arguments of an execution context: after request, response and next. */
export const CALL_ARGUMENT = 3;

/**
 * Makes a controller or provider the home of remote functions of that module, which `SealwireModule.forFeature()` configures.
 *
 * @param module the `path` of the module
 * @example
 * @RemoteFunctions('greetings')
 * export class GreetingsController {
 *   @RemoteFunction({ idempotent: true })
 *   hello(name: string): string {
 *     return `Hello, ${name}`;
 *   }
 * }
 */
export function RemoteFunctions(module: string): ClassDecorator {
  return (target) => {
    SetMetadata(REMOTE_FUNCTIONS, module)(target);
    // has Nest apply the application's request-scoped enhancers to a provider as it does to a controller
    SetMetadata(ENTRY_PROVIDER_WATERMARK, true)(target);
    // lets a class without @Controller() be listed among the controllers of its module
    if (!Reflect.hasMetadata(PATH_METADATA, target)) Reflect.defineMetadata(PATH_METADATA, '/', target);
  };
}

/**
 * Lets clients call the method by its name. Its undecorated parameters are the arguments of the call. Each has its place, so a
 * rest parameter and one that is filled from a part of a request, such as `@Param('id')`, are refused at start.
 *
 * @example
 * import type { EntityManager } from 'typeorm';
 *
 * @RemoteFunctions('payments')
 * export class PaymentsController {
 *   @RemoteFunction({ exactlyOnce: true })
 *   async transfer(to: string, cents: bigint, @RemoteTransaction() tx: Injected<EntityManager>): Promise<void> {
 *     await tx.query('UPDATE account SET cents = cents + $1 WHERE id = $2', [cents, to]);
 *   }
 * }
 */
export function RemoteFunction(options: RemoteFunctionOptions = {}): MethodDecorator {
  return SetMetadata(REMOTE_FUNCTION, options);
}

/**
 * The call that runs in this context; undefined on an ordinary route.
 *
 * @example
 * import type { CanActivate, ExecutionContext } from '@nestjs/common';
 *
 * export class SealedGuard implements CanActivate {
 *   canActivate(context: ExecutionContext): boolean {
 *     return remoteCall(context)?.session !== undefined;
 *   }
 * }
 */
export function remoteCall(context: ExecutionContext): RemoteCall | undefined {
  return context.getArgByIndex(CALL_ARGUMENT);
}

/**
 * Injects the session of the call. Type it `Injected<RemoteSession>`. It is undefined in a plaintext call.
 *
 * @example
 * @RemoteFunctions('notes')
 * export class NotesController {
 *   @RemoteFunction()
 *   async remember(text: string, @RemoteSession() session: Injected<RemoteSession>): Promise<void> {
 *     await session.set('note', text);
 *   }
 * }
 */
export type RemoteSession = Omit<CallSession, 'save'>;

/** Injects the session of the call, type it `Injected<RemoteSession>`; undefined in a plaintext call. */
export const RemoteSession = createParamDecorator((_, context) => remoteCall(context)?.session);

/**
 * Injects the transaction of an exactlyOnce function: an EntityManager with TypeORM. Type it `Injected<EntityManager>`.
 *
 * @example
 * import type { EntityManager } from 'typeorm';
 *
 * @RemoteFunctions('orders')
 * export class OrdersController {
 *   @RemoteFunction({ exactlyOnce: true })
 *   async place(item: string, @RemoteTransaction() tx: Injected<EntityManager>): Promise<void> {
 *     await tx.query('INSERT INTO orders (item) VALUES ($1)', [item]);
 *   }
 * }
 */
export const RemoteTransaction = createParamDecorator(transactionOf);

/** By this the explorer knows a parameter that needs a transaction. */
export function transactionOf(_: unknown, context: ExecutionContext): unknown {
  return remoteCall(context)?.transaction;
}
