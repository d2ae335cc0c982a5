import { ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import { erase } from '../bytes.js';
import { opaque, type Primitives } from './primitives.js';

/** ML-KEM-768 in plain JavaScript: everywhere for encapsulation, and for the rest if the runtime has no ML-KEM. */
export const nobleKem: Pick<Primitives, 'kemKeyPair' | 'kemEncapsulate' | 'kemDecapsulate'> = {
  kemKeyPair(seed) {
    return opaque(() => {
      const { publicKey, secretKey } = ml_kem768.keygen(seed);
      erase(secretKey);
      return { encapsulationKey: publicKey, decapsulationKey: seed.slice() };
    });
  },

  kemEncapsulate(encapsulationKey, coins) {
    return opaque(() => {
      const { cipherText, sharedSecret } = ml_kem768.encapsulate(encapsulationKey, coins);
      return { ciphertext: cipherText, sharedSecret: ownCopy(sharedSecret) };
    });
  },

  kemDecapsulate(ciphertext, decapsulationKey) {
    return opaque(() => {
      const { secretKey } = ml_kem768.keygen(decapsulationKey);
      try {
        return ownCopy(ml_kem768.decapsulate(ciphertext, secretKey));
      } finally {
        erase(secretKey);
      }
    });
  },
};

/** The library hands out half of a hash, whose other half would outlive an erasure. */
function ownCopy(secret: Uint8Array): Uint8Array {
  const copy = secret.slice();
  erase(new Uint8Array(secret.buffer));
  return copy;
}
