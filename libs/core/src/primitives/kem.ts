import { ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import { erase } from '../bytes.js';
import { opaque } from './opaque.js';
import type { Primitives } from './primitives.js';

/** ML-KEM-768 in plain JavaScript: everywhere for encapsulation, and for the rest where the runtime has no ML-KEM. */
export const portableKem: Pick<Primitives, 'kemKeyPair' | 'kemEncapsulate' | 'kemDecapsulate'> = {
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
      return { ciphertext: cipherText, sharedSecret };
    });
  },

  kemDecapsulate(ciphertext, decapsulationKey) {
    return opaque(() => {
      const { secretKey } = ml_kem768.keygen(decapsulationKey);
      try {
        return ml_kem768.decapsulate(ciphertext, secretKey);
      } finally {
        erase(secretKey);
      }
    });
  },
};
