/**
 * One session, step by step, as PROTOCOL.md tells it: sections 3, 5 and 6 with their bytes. Randomness is the committed
 * vector's, so every frame and both sides' `h` and `ck` are known beforehand and compared after every step.
 */
import { readFileSync } from 'node:fs';
import {
  answerFinish,
  answerStart,
  callIdentity,
  decodeCalls,
  decodeReply,
  encodeCalls,
  encodeReply,
  FIRST_LANE,
  finishHandshake,
  firstHeader,
  frameDigest,
  frameType,
  fromHex,
  makeSessionId,
  nextEpochSecret,
  openCall,
  openCookie,
  openFinish,
  openResult,
  parseCall,
  parseFinish,
  parseSecureKey,
  parseServerPrivateKey,
  parseServerPublicKey,
  parseStart,
  ReplayWindow,
  receiveFinishAnswer,
  receiveStartAnswer,
  runSync,
  SealwireError,
  sealCall,
  sealCookie,
  sealResult,
  serverKeyId,
  startHandshake,
  toHex,
} from '@sealwire/core';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { expect, it } from 'vitest';
import { scriptedSuite } from './vectors/recorder.js';

const read = (name: string) => JSON.parse(readFileSync(new URL(`./vectors/${name}.json`, import.meta.url), 'utf8'));
const vector = read('handshake-pinned-securekey-32');
const texts = read('key-texts');
const message = read('messages')['handshake-pinned-securekey-32'];
const drawn = (...names: string[]) => scriptedSuite(names.map((name) => [name, fromHex(vector.random[name])] as const));

/** `h` and `ck` that the vector has after the operation which mixed in `what`. */
function after(step: string, what: string): { h: string; ck: string } {
  const { h, ck } = vector[step].operations.find((operation: { what: string }) => operation.what === what);
  return { h, ck };
}

function stateOf({ symmetric: { h, ck } }: { symmetric: { h: Uint8Array; ck: Uint8Array } }): {
  h: string;
  ck: string;
} {
  return { h: toHex(h), ck: toHex(ck) };
}

it('plays a session from the first byte to a refused replay', () => {
  // What both were given beforehand. The client pins the server's public key; both hold the SecureKey.
  const serverKey = parseServerPrivateKey(texts.sws1.text, primitives);
  const pinned = parseServerPublicKey(texts.swp1.text);
  const secureKey = parseSecureKey(texts.swk1.text);
  expect(pinned).toEqual(serverKey.publicKey);

  const client = drawn('e_c', 'kemSeed', 'C1', 'A', 'C2', 'B', 'salt3');
  const server = drawn('e_s', 'kemCoins', 'S1', 'sessionRandom', 'cookieSalt', 'e_f', 'S2');

  // Step 1, client to server: two ephemeral public keys in clear, then sealed C1 and A.
  const step1 = runSync(startHandshake(client, { modulePath: 'payments', keySize: 32, serverKey: pinned, secureKey }));
  expect(toHex(step1.frame)).toBe(vector.step1.frame);
  expect(step1.frame.length).toBe(1360);
  expect(frameType(step1.frame)).toBe('start');
  expect(stateOf(step1)).toEqual(after('step1', 'C1'));

  // The server reads which keys it needs. Who does not know the SecureKey and the private key cannot open the rest.
  const start = parseStart(step1.frame);
  expect(start).toMatchObject({ flags: 3, keySize: 32, keyId: secureKey.keyId });
  expect(start.serverKeyId).toEqual(serverKeyId(serverKey.publicKey, primitives));

  // Step 2, server to client: S1 and the client's own A come back. All that the server would have to remember goes into
  // the cookie: ck as it was before MixKey(S1), h as it is after the whole step.
  const cookieKey = { id: fromHex(vector.cookie.id), key: fromHex(vector.cookie.key) };
  const options = {
    force: true,
    requirePinned: false,
    requireSecureKey: true,
    minKeySize: 16 as const,
    pins: [start.serverKeyId],
    incarnation: fromHex(vector.step4.terms.incarnation),
    maxBody: 1_048_576,
    age: 90_000,
    maxUpload: 0,
    pulse: 0,
  };
  const sessionId = (random10: Uint8Array) =>
    makeSessionId(primitives, fromHex(vector.sessionIdKey), 'payments', random10);
  const config = { modulePath: 'payments', options, serverKey, secureKey: secureKey.secret, sessionId };
  const frame2 = answerStart(server, config, start, (state) => {
    expect({ h: toHex(state.h), ck: toHex(state.ck) }).toEqual(after('step2', 'sealed_2'));
    return sealCookie(server, cookieKey, 'payments', { ...state, issued: vector.cookie.issued });
  });
  expect(toHex(frame2)).toBe(vector.step2.frame);

  // The client checks A, takes S1 in, and knows the session id and the server's policy.
  const step2 = runSync(receiveStartAnswer(step1, frame2));
  expect(stateOf(step2)).toEqual(after('step2', 'S1'));
  expect(toHex(step2.sessionId)).toBe(vector.sessionId);
  expect(step2.serverOptions).toEqual(options);

  // Step 3, client to server: a salt and the cookie, then sealed C2, B and the first calls, each a message of its own.
  const firstCalls = ['alice', 'bob'].map((account) => encodeCalls([{ name: 'balance', args: [account] }]));
  const step3 = runSync(finishHandshake(step2, [], firstCalls));
  expect(toHex(step3.frame)).toBe(vector.step3.frame);
  expect(stateOf(step3)).toEqual(after('step3', 'C2'));

  // The server has nothing but the cookie, which brings it to the same state.
  const finish = parseFinish(step3.frame);
  const state = openCookie(primitives, cookieKey, 'payments', finish.cookie);
  expect(state.issued).toBe(vector.cookie.issued);
  const opened3 = openFinish(server, state, finish);
  expect(stateOf(opened3)).toEqual(stateOf(step3));
  expect(opened3.sessionId).toEqual(step2.sessionId);
  expect(opened3.provenOver).toEqual(step2.h);
  expect(opened3.firstCalls.map((payload) => decodeCalls(payload)[0]?.args)).toEqual([['alice'], ['bob']]);

  // Both can already name the first calls, should step 4 get lost.
  expect(toHex(opened3.firstKey)).toBe(vector.step3.firstKey);
  expect(step3.firstKey).toEqual(opened3.firstKey);
  const first = { number: { lane: FIRST_LANE, counter: 0 }, digest: frameDigest(primitives, step3.frame) };
  const identity = callIdentity(primitives, step3.firstKey, first, 0);
  expect(toHex(identity)).toBe(read('call-identity').firstCalls[0].identity);

  // The result of the first message is sealed once, before step 4, under F_results. The other still runs.
  const firstHead = firstHeader(opened3.sessionId, first.digest, 0);
  const firstReply = encodeReply({ outcomes: [{ ok: true, value: 1250n }] });
  const firstSeal = { primitives, keySize: 32 as const, secret: opened3.firstResults };
  const firstSalt = () => fromHex(vector.firstResult.frame).slice(4, 12);
  const firstResult = sealResult(firstSeal, { epoch: 0, callHeader: firstHead }, firstSalt, firstReply);
  expect(toHex(firstResult)).toBe(vector.firstResult.frame);

  // Step 4, server to client: a second ephemeral key, then sealed S2, B, the session's terms and the first answers.
  const terms = { ...vector.step4.terms, incarnation: fromHex(vector.step4.terms.incarnation) };
  const step4 = answerFinish(opened3, terms, [], [{ known: 'result', frame: firstResult }, { known: 'running' }]);
  expect(toHex(step4.frame)).toBe(vector.step4.frame);

  // The split: the same three secrets on both sides, and nothing else is left of the handshake.
  const finished = runSync(receiveFinishAnswer(step3, step4.frame));
  const [one, two] = finished.firstAnswers;
  const opened = one?.known === 'result' ? runSync(openResult(firstSeal, firstHead, one.frame)) : new Uint8Array();
  expect(decodeReply(opened)).toEqual({ outcomes: [{ ok: true, value: 1250n }] });
  expect(two).toEqual({ known: 'running' });
  expect(finished.terms).toEqual(terms);
  expect(finished.secrets).toEqual(step4.secrets);
  const { clientToServer, serverToClient, renewal } = finished.secrets;
  expect({ clientToServer: toHex(clientToServer), serverToClient: toHex(serverToClient) }).toMatchObject({
    clientToServer: vector.secrets.clientToServer,
    serverToClient: vector.secrets.serverToClient,
  });
  expect(toHex(renewal)).toBe(vector.secrets.renewal);

  // A call. X says lane and counter; the header is bound to the key and is associated data too.
  const up = { primitives, keySize: 32 as const, secret: clientToServer };
  const down = { primitives, keySize: 32 as const, secret: serverToClient };
  const header = fromHex(message.call.header);
  const call = runSync(
    sealCall(
      up,
      { epoch: 0, sessionId: finished.sessionId, number: { lane: terms.lane, counter: 1 } },
      () => header.slice(28),
      fromHex(message.call.payload),
    ),
  );
  expect(toHex(call.frame)).toBe(message.call.frame);

  // The server opens it, and only then asks whether X is new.
  const lane = new ReplayWindow();
  const received = parseCall(call.frame);
  const calls = decodeCalls(openCall(up, received));
  expect(calls.map(({ name }) => name)).toEqual(['transfer', 'balance']);
  expect(lane.accept(received.number.counter)).toBe('fresh');

  // The result is bound to both headers; one call of the batch failed, the other did not.
  const resultHeader = fromHex(message.result.header);
  const result = sealResult(
    down,
    { epoch: 0, callHeader: received.header },
    () => resultHeader.slice(4),
    fromHex(message.result.payload),
  );
  expect(toHex(result)).toBe(message.result.frame);
  expect(decodeReply(runSync(openResult(down, call.header, result)))).toEqual({
    outcomes: [
      { ok: false, code: 'funds_short', message: 'Not enough money.', details: { missing: 50n } },
      { ok: true, value: 1250n },
    ],
  });

  // The same frame again opens, for it is genuine, but its number was seen; its digest tells it from another with that X.
  expect(decodeCalls(openCall(up, parseCall(call.frame)))).toEqual(calls);
  expect(lane.accept(received.number.counter)).toBe('seen');
  expect(frameDigest(primitives, call.frame).length).toBe(16);

  // The second of the first calls is asked for in lane 0, with nothing inside. The answer brings its result frame.
  const asking = runSync(
    sealCall(
      up,
      { epoch: 0, sessionId: finished.sessionId, number: { lane: FIRST_LANE, counter: 1 } },
      () => header.slice(28),
      new Uint8Array(),
    ),
  );
  expect(openCall(up, parseCall(asking.frame)).length).toBe(0);

  // One bit turned on the way, and nothing opens.
  const tampered = call.frame.map((byte, i) => (i === 60 ? byte ^ 1 : byte));
  expect(() => openCall(up, parseCall(tampered))).toThrow(SealwireError);

  // The next epoch: one HMAC a direction, and the frame above does not open any more.
  const next = nextEpochSecret(primitives, clientToServer, 'c2s');
  expect([toHex(clientToServer), toHex(next)]).toEqual(read('epochs').clientToServer.slice(0, 2));
  expect(() => openCall({ ...up, secret: next }, parseCall(call.frame))).toThrow(SealwireError);
});
