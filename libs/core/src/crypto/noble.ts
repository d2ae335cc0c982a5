import { hashes } from './hashes.js';
import { nobleCiphers } from './noble-ciphers.js';
import { nobleKem } from './noble-kem.js';
import type { Primitives } from './primitives.js';

/**
 * Cryptography for every runtime with `crypto.getRandomValues`. Plain JavaScript is slower than `@sealwire/core/node` and
 * `@sealwire/core/webcrypto`, and not strictly constant time.
 *
 * @example
 * import { hedgedRandom } from '@sealwire/core';
 *
 * const suite = { primitives: noblePrimitives, random: hedgedRandom(noblePrimitives) };
 */
export const noblePrimitives: Primitives = { ...hashes, ...nobleCiphers, ...nobleKem };
