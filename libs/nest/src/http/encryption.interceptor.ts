import type { IncomingMessage } from 'node:http';
import { type ExecutionContext, Inject, Injectable, Logger, type NestInterceptor } from '@nestjs/common';
import { type Call, CONTENT_TYPE, frameType, SealwireError } from '@sealwire/core';
import { type Observable, of } from 'rxjs';
import { RemoteFunctionDispatcher, type SealedOrigin } from '../functions/dispatcher.js';
import { INTERNAL } from '../functions/outcome.js';
import { ModuleRegistry, type RegisteredModule } from '../functions/registry.js';
import type { ResolvedOptions } from '../options.js';
import { HandshakeService, type Peer } from '../sessions/handshakes.js';
import { SessionService } from '../sessions/receive.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import { outerCode, send, sendProblem } from './answer.js';
import { readBody } from './body.js';
import { CBOR_FORMAT, JSON_FORMAT, type PlainFormat } from './plain-calls.js';

const PLAIN_FORMATS = [CBOR_FORMAT, JSON_FORMAT];
const DONE = of(undefined);

/** The request of either platform: Express hands out Node's own, Fastify wraps it. */
interface PlatformRequest {
  readonly raw?: IncomingMessage;
  readonly params: { readonly module: string };
  readonly body?: unknown;
  readonly ip?: string;
}

interface Exchange {
  readonly module: RegisteredModule;
  readonly request: PlatformRequest;
  readonly response: unknown;
}

/**
 * What stands between the wire and the remote functions: handshakes are answered here, call frames are opened, their calls
 * handed to the dispatcher, and results sealed. It writes the response itself, so nothing else touches sealed bytes.
 */
@Injectable()
export class EncryptionInterceptor implements NestInterceptor {
  private readonly logger = new Logger('Sealwire');

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(ModuleRegistry) private readonly modules: ModuleRegistry,
    @Inject(HandshakeService) private readonly handshakes: HandshakeService,
    @Inject(SessionService) private readonly sessions: SessionService,
    @Inject(RemoteFunctionDispatcher) private readonly dispatcher: RemoteFunctionDispatcher,
  ) {}

  /** Answers the request itself: the route's handler has nothing left to do. */
  async intercept(context: ExecutionContext): Promise<Observable<unknown>> {
    const http = context.switchToHttp();
    const request = http.getRequest<PlatformRequest>();
    const response = http.getResponse();
    try {
      const module = this.modules.get(request.params.module);
      if (!module) throw new SealwireError('module_unknown');
      await this.answer({ module, request, response });
    } catch (error) {
      const code = outerCode(error);
      if (code === 'internal') this.logger.error(error);
      sendProblem(response, code);
    }
    return DONE;
  }

  private async answer(exchange: Exchange): Promise<void> {
    const { module, request, response } = exchange;
    const node = nodeRequest(request);
    const type = mediaType(node.headers['content-type']);
    if (type === CONTENT_TYPE) {
      const bytes = await readBody(node, request.body, this.limitOf(module));
      send(response, 200, CONTENT_TYPE, await this.answerFrame(exchange, bytes));
      return;
    }
    const format = PLAIN_FORMATS.find(({ contentType }) => contentType === type);
    if (!format) throw new SealwireError('unsupported_media_type');
    if (module.force) throw new SealwireError('encryption_required');
    send(response, 200, format.contentType, await this.answerPlain(exchange, format, node));
  }

  private answerFrame(exchange: Exchange, bytes: Uint8Array): Promise<Uint8Array> {
    const { module, request } = exchange;
    const run = async (calls: readonly Call[], sealed: SealedOrigin) =>
      this.dispatcher.encode(await this.dispatcher.run({ module, request, calls, sealed }));
    switch (frameType(bytes)) {
      case 'call':
        return this.sessions.answer(module, bytes, this.lockOf(request), run);
      case 'start':
        return this.handshakes.start(module, bytes, this.peerOf(request));
      case 'finish':
        return this.handshakes.finish(module, bytes, this.peerOf(request), run);
      default:
        throw new SealwireError('bad_frame');
    }
  }

  private async answerPlain(
    exchange: Exchange,
    format: PlainFormat,
    node: IncomingMessage,
  ): Promise<Uint8Array | string> {
    const { module, request } = exchange;
    // whatever the platform parsed before us it has also limited
    const parsed = format === JSON_FORMAT && isParsed(request.body);
    const body = parsed ? undefined : await readBody(node, request.body, this.limitOf(module));
    const calls = format.decode(body, request.body);
    const outcomes = await this.dispatcher.run({ module, request, calls, sealed: undefined });
    try {
      return format.encode(outcomes);
    } catch (error) {
      this.logger.error(error);
      return format.encode(outcomes.map(() => INTERNAL));
    }
  }

  private limitOf(module: RegisteredModule): number {
    return module.maxBody ?? this.options.maxBody;
  }

  private peerOf(request: PlatformRequest): Peer {
    return { address: request.ip ?? connectionOf(request), lock: this.lockOf(request) };
  }

  /** What a session is bound to. The platform's `ip` is costly, so it is asked only where it counts. */
  private lockOf(request: PlatformRequest): string | undefined {
    const { peerLock } = this.options;
    if (peerLock === 'none') return undefined;
    return peerLock === 'ip' ? connectionOf(request) : (request.ip ?? connectionOf(request));
  }
}

function nodeRequest(request: PlatformRequest): IncomingMessage {
  return request.raw ?? (request as unknown as IncomingMessage);
}

function connectionOf(request: PlatformRequest): string {
  return nodeRequest(request).socket.remoteAddress ?? '';
}

function mediaType(header: string | undefined): string | undefined {
  return header === CONTENT_TYPE ? header : header?.split(';', 1)[0]?.trim().toLowerCase();
}

function isParsed(body: unknown): boolean {
  return typeof body === 'object' && body !== null && !(body instanceof Uint8Array) && !('pipe' in body);
}
