import { gcm } from '@noble/ciphers/aes.js';
import { x25519 } from '@noble/curves/ed25519.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { opaque, type Primitives } from './primitives.js';

/** HKDF, X25519 and AES-GCM in plain JavaScript. */
export const nobleCiphers: Pick<
  Primitives,
  'hkdf' | 'x25519KeyPair' | 'x25519' | 'x25519Encapsulate' | 'seal' | 'open'
> = {
  hkdf(salt, ikm, info, length) {
    return hkdf(sha256, ikm, salt, info, length);
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
};

function aesGcm(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array) {
  // the library would take AES-192 and nonces of other lengths, which no frame of ours has
  if ((key.length !== 16 && key.length !== 32) || nonce.length !== 12) throw new RangeError('key or nonce length');
  return gcm(key, nonce, ad);
}
