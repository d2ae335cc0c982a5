import {
  answerFinish,
  callIdentity,
  concat,
  erase,
  finishHandshake,
  firstHeader,
  handshakeRandom,
  handshakeSecret,
  hedgedRandom,
  isPending,
  openCall,
  openResult,
  parseCall,
  receiveFinishAnswer,
  receiveStartAnswer,
  run,
  runSync,
  SIZE,
  type Step,
  sealCall,
  sealResult,
  startHandshake,
} from '@sealwire/core';
import { openLiveCall, openLiveResult, sealLiveCall, sealLiveResult } from '@sealwire/core/live';
import { nodePrimitives } from '@sealwire/core/node';
import { webPrimitives } from '@sealwire/core/webcrypto';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { flipped, pair, TERMS, USES } from './session.js';

const NONCE = new Uint8Array(12);
const random = hedgedRandom(nodePrimitives);
const sessionId = nodePrimitives.random(16);
const number = { lane: 1, counter: 3 };
const client = { primitives: webPrimitives, random: handshakeRandom(webPrimitives) };
const openFailed = expect.objectContaining({ code: 'open_failed' });

/** An error is thrown at once if nothing is waited for. */
const later = async <T>(step: Step<T>): Promise<T> => run(step);

afterEach(() => vi.unstubAllGlobals());

/** A page without TLS. */
function withoutSubtle(): void {
  const { crypto } = globalThis;
  vi.stubGlobal('crypto', { getRandomValues: (bytes: Uint8Array) => crypto.getRandomValues(bytes) });
}

describe.each([
  ['WebCrypto', () => {}],
  ['a page without TLS', withoutSubtle],
])('primitives of %s', (_, set) => {
  it('seal and open as those of Node do', async () => {
    set();
    const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    const any = fc.uint8Array({ maxLength: 300 });
    await fc.assert(
      fc.asyncProperty(fc.oneof(bytes(16), bytes(32)), bytes(12), any, any, async (key, nonce, ad, plaintext) => {
        const sealed = await webPrimitives.seal(key, nonce, ad, plaintext);
        expect(sealed).toEqual(nodePrimitives.seal(key, nonce, ad, plaintext));
        const room = concat(plaintext, new Uint8Array(16));
        expect(await webPrimitives.seal(key, nonce, ad, room.subarray(0, plaintext.length), room)).toBe(room);
        expect(room).toEqual(sealed);
        expect(await webPrimitives.open(key, nonce, ad, sealed)).toEqual(plaintext);
        const wrong = async () => webPrimitives.open(key, nonce, ad, flipped(sealed, 8 * sealed.length - 1));
        await expect(wrong()).rejects.toEqual(openFailed);
      }),
      { numRuns: 50 },
    );
  });

  it('refuse keys and nonces that no frame has, and what is too short to hold a tag', async () => {
    set();
    for (const [key, nonce] of [
      [new Uint8Array(24), NONCE],
      [new Uint8Array(32), new Uint8Array(16)],
    ] as const) {
      await expect((async () => webPrimitives.seal(key, nonce, NONCE, NONCE))()).rejects.toEqual(openFailed);
      await expect((async () => webPrimitives.open(key, nonce, NONCE, new Uint8Array(20)))()).rejects.toEqual(
        openFailed,
      );
    }
    await expect((async () => webPrimitives.open(new Uint8Array(32), NONCE, NONCE, NONCE))()).rejects.toEqual(
      openFailed,
    );
  });

  it('agree with those of Node', async () => {
    set();
    const ours = await webPrimitives.x25519KeyPair(random(32, NONCE));
    const theirs = nodePrimitives.x25519KeyPair(random(32, NONCE));
    expect(await webPrimitives.x25519(ours.privateKey, theirs.publicKey)).toEqual(
      nodePrimitives.x25519(theirs.privateKey, ours.publicKey),
    );
    for (const point of [new Uint8Array(32), Uint8Array.of(1, ...new Uint8Array(31)), new Uint8Array(31)]) {
      await expect(webPrimitives.x25519(ours.privateKey, point)).rejects.toEqual(openFailed);
    }
    const pair = await webPrimitives.kemKeyPair(random(64, NONCE));
    const { ciphertext, sharedSecret } = nodePrimitives.kemEncapsulate(pair.encapsulationKey, random(32, NONCE));
    expect(await webPrimitives.kemDecapsulate(ciphertext, pair.decapsulationKey)).toEqual(sharedSecret);
    // what was computed with the key pair is kept, and not computed a second time
    if (pair.decapsulationKey instanceof Uint8Array) expect(pair.decapsulationKey.length).toBe(2_400);
    await expect(webPrimitives.kemDecapsulate(new Uint8Array(9), pair.decapsulationKey)).rejects.toEqual(openFailed);
  });

  it.each(USES)('shake hands with a server: %o', async (use) => {
    set();
    const sides = pair(use);
    const sent1 = await run(startHandshake(client, sides.clientConfig));
    const frame2 = sides.answer1(sent1.frame);
    await expect(later(receiveStartAnswer(sent1, flipped(frame2, 8 * frame2.length - 1)))).rejects.toMatchObject({
      code: 'handshake_failed',
    });
    const opened2 = await run(receiveStartAnswer(sent1, frame2));
    const sent3 = await run(finishHandshake(opened2, [], [new Uint8Array(9)]));
    const answer = answerFinish(sides.open3(sent3.frame), TERMS, [], [{ known: 'running' }]);
    await expect(later(receiveFinishAnswer(sent3, flipped(answer.frame, 700)))).rejects.toMatchObject({
      code: 'handshake_failed',
    });
    const finished = await run(receiveFinishAnswer(sent3, answer.frame));
    expect(finished.secrets).toEqual(answer.secrets);
    expect(finished.firstAnswers).toEqual([{ known: 'running' }]);
  });

  it('hash as those of Node do, and where the page draws only without WebCrypto', async () => {
    set();
    const native = globalThis.crypto.subtle !== undefined;
    for (const length of [0, 64, 70_000]) {
      const [key, ikm, info] = [32, length, 5].map((size) => nodePrimitives.random(size)) as [
        Uint8Array,
        Uint8Array,
        Uint8Array,
      ];
      const parts = [ikm, info];
      const expected = [
        nodePrimitives.sha256(...parts),
        nodePrimitives.hmac(key, ...parts),
        nodePrimitives.hkdf(key, ikm, info, 96),
      ];
      const given = [
        webPrimitives.digest?.(...parts),
        webPrimitives.mac?.(key, ...parts),
        webPrimitives.hkdf(key, ikm, info, 96),
      ];
      expect(given.map(isPending)).toEqual([native, native, true]);
      // whoever holds the bytes may erase them
      erase(key, ...parts);
      expect(await Promise.all(given)).toEqual(expected);
    }
  });

  it('salt a long message by all of its plaintext, under a key that may be erased meanwhile', async () => {
    set();
    // a cloned machine draws the same
    const drawn: Uint8Array[] = [];
    const cloned = (length: number, context: Uint8Array) => {
      drawn.push(context);
      return nodePrimitives.sha256(context).slice(0, length);
    };
    const body = nodePrimitives.random(300_000);
    const salts = new Set<string>();
    for (const one of [body, Uint8Array.from(body, (byte, i) => (i === 299_999 ? byte ^ 1 : byte))]) {
      const secret = nodePrimitives.random(32);
      const ours = { primitives: webPrimitives, keySize: 32 as const, secret: secret.slice() };
      const sealing = run(sealCall(ours, { epoch: 0, sessionId, number }, cloned, one));
      ours.secret.fill(0);
      const { frame, header } = await sealing;
      expect(Buffer.compare(openCall({ ...ours, primitives: nodePrimitives, secret }, parseCall(frame)), one)).toBe(0);
      salts.add(Buffer.from(header.subarray(-SIZE.salt)).toString('hex'));
    }
    expect(salts.size).toBe(2);
    // of so many bytes only their digest is hashed where the page draws
    expect(drawn.map(({ length }) => length)).toEqual([32, 32]);
  });

  it('shake hands and open the first result without hashing where the page draws', async () => {
    set();
    const refuse = () => {
      throw new Error('hashed here');
    };
    const primitives = { ...webPrimitives, sha256: refuse, hmac: refuse };
    const sides = pair({ keySize: 32, pinned: true, secureKey: true });
    const sent1 = await run(startHandshake({ ...client, primitives }, sides.clientConfig));
    const opened2 = await run(receiveStartAnswer(sent1, sides.answer1(sent1.frame)));
    const sent3 = await run(finishHandshake(opened2, [], [new Uint8Array(9_000)]));
    const first = { number: { lane: 0, counter: 0 }, digest: sent3.digest };
    const named = callIdentity(primitives, handshakeSecret(primitives, sent3.firstKey), first, 0);
    const opened3 = sides.open3(sent3.frame);
    const callHeader = firstHeader(sent3.sessionId, sent3.digest, 0);
    const theirs = { primitives: nodePrimitives, keySize: 32 as const, secret: opened3.firstResults };
    const result = sealResult(theirs, { epoch: 0, callHeader }, random, NONCE);
    const answer = answerFinish(opened3, TERMS, [], [{ known: 'result', frame: result }]);
    const { secrets, firstAnswers } = await run(receiveFinishAnswer(sent3, answer.frame));
    expect(secrets).toEqual(answer.secrets);
    expect(firstAnswers).toEqual([{ known: 'result', frame: result }]);
    const ours = { primitives, keySize: 32 as const, secret: handshakeSecret(primitives, sent3.firstResults) };
    expect(await run(openResult(ours, callHeader, result))).toEqual(NONCE);
    expect(await named).toEqual(callIdentity(nodePrimitives, opened3.firstKey, first, 0));
  });

  it.each([0, 200, 65_532, 300_000])('exchange messages of %i bytes with a server', async (length) => {
    set();
    for (const keySize of [16, 32] as const) {
      const secret = nodePrimitives.random(32);
      const ours = { primitives: webPrimitives, keySize, secret };
      const theirs = { primitives: nodePrimitives, keySize, secret };
      const body = nodePrimitives.random(length);
      const { frame, header } = await run(sealCall(ours, { epoch: 0, sessionId, number }, random, body));
      const call = parseCall(frame);
      expect(Buffer.compare(openCall(theirs, call), body)).toBe(0);
      const result = sealResult(theirs, { epoch: 0, callHeader: header }, random, body);
      expect(Buffer.compare(await run(openResult(ours, header, result)), body)).toBe(0);
      await expect(later(openResult(ours, header, flipped(result, 8 * result.length - 1)))).rejects.toEqual(openFailed);

      const up = sealLiveCall(ours, { epoch: 0, sessionId, number }, random, body.subarray(0, 9), false);
      const pieces = [await run(up.first), await run(up.sealer.seal(body.subarray(0, 60_000), true))];
      const opener = openLiveCall(theirs, parseCall(pieces[0]!.subarray(0, SIZE.callHeader)));
      const opened = runSync(opener.push(concat(...pieces).subarray(SIZE.callHeader)));
      expect(Buffer.compare(concat(...opened), concat(body.subarray(0, 9), body.subarray(0, 60_000)))).toBe(0);
      const down = sealLiveResult(theirs, { epoch: 0, callHeader: header }, random, body.subarray(0, 9), true);
      const reading = openLiveResult(ours, header, down.first);
      expect(await run(reading.push(down.first.subarray(SIZE.resultHeader)))).toEqual([body.slice(0, 9)]);
      reading.end();
    }
  });
});
