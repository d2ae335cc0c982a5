import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import type { ClientPrimitives } from './primitives.js';

/** What answers at once outside Node too: randomness of the platform, and hashes in plain JavaScript. */
export const hashes: Pick<ClientPrimitives, 'random' | 'sha256' | 'hmac' | 'equal'> = {
  random(length) {
    return globalThis.crypto.getRandomValues(new Uint8Array(length));
  },

  sha256(...parts) {
    const hash = sha256.create();
    for (const part of parts) hash.update(part);
    return hash.digest();
  },

  hmac(key, ...parts) {
    const mac = hmac.create(sha256, key);
    for (const part of parts) mac.update(part);
    return mac.digest();
  },

  equal(a, b) {
    if (a.length !== b.length) return false;
    let difference = 0;
    for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
    return difference === 0;
  },
};
