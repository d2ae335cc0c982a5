import type { ModulesContainer } from '@nestjs/core';
import { isCallable, type RemoteFile, toHex } from '@sealwire/core';
import { type ModulePolicy, misconfigured, resolveModule, type SealwireModuleOptions } from '../options.js';
import type { Bound } from './binding.js';
import type { RemoteFunctionOptions } from './remote-function.decorator.js';

type StreamType = typeof RemoteFile | typeof ReadableStream;

/** A remote function that is ready to run. */
export interface RegisteredFunction extends RemoteFunctionOptions, Bound {
  readonly name: string;
  /** how many arguments a call may have */
  readonly arity: number;
  /** places of arguments that have to be streams */
  readonly streams: readonly { readonly place: number; readonly type: StreamType }[] | undefined;
  /** `Controller.method`, for sentences */
  readonly origin: string;
}

export interface RegisteredModule extends ModulePolicy {
  readonly functions: ReadonlyMap<string, RegisteredFunction>;
}

/** The modules that `forFeature()` gave and the functions that the explorer found for them. */
export class ModuleRegistry {
  private closed = false;
  private readonly modules = new Map<string, ModulePolicy & { readonly functions: Map<string, RegisteredFunction> }>();

  /** From here on no module may be added: its functions would not be found. */
  close(): void {
    this.closed = true;
  }

  get(path: string): RegisteredModule | undefined {
    return this.modules.get(path);
  }

  all(): Iterable<RegisteredModule> {
    return this.modules.values();
  }

  add(options: SealwireModuleOptions): void {
    const policy = resolveModule(options);
    if (this.closed) {
      throw misconfigured(
        `SealwireModule.forFeature({ path: '${policy.path}' }) came after the start, in a module that is loaded lazily; import it at the start.`,
      );
    }
    if (this.modules.has(policy.path)) {
      throw misconfigured(`The module '${policy.path}' is given twice by SealwireModule.forFeature(); give it once.`);
    }
    for (const { keyId } of policy.secureKeys) this.refuseSharedKey(policy.path, toHex(keyId));
    this.modules.set(policy.path, { ...policy, functions: new Map() });
  }

  addFunction(path: string, found: RegisteredFunction): void {
    const functions = this.modules.get(path)?.functions;
    if (!functions) {
      const origin = found.origin.split('.')[0];
      throw misconfigured(
        `${origin} is decorated with @RemoteFunctions('${path}'), but nothing imports SealwireModule.forFeature({ path: '${path}' }).`,
      );
    }
    if (!isCallable(found.name)) {
      throw misconfigured(`${found.origin} has the name '${found.name}', which no client can call; rename it.`);
    }
    const other = functions.get(found.name);
    if (other) {
      throw misconfigured(
        `${found.origin} and ${other.origin} are both the remote function '${found.name}' of the module '${path}'; rename one.`,
      );
    }
    functions.set(found.name, found);
  }

  /** The same key in two modules would let a client of one open the other. */
  private refuseSharedKey(path: string, keyId: string): void {
    for (const module of this.modules.values()) {
      if (module.secureKeys.some((key) => toHex(key.keyId) === keyId)) {
        throw misconfigured(`The modules '${module.path}' and '${path}' share a SecureKey; make one for each.`);
      }
    }
  }
}

const registries = new WeakMap<object, ModuleRegistry>();

/**
 * The registry of an application. Not found by injection: `forFeature()` would have to import what `forRoot()` made, which may not be global.
 * @param modules of the application: one object from its making to its end
 */
export function registryOf(modules: ModulesContainer): ModuleRegistry {
  const registry = registries.get(modules) ?? new ModuleRegistry();
  registries.set(modules, registry);
  return registry;
}
