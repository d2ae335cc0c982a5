import { gcm } from '@noble/ciphers/aes.js';
import { pow } from '@noble/curves/abstract/modular.js';
import { montgomery } from '@noble/curves/abstract/montgomery.js';
import { opaque, type Primitives } from './primitives.js';

const P = 2n ** 255n - 19n;

/** RFC 7748, section 5. The library's own brings Ed25519 with it, whose tables cost more than a few key pairs. */
const x25519 = /* @__PURE__ */ montgomery({
  P,
  type: 'x25519',
  powPminus2: (x) => pow(x, P - 2n, P),
  adjustScalarBytes(bytes: Uint8Array) {
    bytes[0] = (bytes[0] as number) & 248;
    bytes[31] = ((bytes[31] as number) & 127) | 64;
    return bytes;
  },
});

/** X25519 and AES-GCM in plain JavaScript. */
export const nobleCiphers: Pick<Primitives, 'x25519KeyPair' | 'x25519' | 'x25519Encapsulate' | 'seal' | 'open'> = {
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
