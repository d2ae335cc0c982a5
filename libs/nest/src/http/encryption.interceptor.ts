import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  Logger,
  type NestInterceptor,
} from '@nestjs/common';
import { CONTENT_TYPE, decodeCalls, frameType, type Outcome, SealwireError } from '@sealwire/core';
import { STOP } from '@sealwire/core/live';
import { firstValueFrom, from, Observable } from 'rxjs';
import type { Dispatched } from '../functions/dispatcher.js';
import { INTERNAL } from '../functions/outcome.js';
import type { RegisteredModule } from '../functions/registry.js';
import type { ResolvedOptions } from '../options.js';
import { Handshakes } from '../sessions/handshakes.js';
import type { Prepared } from '../sessions/origin.js';
import { senderOf } from '../sessions/peer.js';
import { Receiver } from '../sessions/receive.js';
import { Audience } from '../streams/audience.js';
import { LiveBody } from '../streams/live-body.js';
import type { LiveReply } from '../streams/live-reply.js';
import { LiveResult } from '../streams/live-result.js';
import { Upload } from '../streams/upload.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import { BodyReader } from './body.js';
import type { DoorContext } from './door.js';
import { bufferOf, CBOR_FORMAT, JSON_FORMAT, type PlainFormat } from './plain-calls.js';

const PLAIN_FORMATS = [CBOR_FORMAT, JSON_FORMAT];

/** A full piece has some 30 bytes beside its data, of which the shortest one has 65,525. */
const UPLOAD_OVERHEAD = 1.01;

/** An answer of status 200. */
export interface Answer {
  readonly contentType: string;
  readonly body: Uint8Array | string | LiveResult;
}

interface Exchange {
  readonly module: RegisteredModule;
  readonly context: DoorContext;
  /** hands the calls that `context` was given to the dispatcher */
  readonly next: CallHandler<Dispatched>;
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
 * Stands between the wire and the remote functions. Before `next.handle()` it answers the handshake's steps itself, or opens
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
  ) {}

  /** Errors of the Observable are SealwireErrors for what is answered unsealed, and others for mistakes. */
  intercept(context: ExecutionContext, next: CallHandler<Dispatched>): Single<Answer> {
    return new Single(() => this.answer(context as DoorContext, next));
  }

  private async answer(context: DoorContext, next: CallHandler<Dispatched>): Promise<Answer> {
    const { node, module } = context;
    if (!module) throw new SealwireError('module_unknown');
    const exchange = { module, context, next };
    const type = mediaType(node.headers['content-type']);
    if (type === CONTENT_TYPE) {
      const limit = this.limitOf(module);
      const body = await this.bodies.readFrame(node, context.body, limit, limit + this.uploadBody(module));
      const answer = body instanceof LiveBody ? this.answerLive(exchange, body) : this.answerFrame(exchange, body);
      return { contentType: CONTENT_TYPE, body: await answer };
    }
    const format = PLAIN_FORMATS.find(({ contentType }) => contentType === type);
    if (!format) throw new SealwireError('unsupported_media_type');
    if (module.force) throw new SealwireError('encryption_required');
    return { contentType: format.contentType, body: await this.answerPlain(exchange, format) };
  }

  private answerFrame(exchange: Exchange, bytes: Uint8Array): Promise<Uint8Array | LiveResult> {
    const { module, context } = exchange;
    const prepare = (payload: Uint8Array): Prepared => this.prepare(exchange, payload, undefined);
    switch (frameType(bytes)) {
      case 'call':
        return this.receiver.receive(module, bytes, context, prepare);
      case 'start':
        return this.handshakes.start(module, bytes, senderOf(context, this.options.peerLock));
      case 'finish':
        return this.handshakes.finish(module, bytes, senderOf(context, this.options.peerLock), context.answer, prepare);
      default:
        throw new SealwireError('bad_frame');
    }
  }

  private async answerLive(exchange: Exchange, body: LiveBody): Promise<Uint8Array | LiveResult> {
    const { module, context } = exchange;
    context.live = true;
    const upload = new Upload(body, this.limitOf(module), bufferOf);
    let answer: Uint8Array | LiveResult | undefined;
    try {
      let prepared: Prepared | undefined;
      // once, also if the session has to be found again: a payload announces its streams
      const prepare = (payload: Uint8Array): Prepared => (prepared ??= this.prepare(exchange, payload, upload));
      answer = await this.receiver.receive(module, body.head, context, prepare, upload);
      return answer;
    } finally {
      // a live result may be made of what is still to come
      if (!(answer instanceof LiveResult)) upload.close();
    }
  }

  private prepare({ module, context, next }: Exchange, payload: Uint8Array, upload: Upload | undefined): Prepared {
    const calls = decodeCalls(payload, { bytes: bufferOf, revive: upload?.revive });
    upload?.allow(calls, ({ name }) => this.uploadLimit(module, name));
    const run: Prepared['run'] = (sealed) => {
      void upload?.start();
      context.open({ module, arrival: context, calls, sealed, audience: sealed.audience, upload });
      // of sealed calls
      return oneOf(next.handle()) as Promise<Uint8Array | LiveReply>;
    };
    // what frees places takes none
    return { calls: calls.every(({ name }) => name === STOP) ? 0 : calls.length, run };
  }

  /** Bytes of a body that brings as much as may be uploaded, in full pieces. */
  private uploadBody(module: RegisteredModule): number {
    return (module.maxUpload ?? this.options.maxUpload) * UPLOAD_OVERHEAD;
  }

  private uploadLimit(module: RegisteredModule, name: string): number {
    const ofModule = module.maxUpload ?? this.options.maxUpload;
    return Math.min(ofModule, module.functions.get(name)?.maxUpload ?? ofModule);
  }

  private async answerPlain({ module, context, next }: Exchange, format: PlainFormat): Promise<Uint8Array | string> {
    const { node, body: given } = context;
    // whatever the platform parsed before us it has also limited
    const parsed = format === JSON_FORMAT && isParsed(given);
    const body = parsed ? undefined : await this.bodies.read(node, given, this.limitOf(module));
    const audience = (): Audience => {
      const waiting = new Audience(this.options.abandonAfter);
      waiting.join(context.answer);
      return waiting;
    };
    const calls = format.decode(body, given);
    context.open({ module, arrival: context, calls, sealed: undefined, audience, upload: undefined });
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
