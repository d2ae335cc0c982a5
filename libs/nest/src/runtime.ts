import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  type OnModuleInit,
} from '@nestjs/common';
import { RemoteFunctionExplorer } from './functions/explorer.js';
import { KeyRing } from './keys/key-ring.js';
import { NumberLedger, SessionStore } from './ports/index.js';
import { Sessions } from './sessions/sessions.js';

/** Starts and stops with the application. */
@Injectable()
export class SealwireRuntime implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger('Sealwire');

  constructor(
    @Inject(RemoteFunctionExplorer) private readonly explorer: RemoteFunctionExplorer,
    @Inject(KeyRing) private readonly keys: KeyRing,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(Sessions) private readonly sessions: Sessions,
  ) {}

  onModuleInit(): void {
    this.explorer.explore();
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
