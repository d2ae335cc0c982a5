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
