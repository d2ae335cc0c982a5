import type { IncomingMessage } from 'node:http';
import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  Logger,
  type NestInterceptor,
} from '@nestjs/common';
import { CONTENT_TYPE, frameType, type Outcome, SealwireError } from '@sealwire/core';
import { firstValueFrom, type Observable, of } from 'rxjs';
import { RemoteFunctionDispatcher } from '../functions/dispatcher.js';
import { INTERNAL } from '../functions/outcome.js';
import { ModuleRegistry, type RegisteredModule } from '../functions/registry.js';
import type { ResolvedOptions } from '../options.js';
import { Handshakes } from '../sessions/handshakes.js';
import type { Prepared } from '../sessions/origin.js';
import { nodeRequest, peerOf, type RequestLike } from '../sessions/peer.js';
import { Receiver } from '../sessions/receive.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import { BodyReader } from './body.js';
import type { DoorContext } from './door.js';
import { CBOR_FORMAT, JSON_FORMAT, type PlainFormat } from './plain-calls.js';

const PLAIN_FORMATS = [CBOR_FORMAT, JSON_FORMAT];

/** The request of the route, on either platform. */
export interface PlatformRequest extends RequestLike {
  readonly params: { readonly module: string };
  readonly body?: unknown;
}

/** An answer of status 200. */
export interface Answer {
  readonly contentType: string;
  readonly body: Uint8Array | string;
}

interface Exchange {
  readonly module: RegisteredModule;
  readonly request: PlatformRequest;
  readonly context: DoorContext;
  /** hands the calls that `context` was given to the dispatcher */
  readonly next: CallHandler;
}

/**
 * What stands between the wire and the remote functions. Before `next.handle()` it answers the handshake's steps itself, or opens
 * the body; `next.handle()` is the dispatcher and sees the calls in plaintext; after it the outcome is sealed.
 */
@Injectable()
export class EncryptionInterceptor implements NestInterceptor {
  private readonly logger = new Logger('Sealwire');

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(ModuleRegistry) private readonly modules: ModuleRegistry,
    @Inject(BodyReader) private readonly bodies: BodyReader,
    @Inject(Handshakes) private readonly handshakes: Handshakes,
    @Inject(Receiver) private readonly receiver: Receiver,
    @Inject(RemoteFunctionDispatcher) private readonly dispatcher: RemoteFunctionDispatcher,
  ) {}

  /** @throws SealwireError for what is answered unsealed */
  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<Answer>> {
    const request = context.switchToHttp().getRequest<PlatformRequest>();
    const module = this.modules.get(request.params.module);
    if (!module) throw new SealwireError('module_unknown');
    const exchange = { module, request, context: context as DoorContext, next };
    const node = nodeRequest(request);
    const type = mediaType(node.headers['content-type']);
    if (type === CONTENT_TYPE) {
      const bytes = await this.bodies.read(node, request.body, this.limitOf(module));
      return of({ contentType: CONTENT_TYPE, body: await this.answerFrame(exchange, bytes) });
    }
    const format = PLAIN_FORMATS.find(({ contentType }) => contentType === type);
    if (!format) throw new SealwireError('unsupported_media_type');
    if (module.force) throw new SealwireError('encryption_required');
    return of({ contentType: format.contentType, body: await this.answerPlain(exchange, format, node) });
  }

  private answerFrame(exchange: Exchange, bytes: Uint8Array): Promise<Uint8Array> {
    const { module, request, context, next } = exchange;
    const prepare = (payload: Uint8Array): Prepared => {
      const calls = CBOR_FORMAT.decode(payload, undefined);
      const run: Prepared['run'] = async (sealed) => {
        context.open({ module, request, calls, sealed });
        return this.dispatcher.encode(await firstValueFrom<(Outcome | Uint8Array)[]>(next.handle()));
      };
      return { calls: calls.length, run };
    };
    const peer = peerOf(request, this.options.peerLock);
    switch (frameType(bytes)) {
      case 'call':
        return this.receiver.receive(module, bytes, peer, prepare);
      case 'start':
        return this.handshakes.start(module, bytes, peer);
      case 'finish':
        return this.handshakes.finish(module, bytes, peer, prepare);
      default:
        throw new SealwireError('bad_frame');
    }
  }

  private async answerPlain(
    exchange: Exchange,
    format: PlainFormat,
    node: IncomingMessage,
  ): Promise<Uint8Array | string> {
    const { module, request, context, next } = exchange;
    // whatever the platform parsed before us it has also limited
    const parsed = format === JSON_FORMAT && isParsed(request.body);
    const body = parsed ? undefined : await this.bodies.read(node, request.body, this.limitOf(module));
    context.open({ module, request, calls: format.decode(body, request.body), sealed: undefined });
    const outcomes = await firstValueFrom<Outcome[]>(next.handle());
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
}

function mediaType(header: string | undefined): string | undefined {
  return header === CONTENT_TYPE ? header : header?.split(';', 1)[0]?.trim().toLowerCase();
}

function isParsed(body: unknown): boolean {
  return typeof body === 'object' && body !== null && !(body instanceof Uint8Array) && !('pipe' in body);
}
