import { SealwireError } from './errors.js';

/**
 * Refuses an option that nothing reads. A mistyped option would silently leave out what it was meant to protect.
 *
 * @param options the object that the application gave
 * @param known the names that exist
 * @param what the function whose options they are, as in `createRemote`
 * @returns those of {@link ownOptions}
 * @throws SealwireError `bad_configuration` for what is no object of options; for an unknown option it names the one that was
 * probably meant
 * @example
 * knownOptions({ secureKeys: '...' }, ['url', 'secureKey'], 'createRemote');
 * // throws: createRemote: unknown option `secureKeys`; did you mean `secureKey`?
 */
export function knownOptions<T extends object>(options: T, known: readonly string[], what: string): T {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new SealwireError('bad_configuration', `${what}: its options must be an object.`);
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    const hint = near === undefined ? `; it takes ${known.join(', ')}.` : `; did you mean \`${near}\`?`;
    throw new SealwireError('bad_configuration', `${what}: unknown option \`${name}\`${hint}`);
  }
  return ownOptions(options, known);
}

/**
 * The options that were given, without a prototype: none of them is there because something put it on `Object.prototype`.
 *
 * @param options the object that the application gave, perhaps with other properties
 * @param known the names that are taken over
 * @example
 * const { batch = 500 } = ownOptions({ batch: 10, note: 'of ours' }, ['batch']);
 */
export function ownOptions<T extends object>(options: T, known: readonly string[]): T {
  const taken: Record<string, unknown> = Object.create(null);
  for (const name of known) {
    // an instance of a class may have it from its class
    if (name in Object.prototype ? Object.hasOwn(options, name) : name in options)
      taken[name] = options[name as keyof T];
  }
  return taken as T;
}

function nearest(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((other) => ({ other, steps: distance(name.toLowerCase(), other.toLowerCase()) }));
  const [best] = ranked.sort((a, b) => a.steps - b.steps);
  return best && best.steps <= Math.max(2, name.length / 3) ? best.other : undefined;
}

/** Levenshtein distance: how many characters to insert, delete or replace. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

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

/** Names with `$` are the remote's own; with the others libraries mark their objects (`@@observable`, `__v_isRef`). */
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

declare const injected: unique symbol;

/**
 * Marks the type of a parameter that the server injects, such as `@RemoteSession() session: Injected<RemoteSession>`.
 * A client's `RemoteApi` leaves such parameters out of the signature. Only a type: nothing of it exists at run time.
 */
export type Injected<T> = T & { readonly [injected]?: true };

/** `any` has every key, so it is asked about first. */
type IsInjected<T> = 0 extends 1 & T ? false : typeof injected extends keyof NonNullable<T> ? true : false;

/**
 * The tuple of parameters without the injected ones, also if those are optional. Names of parameters stay: they are
 * kept by taking slices of the tuple, not its items.
 */
export type RemoteParameters<P extends readonly unknown[]> = P extends readonly []
  ? []
  : // a rest parameter, which has no first item
    P extends readonly (infer Item)[]
    ? Item[] extends P
      ? P
      : Slices<P>
    : never;

type Slices<P extends readonly unknown[]> = P extends readonly [unknown?, ...infer Rest]
  ? IsInjected<P[0]> extends true
    ? RemoteParameters<Rest>
    : [...First<P, Rest>, ...RemoteParameters<Rest>]
  : P;

/** The first item as a tuple of one. Before a rest parameter it can't be sliced off, and its name is lost. */
type First<P extends readonly unknown[], Rest extends readonly unknown[]> = number extends Rest['length']
  ? P extends readonly [infer Item, ...unknown[]]
    ? [Item]
    : [P[0]?]
  : P extends readonly [...infer Head, ...Rest]
    ? Head
    : never;
