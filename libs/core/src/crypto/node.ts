import * as crypto from 'node:crypto';
import { concat, erase, fromHex } from '../bytes.js';
import { SIZE } from '../limits.js';
import { nobleKem } from './noble-kem.js';
import { opaque, type Primitives } from './primitives.js';

/** PrivateKeyInfo of ML-KEM-768 up to the 64-byte seed (RFC 9935, section 6: the `[0] seed` form). */
const KEM_SEED = fromHex('3054020100300b060960864801650304040204428040');
/**
 * Random bytes that are drawn in one go, as Node itself does for `crypto.randomUUID`: to draw 16 costs 14 us, to draw 4 KiB hardly
 * more. What was handed out is erased here.
 */
const DRAWN = 4_096;
const drawn = new Uint8Array(DRAWN);
/** bytes at the beginning of `drawn` that nobody got yet */
let left = 0;
/** Since Node 24 it takes two caught errors, of 6 us each, to find out that bytes are no key object. */
const KEY_OBJECTS = Number.parseInt(process.versions.node, 10) >= 24;
const RAW_KEYS = loads(() => rawKey(new Uint8Array(32)));

// Node 24.7 and later; looked up by name so that the module also loads on Node 20
const { decapsulate } = crypto as typeof crypto & {
  readonly decapsulate?: (key: crypto.KeyObject, ciphertext: Uint8Array) => Buffer;
};

/**
 * Node's own cryptography (OpenSSL). From Node 24.7 on ML-KEM keys are made and opened by OpenSSL too, before by noble.
 *
 * @example
 * import { hedgedRandom } from '@sealwire/core';
 *
 * const suite = { primitives: nodePrimitives, random: hedgedRandom(nodePrimitives) };
 */
export const nodePrimitives: Primitives = {
  ...nobleKem,

  random(length) {
    if (length > DRAWN / 16) return crypto.randomFillSync(new Uint8Array(length));
    if (left < length) {
      crypto.randomFillSync(drawn);
      left = DRAWN;
    }
    left -= length;
    const bytes = drawn.slice(left, left + length);
    drawn.fill(0, left, left + length);
    return bytes;
  },

  sha256(...parts) {
    const [only] = parts;
    return plain(crypto.hash('sha256', only && parts.length === 1 ? only : concat(...parts), 'buffer'));
  },

  hmac(key, ...parts) {
    const mac = crypto.createHmac('sha256', secret(key));
    for (const part of parts) mac.update(part);
    return plain(mac.digest());
  },

  hkdf(salt, ikm, info, length) {
    return new Uint8Array(crypto.hkdfSync('sha256', ikm, salt, info, length));
  },

  x25519KeyPair(seed) {
    return opaque(() => ({ publicKey: publicKey(x25519Key(seed)), privateKey: seed.slice() }));
  },

  x25519(privateKey, publicKey) {
    return opaque(() => agree(x25519Key(privateKey), publicKey));
  },

  x25519Encapsulate(recipient, seed) {
    return opaque(() => {
      const ephemeral = x25519Key(seed);
      return { publicKey: publicKey(ephemeral), sharedSecret: agree(ephemeral, recipient) };
    });
  },

  seal(key, nonce, ad, plaintext, out = new Uint8Array(plaintext.length + SIZE.tag)) {
    return opaque(() => {
      const cipher = cipherOf(key, nonce, ad);
      out.set(cipher.update(plaintext));
      cipher.final();
      out.set(cipher.getAuthTag(), plaintext.length);
      return out;
    });
  },

  sealScattered(key, nonce, ad, first, second) {
    return opaque(() => {
      const cipher = cipherOf(key, nonce, ad);
      const sealed = [plain(cipher.update(first)), plain(cipher.update(second))];
      cipher.final();
      return [...sealed, plain(cipher.getAuthTag())];
    });
  },

  open(key, nonce, ad, sealed) {
    return opaque(() => {
      const end = sealed.length - SIZE.tag;
      const decipher = crypto.createDecipheriv(aesGcm(key, nonce), secret(key), nonce, { authTagLength: SIZE.tag });
      decipher.setAAD(ad);
      decipher.setAuthTag(sealed.subarray(end));
      const plaintext = decipher.update(sealed.subarray(0, end));
      decipher.final();
      return plain(plaintext);
    });
  },

  equal(a, b) {
    return a.length === b.length && crypto.timingSafeEqual(a, b);
  },

  // a Node built against a system OpenSSL older than 3.5 has the function but not the algorithm
  ...(decapsulate && loads(() => kemKey(new Uint8Array(64))) && nodeKem(decapsulate)),
};

/**
 * ML-KEM by OpenSSL. Encapsulation stays portable: the native call draws its own coins, while ours come from the hedged
 * generator, so that a cloned machine does not send the same ciphertext twice.
 */
function nodeKem(
  decapsulate: (key: crypto.KeyObject, ciphertext: Uint8Array) => Buffer,
): Pick<Primitives, 'kemKeyPair' | 'kemDecapsulate'> {
  return {
    kemKeyPair(seed) {
      return opaque(() => {
        const spki = crypto.createPublicKey(kemKey(seed)).export({ format: 'der', type: 'spki' });
        return {
          encapsulationKey: Uint8Array.from(spki.subarray(-SIZE.encapsulationKey)),
          decapsulationKey: seed.slice(),
        };
      });
    },

    kemDecapsulate(ciphertext, decapsulationKey) {
      return opaque(() => new Uint8Array(decapsulate(kemKey(decapsulationKey), ciphertext)));
    },
  };
}

/** A Buffer's `slice` is a view, a Uint8Array's is a copy, so no Buffer leaves this file. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
}

function secret(key: Uint8Array): Uint8Array | crypto.KeyObject {
  return KEY_OBJECTS ? crypto.createSecretKey(key) : key;
}

function cipherOf(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array): crypto.CipherGCM {
  const cipher = crypto.createCipheriv(aesGcm(key, nonce), secret(key), nonce);
  return cipher.setAAD(ad);
}

function aesGcm(key: Uint8Array, nonce: Uint8Array): 'aes-128-gcm' | 'aes-256-gcm' {
  if (nonce.length !== 12) throw new RangeError('nonce length');
  return key.length === 32 ? 'aes-256-gcm' : 'aes-128-gcm';
}

/**
 * Newer Nodes load the raw 32 bytes. Older ones take a JWK: ten times faster than DER on Node 20, and they compute `x`
 * themselves, though the secret passes through a string on its way in.
 */
function x25519Key(seed: Uint8Array): crypto.KeyObject {
  if (seed.length !== 32) throw new RangeError('key length');
  if (RAW_KEYS) return rawKey(seed);
  return crypto.createPrivateKey({ key: { kty: 'OKP', crv: 'X25519', x: '', d: base64url(seed) }, format: 'jwk' });
}

function rawKey(seed: Uint8Array): crypto.KeyObject {
  const raw: unknown = { key: seed, format: 'raw-private', asymmetricKeyType: 'x25519' };
  return crypto.createPrivateKey(raw as crypto.PrivateKeyInput);
}

function publicKey(privateKey: crypto.KeyObject): Uint8Array {
  const { x } = crypto.createPublicKey(privateKey).export({ format: 'jwk' });
  return Uint8Array.from(Buffer.from(x ?? '', 'base64url'));
}

function agree(privateKey: crypto.KeyObject, publicKey: Uint8Array): Uint8Array {
  const key = { kty: 'OKP', crv: 'X25519', x: base64url(publicKey) };
  return plain(crypto.diffieHellman({ privateKey, publicKey: crypto.createPublicKey({ key, format: 'jwk' }) }));
}

function kemKey(seed: Uint8Array): crypto.KeyObject {
  const der = concat(KEM_SEED, seed);
  try {
    return crypto.createPrivateKey({ key: Buffer.from(der.buffer), format: 'der', type: 'pkcs8' });
  } finally {
    erase(der);
  }
}

function loads(key: () => crypto.KeyObject): boolean {
  try {
    key();
    return true;
  } catch {
    return false;
  }
}
