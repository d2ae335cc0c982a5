import { gcm } from '@noble/ciphers/aes.js';
import { x25519 } from '@noble/curves/ed25519.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { nobleKem } from './noble-kem.js';
import { opaque, type Primitives } from './primitives.js';

/**
 * Cryptography for browsers and every other runtime with `crypto.getRandomValues`, pages without TLS included, which have no
 * `crypto.subtle`. Plain JavaScript is slower than `@sealwire/core/node` and not strictly constant time.
 *
 * @example
 * import { hedgedRandom } from '@sealwire/core';
 *
 * const suite = { primitives: noblePrimitives, random: hedgedRandom(noblePrimitives) };
 */
export const noblePrimitives: Primitives = {
  ...nobleKem,

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

  x25519KeyPair(seed) {
    return opaque(() => ({ publicKey: x25519.getPublicKey(seed), privateKey: seed.slice() }));
  },

  x25519(privateKey, publicKey) {
    return opaque(() => x25519.getSharedSecret(privateKey, publicKey));
  },

  x25519Encapsulate(recipient, seed) {
    return opaque(() => ({
      publicKey: x25519.getPublicKey(seed),
      sharedSecret: x25519.getSharedSecret(seed, recipient),
    }));
  },

  seal(key, nonce, ad, plaintext, out) {
    return opaque(() => {
      const sealed = aesGcm(key, nonce, ad).encrypt(plaintext);
      out?.set(sealed);
      return out ?? sealed;
    });
  },

  open(key, nonce, ad, sealed) {
    return opaque(() => aesGcm(key, nonce, ad).decrypt(sealed));
  },

  equal(a, b) {
    if (a.length !== b.length) return false;
    let difference = 0;
    for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
    return difference === 0;
  },
};

function aesGcm(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array) {
  // the library would take AES-192 and nonces of other lengths, which no frame of ours has
  if ((key.length !== 16 && key.length !== 32) || nonce.length !== 12) throw new RangeError('key or nonce length');
  return gcm(key, nonce, ad);
}
