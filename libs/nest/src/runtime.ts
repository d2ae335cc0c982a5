import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  type OnModuleInit,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { CONTENT_TYPE } from '@sealwire/core';
import { RemoteFunctionExplorer } from './functions/explorer.js';
import { CBOR_FORMAT } from './http/plain-calls.js';
import { KeyRing } from './keys/key-ring.js';
import { NumberLedger, SessionStore } from './ports/ports.js';
import { SessionCache } from './sessions/sessions.js';

interface FastifyLike {
  addContentTypeParser(
    types: string[],
    parser: (request: unknown, body: unknown, done: (error: null, body: unknown) => void) => void,
  ): void;
}

/** Starts and stops with the application. */
@Injectable()
export class SealwireRuntime implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger('Sealwire');

  constructor(
    @Inject(RemoteFunctionExplorer) private readonly explorer: RemoteFunctionExplorer,
    @Inject(KeyRing) private readonly keys: KeyRing,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(SessionCache) private readonly sessions: SessionCache,
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
  ) {}

  onModuleInit(): void {
    this.explorer.explore();
    const { httpAdapter } = this.host;
    if (httpAdapter?.getType() === 'fastify') passBodiesThrough(httpAdapter.getInstance());
  }

  /** After every module is set up: migrations that run on their way up have run. */
  async onApplicationBootstrap(): Promise<void> {
    await this.store.start(this.sessions);
    const { publicKey, fingerprint } = await this.keys.describe();
    this.logger.log(`Server key ${publicKey}, fingerprint ${fingerprint}`);
  }

  /** While connections and database are still there. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.sessions.stop();
    await this.ledger.drain();
    await this.store.stop();
  }
}

/** Fastify refuses types that it knows no parser for; ours are read by the body reader, limit first. */
function passBodiesThrough(fastify: FastifyLike): void {
  fastify.addContentTypeParser([CONTENT_TYPE, CBOR_FORMAT.contentType], (_request, body, done) => done(null, body));
}
