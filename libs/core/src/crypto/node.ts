import * as crypto from 'node:crypto';
import { concat } from '../bytes.js';
import { nodeKem } from './node-kem.js';
import { opaque, type Primitives } from './primitives.js';

const TAG = 16;
const RAW_KEYS = takesRawKeys();

/**
 * Node's own cryptography (OpenSSL). From Node 24.7 on ML-KEM keys are made and opened by OpenSSL too, before by noble.
 *
 * @example
 * import { hedgedRandom } from '@sealwire/core';
 *
 * const suite = { primitives: nodePrimitives, random: hedgedRandom(nodePrimitives) };
 */
export const nodePrimitives: Primitives = {
  ...nodeKem(),

  random(length) {
    // crypto.randomBytes may lend memory of a shared pool
    return crypto.randomFillSync(new Uint8Array(length));
  },

  sha256(...parts) {
    const [only] = parts;
    return plain(crypto.hash('sha256', only && parts.length === 1 ? only : concat(...parts), 'buffer'));
  },

  hmac(key, ...parts) {
    const mac = crypto.createHmac('sha256', key);
    for (const part of parts) mac.update(part);
    return plain(mac.digest());
  },

  x25519KeyPair(seed) {
    return opaque(() => {
      const { x } = crypto.createPublicKey(x25519PrivateKey(seed)).export({ format: 'jwk' });
      return { publicKey: Uint8Array.from(Buffer.from(x ?? '', 'base64url')), privateKey: seed.slice() };
    });
  },

  x25519(privateKey, publicKey) {
    return opaque(() =>
      plain(
        crypto.diffieHellman({
          privateKey: x25519PrivateKey(privateKey),
          publicKey: crypto.createPublicKey({
            key: { kty: 'OKP', crv: 'X25519', x: base64url(publicKey) },
            format: 'jwk',
          }),
        }),
      ),
    );
  },

  seal(key, nonce, ad, plaintext, out = new Uint8Array(plaintext.length + TAG)) {
    return opaque(() => {
      const cipher = crypto.createCipheriv(aesGcm(key, nonce), key, nonce);
      cipher.setAAD(ad);
      out.set(cipher.update(plaintext));
      cipher.final();
      out.set(cipher.getAuthTag(), plaintext.length);
      return out;
    });
  },

  open(key, nonce, ad, sealed) {
    return opaque(() => {
      const end = sealed.length - TAG;
      const decipher = crypto.createDecipheriv(aesGcm(key, nonce), key, nonce, { authTagLength: TAG });
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
};

/** A Buffer's `slice` is a view where a Uint8Array's is a copy, so no Buffer leaves this file. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
}

function aesGcm(key: Uint8Array, nonce: Uint8Array): 'aes-128-gcm' | 'aes-256-gcm' {
  if (nonce.length !== 12) throw new RangeError('nonce length');
  return key.length === 32 ? 'aes-256-gcm' : 'aes-128-gcm';
}

/**
 * Newer Nodes load the raw 32 bytes. Older ones take a JWK: ten times faster than DER on Node 20, and they compute `x`
 * themselves, though the secret passes through a string on its way in.
 */
function x25519PrivateKey(seed: Uint8Array): crypto.KeyObject {
  if (seed.length !== 32) throw new RangeError('key length');
  return RAW_KEYS ? rawPrivateKey(seed) : jwkPrivateKey(seed);
}

function jwkPrivateKey(seed: Uint8Array): crypto.KeyObject {
  return crypto.createPrivateKey({ key: { kty: 'OKP', crv: 'X25519', x: '', d: base64url(seed) }, format: 'jwk' });
}

function rawPrivateKey(seed: Uint8Array): crypto.KeyObject {
  const raw: unknown = { key: seed, format: 'raw-private', asymmetricKeyType: 'x25519' };
  return crypto.createPrivateKey(raw as crypto.PrivateKeyInput);
}

function takesRawKeys(): boolean {
  try {
    rawPrivateKey(new Uint8Array(32));
    return true;
  } catch {
    return false;
  }
}
