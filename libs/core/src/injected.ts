declare const injected: unique symbol;

/**
 * Marks the type of a parameter that the server injects, such as `@RemoteSession() session: Injected<RemoteSession>`.
 * A client's `RemoteApi` leaves such parameters out of the signature. Only a type: nothing of it exists at run time.
 */
export type Injected<T> = T & { readonly [injected]?: true };

/** The tuple of parameters without the injected ones. */
export type RemoteParameters<P extends readonly unknown[]> = P extends readonly [infer First, ...infer Rest]
  ? typeof injected extends keyof First
    ? RemoteParameters<Rest>
    : [First, ...RemoteParameters<Rest>]
  : P;
