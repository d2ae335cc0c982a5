import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  Logger,
  type NestInterceptor,
} from '@nestjs/common';
import { CONTENT_TYPE, frameType, type Outcome, SealwireError } from '@sealwire/core';
import { firstValueFrom, from, Observable } from 'rxjs';
import { type Outcomes, RemoteFunctionDispatcher } from '../functions/dispatcher.js';
import { INTERNAL } from '../functions/outcome.js';
import type { RegisteredModule } from '../functions/registry.js';
import type { ResolvedOptions } from '../options.js';
import { Handshakes } from '../sessions/handshakes.js';
import type { Prepared } from '../sessions/origin.js';
import { peerOf } from '../sessions/peer.js';
import { Receiver } from '../sessions/receive.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import { BodyReader } from './body.js';
import type { DoorContext } from './door.js';
import { CBOR_FORMAT, JSON_FORMAT, type PlainFormat } from './plain-calls.js';

const PLAIN_FORMATS = [CBOR_FORMAT, JSON_FORMAT];

/** An answer of status 200. */
export interface Answer {
  readonly contentType: string;
  readonly body: Uint8Array | string;
}

interface Exchange {
  readonly module: RegisteredModule;
  readonly context: DoorContext;
  /** hands the calls that `context` was given to the dispatcher */
  readonly next: CallHandler<Outcomes>;
}

/** An Observable of one value that some work answers, once for each subscriber. Whoever knows it as such runs it without subscribing. */
export class Single<T> extends Observable<T> {
  constructor(readonly run: () => Promise<T>) {
    super((subscriber) => from(run()).subscribe(subscriber));
  }
}

function oneOf<T>(observable: Observable<T>): Promise<T> {
  return observable instanceof Single ? observable.run() : firstValueFrom(observable);
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
    @Inject(BodyReader) private readonly bodies: BodyReader,
    @Inject(Handshakes) private readonly handshakes: Handshakes,
    @Inject(Receiver) private readonly receiver: Receiver,
    @Inject(RemoteFunctionDispatcher) private readonly dispatcher: RemoteFunctionDispatcher,
  ) {}

  /** Errors of the Observable are SealwireErrors for what is answered unsealed, and others for mistakes. */
  intercept(context: ExecutionContext, next: CallHandler<Outcomes>): Single<Answer> {
    return new Single(() => this.answer(context as DoorContext, next));
  }

  private async answer(context: DoorContext, next: CallHandler<Outcomes>): Promise<Answer> {
    const { node, module } = context;
    if (!module) throw new SealwireError('module_unknown');
    const exchange = { module, context, next };
    const type = mediaType(node.headers['content-type']);
    if (type === CONTENT_TYPE) {
      const bytes = await this.bodies.read(node, context.body, this.limitOf(module));
      return { contentType: CONTENT_TYPE, body: await this.answerFrame(exchange, bytes) };
    }
    const format = PLAIN_FORMATS.find(({ contentType }) => contentType === type);
    if (!format) throw new SealwireError('unsupported_media_type');
    if (module.force) throw new SealwireError('encryption_required');
    return { contentType: format.contentType, body: await this.answerPlain(exchange, format) };
  }

  private answerFrame({ module, context, next }: Exchange, bytes: Uint8Array): Promise<Uint8Array> {
    const prepare = (payload: Uint8Array): Prepared => {
      const calls = CBOR_FORMAT.decode(payload, undefined);
      const run: Prepared['run'] = async (sealed) => {
        context.open({ module, arrival: context, calls, sealed });
        return this.dispatcher.encode(await oneOf(next.handle()));
      };
      return { calls: calls.length, run };
    };
    switch (frameType(bytes)) {
      case 'call':
        return this.receiver.receive(module, bytes, context, prepare);
      case 'start':
        return this.handshakes.start(module, bytes, peerOf(context, this.options.peerLock));
      case 'finish':
        return this.handshakes.finish(module, bytes, peerOf(context, this.options.peerLock), prepare);
      default:
        throw new SealwireError('bad_frame');
    }
  }

  private async answerPlain({ module, context, next }: Exchange, format: PlainFormat): Promise<Uint8Array | string> {
    const { node, body: given } = context;
    // whatever the platform parsed before us it has also limited
    const parsed = format === JSON_FORMAT && isParsed(given);
    const body = parsed ? undefined : await this.bodies.read(node, given, this.limitOf(module));
    context.open({ module, arrival: context, calls: format.decode(body, given), sealed: undefined });
    const outcomes = (await oneOf(next.handle())) as Outcome[];
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
