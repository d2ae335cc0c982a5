import { isPlatformServer } from '@angular/common';
import { Injector, inject, PLATFORM_ID, TransferState } from '@angular/core';
import { createRemote, type RemoteOptions } from '@sealwire/client';
import {
  BACKEND,
  type Backend,
  CONFIG,
  MODULES,
  PERSISTENCE,
  type RemoteModuleConfig,
  resolve,
  SERVER_CALLS,
  TRANSPORT,
} from './config.js';
import { Handle } from './handle.js';
import { httpClientTransport } from './http-client.js';
import { pathOf, type RemoteModule } from './module.js';
import { bare } from './options.js';
import { Start, Transfer } from './transfer.js';

export class Sealwire {
  readonly #injector = inject(Injector);
  readonly #backend: Backend = inject(BACKEND, { optional: true }) ?? new Network();

  connect<Api>(module: RemoteModule<Api>): Handle<Api> {
    const injector = this.#injector;
    const path = pathOf(module);
    const common = injector.get(CONFIG, undefined, { optional: true });
    // as of every provider, the last one counts
    const own = [...injector.get(MODULES, [])].reverse().find((entry) => entry.module === module)?.config;
    const config: RemoteModuleConfig = bare({
      ...(common && resolve(common, injector, 'provideSealwire()')),
      ...(own && resolve(own, injector, 'withModule()')),
    });
    const { secureKey, url, ...others } = config;
    const isServer = isPlatformServer(injector.get(PLATFORM_ID));
    const calls = isServer ? injector.get(SERVER_CALLS) : undefined;
    const base = calls?.url ?? url ?? '/remote';
    const state = injector.get(TransferState);
    const start = injector.get(Start);
    start.follow();
    const transfer = new Transfer(state, path, start);
    // a module without encryption has no sessions
    const persistence = isServer || config.keySize === 0 ? undefined : injector.get(PERSISTENCE);
    const address = { url: `${base.replace(/\/+$/, '')}/${path}`, modulePath: path };
    const options = (key: string | undefined): RemoteOptions =>
      bare({
        ...others,
        ...(key === undefined ? {} : { secureKey: key }),
        ...(persistence && { persistence }),
        ...address,
        transport: (injector.get(TRANSPORT, undefined, { optional: true }) ?? httpClientTransport)(injector, path),
      });
    return new Handle(injector, {
      open: (key, isCurrent) => this.#backend.open(module, () => options(key), isCurrent) as never,
      endOfTurn: (run) => this.#backend.endOfTurn(run),
      forget: () => persistence?.ɵforget(address),
      secureKey,
      isSilent: isServer && !calls,
      tellsSent: config.keySize !== 0,
      handedOver: isServer || state.isEmpty ? undefined : (call) => transfer.take(call),
      handOver: calls?.transfer ? (call, value) => transfer.keep(call, value) : undefined,
    });
  }
}

class Network implements Backend {
  open(_module: RemoteModule<never>, options: () => RemoteOptions) {
    return createRemote<unknown>(options());
  }

  endOfTurn(run: () => void): void {
    queueMicrotask(run);
  }
}
