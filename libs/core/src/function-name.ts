/**
 * Names that a remote never takes for functions: promises, JSON and the life-cycle hooks by which containers (Nest,
 * Angular) probe every object that they hold.
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
] as const;

/** Whether a remote passes the name on as a call; what begins with `$` is its own, what every object has is nobody's. */
export function isCallable(name: string): boolean {
  return name !== '' && !name.startsWith('$') && !(name in {}) && !(RESERVED_NAMES as readonly string[]).includes(name);
}
