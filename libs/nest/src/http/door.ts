import type { ServerResponse } from 'node:http';
import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  Logger,
  type OnModuleInit,
  type Type,
} from '@nestjs/common';
import { ExternalContextCreator, HttpAdapterHost } from '@nestjs/core';
import { firstValueFrom, from } from 'rxjs';
import { type OpenedCalls, RemoteFunctionDispatcher } from '../functions/dispatcher.js';
import type { ResolvedOptions } from '../options.js';
import { trimmed, withGlobalPrefix } from '../quirks/application-config.js';
import { nodeRequest } from '../sessions/peer.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import { outerCode, send, sendProblem } from './answer.js';
import { EncryptionInterceptor, type PlatformRequest } from './encryption.interceptor.js';

interface FastifyScope {
  removeAllContentTypeParsers(): void;
  addContentTypeParser(
    type: string,
    parser: (request: unknown, body: unknown, done: (error: null, body: unknown) => void) => void,
  ): void;
  post(path: string, handler: (request: PlatformRequest, reply: unknown) => Promise<void>): void;
}

/**
 * The one route of all sealed and plain calls. It is registered with the platform itself, so the application's HTTP middleware runs
 * before it, and none of its global guards, interceptors, pipes and filters does: those belong to the functions behind it.
 */
@Injectable()
export class Door implements OnModuleInit {
  private readonly logger = new Logger('Sealwire');

  constructor(
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
    @Inject(ExternalContextCreator) private readonly contexts: ExternalContextCreator,
    @Inject(EncryptionInterceptor) private readonly interceptor: EncryptionInterceptor,
    @Inject(RemoteFunctionDispatcher) private readonly dispatcher: RemoteFunctionDispatcher,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
  ) {}

  onModuleInit(): void {
    const { httpAdapter } = this.host;
    if (!httpAdapter) return;
    const path = withGlobalPrefix(this.contexts, `/${trimmed(this.options.path)}/:module`);
    const answer = (request: PlatformRequest, response: unknown) => this.answer(request, response);
    if (httpAdapter.getType() === 'fastify') {
      // a scope of its own: what it takes for a body concerns no other route
      httpAdapter.getInstance().register(async (scope: FastifyScope) => {
        scope.removeAllContentTypeParsers();
        scope.addContentTypeParser('*', (_request, body, done) => done(null, body));
        scope.post(path, answer);
      });
    } else {
      httpAdapter.post(path, answer);
    }
  }

  private async answer(request: PlatformRequest, response: unknown): Promise<void> {
    try {
      const context = new DoorContext(request, response);
      const next: CallHandler = { handle: () => from(this.dispatcher.run(context.takeOpened())) };
      const { contentType, body } = await firstValueFrom(await this.interceptor.intercept(context, next));
      send(response, 200, contentType, body);
    } catch (error) {
      const code = outerCode(error);
      if (code === 'internal') this.logger.error(error);
      if (isOpen(response)) sendProblem(response, code, !nodeRequest(request).complete);
    }
  }
}

/** What the interceptor is given: the request as it came, and a place for the calls that it opened. */
export class DoorContext implements ExecutionContext {
  private opened: OpenedCalls | undefined;

  constructor(
    private readonly request: PlatformRequest,
    private readonly response: unknown,
  ) {}

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
  const { headersSent, destroyed } = raw as ServerResponse;
  return !headersSent && !destroyed;
}
