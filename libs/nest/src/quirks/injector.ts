/*
 * What is used of Nest's injector beneath its documented API: how it holds modules and classes. test/quirks.spec.ts holds what is
 * assumed here against the Nest that is installed.
 */
import { type DiscoveryService, ModuleRef, type ModulesContainer } from '@nestjs/core';

type Wrapper = ReturnType<DiscoveryService['getProviders']>[number];

/** Whether Nest makes the class once, and not anew for a request. */
export function isMadeOnce(wrapper: Wrapper): boolean {
  return wrapper.isDependencyTreeStatic();
}

/** Whether requests of one kind share what Nest makes of the class. */
export function isDurable(wrapper: Wrapper): boolean {
  return wrapper.isDependencyTreeDurable();
}

/** Names the module that a class belongs to. */
export function moduleKeyOf({ host }: Wrapper): string {
  return host?.token ?? '';
}

/** Of the module that a class belongs to; another one may have another class under the same token. */
export function moduleRefOf({ host }: Wrapper): ModuleRef {
  return host?.providers.get(ModuleRef)?.instance as ModuleRef;
}

/** Whether the module of a class has a guard, pipe, interceptor or filter of that class. */
export function hasEnhancer({ host }: Wrapper, enhancer: unknown): boolean {
  return host?.injectables.has(enhancer as never) ?? false;
}

/** Each module in the order in which Nest came to it, with the classes of its controllers and providers. */
export function modulesIn(modules: ModulesContainer): { readonly type: unknown; readonly classes: unknown[] }[] {
  return [...modules.values()].map(({ metatype, controllers, providers }) => ({
    type: metatype,
    classes: [...controllers.values(), ...providers.values()].map((wrapper) => wrapper.metatype),
  }));
}
