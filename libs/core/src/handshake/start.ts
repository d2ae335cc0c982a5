import { concat, erase } from '../bytes.js';
import type { ClientPrimitives, KeyPair, PrivateKey } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import type { SecureKey } from '../key-text.js';
import { SIZE } from '../limits.js';
import { FRAME_TYPE } from '../message/frame-type.js';
import { type Step, wait } from '../steps.js';
import type { CookieState } from './cookie.js';
import {
  decodeServerOptions,
  encodeServerOptions,
  FLAG_PINNED,
  FLAG_SECURE_KEY,
  frameHead,
  type HandshakeSuite,
  opaquely,
  opaqueStep,
  parseStartAnswer,
  SEALED_1,
  SEALED_2,
  type ServerOptions,
  START,
  START_ANSWER,
  type StartFrame,
} from './frames.js';
import { digestOf, type KeySize, SymmetricState } from './key-schedule.js';

/** A client's configuration; the module path is the configured one, not the URL. */
export interface ClientHandshakeConfig {
  /** the module's configured path, not the URL */
  readonly modulePath: string;
  readonly keySize: KeySize;
  /** pinned X25519 public key of the server, 32 bytes */
  readonly serverKey?: Uint8Array | undefined;
  readonly secureKey?: SecureKey | undefined;
}

/** A server's means to answer step 1: the module's policy and the keys that step 1 named. */
export interface ServerHandshakeConfig {
  readonly modulePath: string;
  readonly options: ServerOptions;
  /** the pair that step 1 named; a dummy one if the id is unknown, so that the work is the same */
  readonly serverKey: KeyPair;
  /** 32 secret bytes of the key that step 1 named; random ones if the id is unknown */
  readonly secureKey: Uint8Array;
  /** makes a session id of 16 bytes from 10 random ones, see `makeSessionId` */
  readonly sessionId: (random10: Uint8Array) => Uint8Array;
}

/** @internal what a step gives */
export type ResultOf<S> = S extends (...parameters: never) => Step<infer T> ? T : never;
/** A client's state between steps 1 and 2. Its `frame` is step 1. */
export type StartSent = ResultOf<typeof startHandshake>;
/** A client's state between steps 2 and 3. */
export type StartAnswered = ResultOf<typeof receiveStartAnswer>;

/**
 * Step 1, client: makes a fresh handshake and seals C1, A and the client options (PROTOCOL.md section 3.2).
 *
 * @returns the state for {@link receiveStartAnswer}; its `frame` is to be sent
 * @throws SealwireError `open_failed` if the pinned key is of low order
 * @example
 * const serverKey = parseServerPublicKey(process.env.SEALWIRE_SERVER_PUBLIC_KEY ?? '');
 * const started = await run(startHandshake(suite, { modulePath: 'payments', keySize: 32, serverKey }));
 * await fetch('https://api.example/remote/payments', {
 *   method: 'POST',
 *   headers: { 'content-type': CONTENT_TYPE },
 *   body: started.frame.slice(),
 * });
 */
export function* startHandshake(suite: HandshakeSuite<ClientPrimitives>, config: ClientHandshakeConfig) {
  const { primitives, random } = suite;
  const { modulePath, keySize, serverKey, secureKey } = config;
  const flags = (serverKey ? FLAG_PINNED : 0) | (secureKey ? FLAG_SECURE_KEY : 0);
  const prologue = { modulePath, keySize, flags, serverKey, secureKey: secureKey?.secret };
  const symmetric = yield* SymmetricState.start(primitives, prologue);
  const { publicKey, privateKey: ephemeral } = yield* wait(
    primitives.x25519KeyPair(yield* wait(random(SIZE.key, symmetric.h))),
  );
  const kemSeed = yield* wait(random(SIZE.kemSeed, symmetric.h));
  const { encapsulationKey, decapsulationKey } = yield* wait(primitives.kemKeyPair(kemSeed));
  const c1 = yield* wait(random(SIZE.randomKey, symmetric.h));
  const a = yield* wait(random(SIZE.nonceNumber, symmetric.h));
  const pinId = serverKey ? yield* digestOf(primitives, serverKey) : new Uint8Array(SIZE.serverKeyId);
  const clear = START.write({
    head: frameHead(FRAME_TYPE.start, flags, keySize),
    serverKeyId: pinId.subarray(0, SIZE.serverKeyId),
    keyId: secureKey?.keyId ?? new Uint8Array(SIZE.keyId),
    clientEphemeral: publicKey,
    encapsulationKey,
  });
  yield* symmetric.mixHash(clear);
  yield* symmetric.mixKey(publicKey);
  if (serverKey) yield* symmetric.mixSecret(yield* wait(primitives.x25519(ephemeral, serverKey)));
  const plaintext = SEALED_1.write({ c1, a, options: new Uint8Array(SIZE.options) });
  const frame = concat(clear, yield* symmetric.seal(plaintext));
  yield* symmetric.mixKey(c1);
  return { frame, suite, symmetric, ephemeral, decapsulationKey, c1, a };
}

/**
 * Step 2, server: opens step 1 and seals S1, A, the session id and the server options. The server keeps nothing: `seal` turns
 * the half-open state into the cookie (PROTOCOL.md section 3.3).
 *
 * @param seal returns the cookie, 228 bytes
 * @returns the frame of step 2
 * @throws SealwireError `handshake_failed`, whatever failed
 * @example
 * const answer = answerStart(suite, config, parseStart(frame), (state) =>
 *   sealCookie(suite, cookieKey, 'payments', { ...state, issued: Date.now() }),
 * );
 */
export const answerStart = /* @__PURE__ */ opaquely(function* (
  suite: HandshakeSuite,
  config: ServerHandshakeConfig,
  start: StartFrame,
  seal: (state: Omit<CookieState, 'issued'>) => Uint8Array,
): Step<Uint8Array> {
  const { primitives } = suite;
  const { options, modulePath, serverKey } = config;
  const { flags, keySize, keyId, clientEphemeral } = start;
  const pinned = (flags & FLAG_PINNED) !== 0;
  const withSecureKey = (flags & FLAG_SECURE_KEY) !== 0;
  const refused =
    keySize < options.minKeySize || (options.requirePinned && !pinned) || (options.requireSecureKey && !withSecureKey);
  const symmetric = yield* SymmetricState.start(primitives, {
    ...{ modulePath, keySize, flags },
    serverKey: pinned ? serverKey.publicKey : undefined,
    secureKey: withSecureKey ? config.secureKey : undefined,
  });
  yield* symmetric.mixHash(start.clear);
  yield* symmetric.mixKey(clientEphemeral);
  if (pinned) yield* symmetric.mixSecret(primitives.x25519(serverKey.privateKey, clientEphemeral));
  const { c1, a, options: clientOptions } = SEALED_1.read(yield* symmetric.open(start.sealed));
  if (refused || clientOptions.some((byte) => byte !== 0)) throw new SealwireError('handshake_failed');
  yield* symmetric.mixKey(c1);

  const encoded = encodeServerOptions(options);
  // so that no two plaintexts meet under one key, not even on a server that was cloned with its random generator
  const context = primitives.sha256(symmetric.h, encoded);
  const random = (length: number) => suite.random(length, context);
  const ephemeral = primitives.x25519Encapsulate(clientEphemeral, random(SIZE.key));
  const kem = primitives.kemEncapsulate(start.encapsulationKey, random(32));
  const s1 = random(SIZE.randomKey);
  const sessionId = config.sessionId(random(10));
  const clear = START_ANSWER.write({
    head: frameHead(FRAME_TYPE.startAnswer),
    serverEphemeral: ephemeral.publicKey,
    kemCiphertext: kem.ciphertext,
    cookieSize: SIZE.cookie,
  });
  yield* symmetric.mixHash(clear);
  yield* symmetric.mixSecret(ephemeral.sharedSecret);
  yield* symmetric.mixSecret(kem.sharedSecret);
  const sealed = yield* symmetric.seal(SEALED_2.write({ s1, a, sessionId, options: encoded }));
  const { ck, h } = symmetric;
  const cookie = seal({ sessionId, flags, keySize, keyId, ck, h, c1, s1, clientEphemeral });
  erase(c1, s1);
  symmetric.erase();
  return concat(clear, cookie, sealed);
});

/**
 * Step 2, client. A frame that does not open leaves `state` usable for the true one (PROTOCOL.md section 3.3).
 *
 * @throws SealwireError `handshake_failed` or `version`
 * @example
 * const started = await run(startHandshake(suite, { modulePath: 'payments', keySize: 32, serverKey }));
 * const answered = await run(receiveStartAnswer(started, frame));
 * console.log(`The module takes ${answered.serverOptions.maxBody} bytes in one body.`);
 */
export const receiveStartAnswer = /* @__PURE__ */ opaqueStep(function* (state: StartSent, frame: Uint8Array) {
  const { suite, ephemeral, c1 } = state;
  const { primitives } = suite;
  const { clear, serverEphemeral, kemCiphertext, cookie, sealed } = parseStartAnswer(frame);
  const symmetric = state.symmetric.clone();
  yield* symmetric.mixHash(clear);
  yield* symmetric.mixSecret(yield* wait(primitives.x25519(ephemeral, serverEphemeral)));
  yield* symmetric.mixSecret(yield* wait(primitives.kemDecapsulate(kemCiphertext, state.decapsulationKey)));
  const { s1, a, sessionId, options } = SEALED_2.read(yield* symmetric.open(sealed));
  const serverOptions = decodeServerOptions(options);
  if (!primitives.equal(a, state.a)) throw new SealwireError('handshake_failed');
  yield* symmetric.mixKey(s1);
  state.symmetric.erase();
  eraseKey(state.decapsulationKey);
  return { sessionId, serverOptions, h: symmetric.h.slice(), suite, symmetric, ephemeral, cookie, c1, s1 };
});

/** A key of the platform cannot be erased; it goes with what refers to it. */
export function eraseKey(key: PrivateKey): void {
  if (key instanceof Uint8Array) erase(key);
}
