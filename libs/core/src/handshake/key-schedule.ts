import { concat, EMPTY, erase, u16, utf8 } from '../bytes.js';
import type { ClientPrimitives, MacKey, Secret } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { PROTOCOL_VERSION } from '../message/frame-type.js';
import { isPending, type Soon, type Step, wait } from '../steps.js';

/** The name of the one suite, with which every key schedule begins (PROTOCOL.md section 3.1). */
export const SUITE = 'Sealwire/1 X25519MLKEM768 AES-GCM SHA-256';

/** Length in bytes of every AES key. */
export type KeySize = 16 | 32;

/** Random bytes for secrets and salts; `context` is what they serve or a hash of it, so that equal bytes never serve two things. */
export type Random<R extends Soon<Uint8Array> = Uint8Array> = (length: number, context: Uint8Array) => R;

/** bytes of a block of HKDF and of every secret */
const BLOCK = 32;
const ONE = Uint8Array.of(1);
const ZERO_NONCE = new Uint8Array(12);
const NO_SERVER_KEY = new Uint8Array(32);

export interface AeadKey {
  readonly key: Uint8Array;
  /** XORed to every nonce under `key`; nonce 0 is this itself */
  readonly nonce: Uint8Array;
}

/**
 * Key and nonce mask of a block of 32 bytes (PROTOCOL.md section 1.1). A key of 16 bytes leaves 12 bytes for the nonce:
 * without them one search would try a key against every recorded message at once.
 */
export function aeadKey(block: Uint8Array, keySize: KeySize): AeadKey {
  if (keySize === 32) return { key: block, nonce: ZERO_NONCE };
  return { key: block.subarray(0, 16), nonce: block.subarray(16, 28) };
}

/** HMAC under a secret, wherever it is: at once under its bytes. */
export function macUnder(primitives: ClientPrimitives, key: MacKey, ...parts: Uint8Array[]): Soon<Uint8Array> {
  return key instanceof Uint8Array ? primitives.hmac(key, ...parts) : key.mac(...parts);
}

/** Expand(K, info) = HMAC(K, info || 01), 32 bytes (RFC 5869 with one block). */
export function expand(primitives: ClientPrimitives, key: Uint8Array, ...info: Uint8Array[]): Uint8Array;
export function expand(primitives: ClientPrimitives, key: MacKey, ...info: Uint8Array[]): Soon<Uint8Array>;
export function expand(primitives: ClientPrimitives, key: MacKey, ...info: Uint8Array[]): Soon<Uint8Array> {
  return macUnder(primitives, key, ...info, ONE);
}

/**
 * SHA-256 in a handshake, off the calling thread if the platform does that: in a first call the engine has not compiled the
 * client's own yet.
 */
export function* digestOf(primitives: ClientPrimitives, ...parts: Uint8Array[]): Step<Uint8Array> {
  return primitives.digest ? yield* wait(primitives.digest(...parts)) : primitives.sha256(...parts);
}

/**
 * A secret of a handshake, under which HMAC is computed likewise. Whoever holds its bytes may erase them as soon as it was asked.
 *
 * @example
 * const key = { primitives, keySize: 32 as const, secret: handshakeSecret(primitives, finishing.firstResults) };
 * const reply = decodeReply(await run(openResult(key, firstHeader(sessionId, finishing.digest, 0), frame)));
 */
export function handshakeSecret(primitives: ClientPrimitives, secret: Uint8Array): MacKey {
  return primitives.mac ? { mac: async (...parts) => macOf(primitives, secret, ...parts) } : secret;
}

function macOf(primitives: ClientPrimitives, secret: Uint8Array, ...parts: Uint8Array[]): Soon<Uint8Array> {
  return primitives.mac ? primitives.mac(secret, ...parts) : primitives.hmac(secret, ...parts);
}

/** The values that both sides put in before step 1 (PROTOCOL.md section 3.1). */
interface Prologue {
  readonly modulePath: string;
  readonly keySize: KeySize;
  readonly flags: number;
  /** the server's X25519 public key, if the client pinned one */
  readonly serverKey: Uint8Array | undefined;
  /** the 32 secret bytes of the SecureKey, if one is used */
  readonly secureKey: Uint8Array | undefined;
}

/** Chaining key `ck`, transcript hash `h` and one block `k`, as in Noise revision 34 (PROTOCOL.md section 3). */
export class SymmetricState {
  private constructor(
    private readonly primitives: ClientPrimitives,
    readonly keySize: KeySize,
    public ck: Uint8Array,
    public h: Uint8Array,
    public k: Uint8Array,
  ) {}

  static *start(primitives: ClientPrimitives, prologue: Prologue): Step<SymmetricState> {
    const initial = yield* digestOf(primitives, utf8(SUITE));
    const state = new SymmetricState(primitives, prologue.keySize, initial, initial.slice(), EMPTY);
    const path = utf8(prologue.modulePath);
    yield* state.mixHash(
      Uint8Array.of(PROTOCOL_VERSION),
      u16(path.length),
      path,
      Uint8Array.of(prologue.keySize, prologue.flags),
    );
    yield* state.mixHash(prologue.serverKey ?? NO_SERVER_KEY);
    yield* state.mixKeyAndHash(prologue.secureKey ?? EMPTY);
    return state;
  }

  /** The state that the server left in its cookie between steps 2 and 3. */
  static restore(primitives: ClientPrimitives, keySize: KeySize, ck: Uint8Array, h: Uint8Array): SymmetricState {
    return new SymmetricState(primitives, keySize, ck.slice(), h.slice(), EMPTY);
  }

  /** A step works on a clone and hands it on only after its tag verified, so a frame that does not open changes nothing. */
  clone(): SymmetricState {
    return new SymmetricState(this.primitives, this.keySize, this.ck.slice(), this.h.slice(), this.k.slice());
  }

  *mixHash(...data: Uint8Array[]): Step<void> {
    this.h = yield* digestOf(this.primitives, this.h, ...data);
  }

  /** (ck, k) = HKDF(ck, input, 2) */
  *mixKey(input: Uint8Array): Step<void> {
    [this.ck, this.k] = (yield* this.hkdf(input, 2)) as [Uint8Array, Uint8Array];
  }

  /** MixKey of a secret that nobody needs afterwards. */
  *mixSecret(input: Uint8Array): Step<void> {
    yield* this.mixKey(input);
    erase(input);
  }

  /** (ck, t, k) = HKDF(ck, input, 3); MixHash(t) */
  *mixKeyAndHash(input: Uint8Array): Step<void> {
    const [ck, t, k] = (yield* this.hkdf(input, 3)) as [Uint8Array, Uint8Array, Uint8Array];
    this.ck = ck;
    this.k = k;
    yield* this.mixHash(t);
  }

  /** AEAD under `k` with nonce 0 and `h` as associated data. Each `k` seals once: a MixKey follows before the next use. */
  *seal(plaintext: Uint8Array): Step<Uint8Array> {
    const block = this.takeBlock();
    const { key, nonce } = aeadKey(block, this.keySize);
    const sealed = yield* wait(this.primitives.seal(key, nonce, this.h, plaintext));
    erase(block);
    yield* this.mixHash(sealed);
    return sealed;
  }

  *open(sealed: Uint8Array): Step<Uint8Array> {
    const block = this.takeBlock();
    const { key, nonce } = aeadKey(block, this.keySize);
    const plaintext = yield* wait(this.primitives.open(key, nonce, this.h, sealed));
    erase(block);
    yield* this.mixHash(sealed);
    return plaintext;
  }

  /** HKDF(salt = ck, ikm, info = label || h), 32 bytes. */
  *derive(ikm: Uint8Array, label: string): Step<Uint8Array> {
    return yield* wait(this.primitives.hkdf(this.ck, ikm, concat(utf8(label), this.h), BLOCK));
  }

  /** Ends the state: whoever would go on with it by mistake gets an error, not frames under keys made of zeros. */
  erase(): void {
    erase(this.ck, this.h, this.k);
    this.ck = this.h = this.k = EMPTY;
  }

  private takeBlock(): Uint8Array {
    const block = this.k;
    if (block.length === 0) throw new SealwireError('open_failed');
    this.k = EMPTY;
    return block;
  }

  private *hkdf(input: Uint8Array, blocks: 2 | 3): Step<Uint8Array[]> {
    if (this.ck.length === 0) throw new SealwireError('open_failed');
    const all = yield* wait(this.primitives.hkdf(this.ck, input, EMPTY, blocks * BLOCK));
    const out = Array.from({ length: blocks }, (_, i) => all.slice(i * BLOCK, (i + 1) * BLOCK));
    erase(all, this.ck, this.k);
    return out;
  }
}

/** The three secrets of 32 bytes that a finished handshake leaves (PROTOCOL.md section 3.6). */
export interface SessionSecrets {
  readonly clientToServer: Uint8Array;
  readonly serverToClient: Uint8Array;
  readonly renewal: Uint8Array;
}

/** The secret contributions of both sides. */
interface Contributions {
  readonly c1: Uint8Array;
  readonly s1: Uint8Array;
  readonly c2: Uint8Array;
  readonly s2: Uint8Array;
}

/** The split: calls under S2 || C1, results under C2 || S1. It uses `state` and the contributions up. */
export function* split(state: SymmetricState, { c1, s1, c2, s2 }: Contributions): Step<SessionSecrets> {
  const secrets = {
    clientToServer: yield* state.derive(concat(s2, c1), 'sealwire c2s'),
    serverToClient: yield* state.derive(concat(c2, s1), 'sealwire s2c'),
    renewal: yield* state.derive(EMPTY, 'sealwire renew'),
  };
  erase(c1, s1, c2, s2);
  state.erase();
  return secrets;
}

/** Direction of a traffic secret: calls (`c2s`) or results (`s2c`). */
export type Direction = 'c2s' | 's2c';

/**
 * K[e+1] = HMAC(K[e], "sealwire next" || direction), 32 bytes. This goes one way, so earlier epochs stay closed
 * (PROTOCOL.md section 5.4).
 *
 * @example
 * const next = nextEpochSecret(primitives, secrets.clientToServer, 'c2s');
 * erase(secrets.clientToServer);
 */
export function nextEpochSecret(primitives: ClientPrimitives, secret: Uint8Array, direction: Direction): Uint8Array;
export function nextEpochSecret(primitives: ClientPrimitives, secret: Secret, direction: Direction): Secret;
export function nextEpochSecret(primitives: ClientPrimitives, secret: Secret, direction: Direction): Secret {
  const info = [utf8('sealwire next'), utf8(direction)];
  return secret instanceof Uint8Array ? primitives.hmac(secret, ...info) : secret.next(...info);
}

/**
 * Makes the source of all randomness of a process (PROTOCOL.md section 3.5). A block is HMAC(process secret, 32 bytes of the
 * operating system || counter || clock || context || block number). A cloned machine whose generator repeats itself still diverges, because its
 * clock or its context differs.
 *
 * @example
 * const random = hedgedRandom(primitives);
 * const salt = random(8, primitives.sha256(frame));
 */
export function hedgedRandom(primitives: ClientPrimitives): Random {
  return hedged(primitives, (...parts) => primitives.hmac(...parts)) as Random;
}

/**
 * The same for the handshakes of a client: off the calling thread if the platform computes HMAC there.
 *
 * @example
 * const suite = { primitives: webPrimitives, random: handshakeRandom(webPrimitives) };
 */
export function handshakeRandom(primitives: ClientPrimitives): Random<Soon<Uint8Array>> {
  return hedged(primitives, (...parts) => macOf(primitives, ...parts));
}

function hedged(
  primitives: ClientPrimitives,
  mac: (key: Uint8Array, ...parts: Uint8Array[]) => Soon<Uint8Array>,
): Random<Soon<Uint8Array>> {
  const processSecret = primitives.random(32);
  // counter, two clocks, block
  const state = new Float64Array(4);
  const stateBytes = new Uint8Array(state.buffer);
  let counter = 0;
  return (length, context) => {
    const seed = primitives.random(32);
    state.set([counter++, performance.now(), Date.now()]);
    const blocks: Soon<Uint8Array>[] = [];
    for (let i = 0; i < length / 32; i++) {
      state[3] = i;
      blocks.push(mac(processSecret, seed, stateBytes, context));
    }
    const joined = (all: Uint8Array[]) => concat(...all).slice(0, length);
    return blocks.some(isPending) ? Promise.all(blocks).then(joined) : joined(blocks as Uint8Array[]);
  };
}
