import {
  type BeforeApplicationShutdown,
  ConfigurableModuleBuilder,
  type DynamicModule,
  Inject,
  Injectable,
  Logger,
  Module,
  type OnApplicationBootstrap,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import { DiscoveryModule, ModulesContainer } from '@nestjs/core';
import { ownOptions } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { SealwireEvents } from './admin/events.js';
import { SealwireHealthIndicator } from './admin/health.indicator.js';
import { SealwireSessions } from './admin/sealwire-sessions.js';
import { RemoteFunctionDispatcher } from './functions/dispatcher.js';
import { RemoteFunctionExplorer } from './functions/explorer.js';
import { ModuleRegistry, registryOf } from './functions/registry.js';
import { BodyReader } from './http/body.js';
import { Door } from './http/door.js';
import { EncryptionInterceptor } from './http/encryption.interceptor.js';
import { KeyRing } from './keys/key-ring.js';
import { named, stores, switches } from './option-checks.js';
import {
  misconfigured,
  resolveOptions,
  type SealwireModuleOptions,
  type SealwireOptions,
  type SealwireStore,
} from './options.js';
import { KeyStore, NumberLedger, SessionData, SessionDirectory, SessionStore } from './ports/index.js';
import { modulesIn } from './quirks/injector.js';
import { Handshakes } from './sessions/handshakes.js';
import { HandshakeLimits } from './sessions/limits.js';
import { MemoryKeyStore } from './sessions/memory-key-store.js';
import { MemoryLedger } from './sessions/memory-ledger.js';
import { MemoryStore } from './sessions/memory-store.js';
import { Receiver } from './sessions/receive.js';
import { Sessions } from './sessions/sessions.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from './tokens.js';

/** Options that have to be known before the others are: `forRootAsync` takes them beside its factory. */
interface StaticOptions {
  /** the place of sessions and keys; this process's memory by default */
  readonly store?: SealwireStore | undefined;
  /** true by default: what the module exports can be injected in every module */
  readonly isGlobal?: boolean;
}

const EXPORTED = [SealwireEvents, SealwireSessions, SealwireHealthIndicator, KeyRing];

const root = new ConfigurableModuleBuilder<SealwireOptions>({ moduleName: 'Sealwire' })
  .setClassMethodName('forRoot')
  .setExtras<StaticOptions>({ store: undefined, isGlobal: true }, assemble)
  .build();

const feature = new ConfigurableModuleBuilder<SealwireModuleOptions>({ moduleName: 'SealwireFeature' })
  .setClassMethodName('forFeature')
  .build();

/** One configured module. */
@Module({})
class SealwireFeatureModule extends feature.ConfigurableModuleClass {
  constructor(
    @Inject(feature.MODULE_OPTIONS_TOKEN) options: SealwireModuleOptions,
    @Inject(ModulesContainer) modules: ModulesContainer,
  ) {
    super();
    if (!modulesIn(modules).some(isRoot)) {
      throw misconfigured(
        'SealwireModule.forFeature() is imported, but SealwireModule.forRoot() is not: import it once, in the root module.',
      );
    }
    registryOf(modules).add(options);
  }
}

/**
 * Serves remote functions. Import `forRoot()` once, in the root module, and `forFeature()` for each module of functions.
 *
 * @throws SealwireError `bad_configuration` with a sentence that says what to change
 * @example
 * import { Module } from '@nestjs/common';
 *
 * @Module({
 *   imports: [
 *     SealwireModule.forRoot({ serverKey: process.env.SEALWIRE_SERVER_KEY }),
 *     SealwireModule.forFeature({ path: 'greetings', secureKeys: [process.env.SEALWIRE_SECURE_KEY ?? ''] }),
 *   ],
 * })
 * export class AppModule {}
 */
@Module({})
export class SealwireModule extends root.ConfigurableModuleClass implements OnModuleInit {
  constructor(@Inject(ModulesContainer) private readonly modules: ModulesContainer) {
    super();
  }

  /** Nest calls it for each place that imports this module with options of its own. */
  onModuleInit(): void {
    const imported = modulesIn(this.modules).filter(({ type }) => type === SealwireModule);
    if (!imported.every(isRoot)) {
      throw misconfigured(
        'SealwireModule is imported without forRoot(): import SealwireModule.forRoot() once, in the root module.',
      );
    }
    if (imported.length > 1) {
      throw misconfigured('SealwireModule.forRoot() is imported more than once: import it once, in the root module.');
    }
    registryOf(this.modules).close();
  }

  /** The options themselves are checked when the application starts, as those of a factory are. */
  static override forRoot(options: typeof root.OPTIONS_TYPE = {}): DynamicModule {
    return root.ConfigurableModuleClass.forRoot.call(
      SealwireModule,
      named(options, options, 'SealwireModule.forRoot()'),
    );
  }

  static override forRootAsync(options: typeof root.ASYNC_OPTIONS_TYPE): DynamicModule {
    const known = named(options, [...ASYNC, 'store', 'isGlobal'], 'SealwireModule.forRootAsync()');
    return root.ConfigurableModuleClass.forRootAsync.call(SealwireModule, known);
  }

  static forFeature(options: SealwireModuleOptions): DynamicModule {
    return SealwireFeatureModule.forFeature(options);
  }

  static forFeatureAsync(options: typeof feature.ASYNC_OPTIONS_TYPE): DynamicModule {
    return SealwireFeatureModule.forFeatureAsync(named(options, ASYNC, 'SealwireModule.forFeatureAsync()'));
  }
}

function isRoot({ classes }: { readonly classes: unknown[] }): boolean {
  return classes.includes(SealwireRuntime);
}

/** What Nest takes beside a factory. */
const ASYNC = ['imports', 'inject', 'provideInjectionTokensFrom', 'useClass', 'useExisting', 'useFactory'];

function assemble(definition: DynamicModule, { store, isGlobal }: StaticOptions): DynamicModule {
  stores(store);
  switches({ isGlobal }, misconfigured, '', 'isGlobal');
  const { imports = [], providers, exports = [] } = ownOptions(store ?? memoryStore(), STORE);
  const hasLedger = providers.some((provider) => tokenOf(provider) === NumberLedger);
  return {
    ...definition,
    global: isGlobal ?? true,
    imports: [...(definition.imports ?? []), ...imports, DiscoveryModule],
    providers: [
      ...(definition.providers ?? []),
      {
        provide: RESOLVED_OPTIONS,
        useFactory: (options: SealwireOptions) => resolveOptions(options, store !== undefined),
        inject: [root.MODULE_OPTIONS_TOKEN],
      },
      { provide: PRIMITIVES, useValue: nodePrimitives },
      ...providers,
      ...(hasLedger ? [] : [{ provide: NumberLedger, useClass: MemoryLedger }]),
      BodyReader,
      Door,
      EncryptionInterceptor,
      HandshakeLimits,
      Handshakes,
      Receiver,
      RemoteFunctionDispatcher,
      RemoteFunctionExplorer,
      SealwireRuntime,
      Sessions,
      { provide: ModuleRegistry, useFactory: registryOf, inject: [ModulesContainer] },
      ...EXPORTED,
    ],
    exports: [...EXPORTED, ...exports],
  };
}

const STORE = ['imports', 'providers', 'exports'] satisfies (keyof SealwireStore)[];

function memoryStore(): SealwireStore {
  return {
    providers: [
      { provide: SessionStore, useClass: MemoryStore },
      { provide: SessionDirectory, useExisting: SessionStore },
      { provide: SessionData, useExisting: SessionStore },
      { provide: KeyStore, useClass: MemoryKeyStore },
    ],
  };
}

function tokenOf(provider: Provider): unknown {
  return typeof provider === 'function' ? provider : provider.provide;
}

/** Starts and stops with the application. */
@Injectable()
class SealwireRuntime implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger('Sealwire');

  constructor(
    @Inject(RemoteFunctionExplorer) private readonly explorer: RemoteFunctionExplorer,
    @Inject(KeyRing) private readonly keys: KeyRing,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(Sessions) private readonly sessions: Sessions,
    @Inject(BodyReader) private readonly bodies: BodyReader,
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
    this.bodies.stop();
    await this.sessions.stop();
    await this.ledger.drain();
    await this.store.stop();
  }
}
