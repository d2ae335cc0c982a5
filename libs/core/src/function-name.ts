/**
 * Names that a remote never takes for functions, because libraries ask every object for them and call what they find:
 * promises, JSON, the life-cycle hooks of containers (Nest, Angular), rxjs (`isObservable` looks for `lift`) and jest.
 */
export const RESERVED_NAMES = [
  'then',
  'toJSON',
  'onModuleInit',
  'onApplicationBootstrap',
  'onModuleDestroy',
  'beforeApplicationShutdown',
  'onApplicationShutdown',
  'ngOnDestroy',
  'lift',
  'asymmetricMatch',
] as const;

/** What begins with `$` is the remote's own; with the others libraries mark their objects (`@@observable`, `__v_isRef`). */
const RESERVED_PREFIX = /^(\$|@@|__)/;

/**
 * Whether a remote passes a property name on as a call. Names that every object has, and names that libraries ask objects for,
 * belong to no remote function.
 *
 * @example
 * isCallable('transfer'); // true
 * isCallable('then'); // false: `await remote` asks for it
 */
export function isCallable(name: string): boolean {
  return (
    name !== '' && !RESERVED_PREFIX.test(name) && !(name in {}) && !(RESERVED_NAMES as readonly string[]).includes(name)
  );
}
