import { concat, erase } from '../bytes.js';
import { isPending, lazy } from '../steps.js';
import { hashes } from './hashes.js';
import {
  type ClientPrimitives,
  type KemKeyPair,
  type KeyPair,
  type NativeKey,
  opaqueAsync,
  type PrivateKey,
} from './primitives.js';

export { NativeSecret } from './native-secret.js';

const AES = 'AES-GCM';
const HMAC = { name: 'HMAC', hash: 'SHA-256' };
const HKDF = { name: 'HKDF', hash: 'SHA-256' };
const X25519 = { name: 'X25519' };
const KEM = { name: 'ML-KEM-768' };
const TAG_BITS = 128;

/** The part of WebCrypto that is used; its ML-KEM is not in the types of every compiler yet. */
interface Subtle {
  generateKey(
    algorithm: object,
    extractable: false,
    usages: string[],
  ): Promise<Record<'publicKey' | 'privateKey', NativeKey>>;
  exportKey(format: 'raw' | 'raw-public', key: NativeKey): Promise<ArrayBuffer>;
  importKey(
    format: 'raw',
    key: Uint8Array,
    algorithm: object | string,
    extractable: false,
    usages: string[],
  ): Promise<NativeKey>;
  digest(algorithm: string, data: Uint8Array): Promise<ArrayBuffer>;
  sign(algorithm: 'HMAC', key: NativeKey, data: Uint8Array): Promise<ArrayBuffer>;
  deriveBits(algorithm: object, key: NativeKey, length: number): Promise<ArrayBuffer>;
  decapsulateBits(algorithm: object, key: NativeKey, ciphertext: Uint8Array): Promise<ArrayBuffer>;
  encrypt(algorithm: object, key: NativeKey, data: Uint8Array): Promise<ArrayBuffer>;
  decrypt(algorithm: object, key: NativeKey, data: Uint8Array): Promise<ArrayBuffer>;
}

const ciphers = lazy(
  () => import('./noble-ciphers.js'),
  ({ nobleCiphers }) => nobleCiphers,
);
const kem = lazy(
  () => import('./noble-kem.js'),
  ({ nobleKem }) => nobleKem,
);

/** undefined on a page without TLS */
const subtle = (): Subtle | undefined => (globalThis.crypto as { subtle?: unknown }).subtle as Subtle | undefined;

/** What the platform cannot do, as the first try showed: Firefox takes 100 ms to say so. */
const missing = { x25519: false, kem: false };

/**
 * Keys of the platform by their bytes, for all pieces of a message. Whoever holds the bytes may erase them, but changes them to
 * no other key.
 */
const aesKeys = new WeakMap<Uint8Array, Promise<NativeKey>>();

/**
 * Cryptography for browsers: AES-GCM and X25519 by WebCrypto, ML-KEM-768 by the platform if it has it and else by noble, which is
 * loaded then. On a page without TLS, which has no `crypto.subtle`, noble does all. Key pairs that the platform makes come from
 * its own generator, and their private halves never enter JavaScript.
 *
 * @example
 * import { hedgedRandom } from '@sealwire/core';
 *
 * const suite = { primitives: webPrimitives, random: hedgedRandom(webPrimitives) };
 */
export const webPrimitives: ClientPrimitives = {
  ...hashes,

  digest(...parts) {
    return subtle() ? natively((native) => native.digest('SHA-256', concat(...parts))) : hashes.sha256(...parts);
  },

  mac(key, ...parts) {
    if (!subtle()) return hashes.hmac(key, ...parts);
    const data = concat(...parts);
    return natively(async (native) => {
      try {
        const imported = await native.importKey('raw', key, HMAC, false, ['sign']);
        return await native.sign('HMAC', imported, data);
      } finally {
        erase(data);
      }
    });
  },

  async hkdf(salt, ikm, info, length) {
    // whoever holds the bytes may erase them meanwhile
    const own = [salt.slice(), ikm.slice(), info.slice()] as const;
    try {
      if (!subtle()) return (await ciphers()).hkdf(...own, length);
      return await natively(async (native) => {
        const [salt, ikm, info] = own;
        const key = await native.importKey('raw', ikm, HKDF.name, false, ['deriveBits']);
        return await native.deriveBits({ ...HKDF, salt, info }, key, 8 * length);
      });
    } finally {
      erase(...own);
    }
  },

  async x25519KeyPair(seed): Promise<KeyPair<PrivateKey>> {
    const native = subtle();
    if (native && !missing.x25519) {
      try {
        const { publicKey, privateKey } = await native.generateKey(X25519, false, ['deriveBits']);
        return { publicKey: new Uint8Array(await native.exportKey('raw', publicKey)), privateKey };
      } catch {
        missing.x25519 = true;
      }
    }
    return (await ciphers()).x25519KeyPair(seed);
  },

  async x25519(privateKey, publicKey) {
    if (privateKey instanceof Uint8Array) {
      // whoever holds the key may erase it while the module is loaded
      const own = privateKey.slice();
      try {
        return (await ciphers()).x25519(own, publicKey);
      } finally {
        erase(own);
      }
    }
    return natively(async (native) => {
      const other = await native.importKey('raw', publicKey, X25519, false, []);
      return await native.deriveBits({ ...X25519, public: other }, privateKey, 256);
    });
  },

  async kemKeyPair(seed): Promise<KemKeyPair<PrivateKey>> {
    const native = subtle();
    if (native && !missing.kem) {
      try {
        const { publicKey, privateKey } = await native.generateKey(KEM, false, ['decapsulateBits']);
        const encapsulationKey = new Uint8Array(await native.exportKey('raw-public', publicKey));
        return { encapsulationKey, decapsulationKey: privateKey };
      } catch {
        missing.kem = true;
      }
    }
    return (await kem()).kemKeyPair(seed);
  },

  async kemDecapsulate(ciphertext, decapsulationKey) {
    if (decapsulationKey instanceof Uint8Array) {
      const own = decapsulationKey.slice();
      try {
        return (await kem()).kemDecapsulate(ciphertext, own);
      } finally {
        erase(own);
      }
    }
    return natively((native) => native.decapsulateBits(KEM, decapsulationKey, ciphertext));
  },

  async prepare() {
    try {
      const seed = hashes.random(64);
      const { encapsulationKey, decapsulationKey } = await webPrimitives.kemKeyPair(seed);
      if (!(decapsulationKey instanceof Uint8Array)) return;
      // once in vain, so that the engine has compiled it; the page may draw in between
      const noble = await kem();
      await turn();
      const { ciphertext } = noble.kemEncapsulate(encapsulationKey, hashes.random(32));
      await turn();
      noble.kemDecapsulate(ciphertext, decapsulationKey);
    } catch {
      // whoever needs it is told
    }
  },

  seal(key, nonce, ad, plaintext, out) {
    if (subtle()) return aesGcm('encrypt', key, nonce, ad, plaintext, out);
    const noble = ciphers();
    if (!isPending(noble)) return noble.seal(key, nonce, ad, plaintext, out);
    const own = key.slice();
    return noble.then((loaded) => loaded.seal(own, nonce, ad, plaintext, out));
  },

  open(key, nonce, ad, sealed) {
    if (subtle()) return aesGcm('decrypt', key, nonce, ad, sealed);
    const noble = ciphers();
    if (!isPending(noble)) return noble.open(key, nonce, ad, sealed);
    const own = key.slice();
    return noble.then((loaded) => loaded.open(own, nonce, ad, sealed));
  },
};

function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

async function aesGcm(
  operation: 'encrypt' | 'decrypt',
  key: Uint8Array,
  nonce: Uint8Array,
  ad: Uint8Array,
  input: Uint8Array,
  out?: Uint8Array,
): Promise<Uint8Array> {
  const result = await natively(async (native) => {
    // the platform would take AES-192 and nonces of other lengths, which no frame of ours has
    if ((key.length !== 16 && key.length !== 32) || nonce.length !== 12) throw new RangeError('key or nonce length');
    const algorithm = { name: AES, iv: nonce, additionalData: ad, tagLength: TAG_BITS };
    return await native[operation](algorithm, await aesKey(native, key), input);
  });
  out?.set(result);
  return out ?? result;
}

/** The bytes are read before it returns. */
function aesKey(native: Subtle, key: Uint8Array): Promise<NativeKey> {
  const found = aesKeys.get(key);
  if (found) return found;
  const imported = native.importKey('raw', key, AES, false, ['encrypt', 'decrypt']);
  aesKeys.set(key, imported);
  return imported;
}

/** What the platform does, and gives as bytes. */
function natively(operation: (native: Subtle) => Promise<ArrayBuffer>): Promise<Uint8Array> {
  return opaqueAsync(async () => new Uint8Array(await operation(subtle() as Subtle)));
}
