import { concat, EMPTY, erase, pad, unpad, unpadFirst } from '../bytes.js';
import type { Secret } from '../crypto/primitives.js';
import { SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { FRAME_TYPE } from '../message/frame-type.js';
import type { Sending } from '../message/numbers.js';
import { runSync, type Step, wait } from '../steps.js';
import type { CookieState } from './cookie.js';
import {
  FINISH,
  FINISH_ANSWER,
  type FinishFrame,
  frameHead,
  type HandshakeSuite,
  opaquely,
  opaqueStep,
  parseFinishAnswer,
  SEALED_3,
  SEALED_4,
  type SessionTerms,
} from './frames.js';
import { digestOf, type SessionSecrets, SymmetricState, split } from './key-schedule.js';
import {
  decodeAnswers,
  decodeFirstCalls,
  decodeRenewalAnswers,
  decodeRenewals,
  encodeAnswers,
  encodeFirstCalls,
  encodeRenewalAnswers,
  encodeRenewals,
  type NumberAnswer,
  proveSession,
  type Renewal,
} from './renewal.js';
import { eraseKey, type ResultOf, type StartAnswered, type StartSent } from './start.js';

/** An old session of a client that step 3 names, and the numbers whose answers it misses. */
export interface Asked {
  readonly sessionId: Uint8Array;
  /** renewal key of that session, or its K_first if its step 4 never arrived */
  readonly key: Secret;
  readonly numbers: readonly Sending[];
}

/** The server's answer to one renewal. */
export interface Answered {
  /** the key that proved the session; undefined if nothing did */
  readonly key: Uint8Array | undefined;
  readonly answers: readonly NumberAnswer[];
  /** whether the session's frames are still answered: a result that does not fit is then fetched by one */
  readonly held?: boolean;
}

/** A client's state between steps 3 and 4. Its `frame` is step 3. */
export type FinishSent = ResultOf<typeof finishHandshake>;
/** A server's state between steps 3 and 4, with the renewals and the first calls that step 3 held. */
export type FinishOpened = ReturnType<typeof openFinish>;

/** The client's state after step 4. */
export interface ClientFinished {
  readonly sessionId: Uint8Array;
  readonly secrets: SessionSecrets;
  readonly terms: SessionTerms;
  /** one list a renewal and one answer a number, as asked; all `unknown` if the server did not prove the old session */
  readonly renewalAnswers: NumberAnswer[][];
  /** one for each of the first calls */
  readonly firstAnswers: NumberAnswer[];
}

/**
 * Step 3, client: seals C2, B, the renewals and the first calls. It uses `state` up, because its key may seal one plaintext only
 * (PROTOCOL.md section 3.4).
 *
 * In the state that it returns, `firstKey` (K_first) names the first calls and proves this session if step 4 never arrives,
 * `firstResults` (F_results) opens their results, and `digest` is that of the frame.
 *
 * @param asked old sessions whose unanswered numbers the client asks about
 * @param firstCalls encoded payloads; each is a message of its own, with number (lane 0, its place here)
 * @returns the state for {@link receiveFinishAnswer}; its `frame` is to be sent
 * @throws SealwireError `too_large` for more renewals, numbers or first calls than a server reads
 * @example
 * const answered = await run(receiveStartAnswer(started, frame));
 * const payload = encodeCalls([{ name: 'balance', args: ['alice'] }]);
 * const finishing = await run(finishHandshake(answered, [], [payload]));
 */
export function* finishHandshake(state: StartAnswered, asked: readonly Asked[], firstCalls: readonly Uint8Array[]) {
  const { suite, sessionId, ephemeral, cookie, c1, s1 } = state;
  const { primitives, random } = suite;
  const renewals: Renewal[] = [];
  for (const { sessionId, key, numbers } of asked) {
    renewals.push({ sessionId, numbers, proof: yield* wait(proveSession(primitives, key, state.h)) });
  }
  const calls = pad(encodeFirstCalls(firstCalls));
  const rest = concat(pad(encodeRenewals(renewals)), calls);
  if (calls.length > LIMITS.firstCalls) throw new SealwireError('too_large');
  const symmetric = state.symmetric.clone();
  state.symmetric.erase();
  const c2 = yield* wait(random(SIZE.randomKey, symmetric.h));
  const b = yield* wait(random(SIZE.nonceNumber, symmetric.h));
  const plaintext = SEALED_3.write({ c2, b }, rest);
  // mixed into the key: a client that was cloned after step 2 seals no two plaintexts under one
  const salt = yield* wait(random(SIZE.salt, yield* digestOf(primitives, plaintext)));
  const head = frameHead(FRAME_TYPE.finish);
  const clear = FINISH.write({ head, salt, cookieSize: cookie.length }, cookie);
  yield* symmetric.mixHash(clear);
  yield* symmetric.mixKey(salt);
  const frame = concat(clear, yield* symmetric.seal(plaintext));
  const digest = (yield* digestOf(primitives, frame)).slice(0, SIZE.digest);
  yield* symmetric.mixKey(c2);
  return {
    ...{ frame, sessionId, suite, symmetric, ephemeral, b, asked },
    ...(yield* firstSecrets(symmetric)),
    digest,
    firstCount: firstCalls.length,
    keys: { c1, s1, c2 },
  };
}

/**
 * Step 3, server, from the opened cookie. A frame that does not open changes nothing (PROTOCOL.md section 3.4).
 *
 * @returns the state for {@link answerFinish}
 * @throws SealwireError `handshake_failed`, whatever failed
 * @example
 * const finish = parseFinish(frame);
 * const opened = openFinish(suite, openCookie(primitives, cookieKey, 'payments', finish.cookie), finish);
 * const calls = opened.firstCalls.map((payload) => decodeCalls(payload));
 */
export const openFinish = /* @__PURE__ */ opaquely(function* (
  suite: HandshakeSuite,
  state: CookieState,
  finish: FinishFrame,
) {
  const { sessionId, keyId, clientEphemeral, c1, s1, h } = state;
  const symmetric = SymmetricState.restore(suite.primitives, state.keySize, state.ck, h);
  yield* symmetric.mixKey(s1);
  yield* symmetric.mixHash(finish.clear);
  yield* symmetric.mixKey(finish.salt);
  const { c2, b, rest } = SEALED_3.read(yield* symmetric.open(finish.sealed));
  const { body, rest: calls } = unpadFirst(rest);
  const renewals = decodeRenewals(body);
  const firstCalls = decodeFirstCalls(unpad(calls));
  yield* symmetric.mixKey(c2);
  erase(state.ck);
  return {
    ...{ sessionId, keyId, renewals, firstCalls, suite, symmetric, clientEphemeral, b },
    ...(yield* firstSecrets(symmetric)),
    /** h after step 2, over which renewals are proved */
    provenOver: h,
    keys: { c1, s1, c2 },
  };
});

/**
 * Step 4, server, and the split: makes a second ephemeral key and seals S2, B, the terms, the renewal answers and the first
 * answers. It uses `state` up. Results beyond {@link LIMITS}.finishAnswerResults bytes become `running` if another frame
 * can still fetch them, else `ran` (PROTOCOL.md sections 3.5 and 3.6).
 *
 * @param renewalAnswers one for each renewal of step 3, in their order
 * @param firstAnswers one for each of the first calls, in their order
 * @returns the frame of step 4 and the secrets of the session
 * @example
 * const terms = { lane: 1, idle: 900, lifetime: LIMITS.sessionSeconds, incarnation };
 * const { frame: answer, secrets } = answerFinish(opened, terms, [], []);
 */
export function answerFinish(
  state: FinishOpened,
  terms: SessionTerms,
  renewalAnswers: readonly Answered[],
  firstAnswers: readonly NumberAnswer[],
): { frame: Uint8Array; secrets: SessionSecrets } {
  const { suite, symmetric, keys, b } = state;
  const { primitives } = suite;
  let room: number = LIMITS.finishAnswerResults;
  const fitting = (answers: readonly NumberAnswer[], held = false) =>
    answers.map((answer): NumberAnswer => {
      if (answer.known !== 'result') return answer;
      if (answer.frame.length > room) return { known: held ? 'running' : 'ran' };
      room -= answer.frame.length;
      return answer;
    });
  const lists = renewalAnswers.map(({ key, answers, held }) => ({ key, answers: fitting(answers, held) }));
  const first = pad(encodeAnswers(fitting(firstAnswers, true)));
  const plaintext = (s2: Uint8Array, h: Uint8Array) => {
    const proof = (key: Uint8Array | undefined) =>
      key ? proveSession(primitives, key, h, 'answer') : new Uint8Array(SIZE.proof);
    const renewals = encodeRenewalAnswers(lists.map(({ key, answers }) => ({ proof: proof(key), answers })));
    return SEALED_4.write({ ...terms, s2, b }, pad(renewals), first);
  };
  // as in step 2; the proofs need h with e_f in it, so those made over h stand in for them
  const draft = plaintext(new Uint8Array(SIZE.randomKey), symmetric.h);
  const context = primitives.sha256(symmetric.h, draft.subarray(SIZE.randomKey));
  const ephemeral = primitives.x25519Encapsulate(state.clientEphemeral, suite.random(SIZE.key, context));
  const s2 = suite.random(SIZE.randomKey, context);
  const clear = FINISH_ANSWER.write({
    head: frameHead(FRAME_TYPE.finishAnswer),
    secondEphemeral: ephemeral.publicKey,
  });
  runSync(symmetric.mixHash(clear));
  runSync(symmetric.mixSecret(ephemeral.sharedSecret));
  const frame = concat(clear, runSync(symmetric.seal(plaintext(s2, symmetric.h))));
  runSync(symmetric.mixKey(s2));
  return { frame, secrets: runSync(split(symmetric, { ...keys, s2 })) };
}

/**
 * Step 4, client, and the split (PROTOCOL.md sections 3.5 and 3.6). Once step 4 opened it erases the handshake's secrets and
 * K_first: whoever may resend a first call derives its identity before.
 *
 * @throws SealwireError `handshake_failed` or `version`; `state` stays usable for the true step 4
 * @example
 * const { sessionId, secrets, terms } = await run(receiveFinishAnswer(finishing, frame));
 * const key = { primitives, keySize: 32 as const, secret: secrets.clientToServer };
 */
export const receiveFinishAnswer = /* @__PURE__ */ opaqueStep(function* (
  state: FinishSent,
  frame: Uint8Array,
): Step<ClientFinished> {
  const { suite, sessionId, keys, ephemeral, asked } = state;
  const { primitives } = suite;
  const { clear, secondEphemeral, sealed } = parseFinishAnswer(frame);
  const symmetric = state.symmetric.clone();
  yield* symmetric.mixHash(clear);
  const { h } = symmetric;
  yield* symmetric.mixSecret(yield* wait(primitives.x25519(ephemeral, secondEphemeral)));
  const { s2, b, rest, ...terms } = SEALED_4.read(yield* symmetric.open(sealed));
  if (!primitives.equal(b, state.b)) throw new SealwireError('handshake_failed');
  const { body, rest: first } = unpadFirst(rest);
  const lists = decodeRenewalAnswers(body);
  const firstAnswers = decodeAnswers(unpad(first));
  const counts = (all: readonly { length: number }[]) => all.map(({ length }) => length).join();
  const answers = lists.map((list) => list.answers);
  if (firstAnswers.length !== state.firstCount || counts(answers) !== counts(asked.map(({ numbers }) => numbers))) {
    throw new SealwireError('handshake_failed');
  }
  const renewalAnswers: NumberAnswer[][] = [];
  for (const [i, list] of lists.entries()) {
    const proof = yield* wait(proveSession(primitives, asked[i]?.key ?? EMPTY, h, 'answer'));
    const proven = primitives.equal(proof, list.proof);
    renewalAnswers.push(proven ? [...list.answers] : list.answers.map(() => ({ known: 'unknown' })));
  }
  yield* symmetric.mixKey(s2);
  const secrets = yield* split(symmetric, { ...keys, s2 });
  eraseKey(ephemeral);
  erase(state.firstKey);
  state.symmetric.erase();
  return { sessionId, secrets, terms, renewalAnswers, firstAnswers };
});

/**
 * Erases what a handshake holds that is given up, after whichever step.
 *
 * @example
 * const started = await run(startHandshake(suite, { modulePath: 'payments', keySize: 32, serverKey }));
 * discardHandshake(started);
 */
export function discardHandshake(state: StartSent | StartAnswered | FinishSent | FinishOpened): void {
  state.symmetric.erase();
  if ('keys' in state) erase(...Object.values(state.keys), state.firstKey, state.firstResults);
  else erase(state.c1);
  if ('s1' in state) erase(state.s1);
  if ('decapsulationKey' in state) eraseKey(state.decapsulationKey);
  if ('ephemeral' in state) eraseKey(state.ephemeral);
}

/** K_first and F_results, after MixKey(C2). */
function* firstSecrets(symmetric: SymmetricState) {
  return {
    firstKey: yield* symmetric.derive(EMPTY, 'sealwire first'),
    firstResults: yield* symmetric.derive(EMPTY, 'sealwire first results'),
  };
}
