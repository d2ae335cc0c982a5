import * as crypto from 'node:crypto';
import { concat, erase, fromHex } from '../bytes.js';
import { nobleKem } from './noble-kem.js';
import { opaque, type Primitives } from './primitives.js';

/** PrivateKeyInfo of ML-KEM-768 up to the 64-byte seed (RFC 9935, section 6: the `[0] seed` form). */
const PKCS8 = fromHex('3054020100300b060960864801650304040204428040');
const ENCAPSULATION_KEY = 1_184;

// Node 24.7 and later; looked up by name so that the module also loads on Node 20
const { decapsulate } = crypto as typeof crypto & {
  readonly decapsulate?: (key: crypto.KeyObject, ciphertext: Uint8Array) => Buffer;
};

/**
 * ML-KEM by OpenSSL where this Node has it. Encapsulation stays portable: the native call draws its own coins, while ours
 * come from the hedged generator, so that a cloned machine does not send the same ciphertext twice.
 */
export function nodeKem(): Pick<Primitives, 'kemKeyPair' | 'kemEncapsulate' | 'kemDecapsulate'> {
  if (!decapsulate || !loadsSeeds()) return nobleKem;
  return {
    ...nobleKem,

    kemKeyPair(seed) {
      return opaque(() => {
        const spki = crypto.createPublicKey(privateKey(seed)).export({ format: 'der', type: 'spki' });
        return {
          encapsulationKey: Uint8Array.from(spki.subarray(-ENCAPSULATION_KEY)),
          decapsulationKey: seed.slice(),
        };
      });
    },

    kemDecapsulate(ciphertext, decapsulationKey) {
      return opaque(() => new Uint8Array(decapsulate(privateKey(decapsulationKey), ciphertext)));
    },
  };
}

function privateKey(seed: Uint8Array): crypto.KeyObject {
  const der = concat(PKCS8, seed);
  try {
    return crypto.createPrivateKey({ key: Buffer.from(der.buffer), format: 'der', type: 'pkcs8' });
  } finally {
    erase(der);
  }
}

/** A Node built against a system OpenSSL older than 3.5 has the function but not the algorithm. */
function loadsSeeds(): boolean {
  try {
    privateKey(new Uint8Array(64));
    return true;
  } catch {
    return false;
  }
}
