/** Injection tokens for what has no class of its own. */
export const RESOLVED_OPTIONS = Symbol('sealwire options');
export const PRIMITIVES = Symbol('sealwire primitives');
