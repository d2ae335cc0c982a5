import { concat, EMPTY, erase } from '../bytes.js';
import { SealwireError } from '../errors.js';
import { type SecureKey, serverKeyId } from '../key-text.js';
import { LIMITS, SIZE } from '../limits.js';
import { FRAME_TYPE } from '../message/message.js';
import { pad, unpad } from '../message/padding.js';
import {
  buildFinish,
  buildStart,
  cut,
  decodeServerOptions,
  decodeTerms,
  FLAG_PINNED,
  FLAG_SECURE_KEY,
  frameTag,
  type HandshakeSuite,
  opaquely,
  parseFinishAnswer,
  parseStartAnswer,
  type ServerOptions,
  type SessionTerms,
  TERMS_SIZE,
} from './frames.js';
import { type KeySize, type SessionSecrets, SymmetricState, split } from './key-schedule.js';
import { decodeRenewalAnswers, encodeRenewals, type Renewal, type RenewalAnswer } from './renewal.js';

export interface ClientHandshakeConfig {
  /** the module's configured path, not the URL */
  readonly modulePath: string;
  readonly keySize: KeySize;
  /** pinned X25519 public key of the server, 32 bytes */
  readonly serverKey?: Uint8Array | undefined;
  readonly secureKey?: SecureKey | undefined;
}

/** Step 1 is sent. */
export interface StartSent {
  readonly frame: Uint8Array;
  readonly suite: HandshakeSuite;
  readonly symmetric: SymmetricState;
  readonly ephemeral: Uint8Array;
  readonly decapsulationKey: Uint8Array;
  readonly c1: Uint8Array;
  readonly a: Uint8Array;
}

/** Step 2 opened. `h` is what renewals prove themselves over. */
export interface StartAnswered {
  readonly sessionId: Uint8Array;
  readonly serverOptions: ServerOptions;
  readonly h: Uint8Array;
  readonly suite: HandshakeSuite;
  readonly symmetric: SymmetricState;
  readonly ephemeral: Uint8Array;
  readonly cookie: Uint8Array;
  readonly c1: Uint8Array;
  readonly s1: Uint8Array;
}

/** Step 3 is sent. `firstKey` proves this session and names its first calls if step 4 never arrives. */
export interface FinishSent {
  readonly frame: Uint8Array;
  readonly sessionId: Uint8Array;
  readonly firstKey: Uint8Array;
  readonly suite: HandshakeSuite;
  readonly symmetric: SymmetricState;
  readonly ephemeral: Uint8Array;
  readonly keys: { readonly c1: Uint8Array; readonly s1: Uint8Array; readonly c2: Uint8Array };
  readonly b: Uint8Array;
}

/** Step 4 opened. */
export interface ClientFinished {
  readonly sessionId: Uint8Array;
  readonly secrets: SessionSecrets;
  readonly terms: SessionTerms;
  readonly renewalAnswers: readonly (readonly RenewalAnswer[])[];
  /** payload of the first results; empty where step 3 carried no calls */
  readonly firstReply: Uint8Array;
}

/** Step 1, C to S: sealed(C1, A, client options). PROTOCOL.md section 3.2. */
export function startHandshake(suite: HandshakeSuite, config: ClientHandshakeConfig): StartSent {
  const { primitives, random } = suite;
  const flags = (config.serverKey ? FLAG_PINNED : 0) | (config.secureKey ? FLAG_SECURE_KEY : 0);
  const symmetric = SymmetricState.start(primitives, {
    modulePath: config.modulePath,
    keySize: config.keySize,
    flags,
    serverKey: config.serverKey,
    secureKey: config.secureKey?.secret,
  });
  const ephemeral = primitives.x25519KeyPair(random(32, symmetric.h));
  const kem = primitives.kemKeyPair(random(SIZE.kemSeed, symmetric.h));
  const c1 = random(SIZE.randomKey, symmetric.h);
  const a = random(SIZE.nonceNumber, symmetric.h);
  const clear = buildStart({
    flags,
    keySize: config.keySize,
    serverKeyId: config.serverKey ? serverKeyId(config.serverKey, primitives) : new Uint8Array(SIZE.serverKeyId),
    keyId: config.secureKey?.keyId ?? new Uint8Array(SIZE.keyId),
    clientEphemeral: ephemeral.publicKey,
    encapsulationKey: kem.encapsulationKey,
  });
  symmetric.mixHash(clear);
  symmetric.mixKey(ephemeral.publicKey);
  if (config.serverKey) symmetric.mixKey(primitives.x25519(ephemeral.privateKey, config.serverKey));
  const sealed = symmetric.seal(concat(c1, a, new Uint8Array(SIZE.options)));
  symmetric.mixKey(c1);
  return {
    frame: concat(clear, sealed),
    suite,
    symmetric,
    ephemeral: ephemeral.privateKey,
    decapsulationKey: kem.decapsulationKey,
    c1,
    a,
  };
}

/** Step 2 at the client. A frame that does not open leaves `state` usable for the true one. PROTOCOL.md section 3.3. */
export const receiveStartAnswer = opaquely((state: StartSent, frame: Uint8Array): StartAnswered => {
  const { primitives } = state.suite;
  const answer = parseStartAnswer(frame);
  const symmetric = state.symmetric.clone();
  symmetric.mixHash(frameTag(FRAME_TYPE.startAnswer), answer.serverEphemeral, answer.kemCiphertext);
  symmetric.mixKey(primitives.x25519(state.ephemeral, answer.serverEphemeral));
  symmetric.mixKey(primitives.kemDecapsulate(answer.kemCiphertext, state.decapsulationKey));
  const plaintext = symmetric.open(answer.sealed);
  const [s1 = EMPTY, a = EMPTY, sessionId = EMPTY, options = EMPTY] = cut(
    plaintext,
    SIZE.randomKey,
    SIZE.nonceNumber,
    SIZE.sessionId,
  );
  if (!primitives.equal(a, state.a)) throw new SealwireError('handshake_failed');
  symmetric.mixKey(s1);
  state.symmetric.erase();
  erase(state.decapsulationKey);
  return {
    sessionId,
    serverOptions: decodeServerOptions(options),
    h: symmetric.h.slice(),
    suite: state.suite,
    symmetric,
    ephemeral: state.ephemeral,
    cookie: answer.cookie,
    c1: state.c1,
    s1,
  };
});

/**
 * Step 3, C to S: sealed(C2, B, renewals, first calls). `firstCalls` is an encoded payload or empty. It uses `state` up: its
 * key may seal one plaintext only. PROTOCOL.md section 3.4.
 */
export function finishHandshake(
  state: StartAnswered,
  renewals: readonly Renewal[],
  firstCalls: Uint8Array,
): FinishSent {
  const { suite } = state;
  const { random } = suite;
  const calls = pad(firstCalls);
  if (calls.length > LIMITS.firstCalls) throw new SealwireError('too_large');
  const symmetric = state.symmetric.clone();
  state.symmetric.erase();
  const c2 = random(SIZE.randomKey, symmetric.h);
  const b = random(SIZE.nonceNumber, symmetric.h);
  symmetric.mixHash(frameTag(FRAME_TYPE.finish), state.cookie);
  const sealed = symmetric.seal(concat(c2, b, encodeRenewals(renewals), calls));
  symmetric.mixKey(c2);
  return {
    frame: buildFinish({ cookie: state.cookie, sealed }),
    sessionId: state.sessionId,
    firstKey: symmetric.derive(EMPTY, 'sealwire first'),
    suite,
    symmetric,
    ephemeral: state.ephemeral,
    keys: { c1: state.c1, s1: state.s1, c2 },
    b,
  };
}

/** Step 4 at the client, and the split. Erases the handshake's secrets once it opened. PROTOCOL.md sections 3.5 and 3.6. */
export const receiveFinishAnswer = opaquely((state: FinishSent, frame: Uint8Array): ClientFinished => {
  const { primitives } = state.suite;
  const answer = parseFinishAnswer(frame);
  const symmetric = state.symmetric.clone();
  symmetric.mixHash(frameTag(FRAME_TYPE.finishAnswer), answer.secondEphemeral);
  symmetric.mixKey(primitives.x25519(state.ephemeral, answer.secondEphemeral));
  const plaintext = symmetric.open(answer.sealed);
  const [s2 = EMPTY, b = EMPTY, terms = EMPTY, rest = EMPTY] = cut(
    plaintext,
    SIZE.randomKey,
    SIZE.nonceNumber,
    TERMS_SIZE,
  );
  if (!primitives.equal(b, state.b)) throw new SealwireError('handshake_failed');
  const { answers, length } = decodeRenewalAnswers(rest);
  const firstReply = unpad(rest.subarray(length));
  symmetric.mixKey(s2);
  const secrets = split(symmetric, { ...state.keys, s2 });
  erase(s2, state.keys.c1, state.keys.s1, state.keys.c2, state.ephemeral);
  symmetric.erase();
  state.symmetric.erase();
  return {
    sessionId: state.sessionId,
    secrets,
    terms: decodeTerms(terms),
    renewalAnswers: answers,
    firstReply,
  };
});
