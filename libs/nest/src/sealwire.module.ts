import { ConfigurableModuleBuilder, type DynamicModule, Inject, Module, type Provider } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { nodePrimitives } from '@sealwire/core/node';
import { SealwireEvents } from './admin/events.js';
import { SealwireHealthIndicator } from './admin/health.indicator.js';
import { SealwireSessions } from './admin/sealwire-sessions.js';
import { RemoteFunctionDispatcher } from './functions/dispatcher.js';
import { RemoteFunctionExplorer } from './functions/explorer.js';
import { ModuleRegistry } from './functions/registry.js';
import { EncryptionInterceptor } from './http/encryption.interceptor.js';
import { remoteController } from './http/remote.controller.js';
import { KeyRing } from './keys/key-ring.js';
import { resolveOptions, type SealwireModuleOptions, type SealwireOptions, type SealwireStore } from './options.js';
import { KeyStore, NumberLedger, SessionStore } from './ports/ports.js';
import { SealwireRuntime } from './runtime.js';
import { HandshakeService } from './sessions/handshakes.js';
import { MemoryLedger } from './sessions/memory-ledger.js';
import { MemoryKeyStore, MemorySessionStore } from './sessions/memory-store.js';
import { SessionService } from './sessions/receive.js';
import { SessionCache } from './sessions/sessions.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from './tokens.js';

/** What has to be known before the options are: also given to `forRootAsync` beside its factory. */
interface StaticOptions {
  /** first part of the route, `remote` by default */
  readonly path?: string;
  /** where sessions and keys are kept; this process's memory by default */
  readonly store?: SealwireStore;
  /** true by default: `forFeature()` works in every module */
  readonly isGlobal?: boolean;
}

const EXPORTED = [ModuleRegistry, SealwireEvents, SealwireSessions, SealwireHealthIndicator, KeyRing];

const root = new ConfigurableModuleBuilder<SealwireOptions>({ moduleName: 'Sealwire' })
  .setClassMethodName('forRoot')
  .setExtras<StaticOptions>({ path: 'remote', store: memoryStore(), isGlobal: true }, assemble)
  .build();

const feature = new ConfigurableModuleBuilder<SealwireModuleOptions>({ moduleName: 'SealwireFeature' })
  .setClassMethodName('forFeature')
  .build();

/** One configured module. */
@Module({})
class SealwireFeatureModule extends feature.ConfigurableModuleClass {
  constructor(
    @Inject(feature.MODULE_OPTIONS_TOKEN) options: SealwireModuleOptions,
    @Inject(ModuleRegistry) modules: ModuleRegistry,
  ) {
    super();
    modules.add(options);
  }
}

/** Serves remote functions. `forRoot()` once, `forFeature()` for each module of functions. */
@Module({})
export class SealwireModule extends root.ConfigurableModuleClass {
  static forFeature(options: SealwireModuleOptions): DynamicModule {
    return SealwireFeatureModule.forFeature(options);
  }

  static forFeatureAsync(options: typeof feature.ASYNC_OPTIONS_TYPE): DynamicModule {
    return SealwireFeatureModule.forFeatureAsync(options);
  }
}

function assemble(definition: DynamicModule, { path, store = memoryStore(), isGlobal }: StaticOptions): DynamicModule {
  const guarded = store.providers.some((provider) => tokenOf(provider) === NumberLedger);
  return {
    ...definition,
    global: isGlobal ?? true,
    imports: [...(definition.imports ?? []), ...(store.imports ?? []), DiscoveryModule],
    controllers: [remoteController(path ?? 'remote')],
    providers: [
      ...(definition.providers ?? []),
      { provide: RESOLVED_OPTIONS, useFactory: resolveOptions, inject: [root.MODULE_OPTIONS_TOKEN] },
      { provide: PRIMITIVES, useValue: nodePrimitives },
      ...store.providers,
      ...(guarded ? [] : [{ provide: NumberLedger, useClass: MemoryLedger }]),
      EncryptionInterceptor,
      HandshakeService,
      RemoteFunctionDispatcher,
      RemoteFunctionExplorer,
      SealwireRuntime,
      SessionCache,
      SessionService,
      ...EXPORTED,
    ],
    exports: [...EXPORTED, ...(store.exports ?? [])],
  };
}

function memoryStore(): SealwireStore {
  return {
    providers: [
      { provide: SessionStore, useClass: MemorySessionStore },
      { provide: KeyStore, useClass: MemoryKeyStore },
    ],
  };
}

function tokenOf(provider: Provider): unknown {
  return typeof provider === 'function' ? provider : provider.provide;
}
