import {
  type Answered,
  type Asked,
  answerFinish,
  type ClientHandshakeConfig,
  finishHandshake,
  type KeySize,
  type NumberAnswer,
  type Primitives,
  receiveFinishAnswer,
  receiveStartAnswer,
  runSync,
  type ServerOptions,
  startHandshake,
} from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { serverHandshake, suiteOf } from '../../../test/support/peer/handshake.js';

export { suiteOf } from '../../../test/support/peer/handshake.js';

export const MODULE = 'payments';
export const TERMS = { lane: 1_700_000_000, idle: 1800, lifetime: 43_200, incarnation: new Uint8Array(8).fill(7) };
export const OPTIONS: ServerOptions = {
  force: true,
  requirePinned: false,
  requireSecureKey: false,
  minKeySize: 16,
  pins: [],
  incarnation: TERMS.incarnation,
  maxBody: 1_048_576,
  age: 0,
  maxUpload: 0,
  pulse: 0,
};

export interface Use {
  readonly keySize: KeySize;
  readonly pinned: boolean;
  readonly secureKey: boolean;
}

export const USES: Use[] = ([16, 32] as const).flatMap((keySize) =>
  [true, false].flatMap((pinned) => [true, false].map((secureKey) => ({ keySize, pinned, secureKey }))),
);

/** A client and a server that fit each other, and the server's two answers with what lies between them. */
export function pair(use: Use, primitives: { client: Primitives; server: Primitives } = both(nodePrimitives)) {
  const sides = serverHandshake(MODULE, OPTIONS, primitives.server);
  const { serverKey, secureKey } = sides;
  const client = suiteOf(primitives.client);
  const clientConfig: ClientHandshakeConfig = {
    modulePath: MODULE,
    keySize: use.keySize,
    serverKey: use.pinned ? serverKey.publicKey : undefined,
    secureKey: use.secureKey ? secureKey : undefined,
  };
  return { ...sides, client, clientConfig };
}

export function both(primitives: Primitives): { client: Primitives; server: Primitives } {
  return { client: primitives, server: primitives };
}

/** All four steps, everything kept. */
export function handshake(
  use: Use,
  first: { calls?: Uint8Array[]; firstAnswers?: NumberAnswer[]; asked?: Asked[]; answers?: Answered[] } = {},
  primitives = both(nodePrimitives),
) {
  const sides = pair(use, primitives);
  const sent1 = runSync(startHandshake(sides.client, sides.clientConfig));
  const frame2 = sides.answer1(sent1.frame);
  const opened2 = runSync(receiveStartAnswer(sent1, frame2));
  const sent3 = runSync(finishHandshake(opened2, first.asked ?? [], first.calls ?? []));
  const sentKeys = { firstKey: sent3.firstKey.slice(), firstResults: sent3.firstResults.slice() };
  const opened3 = sides.open3(sent3.frame);
  const answer = answerFinish(opened3, TERMS, first.answers ?? [], first.firstAnswers ?? []);
  const finished = runSync(receiveFinishAnswer(sent3, answer.frame));
  return {
    ...sides,
    sent1,
    frame2,
    opened2,
    sent3,
    sentKeys,
    opened3,
    frame4: answer.frame,
    serverSecrets: answer.secrets,
    finished,
  };
}

/** `frame` with one bit turned. */
export function flipped(frame: Uint8Array, bit: number): Uint8Array {
  const copy = frame.slice();
  copy[bit >>> 3] = (copy[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

/** The code of the SealwireError that `action` throws; anything else thrown passes on. */
export function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof Error && error.name === 'SealwireError' && 'code' in error) return String(error.code);
    throw error;
  }
  return 'nothing was thrown';
}
