import { concat, EMPTY, erase } from '../bytes.js';
import type { KeyPair } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { SIZE } from '../limits.js';
import { FRAME_TYPE } from '../message/message.js';
import { pad, unpad } from '../message/padding.js';
import type { CookieState } from './cookie.js';
import {
  buildFinishAnswer,
  buildStartAnswer,
  cut,
  encodeServerOptions,
  encodeTerms,
  type FinishFrame,
  FLAG_PINNED,
  FLAG_SECURE_KEY,
  frameTag,
  type HandshakeSuite,
  opaquely,
  type ServerOptions,
  type SessionTerms,
  type StartFrame,
} from './frames.js';
import { type SessionSecrets, SymmetricState, split } from './key-schedule.js';
import { decodeRenewals, encodeRenewalAnswers, type Renewal, type RenewalAnswer } from './renewal.js';

export interface ServerHandshakeConfig {
  readonly modulePath: string;
  readonly options: ServerOptions;
  /** the pair that step 1 named; a dummy one where the id is unknown, so that the work is the same */
  readonly serverKey: KeyPair;
  /** 32 secret bytes of the key that step 1 named; random ones where the id is unknown */
  readonly secureKey: Uint8Array;
}

/** Step 3 opened; the first calls may run now. */
export interface FinishOpened {
  readonly sessionId: Uint8Array;
  /** h after step 2, over which renewals are proved */
  readonly provenOver: Uint8Array;
  readonly renewals: readonly Renewal[];
  /** encoded payload of the first calls; empty where there are none */
  readonly firstCalls: Uint8Array;
  /** identifies the first calls and proves the session until step 4 is received */
  readonly firstKey: Uint8Array;
  readonly suite: HandshakeSuite;
  readonly symmetric: SymmetricState;
  readonly clientEphemeral: Uint8Array;
  readonly keys: { readonly c1: Uint8Array; readonly s1: Uint8Array; readonly c2: Uint8Array };
  readonly b: Uint8Array;
}

/**
 * Step 2, S to C: opens step 1 and answers sealed(S1, A, session id, server options). The server keeps nothing: `seal`
 * turns the half-open state into the cookie. Every failure is `handshake_failed`. PROTOCOL.md section 3.3.
 */
export const answerStart = opaquely(
  (
    suite: HandshakeSuite,
    config: ServerHandshakeConfig,
    start: StartFrame,
    seal: (state: Omit<CookieState, 'issued'>) => Uint8Array,
  ): Uint8Array => {
    const { primitives, random } = suite;
    const { options } = config;
    const pinned = (start.flags & FLAG_PINNED) !== 0;
    const withSecureKey = (start.flags & FLAG_SECURE_KEY) !== 0;
    const refused =
      start.keySize < options.minKeySize ||
      (options.requirePinned && !pinned) ||
      (options.requireSecureKey && !withSecureKey);
    const symmetric = SymmetricState.start(primitives, {
      modulePath: config.modulePath,
      keySize: start.keySize,
      flags: start.flags,
      serverKey: pinned ? config.serverKey.publicKey : undefined,
      secureKey: withSecureKey ? config.secureKey : undefined,
    });
    symmetric.mixHash(start.clear);
    symmetric.mixKey(start.clientEphemeral);
    if (pinned) symmetric.mixKey(primitives.x25519(config.serverKey.privateKey, start.clientEphemeral));
    const [c1 = EMPTY, a = EMPTY] = cut(symmetric.open(start.sealed), SIZE.randomKey, SIZE.nonceNumber);
    if (refused) throw new SealwireError('handshake_failed');
    symmetric.mixKey(c1);

    const ephemeral = primitives.x25519KeyPair(random(32, symmetric.h));
    const kem = primitives.kemEncapsulate(start.encapsulationKey, random(32, symmetric.h));
    const s1 = random(SIZE.randomKey, symmetric.h);
    const sessionId = random(SIZE.sessionId, symmetric.h);
    symmetric.mixHash(frameTag(FRAME_TYPE.startAnswer), ephemeral.publicKey, kem.ciphertext);
    symmetric.mixKey(primitives.x25519(ephemeral.privateKey, start.clientEphemeral));
    symmetric.mixKey(kem.sharedSecret);
    const sealed = symmetric.seal(concat(s1, a, sessionId, encodeServerOptions(options)));
    const cookie = seal({
      sessionId,
      flags: start.flags,
      keySize: start.keySize,
      keyId: start.keyId,
      ck: symmetric.ck,
      h: symmetric.h,
      c1,
      s1,
      clientEphemeral: start.clientEphemeral,
    });
    erase(ephemeral.privateKey, kem.sharedSecret, c1, s1);
    symmetric.erase();
    return buildStartAnswer({
      serverEphemeral: ephemeral.publicKey,
      kemCiphertext: kem.ciphertext,
      cookie,
      sealed,
    });
  },
);

/** Step 3 at the server, from the opened cookie. A frame that does not open changes nothing. PROTOCOL.md section 3.4. */
export const openFinish = opaquely((suite: HandshakeSuite, state: CookieState, finish: FinishFrame): FinishOpened => {
  const symmetric = SymmetricState.restore(suite.primitives, state.keySize, state.ck, state.h);
  symmetric.mixKey(state.s1);
  symmetric.mixHash(frameTag(FRAME_TYPE.finish), finish.cookie);
  const plaintext = symmetric.open(finish.sealed);
  const [c2 = EMPTY, b = EMPTY, rest = EMPTY] = cut(plaintext, SIZE.randomKey, SIZE.nonceNumber);
  const { renewals, length } = decodeRenewals(rest);
  const firstCalls = unpad(rest.subarray(length));
  symmetric.mixKey(c2);
  erase(state.ck);
  return {
    sessionId: state.sessionId,
    provenOver: state.h,
    renewals,
    firstCalls,
    firstKey: symmetric.derive(EMPTY, 'sealwire first'),
    suite,
    symmetric,
    clientEphemeral: state.clientEphemeral,
    keys: { c1: state.c1, s1: state.s1, c2 },
    b,
  };
});

/**
 * Step 4, S to C, and the split: a second, fresh ephemeral, then sealed(S2, B, terms, answers, first results). It uses
 * `state` up. PROTOCOL.md sections 3.5 and 3.6.
 */
export function answerFinish(
  state: FinishOpened,
  terms: SessionTerms,
  renewalAnswers: readonly (readonly RenewalAnswer[])[],
  firstReply: Uint8Array,
): { frame: Uint8Array; secrets: SessionSecrets } {
  const { suite, symmetric } = state;
  const { primitives, random } = suite;
  const ephemeral = primitives.x25519KeyPair(random(32, symmetric.h));
  const s2 = random(SIZE.randomKey, symmetric.h);
  symmetric.mixHash(frameTag(FRAME_TYPE.finishAnswer), ephemeral.publicKey);
  symmetric.mixKey(primitives.x25519(ephemeral.privateKey, state.clientEphemeral));
  const sealed = symmetric.seal(
    concat(s2, state.b, encodeTerms(terms), encodeRenewalAnswers(renewalAnswers), pad(firstReply)),
  );
  symmetric.mixKey(s2);
  const secrets = split(symmetric, { ...state.keys, s2 });
  erase(s2, state.keys.c1, state.keys.s1, state.keys.c2, ephemeral.privateKey);
  symmetric.erase();
  return { frame: buildFinishAnswer({ secondEphemeral: ephemeral.publicKey, sealed }), secrets };
}
