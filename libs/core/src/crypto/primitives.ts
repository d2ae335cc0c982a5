import { SealwireError } from '../errors.js';
import type { Soon } from '../steps.js';

/** A private key that the platform keeps out of reach, as WebCrypto's `CryptoKey`. */
export interface NativeKey {
  readonly type: string;
  readonly extractable: boolean;
}

/** The private half of a key pair: its bytes, or a key of the platform. */
export type PrivateKey = Uint8Array | NativeKey;

/** A secret of 32 bytes that the platform keeps out of reach and only computes with. */
export interface HeldSecret {
  /** HMAC-SHA256 under it over the concatenation of the parts */
  mac(...parts: Uint8Array[]): PromiseLike<Uint8Array>;
  /** The secret that such an HMAC is, held alike. */
  next(...parts: Uint8Array[]): HeldSecret;
}

/** A secret of a session: its 32 bytes, or what the platform holds. */
export type Secret = Uint8Array | HeldSecret;

/** What HMAC is computed under: the bytes of a secret, or whoever computes it. */
export type MacKey = Uint8Array | Pick<HeldSecret, 'mac'>;

/** An X25519 key pair, 32 bytes each. */
export interface KeyPair<Private extends PrivateKey = Uint8Array> {
  readonly publicKey: Uint8Array;
  readonly privateKey: Private;
}

/** An ML-KEM-768 key pair. */
export interface KemKeyPair<Private extends PrivateKey = Uint8Array> {
  readonly encapsulationKey: Uint8Array;
  /** the 64-byte seed d || z, or what the implementation made of it; it goes to the implementation that it came from */
  readonly decapsulationKey: Private;
}

/**
 * The cryptography that a client uses. What hashes answers at once; every other operation may return a promise, as WebCrypto does.
 * Every method is pure except `random` and key pairs of the platform's own. Results are plain `Uint8Array`s that share no memory
 * with anything else, so they can be erased. Whatever fails throws, or rejects with, the same SealwireError `open_failed`.
 */
export interface ClientPrimitives {
  /** operating-system randomness */
  random(length: number): Uint8Array;
  /** over the concatenation of the parts */
  sha256(...parts: Uint8Array[]): Uint8Array;
  /** `sha256` off the calling thread, if the platform computes it there. The bytes are read before it returns. */
  digest?(...parts: Uint8Array[]): Soon<Uint8Array>;
  /** HMAC-SHA256 over the concatenation of the parts */
  hmac(key: Uint8Array, ...parts: Uint8Array[]): Uint8Array;
  /** `hmac` off the calling thread, likewise */
  mac?(key: Uint8Array, ...parts: Uint8Array[]): Soon<Uint8Array>;
  /** `length` bytes of HKDF-SHA-256 (RFC 5869). The bytes are read before it returns. */
  hkdf(salt: Uint8Array, ikm: Uint8Array, info: Uint8Array, length: number): Soon<Uint8Array>;
  /** constant time in the content, not in the lengths */
  equal(a: Uint8Array, b: Uint8Array): boolean;
  /**
   * The 32-byte seed is the private key; clamping (RFC 7748) happens inside the scalar multiplication. A platform that makes
   * its key pairs itself leaves the seed aside.
   */
  x25519KeyPair(seed: Uint8Array): Soon<KeyPair<PrivateKey>>;
  /** @throws on an all-zero result (RFC 7748, section 6.1) */
  x25519(privateKey: PrivateKey, publicKey: Uint8Array): Soon<Uint8Array>;
  /** ML-KEM-768 (FIPS 203) from the 64-byte seed d || z, which a platform that makes its key pairs itself leaves aside */
  kemKeyPair(seed: Uint8Array): Soon<KemKeyPair<PrivateKey>>;
  /** A ciphertext that was tampered with gives another secret (implicit rejection); only a wrong length throws. */
  kemDecapsulate(ciphertext: Uint8Array, decapsulationKey: PrivateKey): Soon<Uint8Array>;
  /**
   * AES-GCM: key of 16 or 32 bytes, nonce of 12, the tag of 16 appended
   * @param out takes the result, as long as plaintext and tag; it may lie over the plaintext
   */
  seal(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array, plaintext: Uint8Array, out?: Uint8Array): Soon<Uint8Array>;
  /**
   * The same for a plaintext in two parts, for a platform that gives ciphertext in memory of its own.
   * @returns ciphertexts of both parts, and the tag
   */
  sealScattered?(
    key: Uint8Array,
    nonce: Uint8Array,
    ad: Uint8Array,
    first: Uint8Array,
    second: Uint8Array,
  ): readonly Uint8Array[];
  /** @throws on a bad tag; nothing of the plaintext is handed out before it verified */
  open(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array, sealed: Uint8Array): Soon<Uint8Array>;
  /** Loads and prepares what the first handshake needs, so that it need not wait for it. Never rejects. */
  prepare?(): Promise<void>;
}

/** The cryptography of a server, and of a client on Node: every operation answers at once. */
export interface Primitives extends ClientPrimitives {
  x25519KeyPair(seed: Uint8Array): KeyPair;
  x25519(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array;
  /** The key pair of `seed`, used once and forgotten: its public half, and what its private half agrees on with `recipient`. */
  x25519Encapsulate(
    recipient: Uint8Array,
    seed: Uint8Array,
  ): { readonly publicKey: Uint8Array; readonly sharedSecret: Uint8Array };
  kemKeyPair(seed: Uint8Array): KemKeyPair;
  /** @param coins 32 random bytes. @throws if the key fails the checks of FIPS 203, section 7.2 */
  kemEncapsulate(
    encapsulationKey: Uint8Array,
    coins: Uint8Array,
  ): { readonly ciphertext: Uint8Array; readonly sharedSecret: Uint8Array };
  kemDecapsulate(ciphertext: Uint8Array, decapsulationKey: Uint8Array): Uint8Array;
  hkdf(salt: Uint8Array, ikm: Uint8Array, info: Uint8Array, length: number): Uint8Array;
  seal(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array, plaintext: Uint8Array, out?: Uint8Array): Uint8Array;
  open(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array, sealed: Uint8Array): Uint8Array;
}

/** Runs a primitive. Whatever goes wrong inside becomes one error that says nothing about which check failed. */
export function opaque<T>(operation: () => T): T {
  try {
    return operation();
  } catch {
    throw new SealwireError('open_failed');
  }
}

/** The same for one that is awaited. */
export async function opaqueAsync<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch {
    throw new SealwireError('open_failed');
  }
}
