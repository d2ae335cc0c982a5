import type { webcrypto } from 'node:crypto';
import {
  type Asked,
  answerFinish,
  callIdentity,
  concat,
  finishHandshake,
  hedgedRandom,
  type NumberAnswer,
  nextEpochSecret,
  openCall,
  openResult,
  parseCall,
  proveSession,
  receiveFinishAnswer,
  receiveStartAnswer,
  run,
  runSync,
  type Secret,
  SIZE,
  type Step,
  sealCall,
  sealResult,
  startHandshake,
} from '@sealwire/core';
import { openLiveResult, sealLiveCall, sealLiveResult } from '@sealwire/core/live';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { NativeSecret } from '@sealwire/core/webcrypto';
import { describe, expect, it, vi } from 'vitest';
import { flipped, pair, TERMS } from './session.js';

const bytes = primitives.random(32);
const sessionId = primitives.random(16);
const number = { lane: 1, counter: 3 };
const message = { epoch: 0, sessionId, number };
const body = primitives.random(200_000);
/** the same salt each time */
const random = (length: number) => new Uint8Array(length).fill(7);
const held = (): NativeSecret => NativeSecret.of(bytes.slice());
const keyOf = (secret: Secret) => ({ primitives, keySize: 32 as const, secret });
/** an error is thrown at once if nothing is waited for */
const later = async <T>(step: Step<T>): Promise<T> => run(step);

describe('a secret that the platform holds', () => {
  it('is not extractable, and its bytes are erased', async () => {
    const given = bytes.slice();
    const key = (await NativeSecret.of(given).key) as webcrypto.CryptoKey;
    expect(given).toEqual(new Uint8Array(32));
    expect(key.extractable).toBe(false);
    await expect(crypto.subtle.exportKey('raw', key)).rejects.toThrow();
  });

  it.each([0, 200, 200_000])('seals and opens byte for byte what its bytes do: %i', async (length) => {
    const piece = body.subarray(0, length);
    const mine = await run(sealCall(keyOf(held()), message, random, piece));
    const theirs = runSync(sealCall(keyOf(bytes), message, random, piece));
    expect(mine).toEqual(theirs);
    const server = { primitives, keySize: 32 as const, secret: bytes };
    expect(Buffer.compare(openCall(server, parseCall(mine.frame)), piece)).toBe(0);
    const result = sealResult(server, { epoch: 0, callHeader: mine.header }, random, piece);
    expect(Buffer.compare(await run(openResult(keyOf(held()), mine.header, result)), piece)).toBe(0);
    const forged = later(openResult(keyOf(held()), mine.header, flipped(result, 8 * result.length - 1)));
    await expect(forged).rejects.toMatchObject({ code: 'open_failed' });
  });

  it('seals and opens live messages byte for byte as its bytes do', async () => {
    const seal = async (secret: Secret) => {
      const { sealer, first } = sealLiveCall(keyOf(secret), message, random, body.subarray(0, 9), false);
      return concat(await run(first), await run(sealer.seal(body.subarray(0, 60_000), true)));
    };
    const sealed = await seal(held());
    expect(sealed).toEqual(await seal(bytes));
    const server = { primitives, keySize: 32 as const, secret: bytes };
    const callHeader = sealed.subarray(0, SIZE.callHeader);
    const down = sealLiveResult(server, { epoch: 0, callHeader }, random, body.subarray(0, 9), true);
    const opener = openLiveResult(keyOf(held()), callHeader, down.first);
    const arrived = down.first.subarray(SIZE.resultHeader);
    expect(await run(opener.push(arrived))).toEqual([body.slice(0, 9)]);
    opener.end();
    // given up while the platform derives its key
    const given = openLiveResult(keyOf(held()), callHeader, down.first);
    const opening = later(given.push(arrived));
    given.erase();
    await expect(opening).rejects.toMatchObject({ code: 'open_failed' });
  });

  it('steps to the same next epoch, identities and proofs', async () => {
    const next = nextEpochSecret(primitives, held(), 'c2s');
    const twice = nextEpochSecret(primitives, next, 'c2s');
    const plain = nextEpochSecret(primitives, nextEpochSecret(primitives, bytes, 'c2s'), 'c2s');
    expect(await run(sealCall(keyOf(twice), message, random, body))).toEqual(
      runSync(sealCall(keyOf(plain), message, random, body)),
    );
    expect(((await (twice as NativeSecret).key) as webcrypto.CryptoKey).extractable).toBe(false);
    const first = { number, digest: primitives.random(16) };
    expect(await callIdentity(primitives, held(), first, 2)).toEqual(callIdentity(primitives, bytes, first, 2));
    const h = primitives.random(32);
    for (const role of ['prove', 'answer'] as const) {
      expect(await proveSession(primitives, held(), h, role)).toEqual(proveSession(primitives, bytes, h, role));
    }
  });

  it('proves an old session in a handshake, and knows who else does', async () => {
    const asked: Asked = { sessionId, key: held(), numbers: [{ number, digest: primitives.random(16) }] };
    const answers: NumberAnswer[] = [{ known: 'ran' }];
    for (const key of [bytes, primitives.random(32)]) {
      const sides = pair({ keySize: 32, pinned: true, secureKey: true });
      const sent1 = runSync(startHandshake(sides.client, sides.clientConfig));
      const opened2 = runSync(receiveStartAnswer(sent1, sides.answer1(sent1.frame)));
      const { h } = opened2;
      const sent3 = await run(finishHandshake(opened2, [asked], []));
      const opened3 = sides.open3(sent3.frame);
      expect(opened3.renewals[0]?.proof).toEqual(proveSession(primitives, bytes, h));
      const { frame } = answerFinish(opened3, TERMS, [{ key, answers }], []);
      const { renewalAnswers } = await run(receiveFinishAnswer(sent3, frame));
      expect(renewalAnswers).toEqual([key === bytes ? answers : [{ known: 'unknown' }]]);
    }
  });

  it('says nothing of what went wrong', async () => {
    const failing = new NativeSecret(Promise.reject(new Error('the platform refused')));
    await expect(later(sealCall(keyOf(failing), message, hedgedRandom(primitives), body))).rejects.toMatchObject({
      code: 'open_failed',
    });
    const before = held();
    vi.spyOn(crypto.subtle, 'importKey').mockRejectedValueOnce(new Error('no more keys'));
    const next = nextEpochSecret(primitives, before, 's2c');
    await expect(later(sealCall(keyOf(next), message, random, body))).rejects.toMatchObject({ code: 'open_failed' });
    vi.restoreAllMocks();
  });
});
