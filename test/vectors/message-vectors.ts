import { paddedLength, toHex } from '../../libs/core/src/bytes.js';
import { nodePrimitives as primitives } from '../../libs/core/src/crypto/node.js';
import {
  type CallNumber,
  encodeCalls,
  encodeReply,
  FIRST_LANE,
  nextEpochSecret,
  type Reply,
  runSync,
  sealCall,
  sealResult,
} from '../../libs/core/src/index.js';
import { type Handshake, LANE, TERMS } from './handshake-vectors.js';
import { bytesFrom, notingSeals } from './recorder.js';

type Json = Record<string, unknown>;

const CALLS = encodeCalls([
  { name: 'transfer', args: [{ from: 'alice', to: 'bob', cents: 1250n }] },
  { name: 'balance', args: ['bob'] },
]);
const REPLY: Reply = {
  outcomes: [
    { ok: false, code: 'funds_short', message: 'Not enough money.', details: { missing: 50n } },
    { ok: true, value: 1250n },
  ],
};
const drawn = (name: string) => (length: number) => bytesFrom(name, length);

/** One call of each kind of exchange, by name. */
export function messages(full: Handshake, short: Handshake): Json {
  const number = { lane: LANE, counter: 1 };
  const moved: Reply = {
    status: 'lane_moved',
    lane: LANE + 60,
    known: 'never_ran',
    incarnation: TERMS.incarnation,
  };
  return {
    [full.name]: exchange(full, { number, reply: REPLY }),
    [short.name]: exchange(short, { number, reply: REPLY }),
    'epoch 258': exchange(full, { number: { lane: LANE, counter: 40 }, reply: REPLY, epoch: 258 }),
    'lane moved': exchange(full, { number: { lane: LANE, counter: 41 }, reply: moved }),
    'first calls asked for': exchange(full, {
      number: { lane: FIRST_LANE, counter: 0 },
      calls: new Uint8Array(),
      reply: { first: full.firstResult },
    }),
  };
}

function exchange(
  { keySize, secrets, sessionId }: Handshake,
  message: { number: CallNumber; reply: Reply; calls?: Uint8Array; epoch?: number },
): Json {
  const { number, calls = CALLS, epoch = 0 } = message;
  const reply = encodeReply(message.reply);
  const [upSecret, downSecret] = [
    step(secrets.clientToServer, 'c2s', epoch),
    step(secrets.serverToClient, 's2c', epoch),
  ];
  const noted = notingSeals(primitives);
  const up = { primitives: noted.primitives, keySize, secret: upSecret };
  const down = { primitives: noted.primitives, keySize, secret: downSecret };
  const call = runSync(sealCall(up, { epoch, sessionId, number }, drawn('call salt'), calls));
  const result = sealResult(down, { epoch, callHeader: call.header }, drawn('result salt'), reply);
  const [sealedCall, sealedResult] = noted.seals;
  return {
    keySize,
    sessionId: toHex(sessionId),
    firstEpoch: { clientToServer: toHex(secrets.clientToServer), serverToClient: toHex(secrets.serverToClient) },
    epoch,
    clientToServer: toHex(upSecret),
    serverToClient: toHex(downSecret),
    number,
    call: { payload: toHex(calls), header: toHex(call.header), ...sealedCall, frame: toHex(call.frame) },
    result: { payload: toHex(reply), header: toHex(result.slice(0, 12)), ...sealedResult, frame: toHex(result) },
  };
}

function step(secret: Uint8Array, direction: 'c2s' | 's2c', epochs: number): Uint8Array {
  let stepped = secret;
  for (let i = 0; i < epochs; i++) stepped = nextEpochSecret(primitives, stepped, direction);
  return stepped;
}

/** A call of three chunks and its result of two, under a key of 16 bytes. */
export function chunked({ keySize, secrets, sessionId }: Handshake): Json {
  const noted = notingSeals(primitives);
  const body = (length: number) => Uint8Array.from({ length }, (_, i) => i % 251);
  const up = { primitives: noted.primitives, keySize, secret: secrets.clientToServer };
  const down = { primitives: noted.primitives, keySize, secret: secrets.serverToClient };
  const number = { lane: LANE, counter: 2 };
  const call = runSync(sealCall(up, { epoch: 0, sessionId, number }, drawn('chunked salt'), body(132_000)));
  const result = sealResult(down, { epoch: 0, callHeader: call.header }, drawn('chunked salt'), body(70_000));
  const describe = (bodyLength: number, header: Uint8Array, frame: Uint8Array, seals: typeof noted.seals) => ({
    bodyLength,
    paddedLength: paddedLength(4 + bodyLength),
    header: toHex(header),
    key: seals[0]?.key,
    chunks: seals.map(({ nonce, plaintext, sealed }) => ({
      nonce,
      plaintextLength: plaintext.length / 2,
      tag: sealed.slice(-32),
    })),
    frame: toHex(frame),
  });
  return {
    keySize,
    clientToServer: toHex(secrets.clientToServer),
    serverToClient: toHex(secrets.serverToClient),
    body: 'byte i is i mod 251',
    call: describe(132_000, call.header, call.frame, noted.seals.slice(0, 3)),
    result: describe(70_000, result.slice(0, 12), result, noted.seals.slice(3)),
  };
}

export function epochs({ secrets }: Handshake): Json {
  const chain = (secret: Uint8Array, direction: 'c2s' | 's2c') =>
    [0, 1, 2].map((e) => toHex(step(secret, direction, e)));
  return { clientToServer: chain(secrets.clientToServer, 'c2s'), serverToClient: chain(secrets.serverToClient, 's2c') };
}
