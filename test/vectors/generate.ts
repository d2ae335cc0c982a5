/** Makes the files beside it: `node --import @oxc-node/core/register test/vectors/generate.ts`. A test compares them. */
import { writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { concat, toHex, utf8 } from '../../libs/core/src/bytes.js';
import { nodePrimitives as primitives } from '../../libs/core/src/crypto/node.js';
import { encodeRenewalAnswers, encodeRenewals } from '../../libs/core/src/handshake/renewal.js';
import {
  answerFinish,
  answerStart,
  callIdentity,
  deriveCookieKey,
  encodeCalls,
  encodeReply,
  encodeValue,
  FIRST_CALLS,
  FLAG_PINNED,
  FLAG_SECURE_KEY,
  finishHandshake,
  formatKeyText,
  frameDigest,
  type KeySize,
  nextEpochSecret,
  openCookie,
  openFinish,
  parseFinish,
  parseSecureKey,
  parseStart,
  proveSession,
  type Renewal,
  type RenewalAnswer,
  receiveFinishAnswer,
  receiveStartAnswer,
  type Sending,
  SUITE,
  sealCall,
  sealCookie,
  sealResult,
  serverKeyId,
  startHandshake,
} from '../../libs/core/src/index.js';
import { paddedLength } from '../../libs/core/src/message/padding.js';
import { refusedPayloads } from './payload-vectors.js';
import { bytesFrom, notingSeals, type Operation, record, scriptedSuite } from './recorder.js';

type Json = Record<string, unknown>;
interface Variant {
  name: string;
  keySize: KeySize;
  pinned: boolean;
  secureKey: boolean;
  firstCalls: boolean;
  renewal: boolean;
}

export const ISSUED = 1_700_000_000_000;
export const LANE = 1_700_000_000;
export const MODULE_PATH = 'payments';
const FIRST_CALL = { name: 'balance', args: ['alice'] };
const FIRST_REPLY = { outcomes: [{ ok: true as const, value: 1250n }] };
export const TERMS = { lane: LANE, idle: 1800, lifetime: 43_200, incarnation: bytesFrom('incarnation', 8) };
const SERVER_KEY = primitives.x25519KeyPair(bytesFrom('server key', 32));
const SECURE_KEY = formatKeyText('swk1', bytesFrom('SecureKey', 40));

const VARIANTS: Variant[] = [
  {
    name: 'handshake-pinned-securekey-32',
    keySize: 32,
    pinned: true,
    secureKey: true,
    firstCalls: true,
    renewal: false,
  },
  {
    name: 'handshake-pinned-securekey-16',
    keySize: 16,
    pinned: true,
    secureKey: true,
    firstCalls: true,
    renewal: true,
  },
  { name: 'handshake-pinned-32', keySize: 32, pinned: true, secureKey: false, firstCalls: false, renewal: false },
  { name: 'handshake-securekey-16', keySize: 16, pinned: false, secureKey: true, firstCalls: true, renewal: false },
];

/** File name without `.json` and content. */
export function vectors(): Map<string, Json> {
  const [first, second, ...others] = VARIANTS.map(handshake);
  if (!first || !second) throw new Error('the messages belong to the first two handshakes');
  return new Map<string, Json>([
    ...[first, second, ...others].map(({ name, json }) => [name, json] as const),
    ['messages', messages([first, second])],
    ['message-three-chunks', threeChunks(first)],
    ['epochs', epochs(first)],
    ['renewal', renewal(first)],
    ['call-identity', callIdentities(first)],
    ['payloads', payloads()],
    ['payloads-refused', refusedPayloads()],
    ['padding', padding()],
    ['key-texts', keyTexts()],
  ]);
}

type Handshake = ReturnType<typeof handshake>;

function handshake(variant: Variant) {
  const { name, keySize, pinned } = variant;
  const secureKey = variant.secureKey ? parseSecureKey(SECURE_KEY) : undefined;
  const draw = (what: string, length: number) => [what, bytesFrom(`${name} ${what}`, length)] as const;
  const clientRandom = [
    draw('e_c', 32),
    draw('kemSeed', 64),
    draw('C1', 32),
    draw('A', 16),
    draw('C2', 32),
    draw('B', 16),
  ];
  const serverRandom = [
    ...[draw('e_s', 32), draw('kemCoins', 32), draw('S1', 32), draw('sessionId', 16), draw('cookieNonce', 12)],
    ...[draw('e_f', 32), draw('S2', 32)],
  ];
  const client = scriptedSuite(clientRandom);
  const server = scriptedSuite(serverRandom);
  const options = {
    force: true,
    requirePinned: false,
    requireSecureKey: variant.secureKey,
    minKeySize: 16 as const,
    pins: [serverKeyId(SERVER_KEY.publicKey, primitives)],
    incarnation: TERMS.incarnation,
  };
  const random = bytesFrom('cookie key', 32);
  const cookieKey = {
    id: bytesFrom('cookie key id', 4),
    key: deriveCookieKey(primitives, random, SERVER_KEY.privateKey),
  };
  const noted = notingSeals(server.primitives);
  const firstCalls = variant.firstCalls ? encodeCalls([FIRST_CALL]) : new Uint8Array();
  const firstReply = variant.firstCalls ? encodeReply(FIRST_REPLY) : new Uint8Array();
  const answers: RenewalAnswer[][] = variant.renewal
    ? [[{ known: 'never_ran' }, { known: 'result', reply: encodeReply(FIRST_REPLY) }]]
    : [];

  const step1 = record(() =>
    startHandshake(client, {
      modulePath: MODULE_PATH,
      keySize,
      serverKey: pinned ? SERVER_KEY.publicKey : undefined,
      secureKey,
    }),
  );
  const frame2 = answerStart(
    server,
    { modulePath: MODULE_PATH, options, serverKey: SERVER_KEY, secureKey: secureKey?.secret ?? new Uint8Array(32) },
    parseStart(step1.result.frame),
    (state) =>
      sealCookie({ ...server, primitives: noted.primitives }, cookieKey, MODULE_PATH, { ...state, issued: ISSUED }),
  );
  const step2 = record(() => receiveStartAnswer(step1.result, frame2));
  const renewals = variant.renewal ? [oldSession(step2.result.h)] : [];
  const step3 = record(() => finishHandshake(step2.result, renewals, firstCalls));
  const finish = parseFinish(step3.result.frame);
  const opened = openFinish(server, openCookie(primitives, cookieKey, MODULE_PATH, finish.cookie), finish);
  const { frame: frame4, secrets } = answerFinish(opened, TERMS, answers, firstReply);
  const step4 = record(() => receiveFinishAnswer(step3.result, frame4));

  const labels = operationNames(pinned);
  const named = (operations: Operation[]) =>
    operations.map((operation) => ({
      what: labels.shift(),
      ...operation,
      ...(operation.sealed ? { nonce: '00'.repeat(12) } : {}),
    }));
  const initial = toHex(primitives.sha256(utf8(SUITE)));
  const cookie = noted.seals[0];
  const json: Json = {
    suite: SUITE,
    modulePath: MODULE_PATH,
    keySize,
    flags: (pinned ? FLAG_PINNED : 0) | (secureKey ? FLAG_SECURE_KEY : 0),
    serverPrivateKey: toHex(SERVER_KEY.privateKey),
    serverPublicKey: toHex(SERVER_KEY.publicKey),
    serverKeyId: toHex(serverKeyId(SERVER_KEY.publicKey, primitives)),
    keyId: secureKey ? toHex(secureKey.keyId) : '',
    secureKey: secureKey ? toHex(secureKey.secret) : '',
    random: hexed([...clientRandom, ...serverRandom]),
    initial: { h: initial, ck: initial },
    prologue: { operations: named(step1.operations.slice(0, 3)) },
    step1: { operations: named(step1.operations.slice(3)), frame: toHex(step1.result.frame) },
    step2: { operations: named(step2.operations), frame: toHex(frame2) },
    step3: {
      renewals: toHex(encodeRenewals(renewals)),
      firstCalls: toHex(firstCalls),
      operations: named(step3.operations),
      firstKey: toHex(step3.result.firstKey),
      frame: toHex(step3.result.frame),
    },
    step4: {
      terms: { ...TERMS, incarnation: toHex(TERMS.incarnation) },
      renewalAnswers: toHex(encodeRenewalAnswers(answers)),
      firstReply: toHex(firstReply),
      operations: named(step4.operations),
      frame: toHex(frame4),
    },
    secrets: hexed(Object.entries(secrets)),
    cookie: {
      tk: toHex(random),
      key: toHex(cookieKey.key),
      id: toHex(cookieKey.id),
      issued: ISSUED,
      ...cookie,
      cookie: toHex(finish.cookie),
    },
  };
  return {
    name,
    json,
    keySize,
    secrets,
    sessionId: step2.result.sessionId,
    firstKey: step3.result.firstKey,
    step3: step3.result.frame,
  };
}

/** What each operation of a handshake mixes in, in order (PROTOCOL.md section 3). */
function operationNames(pinned: boolean): string[] {
  return [
    ...['version, module path, keySize, flags', 'server key', 'SecureKey'],
    ...['clear fields of step 1', 'e_c', ...(pinned ? ['DH(e_c, s)'] : []), 'sealed_1', 'C1'],
    ...['type, version, e_s, ct', 'DH(e_c, e_s)', 'KEM secret', 'sealed_2', 'S1'],
    ...['type, version, cookie', 'sealed_3', 'C2'],
    ...['type, version, e_f', 'DH(e_c, e_f)', 'sealed_4', 'S2'],
  ];
}

const OLD = { sessionId: bytesFrom('old session', 16), renewalKey: bytesFrom('old renewal key', 32) };

function oldSession(h: Uint8Array): Renewal {
  return {
    sessionId: OLD.sessionId,
    proof: proveSession(primitives, OLD.renewalKey, h),
    numbers: [7, 9].map((counter) => ({
      number: { lane: LANE, counter },
      digest: bytesFrom(`old frame ${counter}`, 16),
    })),
  };
}

function messages(handshakes: Handshake[]): Json {
  return Object.fromEntries(
    handshakes.map(({ name, keySize, secrets, sessionId }) => {
      const number = { lane: LANE, counter: 1 };
      const calls = encodeCalls([
        { name: 'transfer', args: [{ from: 'alice', to: 'bob', cents: 1250n }] },
        { name: 'balance', args: ['bob'] },
      ]);
      const reply = encodeReply({
        outcomes: [
          { ok: false, code: 'funds_short', message: 'Not enough money.', details: { missing: 50n } },
          { ok: true, value: 1250n },
        ],
      });
      const noted = notingSeals(primitives);
      const up = { primitives: noted.primitives, keySize, secret: secrets.clientToServer };
      const down = { primitives: noted.primitives, keySize, secret: secrets.serverToClient };
      const call = sealCall(up, { epoch: 0, sessionId, number, salt: bytesFrom('call salt', 8) }, calls);
      const salt = bytesFrom('result salt', 8);
      const result = sealResult(down, { epoch: 0, callHeader: call.header, salt }, reply);
      const [sealedCall, sealedResult] = noted.seals;
      const json = {
        keySize,
        sessionId: toHex(sessionId),
        clientToServer: toHex(secrets.clientToServer),
        serverToClient: toHex(secrets.serverToClient),
        epoch: 0,
        number,
        call: { payload: toHex(calls), header: toHex(call.header), ...sealedCall, frame: toHex(call.frame) },
        result: { payload: toHex(reply), header: toHex(result.slice(0, 12)), ...sealedResult, frame: toHex(result) },
      };
      return [name, json];
    }),
  );
}

function threeChunks({ keySize, secrets, sessionId }: Handshake): Json {
  const body = Uint8Array.from({ length: 132_000 }, (_, i) => i % 251);
  const noted = notingSeals(primitives);
  const call = sealCall(
    { primitives: noted.primitives, keySize, secret: secrets.clientToServer },
    { epoch: 0, sessionId, number: { lane: LANE, counter: 2 }, salt: bytesFrom('stream salt', 8) },
    body,
  );
  return {
    keySize,
    clientToServer: toHex(secrets.clientToServer),
    body: 'byte i is i mod 251',
    bodyLength: body.length,
    paddedLength: paddedLength(4 + body.length),
    header: toHex(call.header),
    key: noted.seals[0]?.key,
    chunks: noted.seals.map(({ nonce, plaintext, sealed }) => ({
      nonce,
      plaintextLength: plaintext.length / 2,
      tag: sealed.slice(-32),
    })),
    frame: toHex(call.frame),
  };
}

function epochs({ secrets }: Handshake): Json {
  const chain = (secret: Uint8Array, direction: 'c2s' | 's2c') => {
    const one = nextEpochSecret(primitives, secret, direction);
    return [secret, one, nextEpochSecret(primitives, one, direction)].map(toHex);
  };
  return { clientToServer: chain(secrets.clientToServer, 'c2s'), serverToClient: chain(secrets.serverToClient, 's2c') };
}

function renewal({ secrets }: Handshake): Json {
  const h = bytesFrom('h after step 2', 32);
  const proof = proveSession(primitives, secrets.renewal, h);
  const block: Renewal[] = [{ ...oldSession(h), proof }];
  const answers: RenewalAnswer[][] = [[{ known: 'ran' }, { known: 'result', reply: encodeReply(FIRST_REPLY) }]];
  return {
    renewalKey: toHex(secrets.renewal),
    h: toHex(h),
    proof: toHex(proof),
    sessionId: toHex(OLD.sessionId),
    numbers: block[0]?.numbers.map(({ number, digest }) => ({ ...number, digest: toHex(digest) })),
    block: toHex(encodeRenewals(block)),
    answers: [['ran', { result: toHex(encodeReply(FIRST_REPLY)) }]],
    answerBlock: toHex(encodeRenewalAnswers(answers)),
  };
}

function callIdentities({ secrets, firstKey, step3 }: Handshake): Json {
  const named = (key: Uint8Array, first: Sending, index: number) => ({
    key: toHex(key),
    ...first.number,
    digest: toHex(first.digest),
    index,
    identity: toHex(callIdentity(primitives, key, first, index)),
  });
  const digest = frameDigest(primitives, step3);
  const call = { number: { lane: LANE, counter: 1 }, digest: bytesFrom('digest of the first frame', 16) };
  return {
    firstCalls: named(firstKey, { number: FIRST_CALLS, digest }, 0),
    firstCallsDigest: { frame: toHex(step3), digest: toHex(digest) },
    calls: [0, 1, 255].map((index) => named(secrets.renewal, call, index)),
  };
}

/** CBOR of every kind of value, of calls and of replies. The keys are JavaScript's notation. */
function payloads(): Json {
  const values: [string, unknown][] = [
    ['undefined', undefined],
    ['null', null],
    ['true', true],
    ['0', 0],
    ['-1', -1],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
    ['1.5', 1.5],
    ['-0', -0],
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['9007199254740993n', 9007199254740993n],
    ['0n', 0n],
    ['-256n', -256n],
    ['"é"', 'é'],
    ['Uint8Array [1, 2, 3]', Uint8Array.of(1, 2, 3)],
    ['[1, [2], {}]', [1, [2], {}]],
    ['{ b: 1, a: 2 }', { b: 1, a: 2 }],
    ['new Date("2024-02-29T12:00:00Z")', new Date('2024-02-29T12:00:00Z')],
    ['new Date(1500)', new Date(1500)],
    ['new Map([[1, "one"]])', new Map([[1, 'one']])],
    ['new Set(["a", "b"])', new Set(['a', 'b'])],
  ];
  const resend = { callId: bytesFrom('call id', 16), incarnation: TERMS.incarnation };
  const incarnation = TERMS.incarnation;
  return {
    values: hexed(values.map(([text, value]) => [text, encodeValue(value)])),
    calls: hexed([
      ['balance("alice")', encodeCalls([FIRST_CALL])],
      ['balance("alice") sent again', encodeCalls([{ ...FIRST_CALL, resend }])],
    ]),
    resend: { callId: toHex(resend.callId), incarnation: toHex(incarnation) },
    replies: hexed([
      ['value 1250n', encodeReply(FIRST_REPLY)],
      ['error', encodeReply({ outcomes: [{ ok: false, code: 'not_found', message: 'No such account.' }] })],
      [
        'error with details',
        encodeReply({ outcomes: [{ ok: false, code: 'conflict', message: 'Taken.', details: { status: 409 } }] }),
      ],
      ['status running', encodeReply({ status: 'running' })],
      ['status lane_moved', encodeReply({ status: 'lane_moved', lane: LANE + 60, known: 'never_ran', incarnation })],
    ]),
  };
}

function padding(): Json {
  const lengths = [0, 1, 60, 61, 100, 124, 125, 1000, 4092, 65_000, 65_532, 65_533, 131_068, 131_069, 1_000_000];
  return { paddedLength: Object.fromEntries(lengths.map((length) => [length, paddedLength(4 + length)])) };
}

function keyTexts(): Json {
  const kek = concat(bytesFrom('kek id', 4), bytesFrom('kek', 32));
  const texts = {
    swk1: {
      text: SECURE_KEY,
      keyId: toHex(parseSecureKey(SECURE_KEY).keyId),
      secret: toHex(parseSecureKey(SECURE_KEY).secret),
    },
    swp1: { text: formatKeyText('swp1', SERVER_KEY.publicKey), publicKey: toHex(SERVER_KEY.publicKey) },
    sws1: { text: formatKeyText('sws1', SERVER_KEY.privateKey), privateKey: toHex(SERVER_KEY.privateKey) },
    swe1: { text: formatKeyText('swe1', kek), id: toHex(kek.slice(0, 4)), secret: toHex(kek.slice(4)) },
  };
  return { ...texts, serverKeyId: toHex(serverKeyId(SERVER_KEY.publicKey, primitives)) };
}

function hexed(entries: Iterable<readonly [string, Uint8Array]>): Record<string, string> {
  return Object.fromEntries([...entries].map(([name, bytes]) => [name, toHex(bytes)]));
}

export function fileText(json: Json): string {
  return `${JSON.stringify(json, null, 2)}\n`;
}

export function fileUrl(name: string): URL {
  return new URL(`./${name}.json`, import.meta.url);
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, json] of vectors()) writeFileSync(fileUrl(name), fileText(json));
}
