/** Injection token of the server's options with their defaults, `ResolvedOptions`. */
export const RESOLVED_OPTIONS = Symbol('sealwire options');
export const PRIMITIVES = Symbol('sealwire primitives');
