/** Makes the files beside it: `node --import @oxc-node/core/register test/vectors/generate.ts`. A test compares them. */
import { writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { concat, paddedLength, toHex } from '../../libs/core/src/bytes.js';
import { nodePrimitives as primitives } from '../../libs/core/src/crypto/node.js';
import { encodeRenewalAnswers, encodeRenewals } from '../../libs/core/src/handshake/renewal.js';
import {
  callIdentity,
  encodeCalls,
  encodeReply,
  encodeValue,
  FIRST_LANE,
  firstHeader,
  formatKeyText,
  type NumberAnswer,
  parseSecureKey,
  proveSession,
  type Sending,
  serverKeyId,
} from '../../libs/core/src/index.js';
import { STOP } from '../../libs/core/src/live/index.js';
import {
  FIRST_CALL,
  FIRST_REPLY,
  type Handshake,
  handshake,
  LANE,
  OLD,
  oldResult,
  SECURE_KEY,
  SERVER_KEY,
  TERMS,
  VARIANTS,
} from './handshake-vectors.js';
import { live, refusedLive } from './live-vectors.js';
import { chunked, epochs, messages } from './message-vectors.js';
import { refusedPayloads } from './payload-vectors.js';
import { bytesFrom, hexed } from './recorder.js';
import { refused } from './refused.js';

type Json = Record<string, unknown>;

/** File name without `.json` and content. */
export function vectors(): Map<string, Json> {
  const [first, second, ...others] = VARIANTS.map(handshake);
  if (!first || !second) throw new Error('the messages belong to the first two handshakes');
  return new Map<string, Json>([
    ...[first, second, ...others].map(({ name, json }) => [name, json] as const),
    ['messages', messages(first, second)],
    ['message-chunked', chunked(second)],
    ['live', live(first, second)],
    ['live-refused', refusedLive()],
    ['epochs', epochs(first)],
    ['renewal', renewal(first)],
    ['call-identity', callIdentities(first)],
    ['payloads', payloads()],
    ['payloads-refused', refusedPayloads()],
    ['padding', padding()],
    ['key-texts', keyTexts()],
    ['refused', refused()],
  ]);
}

/** A renewal by the renewal key, and one by K_first of a session whose step 4 got lost, with their answers. */
function renewal({ keySize, secrets, sessionId, firstKey, firstResults, firstResult, digest }: Handshake): Json {
  const [h, hAnswer] = ['h after step 2', 'h before sealed_4'].map((name) => bytesFrom(name, 32)) as [
    Uint8Array,
    Uint8Array,
  ];
  const asked = [
    { ...OLD.renewed, key: secrets.renewal },
    {
      sessionId,
      key: firstKey,
      numbers: [0, 1].map((counter) => ({ number: { lane: FIRST_LANE, counter }, digest })),
    },
  ];
  const { frame } = oldResult(keySize);
  const answers: NumberAnswer[][] = [
    [{ known: 'ran' }, { known: 'result', frame }],
    [{ known: 'result', frame: firstResult }, { known: 'running' }],
  ];
  const proofs = asked.map(({ key }) => ({
    prove: proveSession(primitives, key, h),
    answer: proveSession(primitives, key, hAnswer, 'answer'),
  }));
  return {
    h: toHex(h),
    hBeforeSealed4: toHex(hAnswer),
    renewals: asked.map(({ sessionId, key, numbers }, i) => ({
      sessionId: toHex(sessionId),
      key: toHex(key),
      numbers: numbers.map(({ number, digest }) => ({ ...number, digest: toHex(digest) })),
      proof: toHex(proofs[i]?.prove ?? new Uint8Array()),
      answerProof: toHex(proofs[i]?.answer ?? new Uint8Array()),
    })),
    block: toHex(
      encodeRenewals(asked.map(({ key: _, ...rest }, i) => ({ ...rest, proof: proofs[i]?.prove ?? new Uint8Array() }))),
    ),
    answers: answers.map((list) =>
      list.map((answer) => (answer.known === 'result' ? { result: toHex(answer.frame) } : answer.known)),
    ),
    firstResult: {
      secret: toHex(firstResults),
      callHeader: toHex(firstHeader(sessionId, digest, 0)),
      payload: toHex(encodeReply(FIRST_REPLY)),
    },
    answerBlock: toHex(
      encodeRenewalAnswers(answers.map((list, i) => ({ proof: proofs[i]?.answer ?? new Uint8Array(), answers: list }))),
    ),
  };
}

function callIdentities({ secrets, firstKey, step3, digest }: Handshake): Json {
  const named = (key: Uint8Array, first: Sending, index: number) => ({
    key: toHex(key),
    ...first.number,
    digest: toHex(first.digest),
    index,
    identity: toHex(callIdentity(primitives, key, first, index)),
  });
  const call = { number: { lane: LANE, counter: 1 }, digest: bytesFrom('digest of the first frame', 16) };
  return {
    firstCalls: [0, 1].map((counter) => named(firstKey, { number: { lane: FIRST_LANE, counter }, digest }, 0)),
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
    // the deepest that a payload may hold: arrays, objects and tags count
    ['{} in 31 arrays', inArrays(31, {})],
    ['1.5 in 32 arrays', inArrays(32, 1.5)],
    ['new Date(0) in 31 arrays', inArrays(31, new Date(0))],
    ['new Set() in 30 arrays', inArrays(30, new Set())],
    ['new Map() in 30 arrays', inArrays(30, new Map())],
    ['18446744073709551616n in 31 arrays', inArrays(31, 2n ** 64n)],
  ];
  const resend = { callId: bytesFrom('call id', 16), incarnation: TERMS.incarnation };
  const incarnation = TERMS.incarnation;
  const run = bytesFrom('run id', 16);
  return {
    values: hexed(values.map(([text, value]) => [text, encodeValue(value)])),
    calls: hexed([
      ['balance("alice")', encodeCalls([FIRST_CALL])],
      ['balance("alice") sent again', encodeCalls([{ ...FIRST_CALL, resend }])],
      // section 8.4
      ['streams 0 and 2 of a run are read no more', encodeCalls([{ name: STOP, args: [run, 0, 2] }])],
    ]),
    resend: { callId: toHex(resend.callId), incarnation: toHex(incarnation) },
    run: toHex(run),
    replies: hexed([
      ['value 1250n', encodeReply(FIRST_REPLY)],
      ['error', encodeReply({ outcomes: [{ ok: false, code: 'not_found', message: 'No such account.' }] })],
      [
        'error with details',
        encodeReply({ outcomes: [{ ok: false, code: 'conflict', message: 'Taken.', details: { status: 409 } }] }),
      ],
      ['status running', encodeReply({ status: 'running' })],
      ['first calls', encodeReply({ first: Uint8Array.of(0x12, 1) })],
      ['status lane_moved', encodeReply({ status: 'lane_moved', lane: LANE + 60, known: 'never_ran', incarnation })],
    ]),
  };
}

function inArrays(levels: number, value: unknown): unknown {
  return levels === 0 ? value : inArrays(levels - 1, [value]);
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

export function fileText(json: Json): string {
  return `${JSON.stringify(json, null, 2)}\n`;
}

export function fileUrl(name: string): URL {
  return new URL(`./${name}.json`, import.meta.url);
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, json] of vectors()) writeFileSync(fileUrl(name), fileText(json));
}
