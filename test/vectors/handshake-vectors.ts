import { toHex, utf8 } from '../../libs/core/src/bytes.js';
import { nodePrimitives as primitives } from '../../libs/core/src/crypto/node.js';
import {
  encodeAnswers,
  encodeFirstCalls,
  encodeRenewalAnswers,
  encodeRenewals,
} from '../../libs/core/src/handshake/renewal.js';
import {
  answerFinish,
  answerStart,
  deriveCookieKey,
  encodeCalls,
  encodeReply,
  FIRST_LANE,
  FLAG_PINNED,
  FLAG_SECURE_KEY,
  finishHandshake,
  firstHeader,
  formatKeyText,
  fromHex,
  type KeySize,
  makeSessionId,
  type NumberAnswer,
  openCookie,
  openFinish,
  parseFinish,
  parseSecureKey,
  parseStart,
  proveSession,
  receiveFinishAnswer,
  receiveStartAnswer,
  runSync,
  SUITE,
  sealCall,
  sealCookie,
  sealResult,
  serverKeyId,
  startHandshake,
} from '../../libs/core/src/index.js';
import { bytesFrom, hexed, notingSeals, type Operation, record, scriptedSuite } from './recorder.js';

interface Variant {
  name: string;
  keySize: KeySize;
  pinned: boolean;
  secureKey: boolean;
  firstCalls: boolean;
  renewal: boolean;
}

const ISSUED = 1_700_000_000_000;
export const LANE = 1_700_000_000;
const MODULE_PATH = 'payments';
export const FIRST_CALL = { name: 'balance', args: ['alice'] };
export const FIRST_REPLY = { outcomes: [{ ok: true as const, value: 1250n }] };
export const TERMS = { lane: LANE, idle: 1800, lifetime: 43_200, incarnation: bytesFrom('incarnation', 8) };
export const SERVER_KEY = primitives.x25519KeyPair(bytesFrom('server key', 32));
export const SECURE_KEY = formatKeyText('swk1', bytesFrom('SecureKey', 40));
export const SERVER_OPTIONS = {
  force: true,
  requirePinned: false,
  requireSecureKey: false,
  minKeySize: 16 as const,
  pins: [serverKeyId(SERVER_KEY.publicKey, primitives)],
  incarnation: TERMS.incarnation,
  maxBody: 1_048_576,
  age: 90_000,
  maxUpload: 0,
  pulse: 0,
};

const FULL = { pinned: true, secureKey: true, firstCalls: true };
export const VARIANTS: Variant[] = [
  { name: 'handshake-pinned-securekey-32', keySize: 32, ...FULL, renewal: false },
  { name: 'handshake-pinned-securekey-16', keySize: 16, ...FULL, renewal: true },
  { name: 'handshake-pinned-32', keySize: 32, pinned: true, secureKey: false, firstCalls: false, renewal: false },
  { name: 'handshake-securekey-16', keySize: 16, pinned: false, secureKey: true, firstCalls: true, renewal: false },
];

/** Two sessions of before: one renewed by its renewal key, one whose step 4 never arrived by its K_first. */
export const OLD = {
  renewed: {
    sessionId: bytesFrom('old session', 16),
    key: bytesFrom('old renewal key', 32),
    numbers: [7, 9].map((counter) => ({
      number: { lane: LANE, counter },
      digest: bytesFrom(`old frame ${counter}`, 16),
    })),
  },
  lost: {
    sessionId: bytesFrom('lost session', 16),
    key: bytesFrom('lost first key', 32),
    numbers: [{ number: { lane: FIRST_LANE, counter: 0 }, digest: bytesFrom('lost step 3', 16) }],
  },
};

/** The result of number 9 of the old session, as it was sealed once. */
export function oldResult(keySize: KeySize) {
  const { sessionId } = OLD.renewed;
  const [up, down] = ['old c2s', 'old s2c'].map((name) => bytesFrom(name, 32)) as [Uint8Array, Uint8Array];
  const number = { lane: LANE, counter: 9 };
  const random = (length: number) => bytesFrom('old salt', length);
  const payload = encodeCalls([FIRST_CALL]);
  const { header } = runSync(
    sealCall({ primitives, keySize, secret: up }, { epoch: 0, sessionId, number }, random, payload),
  );
  const reply = encodeReply(FIRST_REPLY);
  const frame = sealResult({ primitives, keySize, secret: down }, { epoch: 0, callHeader: header }, random, reply);
  return { serverToClient: toHex(down), callHeader: toHex(header), reply: toHex(reply), frame };
}

export type Handshake = ReturnType<typeof handshake>;

export function handshake(variant: Variant) {
  const { name, keySize, pinned } = variant;
  const secureKey = variant.secureKey ? parseSecureKey(SECURE_KEY) : undefined;
  const draw = (what: string, length: number) => [what, bytesFrom(`${name} ${what}`, length)] as const;
  const clientRandom = [
    ...[draw('e_c', 32), draw('kemSeed', 64), draw('C1', 32), draw('A', 16)],
    ...[draw('C2', 32), draw('B', 16), draw('salt3', 8)],
  ];
  const serverRandom = [
    ...[draw('e_s', 32), draw('kemCoins', 32), draw('S1', 32), draw('sessionRandom', 10), draw('cookieSalt', 12)],
    ...[draw('e_f', 32), draw('S2', 32)],
  ];
  const client = scriptedSuite(clientRandom);
  const server = scriptedSuite(serverRandom);
  const options = {
    ...SERVER_OPTIONS,
    requireSecureKey: variant.secureKey,
    ...(!variant.secureKey && { maxUpload: 2 ** 33, pulse: 15 }),
  };
  const tk = bytesFrom('cookie key', 32);
  const cookieKey = {
    id: bytesFrom('cookie key id', 4),
    key: deriveCookieKey(primitives, tk, SERVER_KEY.privateKey, TERMS.incarnation),
  };
  const idKey = bytesFrom('session id key', 32);
  const noted = notingSeals(server.primitives);
  const firstCalls = variant.firstCalls
    ? [[FIRST_CALL], [{ ...FIRST_CALL, args: ['bob'] }]].map((calls) => encodeCalls(calls))
    : [];
  const asked = variant.renewal ? [OLD.renewed, OLD.lost] : [];
  const old = oldResult(keySize);

  const step1 = record(() =>
    runSync(
      startHandshake(client, {
        modulePath: MODULE_PATH,
        keySize,
        serverKey: pinned ? SERVER_KEY.publicKey : undefined,
        secureKey,
      }),
    ),
  );
  const frame2 = answerStart(
    server,
    {
      modulePath: MODULE_PATH,
      options,
      serverKey: SERVER_KEY,
      secureKey: secureKey?.secret ?? new Uint8Array(32),
      sessionId: (random10) => makeSessionId(primitives, idKey, MODULE_PATH, random10),
    },
    parseStart(step1.result.frame),
    (state) =>
      sealCookie({ ...server, primitives: noted.primitives }, cookieKey, MODULE_PATH, { ...state, issued: ISSUED }),
  );
  const step2 = record(() => runSync(receiveStartAnswer(step1.result, frame2)));
  const { sessionId } = step2.result;
  const renewals = asked.map(({ key, ...renewal }) => ({
    ...renewal,
    proof: proveSession(primitives, key, step2.result.h),
  }));
  const step3 = record(() => runSync(finishHandshake(step2.result, asked, firstCalls)));
  const { firstKey, firstResults } = {
    firstKey: step3.result.firstKey.slice(),
    firstResults: step3.result.firstResults,
  };
  const finish = parseFinish(step3.result.frame);
  const opened = openFinish(server, openCookie(primitives, cookieKey, MODULE_PATH, finish.cookie), finish);

  const header = firstHeader(sessionId, step3.result.digest, 0);
  const sealed = notingSeals(primitives);
  const firstResult = sealResult(
    { primitives: sealed.primitives, keySize, secret: firstResults },
    { epoch: 0, callHeader: header },
    (length) => bytesFrom(`${name} first result salt`, length),
    encodeReply(FIRST_REPLY),
  );
  const firstAnswers: NumberAnswer[] = variant.firstCalls
    ? [{ known: 'result', frame: firstResult }, { known: 'running' }]
    : [];
  const lists: NumberAnswer[][] = variant.renewal
    ? [[{ known: 'never_ran' }, { known: 'result', frame: old.frame }], [{ known: 'ran' }]]
    : [];
  const given = asked.map(({ key }, i) => ({ key, answers: lists[i] ?? [] }));
  const { frame: frame4, secrets } = answerFinish(opened, TERMS, given, firstAnswers);
  const step4 = record(() => runSync(receiveFinishAnswer(step3.result, frame4)));
  const beforeSealed4 = step4.operations[1]?.h ?? '';

  const labels = operationNames(pinned);
  const named = (operations: Operation[]) => operations.map((operation) => ({ what: labels.shift(), ...operation }));
  const initial = toHex(primitives.sha256(utf8(SUITE)));
  const json = {
    suite: SUITE,
    modulePath: MODULE_PATH,
    keySize,
    flags: (pinned ? FLAG_PINNED : 0) | (secureKey ? FLAG_SECURE_KEY : 0),
    serverPrivateKey: toHex(SERVER_KEY.privateKey),
    serverPublicKey: toHex(SERVER_KEY.publicKey),
    serverKeyId: toHex(serverKeyId(SERVER_KEY.publicKey, primitives)),
    keyId: secureKey ? toHex(secureKey.keyId) : '',
    secureKey: secureKey ? toHex(secureKey.secret) : '',
    sessionIdKey: toHex(idKey),
    sessionId: toHex(sessionId),
    random: hexed([...clientRandom, ...serverRandom]),
    initial: { h: initial, ck: initial },
    prologue: { operations: named(step1.operations.slice(0, 3)) },
    step1: { operations: named(step1.operations.slice(3)), frame: toHex(step1.result.frame) },
    step2: {
      options: { ...options, pins: options.pins.map(toHex), incarnation: toHex(options.incarnation) },
      operations: named(step2.operations),
      frame: toHex(frame2),
    },
    step3: {
      asked: asked.map(({ sessionId, key, numbers }) => ({
        ...{ sessionId: toHex(sessionId), key: toHex(key) },
        numbers: numbers.map(({ number, digest }) => ({ ...number, digest: toHex(digest) })),
      })),
      renewals: toHex(encodeRenewals(renewals)),
      firstCalls: toHex(encodeFirstCalls(firstCalls)),
      operations: named(step3.operations),
      firstKey: toHex(firstKey),
      firstResults: toHex(firstResults),
      frame: toHex(step3.result.frame),
      digest: toHex(step3.result.digest),
    },
    step4: {
      terms: { ...TERMS, incarnation: toHex(TERMS.incarnation) },
      answers: lists.map((list) => list.map(described)),
      renewalAnswers: toHex(
        encodeRenewalAnswers(
          given.map(({ key, answers }) => ({
            ...{ answers },
            proof: proveSession(primitives, key, fromHex(beforeSealed4), 'answer'),
          })),
        ),
      ),
      firstAnswers: toHex(encodeAnswers(firstAnswers)),
      operations: named(step4.operations),
      frame: toHex(frame4),
    },
    secrets: hexed(Object.entries(secrets)),
    cookie: {
      tk: toHex(tk),
      key: toHex(cookieKey.key),
      id: toHex(cookieKey.id),
      issued: ISSUED,
      sealed: noted.seals[0],
      cookie: toHex(finish.cookie),
    },
    ...(variant.firstCalls
      ? {
          firstResult: {
            callHeader: toHex(header),
            payload: toHex(encodeReply(FIRST_REPLY)),
            ...sealed.seals[0],
            frame: toHex(firstResult),
          },
        }
      : {}),
    ...(variant.renewal ? { oldResult: { ...old, frame: toHex(old.frame) } } : {}),
  };
  const { frame, digest } = step3.result;
  return { name, json, keySize, secrets, sessionId, firstKey, firstResults, firstResult, step3: frame, digest };
}

function described(answer: NumberAnswer) {
  return answer.known === 'result' ? { result: toHex(answer.frame) } : answer.known;
}

/** What each operation of a handshake mixes in, in order (PROTOCOL.md section 3). */
function operationNames(pinned: boolean): string[] {
  return [
    ...['version, module path, keySize, flags', 'server key', 'SecureKey'],
    ...['clear bytes of step 1', 'e_c', ...(pinned ? ['DH(e_c, s)'] : []), 'sealed_1', 'C1'],
    ...['clear bytes of step 2', 'DH(e_c, e_s)', 'KEM secret', 'sealed_2', 'S1'],
    ...['clear bytes of step 3', 'salt', 'sealed_3', 'C2'],
    ...['clear bytes of step 4', 'DH(e_c, e_f)', 'sealed_4', 'S2'],
  ];
}
