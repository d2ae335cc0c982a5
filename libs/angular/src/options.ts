import { assertInInjectionContext, Injector, inject } from '@angular/core';
import { SealwireError, ɵknownOptions } from '@sealwire/client';

/** The values that an option takes; undefined: whatever it is handed on to takes. */
type Taken<T> = { readonly [K in keyof Required<T>]: readonly unknown[] | undefined };

export const SWITCH = [true, false] as const;

/**
 * @param given by the application
 * @param what the function whose options they are
 * @returns the options that were given, without a prototype: none is there because something put it on Object.prototype
 * @throws SealwireError `bad_configuration` for an option that does not exist, or a value that it does not take
 */
export function optionsOf<T extends object>(given: T, taken: Taken<T>, what: string): T {
  if (typeof given !== 'object' || given === null) throw misconfigured(`${what} takes an object of options.`);
  const options = ɵknownOptions(given, Object.keys(taken), what);
  for (const [name, values] of Object.entries<Taken<T>[keyof T]>(taken)) {
    const value = options[name as keyof T];
    if (!values || value === undefined || values.includes(value)) continue;
    const wanted = values.map((one) => JSON.stringify(one)).join(', ');
    throw misconfigured(`${what}: ${name} is one of ${wanted}.`);
  }
  return options;
}

export function misconfigured(sentence: string): SealwireError {
  return new SealwireError('bad_configuration', sentence);
}

/** For whoever reads options of it: without a prototype too. */
export function bare<T extends object>(own: T): T {
  return Object.assign(Object.create(null), own);
}

/** @throws Error outside an injection context if no injector was given */
export function injectorOf(given: Injector | undefined, asking: (...args: never[]) => unknown): Injector {
  if (!given) assertInInjectionContext(asking);
  return given ?? inject(Injector);
}
