import { concat, EMPTY, erase, u16, utf8 } from '../bytes.js';
import type { Primitives } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';

export const PROTOCOL_VERSION = 0x01;
export const SUITE = 'Sealwire/1 X25519MLKEM768 AES-GCM SHA-256';

/** Length in bytes of every AES key. */
export type KeySize = 16 | 32;

const ONE = Uint8Array.of(1);
const TWO = Uint8Array.of(2);
const THREE = Uint8Array.of(3);
const ZERO_NONCE = new Uint8Array(12);
const NO_SERVER_KEY = new Uint8Array(32);

/** Expand(K, info) = HMAC(K, info || 0x01), cut to `length` bytes (RFC 5869 with one block). */
export function expand(primitives: Primitives, key: Uint8Array, length: number, ...info: Uint8Array[]): Uint8Array {
  return primitives.hmac(key, ...info, ONE).slice(0, length);
}

/** What both sides put in before step 1 (PROTOCOL.md section 3.1). */
export interface Prologue {
  readonly modulePath: string;
  readonly keySize: KeySize;
  readonly flags: number;
  /** the server's X25519 public key, where the client pinned one */
  readonly serverKey: Uint8Array | undefined;
  /** the 32 secret bytes of the SecureKey, where one is used */
  readonly secureKey: Uint8Array | undefined;
}

/** Chaining key `ck`, transcript hash `h` and one message key `k`, as in Noise revision 34 (PROTOCOL.md section 3). */
export class SymmetricState {
  private constructor(
    private readonly primitives: Primitives,
    private readonly keySize: KeySize,
    public ck: Uint8Array,
    public h: Uint8Array,
    public k: Uint8Array,
  ) {}

  static start(primitives: Primitives, prologue: Prologue): SymmetricState {
    const initial = primitives.sha256(utf8(SUITE));
    const state = new SymmetricState(primitives, prologue.keySize, initial, initial, EMPTY);
    const path = utf8(prologue.modulePath);
    state.mixHash(
      Uint8Array.of(PROTOCOL_VERSION),
      u16(path.length),
      path,
      Uint8Array.of(prologue.keySize, prologue.flags),
    );
    state.mixHash(prologue.serverKey ?? NO_SERVER_KEY);
    state.mixKeyAndHash(prologue.secureKey ?? EMPTY);
    return state;
  }

  /** The state that the server left in its cookie between steps 2 and 3. */
  static restore(primitives: Primitives, keySize: KeySize, ck: Uint8Array, h: Uint8Array): SymmetricState {
    return new SymmetricState(primitives, keySize, ck, h, EMPTY);
  }

  /** A step works on a clone and hands it on only after its tag verified, so a frame that does not open changes nothing. */
  clone(): SymmetricState {
    return new SymmetricState(this.primitives, this.keySize, this.ck.slice(), this.h.slice(), this.k.slice());
  }

  mixHash(...data: Uint8Array[]): void {
    this.h = this.primitives.sha256(this.h, ...data);
  }

  /** (ck, k) = HKDF(ck, input, 2) */
  mixKey(input: Uint8Array): void {
    const [ck, k] = this.hkdf(input);
    this.ck = ck;
    this.k = k.slice(0, this.keySize);
  }

  /** (ck, t, k) = HKDF(ck, input, 3); MixHash(t) */
  mixKeyAndHash(input: Uint8Array): void {
    const [ck, t, k] = this.hkdf(input);
    this.ck = ck;
    this.mixHash(t);
    this.k = k.slice(0, this.keySize);
  }

  /** AEAD under `k` with nonce 0 and `h` as associated data. Each `k` seals once: a MixKey follows before the next use. */
  seal(plaintext: Uint8Array): Uint8Array {
    const sealed = this.primitives.seal(this.takeKey(), ZERO_NONCE, this.h, plaintext);
    this.mixHash(sealed);
    return sealed;
  }

  open(sealed: Uint8Array): Uint8Array {
    const plaintext = this.primitives.open(this.takeKey(), ZERO_NONCE, this.h, sealed);
    this.mixHash(sealed);
    return plaintext;
  }

  /** HKDF(salt = ck, ikm, info = label || h), 32 bytes. */
  derive(ikm: Uint8Array, label: string): Uint8Array {
    return expand(this.primitives, this.primitives.hmac(this.ck, ikm), 32, utf8(label), this.h);
  }

  /** Ends the state: whoever would go on with it by mistake gets an error, not frames under keys made of zeros. */
  erase(): void {
    erase(this.ck, this.h, this.k);
    this.ck = this.h = this.k = EMPTY;
  }

  private takeKey(): Uint8Array {
    const key = this.k;
    if (key.length === 0) throw new SealwireError('open_failed');
    this.k = EMPTY;
    return key;
  }

  private hkdf(input: Uint8Array): [Uint8Array, Uint8Array, Uint8Array] {
    const { primitives } = this;
    if (this.ck.length === 0) throw new SealwireError('open_failed');
    const prk = primitives.hmac(this.ck, input);
    const first = primitives.hmac(prk, ONE);
    const second = primitives.hmac(prk, first, TWO);
    return [first, second, primitives.hmac(prk, second, THREE)];
  }
}

/** What a finished handshake leaves (PROTOCOL.md section 3.6). Four secrets of 32 bytes. */
export interface SessionSecrets {
  readonly clientToServer: Uint8Array;
  readonly serverToClient: Uint8Array;
  readonly renewal: Uint8Array;
  readonly exporter: Uint8Array;
}

/** The split: calls under S2 || C1, results under C2 || S1, as in steps 5 and 6 of the original. */
export function split(
  state: SymmetricState,
  keys: { c1: Uint8Array; s1: Uint8Array; c2: Uint8Array; s2: Uint8Array },
): SessionSecrets {
  return {
    clientToServer: state.derive(concat(keys.s2, keys.c1), 'sealwire c2s'),
    serverToClient: state.derive(concat(keys.c2, keys.s1), 'sealwire s2c'),
    renewal: state.derive(EMPTY, 'sealwire renew'),
    exporter: state.derive(EMPTY, 'sealwire exporter'),
  };
}

export type Direction = 'c2s' | 's2c';

/** K[e+1] = HMAC(K[e], "sealwire next" || direction): one way, so earlier epochs stay closed (PROTOCOL.md section 5.4). */
export function nextEpochSecret(primitives: Primitives, secret: Uint8Array, direction: Direction): Uint8Array {
  return primitives.hmac(secret, utf8('sealwire next'), utf8(direction));
}

/** Random bytes for secrets of a handshake; `context` is the transcript hash at that point. */
export type Random = (length: number, context: Uint8Array) => Uint8Array;

/**
 * Hedged randomness (PROTOCOL.md section 3.5): HMAC(processSecret, osRandom || counter || clock || context || block).
 * A cloned machine whose generator repeats itself still diverges, for its clock and its transcript differ.
 */
export function hedgedRandom(primitives: Primitives): Random {
  const processSecret = primitives.random(32);
  let counter = 0;
  return (length, context) => {
    const seed = concat(primitives.random(32), utf8(`${counter++} ${performance.now()} ${Date.now()} `), context);
    const out = new Uint8Array(length);
    for (let offset = 0; offset < length; offset += 32) {
      out.set(primitives.hmac(processSecret, seed, Uint8Array.of(offset / 32)).subarray(0, length - offset), offset);
    }
    return out;
  };
}
