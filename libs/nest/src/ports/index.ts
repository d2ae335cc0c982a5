/** What the author of a store needs: the ports, and the few helpers that both sides of a port must agree on. */
export type { ResolvedOptions, SealwireStore } from '../options.js';
export { knownOf } from '../sessions/memory-ledger.js';
export { withinTime } from '../time-limit.js';
export { RESOLVED_OPTIONS } from '../tokens.js';
export * from './ports.js';
