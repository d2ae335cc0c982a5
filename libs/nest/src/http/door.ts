import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type BeforeApplicationShutdown,
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  Logger,
  type OnModuleInit,
  type Type,
} from '@nestjs/common';
import { ExternalContextCreator, HttpAdapterHost } from '@nestjs/core';
import { CONTENT_TYPE } from '@sealwire/core';
import { type Dispatched, RemoteFunctionDispatcher } from '../functions/dispatcher.js';
import type { OpenedCalls } from '../functions/invocation.js';
import { ModuleRegistry, type RegisteredModule } from '../functions/registry.js';
import { KeyRing } from '../keys/key-ring.js';
import { held } from '../option-checks.js';
import type { ResolvedOptions } from '../options.js';
import { Connections, closeWithConnection } from '../quirks/connections.js';
import { ExpressFront } from '../quirks/express.js';
import { closeBehind, isGone, streamOf } from '../quirks/http2.js';
import { trimmed, withGlobalPrefix } from '../quirks/nest.js';
import type { Arrival, PlatformRequest } from '../sessions/peer.js';
import { LiveResult } from '../streams/live-result.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import { CLOSE, liveResponse, outerCode, send, sendEarly, sendProblem } from './answer.js';
import { type Answer, EncryptionInterceptor, Single } from './encryption.interceptor.js';

interface RouteRequest extends PlatformRequest {
  readonly params: { readonly module: string };
  readonly body?: unknown;
}

interface FastifyScope {
  removeAllContentTypeParsers(): void;
  addContentTypeParser(
    type: string,
    parser: (request: unknown, body: unknown, done: (error: null, body: unknown) => void) => void,
  ): void;
  post(path: string, handler: (request: RouteRequest, reply: unknown) => Promise<void>): void;
  get(path: string, handler: (request: RouteRequest, reply: unknown) => Promise<void>): void;
}

/** Caches may keep public keys for five minutes: a rotation has both keys for much longer. */
const KEYS_CACHED = { 'Cache-Control': 'public, max-age=300' };

/** Characters that Express and path-to-regexp take as they are. */
const LITERAL_PATH = /^[\w/.~-]*$/;

/**
 * The one route of all sealed and plain calls. It is registered with the platform itself, so the application's HTTP middleware runs
 * before it, and none of its global guards, interceptors, pipes and filters does: those belong to the functions behind it.
 *
 * If no middleware of an Express application stands before the route, sealed messages are taken before Express, whose own work for a
 * request costs more than all of a sealed call.
 */
@Injectable()
export class Door implements OnModuleInit, BeforeApplicationShutdown {
  private readonly logger = new Logger('Sealwire');
  private front: ExpressFront | undefined;
  private connections: Connections | undefined;
  /** modules by the whole path of their calls */
  private direct: ReadonlyMap<string, RegisteredModule> = new Map();
  /** whether the application's own server ever listened: others may hand requests to the platform instead */
  private listened = false;
  private stopping = false;

  constructor(
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
    @Inject(ExternalContextCreator) private readonly contexts: ExternalContextCreator,
    @Inject(EncryptionInterceptor) private readonly interceptor: EncryptionInterceptor,
    @Inject(RemoteFunctionDispatcher) private readonly dispatcher: RemoteFunctionDispatcher,
    @Inject(ModuleRegistry) private readonly modules: ModuleRegistry,
    @Inject(KeyRing) private readonly keys: KeyRing,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
  ) {}

  onModuleInit(): void {
    for (const { path, maxBody = 0 } of this.modules.all())
      held(maxBody, this.options.maxWaitingBytes, `maxBody of the module '${path}'`);
    const { httpAdapter } = this.host;
    if (!httpAdapter) return;
    httpAdapter.getHttpServer()?.once('listening', () => {
      this.listened = true;
    });
    this.connections = Connections.of(httpAdapter.getHttpServer());
    const path = withGlobalPrefix(this.contexts, `/${trimmed(this.options.path)}/:module`);
    const route = (request: RouteRequest, response: unknown): Promise<void> => {
      const node = request.raw ?? (request as unknown as IncomingMessage);
      const module = this.modules.get(request.params.module);
      return this.answer(new DoorContext(node, response, module, () => request, request.body));
    };
    const keys = (request: RouteRequest, response: unknown): Promise<void> =>
      this.tellKeys(request.params.module, response);
    const { servePublicKey } = this.options;
    if (httpAdapter.getType() === 'fastify') {
      // a scope of its own: what it takes for a body concerns no other route
      httpAdapter.getInstance().register(async (scope: FastifyScope) => {
        scope.removeAllContentTypeParsers();
        scope.addContentTypeParser('*', (_request, body, done) => done(null, body));
        scope.post(path, route);
        if (servePublicKey) scope.get(path, keys);
      });
    } else {
      httpAdapter.post(path, route);
      if (servePublicKey) httpAdapter.get(path, keys);
      const base = path.slice(0, path.lastIndexOf(':'));
      if (!LITERAL_PATH.test(base)) return;
      this.direct = new Map([...this.modules.all()].map((module) => [base + module.path, module]));
      this.front = ExpressFront.of(httpAdapter, route);
      this.front?.listen((request, response) => this.take(request, response));
    }
  }

  beforeApplicationShutdown(): void {
    this.stopping = true;
    this.connections?.stop();
  }

  /** The public keys, for whoever asks: no guard stands before them, as none stands before a handshake. */
  private async tellKeys(module: string, response: unknown): Promise<void> {
    try {
      if (!this.modules.get(module)) return sendProblem(response, 'module_unknown');
      const body = JSON.stringify({ serverKey: await this.keys.publicKeys() });
      send(response, 200, 'application/json', body, { ...KEYS_CACHED, ...this.closing });
    } catch (error) {
      const code = outerCode(error);
      if (code === 'internal') this.logger.error(error);
      sendProblem(response, code);
    }
  }

  private take(request: IncomingMessage, response: ServerResponse): boolean {
    const { url = '' } = request;
    const module = request.method === 'POST' ? this.direct.get(url) : undefined;
    const { front } = this;
    if (!module || !front?.isClear(url) || request.headers['content-type'] !== CONTENT_TYPE) return false;
    const reply = front.poweredBy ? new PoweredByExpress(response) : response;
    void this.answer(new DoorContext(request, reply, module, () => front.dress(request, module.path)));
    return true;
  }

  private answer(context: DoorContext): Promise<void> {
    // nearly every response has its connection from the start
    if (!context.answer.socket) closeWithConnection(context.node, context.answer);
    const next: CallHandler<Dispatched> = {
      handle: () => new Single(() => this.dispatcher.run(context.takeOpened())),
    };
    return this.interceptor
      .intercept(context, next)
      .run()
      .then((answer) => this.send(context, answer))
      .catch((error) => this.refuse(context, error));
  }

  private send({ node, response, live }: DoorContext, { contentType, body }: Answer): void {
    if (live && !node.complete && !isGone(node) && body instanceof Uint8Array) {
      sendEarly(node, response, contentType, body);
    } else if (!(body instanceof LiveResult)) send(response, 200, contentType, body, this.closing);
    // one that nobody waits for any more comes to its end nevertheless
    else body.send(liveResponse(response, contentType, () => this.closing));
    this.closeSession(node);
  }

  private refuse({ node, answer, response, live }: DoorContext, error: unknown): void {
    const code = outerCode(error);
    if (code === 'internal') this.logger.error(error);
    if (!node.complete && !live) closeBehind(answer);
    if (isOpen(response)) sendProblem(response, code, (!node.complete && !live) || this.closing !== undefined);
    this.closeSession(node);
  }

  /** Does over HTTP/2 what `closing` asks for over HTTP/1; other streams of the connection come to their end. */
  private closeSession(node: IncomingMessage): void {
    if (this.closing) streamOf(node)?.session?.close();
  }

  /** A server that has stopped listening waits for its connections: one that is kept alive and used again would hold it up. */
  private get closing(): object | undefined {
    return this.stopping || (this.listened && !this.host.httpAdapter.getHttpServer().listening) ? CLOSE : undefined;
  }
}

const POWERED_BY = { 'X-Powered-By': 'Express' };

/** A response with the header that Express sets. It is written with all others: if one is set first, Node sets each by itself. */
class PoweredByExpress {
  constructor(readonly raw: ServerResponse) {}

  getHeaders(): object {
    return POWERED_BY;
  }

  hijack(): void {}
}

/** The interceptor gets the request as it came, and a place for the calls that it opened. */
export class DoorContext implements ExecutionContext, Arrival {
  private opened: OpenedCalls | undefined;
  private made: PlatformRequest | undefined;
  /** The rest of its body is read, or its connection closed, by whoever read its beginning. */
  live = false;

  /**
   * @param make the platform's request
   * @param body what the platform made of the body, if it did
   */
  constructor(
    readonly node: IncomingMessage,
    readonly response: unknown,
    readonly module: RegisteredModule | undefined,
    private readonly make: () => PlatformRequest,
    readonly body?: unknown,
  ) {}

  get answer(): ServerResponse {
    return (this.response as { readonly raw?: ServerResponse }).raw ?? (this.response as ServerResponse);
  }

  get request(): PlatformRequest {
    this.made ??= this.make();
    return this.made;
  }

  /** Hands opened calls to the next `handle()`. */
  open(calls: OpenedCalls): void {
    this.opened = calls;
  }

  takeOpened(): OpenedCalls {
    const { opened } = this;
    if (!opened) throw new Error('The dispatcher was asked before a message was opened.');
    this.opened = undefined;
    return opened;
  }

  getClass<T>(): Type<T> {
    return Door as unknown as Type<T>;
  }

  getHandler(): () => void {
    return Door.prototype.onModuleInit;
  }

  getArgs<T extends unknown[]>(): T {
    return [this.request, this.response] as unknown as T;
  }

  getArgByIndex<T>(index: number): T {
    return this.getArgs()[index] as T;
  }

  getType<T extends string>(): T {
    return 'http' as T;
  }

  switchToHttp() {
    return {
      getRequest: <T>() => this.request as T,
      getResponse: <T>() => this.response as T,
      getNext: <T>() => undefined as T,
    };
  }

  switchToRpc(): never {
    throw new TypeError('This is an HTTP request.');
  }

  switchToWs(): never {
    throw new TypeError('This is an HTTP request.');
  }
}

/** Whether there is still somebody to answer, and nobody did. */
function isOpen(response: unknown): boolean {
  const { raw = response } = response as { raw?: unknown };
  const node = raw as ServerResponse;
  return !node.headersSent && !isGone(node);
}
