import { Readable } from 'node:stream';
import { Inject, Injectable, Logger, StreamableFile, type Type } from '@nestjs/common';
import { DiscoveryService, HttpAdapterHost, MetadataScanner, ModuleRef, ModulesContainer } from '@nestjs/core';
import { RemoteFile } from '@sealwire/core';
import { Observable } from 'rxjs';
import { misconfigured, resolveFunction } from '../option-checks.js';
import type { ResolvedOptions } from '../options.js';
import { ExactlyOnce } from '../ports/index.js';
import { hasEnhancer, moduleKeyOf, modulesIn } from '../quirks/injector.js';
import { bindingsOf } from '../quirks/middleware.js';
import {
  EXCEPTION_FILTERS_METADATA,
  ExternalContextCreator,
  GUARDS_METADATA,
  INTERCEPTORS_METADATA,
  PIPES_METADATA,
  ROUTE_ARGS_METADATA,
  RouteParamtypes,
  trimmed,
  withGlobalPrefix,
} from '../quirks/nest.js';
import { resumeOf } from '../streams/decorators.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import { ARGUMENTS, Binder, type Home, type Method } from './binding.js';
import { type MessagePath, refuseBypass } from './bound-middleware.js';
import { refuseLostFields } from './codec-values.js';
import { ModuleRegistry, type RegisteredFunction } from './registry.js';
import {
  REMOTE_FUNCTION,
  REMOTE_FUNCTIONS,
  type RemoteFunctionOptions,
  transactionOf,
} from './remote-function.decorator.js';

const ENHANCERS = [GUARDS_METADATA, INTERCEPTORS_METADATA, PIPES_METADATA, EXCEPTION_FILTERS_METADATA];

const NAMES = new Map<number, string>([
  [RouteParamtypes.BODY, 'Body'],
  [RouteParamtypes.QUERY, 'Query'],
  [RouteParamtypes.PARAM, 'Param'],
  [RouteParamtypes.FILE, 'UploadedFile'],
  [RouteParamtypes.FILES, 'UploadedFiles'],
]);

interface Host extends Home {
  readonly type: { readonly name: string; readonly prototype: Record<string, Method | undefined> };
  readonly module: string | undefined;
}

/** Finds `@RemoteFunction()` on controllers and providers at start-up and makes each ready to run. */
@Injectable()
export class RemoteFunctionExplorer {
  private readonly logger = new Logger('Sealwire');
  private readonly binder: Binder;
  /** how many of Nest's modules were there at the start */
  private known = 0;

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly contexts: ExternalContextCreator,
    private readonly moduleRef: ModuleRef,
    private readonly registry: ModuleRegistry,
    private readonly modules: ModulesContainer,
    private readonly http: HttpAdapterHost,
    @Inject(RESOLVED_OPTIONS) private readonly options: Pick<ResolvedOptions, 'path'>,
  ) {
    this.binder = new Binder(contexts);
  }

  explore(): void {
    this.known = this.modules.size;
    for (const wrapper of [...this.discovery.getControllers(), ...this.discovery.getProviders()]) {
      const type = wrapper.isAlias ? undefined : (wrapper.instance?.constructor ?? wrapper.metatype);
      if (typeof type !== 'function' || !type.prototype || type === Object) continue;
      const module = Reflect.getMetadata(REMOTE_FUNCTIONS, type);
      const host = { wrapper, type, module, moduleKey: moduleKeyOf(wrapper) };
      for (const methodName of this.scanner.getAllMethodNames(type.prototype)) this.register(host, methodName);
    }
  }

  /** Once for each class that Nest loaded lazily since: nobody can call its functions, and Nest tells of no lazy module. */
  tellOfLate(): void {
    if (this.modules.size === this.known) return;
    const late = modulesIn(this.modules).slice(this.known);
    this.known = this.modules.size;
    for (const { classes } of late) {
      for (const type of classes) {
        if (typeof type !== 'function' || !Reflect.hasMetadata(REMOTE_FUNCTIONS, type)) continue;
        this.logger.error(
          `${type.name} came after the start, in a module that is loaded lazily, so its remote functions cannot be called; import it at the start.`,
        );
      }
    }
  }

  private register(host: Host, methodName: string): void {
    const { type, module } = host;
    const method = type.prototype[methodName];
    const given: RemoteFunctionOptions | undefined = method && Reflect.getMetadata(REMOTE_FUNCTION, method);
    if (!method || !given) return;
    const origin = `${type.name}.${methodName}`;
    const options = resolveFunction(given, origin);
    if (module === undefined) {
      throw misconfigured(
        `${origin} is decorated with @RemoteFunction(), but its class has no @RemoteFunctions('module').`,
      );
    }
    if (options.exactlyOnce && !this.hasTransactions()) {
      throw misconfigured(`${origin} is exactlyOnce, which needs a store with transactions, such as typeOrmStore().`);
    }
    if (!options.exactlyOnce && injects(type.prototype, methodName, transactionOf)) {
      throw misconfigured(
        `${origin} has @RemoteTransaction(), so it must be exactlyOnce: other functions run in none.`,
      );
    }
    refuseMisuse(type.prototype, methodName, options, origin);
    this.refuseLostEnhancers(host, method, methodName, origin);
    refuseBypass(bindingsOf(this.http.httpAdapter), type, origin, this.pathOf(module));
    refuseAmbiguousParameters(type.prototype, methodName, origin);
    refuseRest(method, origin);
    const types: unknown[] = Reflect.getMetadata('design:paramtypes', type.prototype, methodName) ?? [];
    refuseLostFields(types, origin);
    const positions = describeParameters(type.prototype, methodName, method.length);
    refuseOtherStreams(positions, types, origin);
    const { name = methodName, idempotent, exactlyOnce, sealedOnly, resumable, maxUpload } = options;
    this.registry.addFunction(module, {
      ...{ name, idempotent, exactlyOnce, sealedOnly, resumable, maxUpload },
      arity: positions.length,
      streams: streamsAmong(positions, types),
      origin,
      ...this.binder.bind(host, method, methodName, positions),
    });
  }

  /**
   * Nest drops an enhancer that is given by its class and not registered in the host's module, without a word; it
   * registers them for classes that it makes itself, not for what a factory hands out. A lost guard must not go unnoticed.
   */
  private refuseLostEnhancers({ wrapper, type }: Host, method: Method, methodName: string, origin: string): void {
    const listed = ENHANCERS.flatMap((key) => [type, method].flatMap((it) => Reflect.getMetadata(key, it) ?? []));
    const pipes = Object.values(decoratedParameters(type.prototype, methodName)).flatMap(({ pipes = [] }) => pipes);
    const lost = [...listed, ...pipes].find((it) => typeof it === 'function' && !hasEnhancer(wrapper, it));
    if (!lost) return;
    throw misconfigured(
      `${lost.name} of ${origin} would not run; let Nest make the class, list it among the providers or controllers of its module.`,
    );
  }

  /** Of messages with calls of a module. */
  private pathOf(module: string): MessagePath {
    const root = trimmed(this.options.path);
    const route = withGlobalPrefix(this.contexts, `/${root}/:module`);
    return { named: `${root}/${module}`, served: route.replace(/:module$/, module) };
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
 * Writes down the origin of each parameter, for Nest. Undecorated parameters and those with a bare `@Body()` are the
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

/** A call has arguments only. `@Param('id')` would leave `id` undefined, and a function that deletes by it would delete too much. */
function refuseAmbiguousParameters(prototype: object, methodName: string, origin: string): void {
  for (const [key, { index, data, factory }] of Object.entries(decoratedParameters(prototype, methodName))) {
    const name = factory === undefined && NAMES.get(Number(key.split(':')[0]));
    if (!name || (isBody(key) && data === undefined)) continue;
    const decorator = `@${name}(${typeof data === 'string' ? `'${data}'` : ''})`;
    throw misconfigured(
      `Parameter ${index + 1} of ${origin} has ${decorator}, which a remote call cannot fill; take the argument without a decorator, and give the route a method of its own.`,
    );
  }
}

/** Each parameter has its place in a call; a rest parameter would take one argument at most. */
function refuseRest(method: Method, origin: string): void {
  const text = method.toString();
  // what another decorator put in the place of a method passes on what it gets; the types of the parameters are still those of the method
  if (/^(async\s*)?(function\b|\()/.test(text)) return;
  if (hasRest(text)) {
    throw misconfigured(`${origin} has a rest parameter; take an array instead.`);
  }
}

/** By the text of a method: its `length` does not tell. */
function hasRest(text: string): boolean {
  let depth = 0;
  for (const [part] of text.matchAll(/\.\.\.|[([{]|[)\]}]|'[^']*'|"[^"]*"|`[^`]*`/g)) {
    if (part === '...' && depth === 1) return true;
    if ('([{'.includes(part)) depth += 1;
    if (')]}'.includes(part)) depth -= 1;
    if (depth === 0 && part === ')') return false;
  }
  return false;
}

const STREAM_TYPES = [RemoteFile, ReadableStream] as const;

/** Places of arguments whose types say that they are streams of bytes; a call with anything else there is refused. */
function streamsAmong(positions: readonly number[], types: readonly unknown[]): RegisteredFunction['streams'] {
  const streams = positions.flatMap((index, place) => {
    const type = STREAM_TYPES.find((it) => it === types[index]);
    return type ? [{ place, type }] : [];
  });
  return streams.length > 0 ? streams : undefined;
}

/** Types of parameters by which a function would call methods that the stream that arrives does not have. */
const NEVER_ARRIVES = new Map<unknown, string>([
  [Blob, 'RemoteFile'],
  [File, 'RemoteFile'],
  [StreamableFile, 'RemoteFile'],
  [Readable, 'ReadableStream<Uint8Array>'],
  [Observable, 'AsyncIterable'],
]);

function refuseOtherStreams(positions: readonly number[], types: readonly unknown[], origin: string): void {
  for (const index of positions) {
    const arrives = NEVER_ARRIVES.get(types[index]);
    if (arrives === undefined) continue;
    const { name } = types[index] as Type;
    throw misconfigured(`Parameter ${index + 1} of ${origin} is a ${name}, which never arrives; take ${arrives}.`);
  }
}

function refuseMisuse(prototype: object, methodName: string, options: RemoteFunctionOptions, origin: string): void {
  if (options.resumable && options.exactlyOnce) {
    throw misconfigured(`${origin} is exactlyOnce and resumable: a call that runs once cannot go on with its stream.`);
  }
  if (!options.resumable && injects(prototype, methodName, resumeOf)) {
    throw misconfigured(`${origin} has @RemoteResume(), so it must be resumable.`);
  }
}

function injects(prototype: object, methodName: string, factory: unknown): boolean {
  return Object.values(decoratedParameters(prototype, methodName)).some((it) => it.factory === factory);
}

function decoratedParameters(
  prototype: object,
  methodName: string,
): Record<string, { index: number; data?: unknown; factory?: unknown; pipes?: { readonly name: string }[] }> {
  return Reflect.getMetadata(ROUTE_ARGS_METADATA, prototype.constructor, methodName) ?? {};
}

function isBody(key: string): boolean {
  return key.startsWith(`${RouteParamtypes.BODY}:`);
}
