import {
  type Asked,
  answerFinish,
  answerStart,
  type ClientPrimitives,
  concat,
  discardHandshake,
  encodeCallNumber,
  finishHandshake,
  frameDigest,
  handshakeRandom,
  hedgedRandom,
  LIMITS,
  type NumberAnswer,
  openCookie,
  openFinish,
  parseFinish,
  parseStart,
  proveSession,
  receiveFinishAnswer,
  receiveStartAnswer,
  runSync,
  SIZE,
  startHandshake,
  toHex,
} from '@sealwire/core';
import { noblePrimitives } from '@sealwire/core/noble';
import { nodePrimitives } from '@sealwire/core/node';
import { webPrimitives } from '@sealwire/core/webcrypto';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { decodeServerOptions, encodeServerOptions, frameHead, START, SymmetricState } from '../src/handshake/index.js';
import { both, codeOf, flipped, handshake, MODULE, OPTIONS, pair, TERMS, USES } from './session.js';

const FULL = { keySize: 32, pinned: true, secureKey: true } as const;
const BARE = { keySize: 32, pinned: false, secureKey: false } as const;
const FAILED = ['handshake_failed', 'version'];
const COOKIE_AT = 4 + 32 + SIZE.kemCiphertext + 2;
const calls = [new Uint8Array(100).fill(1), new Uint8Array(7).fill(3)];
const reply = new Uint8Array(90).fill(2);
const firstAnswers: NumberAnswer[] = [{ known: 'result', frame: reply }, { known: 'running' }];

const old = {
  sessionId: new Uint8Array(16).fill(3),
  key: new Uint8Array(32).fill(4),
  numbers: [8, 9].map((counter) => ({ number: { lane: 9, counter }, digest: new Uint8Array(16).fill(5) })),
} satisfies Asked;
const answers: NumberAnswer[] = [{ known: 'result', frame: reply }, { known: 'never_ran' }];

describe('both roles', () => {
  it.each(USES)('agree on every secret: %o', (use) => {
    const sides = handshake(use, { calls, firstAnswers, asked: [old], answers: [{ key: old.key, answers }] });
    const { sent3, sentKeys, opened2, opened3, finished, serverSecrets } = sides;
    expect(finished.secrets).toEqual(serverSecrets);
    const keys = [...Object.values(serverSecrets), ...Object.values(sentKeys)];
    expect(new Set(keys.map(toHex)).size).toBe(5);
    expect(sentKeys).toEqual({ firstKey: opened3.firstKey, firstResults: opened3.firstResults });
    expect(opened2.sessionId).toEqual(opened3.sessionId);
    expect(opened2.h).toEqual(opened3.provenOver);
    expect(opened3.firstCalls).toEqual(calls);
    const proof = proveSession(nodePrimitives, old.key, opened2.h);
    expect(opened3.renewals).toEqual([{ sessionId: old.sessionId, proof, numbers: old.numbers }]);
    expect(finished).toMatchObject({ firstAnswers, terms: TERMS, renewalAnswers: [answers] });
    expect(sent3.digest).toEqual(frameDigest(nodePrimitives, sent3.frame));
    expect(opened2.serverOptions).toEqual(OPTIONS);
  });

  it('agree across the two sets of primitives', () => {
    const one = handshake(FULL, { calls, firstAnswers }, { client: noblePrimitives, server: nodePrimitives });
    const other = handshake(FULL, { calls, firstAnswers }, { client: nodePrimitives, server: noblePrimitives });
    expect(one.finished.secrets).toEqual(one.serverSecrets);
    expect(other.finished.secrets).toEqual(other.serverSecrets);
  });

  it('agree on other secrets each time', () => {
    expect(handshake(FULL).serverSecrets).not.toEqual(handshake(FULL).serverSecrets);
  });

  it('carry a payload of any length', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 5 }), (up) => {
        const down = up.map((frame): NumberAnswer => ({ known: 'result', frame }));
        const { opened3, finished } = handshake(BARE, { calls: up, firstAnswers: down });
        expect(opened3.firstCalls).toEqual(up);
        expect(finished.firstAnswers).toEqual(down);
      }),
      { numRuns: 20 },
    );
  });

  it('refuse first calls that no server would read', () => {
    const sides = pair(BARE);
    const sent = runSync(startHandshake(sides.client, sides.clientConfig));
    const opened = runSync(receiveStartAnswer(sent, sides.answer1(sent.frame)));
    const room = LIMITS.firstCalls - 4 - 2 - 4;
    expect(codeOf(() => runSync(finishHandshake(opened, [], [new Uint8Array(room + 1)])))).toBe('too_large');
    expect(codeOf(() => runSync(finishHandshake(opened, [], Array(257).fill(reply))))).toBe('too_large');
    const many = { ...old, numbers: Array(257).fill(old.numbers[0]) };
    expect(codeOf(() => runSync(finishHandshake(opened, [many], [])))).toBe('too_large');
    expect(codeOf(() => runSync(finishHandshake(opened, Array(5).fill(old), [])))).toBe('too_large');
    const { frame } = runSync(finishHandshake(opened, [], [new Uint8Array(room)]));
    expect(sides.open3(frame).firstCalls[0]?.length).toBe(room);
  });
});

describe('a flipped bit', () => {
  it('anywhere in step 1 is refused', () => {
    const sides = pair(FULL);
    const { frame } = runSync(startHandshake(sides.client, sides.clientConfig));
    expect(frame.length).toBe(1360);
    const opened = [];
    for (let bit = 0; bit < 8 * frame.length; bit++) {
      if (!FAILED.includes(codeOf(() => sides.answer1(flipped(frame, bit))))) opened.push(bit);
    }
    expect(opened).toEqual([]);
    expect(sides.answer1(frame).length).toBe(COOKIE_AT + SIZE.cookie + 144);
  }, 120_000);

  it('anywhere in step 2 is refused, in the cookie by the server', () => {
    const sides = pair(FULL);
    const start = () => runSync(startHandshake(sides.client, sides.clientConfig));
    const sent = start();
    const frame = sides.answer1(sent.frame);
    for (let byte = 0; byte < frame.length; byte++) {
      if (byte >= COOKIE_AT && byte < COOKIE_AT + SIZE.cookie) continue;
      const damaged = flipped(frame, 8 * byte + (byte % 8));
      expect(FAILED, `byte ${byte}`).toContain(codeOf(() => runSync(receiveStartAnswer(sent, damaged))));
    }
    expect(codeOf(() => runSync(receiveStartAnswer(sent, frame)))).toBe('nothing was thrown');

    for (let byte = 0; byte < SIZE.cookie; byte += 19) {
      const other = start();
      const opened = runSync(receiveStartAnswer(other, flipped(sides.answer1(other.frame), 8 * (COOKIE_AT + byte))));
      const finish = runSync(finishHandshake(opened, [], calls));
      expect(
        codeOf(() => sides.open3(finish.frame)),
        `cookie byte ${byte}`,
      ).toMatch(/^(open|handshake)_failed$/);
    }
  }, 120_000);

  it('anywhere in step 3 is refused', () => {
    const { sent3, open3 } = handshake(FULL, { calls, firstAnswers });
    const { frame } = sent3;
    for (let bit = 0; bit < 8 * frame.length; bit++) {
      expect([...FAILED, 'open_failed'], `bit ${bit}`).toContain(codeOf(() => open3(flipped(frame, bit))));
    }
    expect(open3(frame).firstCalls).toEqual(calls);
  });

  it('in the sealed part of step 3 leaves the opened cookie usable', () => {
    const { sent3, server, cookieKey } = handshake(FULL, { calls, firstAnswers });
    const finish = parseFinish(sent3.frame);
    const state = openCookie(nodePrimitives, cookieKey, MODULE, finish.cookie);
    for (let bit = 0; bit < 8 * finish.sealed.length; bit += 11) {
      const damaged = { ...finish, sealed: flipped(finish.sealed, bit) };
      expect(codeOf(() => openFinish(server, state, damaged))).toBe('handshake_failed');
    }
    expect(openFinish(server, state, finish).firstCalls).toEqual(calls);
  });

  it('anywhere in step 4 is refused', () => {
    const sides = pair(FULL);
    const sent1 = runSync(startHandshake(sides.client, sides.clientConfig));
    const sent3 = runSync(finishHandshake(runSync(receiveStartAnswer(sent1, sides.answer1(sent1.frame))), [], calls));
    const { frame, secrets } = answerFinish(sides.open3(sent3.frame), TERMS, [], firstAnswers);
    for (let bit = 0; bit < 8 * frame.length; bit++) {
      expect(FAILED, `bit ${bit}`).toContain(codeOf(() => runSync(receiveFinishAnswer(sent3, flipped(frame, bit)))));
    }
    expect(runSync(receiveFinishAnswer(sent3, frame)).secrets).toEqual(secrets);
  });
});

describe('a frame cut or lengthened', () => {
  it('is refused at every length in every step', () => {
    const sides = pair(FULL);
    const sent1 = runSync(startHandshake(sides.client, sides.clientConfig));
    const frame2 = sides.answer1(sent1.frame);
    const refuses = (frame: Uint8Array, open: (frame: Uint8Array) => unknown) => {
      for (let length = 0; length < frame.length; length++) {
        expect([...FAILED, 'open_failed'], `length ${length}`).toContain(codeOf(() => open(frame.slice(0, length))));
      }
      const longer = concat(frame, new Uint8Array(1));
      expect(codeOf(() => open(longer))).toBe('handshake_failed');
    };
    refuses(sent1.frame, sides.answer1);
    refuses(frame2, (frame) => runSync(receiveStartAnswer(sent1, frame)));
    const sent3 = runSync(finishHandshake(runSync(receiveStartAnswer(sent1, frame2)), [], calls));
    refuses(sent3.frame, sides.open3);
    const frame4 = answerFinish(sides.open3(sent3.frame), TERMS, [], firstAnswers).frame;
    refuses(frame4, (frame) => runSync(receiveFinishAnswer(sent3, frame)));
    expect(runSync(receiveFinishAnswer(sent3, frame4)).firstAnswers).toEqual(firstAnswers);
  });
});

describe('the server refuses', () => {
  const start = (use = FULL as Parameters<typeof pair>[0]) => {
    const sides = pair(use);
    return { ...sides, frame: runSync(startHandshake(sides.client, sides.clientConfig)).frame };
  };
  const wording = (action: () => unknown) => {
    try {
      action();
      return 'nothing was thrown';
    } catch (error) {
      return `${error} ${JSON.stringify(error)}`;
    }
  };

  it('a wrong SecureKey, a wrong pin and a damaged frame in the same words', () => {
    const { answer1, frame } = start();
    const stranger = nodePrimitives.x25519KeyPair(nodePrimitives.random(32));
    const words = [
      wording(() => answer1(frame, { secureKey: nodePrimitives.random(32) })),
      wording(() => answer1(frame, { serverKey: stranger })),
      wording(() => answer1(flipped(frame, 10_000))),
      wording(() => answer1(frame, { modulePath: 'public' })),
    ];
    expect(words[0]).toContain('handshake_failed');
    expect(words).toEqual(words.map(() => words[0]));
    expect(wording(() => answer1(frame))).toBe('nothing was thrown');
  });

  it.each([
    ['a shorter key', { keySize: 16, pinned: true, secureKey: true }, { minKeySize: 32 }],
    ['no pinned key', { keySize: 32, pinned: false, secureKey: true }, { requirePinned: true }],
    ['no SecureKey', { keySize: 32, pinned: true, secureKey: false }, { requireSecureKey: true }],
  ] as const)('%s where the module demands more', (_, use, policy) => {
    const { answer1, frame } = start(use);
    expect(codeOf(() => answer1(frame, { options: { ...OPTIONS, ...policy } }))).toBe('handshake_failed');
    expect(codeOf(() => answer1(frame))).toBe('nothing was thrown');
  });

  it('a step 3 beyond its limit before it looks into it', () => {
    const longest = new Uint8Array(LIMITS.handshakeFrame + LIMITS.firstCalls);
    longest.set([3, 1, 0, 0]);
    longest.set([0, SIZE.cookie], 12);
    expect(parseFinish(longest).cookie.length).toBe(SIZE.cookie);
    expect(codeOf(() => parseFinish(concat(longest, new Uint8Array(1))))).toBe('handshake_failed');
  });

  it('a key named without being used', () => {
    const { frame } = start(BARE);
    expect(codeOf(() => parseStart(flipped(frame, 8 * 4)))).toBe('handshake_failed');
    expect(codeOf(() => parseStart(flipped(frame, 8 * 15)))).toBe('handshake_failed');
    expect(codeOf(() => parseStart(frame))).toBe('nothing was thrown');
    expect(codeOf(() => parseStart(flipped(start(FULL).frame, 8 * 4)))).toBe('nothing was thrown');
  });

  it('well sealed ephemerals of low order, encapsulation keys out of range and unknown client options', () => {
    const { answer1 } = pair(BARE);
    const kem = nodePrimitives.kemKeyPair(nodePrimitives.random(64)).encapsulationKey;
    const point = nodePrimitives.x25519KeyPair(nodePrimitives.random(32)).publicKey;
    const craft = (clientEphemeral: Uint8Array, encapsulationKey: Uint8Array, option = 0) => {
      const prologue = {
        modulePath: MODULE,
        keySize: 32,
        flags: 0,
        serverKey: undefined,
        secureKey: undefined,
      } as const;
      const symmetric = runSync(SymmetricState.start(nodePrimitives, prologue));
      const ids = { serverKeyId: new Uint8Array(4), keyId: new Uint8Array(8) };
      const clear = START.write({ head: frameHead(1, 0, 32), ...ids, clientEphemeral, encapsulationKey });
      runSync(symmetric.mixHash(clear));
      runSync(symmetric.mixKey(clientEphemeral));
      return concat(clear, runSync(symmetric.seal(concat(new Uint8Array(111), Uint8Array.of(option)))));
    };
    expect(codeOf(() => answer1(craft(point, kem)))).toBe('nothing was thrown');
    expect(codeOf(() => answer1(craft(point, kem, 1)))).toBe('handshake_failed');
    expect(codeOf(() => answer1(craft(new Uint8Array(32), kem)))).toBe('handshake_failed');
    expect(codeOf(() => answer1(craft(point, new Uint8Array(SIZE.encapsulationKey).fill(255))))).toBe(
      'handshake_failed',
    );
  });

  it('frames of another handshake', () => {
    const one = handshake(FULL, { calls, firstAnswers });
    const two = pair(FULL);
    const sent = runSync(startHandshake(two.client, two.clientConfig));
    expect(codeOf(() => runSync(receiveStartAnswer(sent, one.frame2)))).toBe('handshake_failed');
    expect(codeOf(() => two.open3(one.sent3.frame))).toBe('open_failed');
    const sent3 = runSync(finishHandshake(runSync(receiveStartAnswer(sent, two.answer1(sent.frame))), [], calls));
    expect(codeOf(() => runSync(receiveFinishAnswer(sent3, one.frame4)))).toBe('handshake_failed');
  });
});

describe('the client refuses', () => {
  /** A server that has every key, and turns one bit of the 32 bytes behind S1 or S2, sealed as it should be. */
  const dishonest = () => {
    let from = -1;
    const seal: typeof nodePrimitives.seal = (key, nonce, ad, plaintext) =>
      nodePrimitives.seal(key, nonce, ad, from < 0 ? plaintext : flipped(plaintext, 8 * from));
    const server = { ...nodePrimitives, seal };
    return { sides: pair(FULL, { client: nodePrimitives, server }), turn: (byte: number) => (from = byte) };
  };

  it('another A in step 2 than its own', () => {
    const { sides, turn } = dishonest();
    const sent = runSync(startHandshake(sides.client, sides.clientConfig));
    turn(SIZE.randomKey);
    const wrong = sides.answer1(sent.frame);
    turn(SIZE.randomKey + SIZE.nonceNumber);
    const otherSession = sides.answer1(sent.frame);
    expect(codeOf(() => runSync(receiveStartAnswer(sent, wrong)))).toBe('handshake_failed');
    expect(codeOf(() => runSync(receiveStartAnswer(sent, otherSession)))).toBe('nothing was thrown');
  });

  it('another B in step 4 than its own', () => {
    const { sides, turn } = dishonest();
    const sent1 = runSync(startHandshake(sides.client, sides.clientConfig));
    const sent3 = runSync(finishHandshake(runSync(receiveStartAnswer(sent1, sides.answer1(sent1.frame))), [], calls));
    const [one, two] = [sides.open3(sent3.frame), sides.open3(sent3.frame)];
    turn(SIZE.randomKey);
    const wrong = answerFinish(one, TERMS, [], firstAnswers);
    turn(SIZE.randomKey + SIZE.nonceNumber);
    const otherLane = answerFinish(two, TERMS, [], firstAnswers);
    expect(codeOf(() => runSync(receiveFinishAnswer(sent3, wrong.frame)))).toBe('handshake_failed');
    expect(runSync(receiveFinishAnswer(sent3, otherLane.frame)).terms.lane).not.toBe(TERMS.lane);
  });
});

describe('a renewal', () => {
  const finish = (asked: Asked[], serverAnswers: Parameters<typeof answerFinish>[2], first: NumberAnswer[] = []) => {
    const sides = pair(FULL);
    const sent1 = runSync(startHandshake(sides.client, sides.clientConfig));
    const sent3 = runSync(finishHandshake(runSync(receiveStartAnswer(sent1, sides.answer1(sent1.frame))), asked, []));
    const { frame } = answerFinish(sides.open3(sent3.frame), TERMS, serverAnswers, first);
    return runSync(receiveFinishAnswer(sent3, frame));
  };
  const unknown = old.numbers.map(() => ({ known: 'unknown' }));

  it('is answered by whoever has the key of the old session, else nothing is known', () => {
    const renewed = (key: Uint8Array | undefined) => finish([old], [{ key, answers }]).renewalAnswers;
    expect(renewed(old.key)).toEqual([answers]);
    expect(renewed(new Uint8Array(32).fill(9))).toEqual([unknown]);
    expect(renewed(undefined)).toEqual([unknown]);
  });

  it('is proved apart from its answer', () => {
    const h = nodePrimitives.random(32);
    expect(proveSession(nodePrimitives, old.key, h)).not.toEqual(proveSession(nodePrimitives, old.key, h, 'answer'));
  });

  it('has one list, with one answer for each number, and nothing else', () => {
    const one = { key: old.key, answers };
    for (const lists of [[], [one, one], [{ ...one, answers: answers.slice(1) }]]) {
      expect(codeOf(() => finish([old], lists))).toBe('handshake_failed');
    }
    expect(codeOf(() => finish([old], [one], [{ known: 'ran' }]))).toBe('handshake_failed');
    expect(codeOf(() => finish([old], [one]))).toBe('nothing was thrown');
  });

  it('gets `ran` for results beyond the limit of step 4, and a first call `running`', () => {
    const half: NumberAnswer = { known: 'result', frame: new Uint8Array(LIMITS.finishAnswerResults / 2) };
    const small: NumberAnswer = { known: 'result', frame: new Uint8Array(1) };
    const asked = { ...old, numbers: Array(4).fill(old.numbers[0]) };
    const lists = [{ key: old.key, answers: [half, small, half, small] }];
    const { renewalAnswers } = finish([asked], lists);
    expect(renewalAnswers[0]?.map(({ known }) => known)).toEqual(['result', 'result', 'ran', 'result']);
    const { finished } = handshake(FULL, { calls: [reply, reply, reply], firstAnswers: [half, half, small] });
    expect(finished.firstAnswers.map(({ known }) => known)).toEqual(['result', 'result', 'running']);
  });

  it('does not show in the length of step 3 or 4 how many numbers it asks for', () => {
    const sizes = (count: number) => {
      const asked = [{ ...old, numbers: Array(count).fill(old.numbers[0]) }];
      const given = [{ key: old.key, answers: Array<NumberAnswer>(count).fill({ known: 'ran' }) }];
      const { sent3, frame4 } = handshake(FULL, { asked, answers: given });
      return [sent3.frame.length, frame4.length];
    };
    expect(sizes(0)).toEqual(sizes(1));
  });
});

describe('copies of one machine, clock and generator alike,', () => {
  /** The same bytes for the same context, whoever draws. */
  const random = (length: number, context: Uint8Array) =>
    concat(nodePrimitives.sha256(context, Uint8Array.of(1)), nodePrimitives.sha256(context)).slice(0, length);

  /** A pair that throws when two plaintexts meet under one key and nonce, and a suite that repeats itself. */
  function watched() {
    const uses = new Map<string, string>();
    const seal: typeof nodePrimitives.seal = (key, nonce, ad, plaintext, out) => {
      const [name, text] = [`${toHex(key)} ${toHex(nonce)}`, toHex(plaintext)];
      if ((uses.get(name) ?? text) !== text) throw new Error('two plaintexts under one key and nonce');
      uses.set(name, text);
      return nodePrimitives.seal(key, nonce, ad, plaintext, out);
    };
    const primitives = { ...nodePrimitives, seal };
    const sides = pair(FULL, both(primitives));
    const sent1 = runSync(startHandshake(sides.client, sides.clientConfig));
    const opened2 = runSync(receiveStartAnswer(sent1, sides.answer1(sent1.frame)));
    return { ...sides, sent1, opened2, suite: { primitives, random } };
  }

  it('seal no two step 2 under one key', () => {
    const { sent1, suite, serverConfig } = watched();
    const answer = (byte: number) => {
      const options = { ...OPTIONS, incarnation: new Uint8Array(8).fill(byte) };
      const cookie = () => new Uint8Array(SIZE.cookie);
      return toHex(answerStart(suite, { ...serverConfig, options }, parseStart(sent1.frame), cookie));
    };
    expect(answer(1)).toBe(answer(1));
    expect(answer(2)).not.toBe(answer(1));
  });

  it('seal no two step 3 under one key', () => {
    const { opened2, suite } = watched();
    const frame = (first: Uint8Array[]) =>
      toHex(runSync(finishHandshake({ ...opened2, suite, symmetric: opened2.symmetric.clone() }, [], first)).frame);
    expect(frame([reply])).toBe(frame([reply]));
    expect(frame(calls)).not.toBe(frame([reply]));
  });

  it('seal no two step 4 under one key', () => {
    const { opened2, open3, suite } = watched();
    const sent3 = runSync(finishHandshake(opened2, [old], []));
    const answer = (key: Uint8Array | undefined, known: 'ran' | 'unknown') => {
      const answers = [{ known }, { known }];
      return toHex(answerFinish({ ...open3(sent3.frame), suite }, TERMS, [{ key, answers }], []).frame);
    };
    expect(answer(old.key, 'ran')).toBe(answer(old.key, 'ran'));
    expect(new Set([answer(old.key, 'ran'), answer(old.key, 'unknown'), answer(undefined, 'ran')]).size).toBe(3);
  });
});

describe('keys of 16 bytes', () => {
  it('have nonces of their own in every step', () => {
    const nonces: string[] = [];
    const seal: typeof nodePrimitives.seal = (key, nonce, ad, plaintext, out) => {
      if (key.length === 16) nonces.push(toHex(nonce));
      return nodePrimitives.seal(key, nonce, ad, plaintext, out);
    };
    handshake({ ...FULL, keySize: 16 }, {}, both({ ...nodePrimitives, seal }));
    expect(nonces.length).toBe(4);
    expect(new Set([...nonces, '00'.repeat(12)]).size).toBe(5);
  });
});

describe('a state', () => {
  it('seals one step 3 and one step 4', () => {
    const { opened2, opened3 } = handshake(FULL, { calls, firstAnswers });
    expect(codeOf(() => runSync(finishHandshake(opened2, [], [])))).toBe('open_failed');
    expect(codeOf(() => answerFinish(opened3, TERMS, [], []))).toBe('open_failed');
  });

  it('seals one plaintext with a key', () => {
    const prologue = { modulePath: MODULE, keySize: 32, flags: 0, serverKey: undefined, secureKey: undefined } as const;
    const symmetric = runSync(SymmetricState.start(nodePrimitives, prologue));
    runSync(symmetric.seal(reply));
    expect(codeOf(() => runSync(symmetric.seal(reply)))).toBe('open_failed');
    runSync(symmetric.mixKey(reply));
    expect(codeOf(() => runSync(symmetric.seal(reply)))).toBe('nothing was thrown');
  });

  it('opens one step 2 and one step 4', () => {
    const { sent1, frame2, sent3, frame4 } = handshake(FULL);
    expect(codeOf(() => runSync(receiveStartAnswer(sent1, frame2)))).toBe('handshake_failed');
    expect(codeOf(() => runSync(receiveFinishAnswer(sent3, frame4)))).toBe('handshake_failed');
  });

  it('keeps no secret when the handshake is over', () => {
    const { sent1, opened2, sent3, opened3 } = handshake(FULL, { calls, firstAnswers });
    const secrets = [
      ...[sent1.decapsulationKey, sent1.ephemeral, sent3.ephemeral].map((key) => key as Uint8Array),
      ...[...Object.values(sent3.keys), ...Object.values(opened3.keys), sent3.firstKey],
      ...[sent1, opened2, sent3, opened3].flatMap(({ symmetric: { ck, h, k } }) => [ck, h, k]),
    ];
    expect(secrets.flatMap((secret) => [...secret]).filter((byte) => byte !== 0)).toEqual([]);
  });
});

describe('a handshake that is given up', () => {
  it('holds no secret any more', () => {
    const sides = pair(FULL);
    const sent1 = runSync(startHandshake(sides.client, sides.clientConfig));
    const other1 = runSync(startHandshake(sides.client, sides.clientConfig));
    const opened2 = runSync(receiveStartAnswer(sent1, sides.answer1(sent1.frame)));
    const sent3 = runSync(finishHandshake(opened2, [], calls));
    const opened3 = sides.open3(sent3.frame);
    for (const state of [other1, sent3, opened3]) discardHandshake(state);
    const secrets = [other1.c1, other1.ephemeral, other1.decapsulationKey, sent3.ephemeral, opened2.s1].concat(
      [sent3, opened3].flatMap(({ keys, firstKey, firstResults }) => [...Object.values(keys), firstKey, firstResults]),
    );
    expect(secrets.flatMap((secret) => [...(secret as Uint8Array)]).filter((byte) => byte !== 0)).toEqual([]);
    expect(codeOf(() => answerFinish(opened3, TERMS, [], firstAnswers))).toBe('open_failed');
  });
});

describe('server options', () => {
  it('come back as they were', () => {
    const pin = fc.uint8Array({ minLength: 4, maxLength: 4 });
    const options = fc.record({
      force: fc.boolean(),
      requirePinned: fc.boolean(),
      requireSecureKey: fc.boolean(),
      minKeySize: fc.constantFrom(16 as const, 32 as const),
      pins: fc.array(pin, { maxLength: 4 }),
      incarnation: fc.uint8Array({ minLength: 8, maxLength: 8 }),
      maxBody: fc.nat(2 ** 32 - 1),
      age: fc.maxSafeNat(),
      maxUpload: fc.maxSafeNat(),
      pulse: fc.nat(2 ** 16 - 1),
    });
    fc.assert(
      fc.property(options, (value) => {
        expect(decodeServerOptions(encodeServerOptions(value))).toEqual(value);
      }),
    );
  });

  it.each([
    ['an unknown policy bit', 0, 8],
    ['a keySize that is none', 1, 24],
    ['a keySize of 0', 1, 0],
    ['another suite', 2, 1],
    ['no suite', 3, 0],
    ['more than four keys', 4, 5],
    ['an unused place for a key', 20, 1],
    ['an age that no clock reaches', 33, 1],
    ['an upload that no counter reaches', 41, 1],
    ['a reserved byte', 51, 1],
    ['the last reserved byte', 63, 1],
  ])('are refused with %s', (_, at, value) => {
    const bytes = encodeServerOptions(OPTIONS);
    expect(codeOf(() => decodeServerOptions(bytes))).toBe('nothing was thrown');
    bytes[at] = value;
    expect(codeOf(() => decodeServerOptions(bytes))).toBe('bad_payload');
  });

  it('name four keys at most', () => {
    const pins = Array.from({ length: 20 }, (_, i) => encodeCallNumber({ lane: i, counter: 0 }).slice(0, 4));
    expect(decodeServerOptions(encodeServerOptions({ ...OPTIONS, pins })).pins).toEqual(pins.slice(0, 4));
  });
});

const handshakes = (primitives: ClientPrimitives) => handshakeRandom({ ...webPrimitives, random: primitives.random });

describe.each([
  ['randomness', hedgedRandom],
  ['randomness of handshakes', handshakes],
])('hedged %s', (_, make) => {
  afterEach(() => vi.useRealTimers());
  const stuck = { ...nodePrimitives, random: (length: number) => new Uint8Array(length) };

  it('does not repeat where the operating system does', async () => {
    const random = make(stuck);
    const context = new Uint8Array(32);
    const drawn = await Promise.all(Array.from({ length: 100 }, async () => toHex(await random(64, context))));
    expect(new Set(drawn.flatMap((text) => [text.slice(0, 64), text.slice(64)])).size).toBe(200);
  });

  it('depends on the transcript and on the clock', async () => {
    vi.useFakeTimers({ now: 1000 });
    const draw = async (context: number) => toHex(await make(stuck)(32, new Uint8Array(32).fill(context)));
    const before = await draw(1);
    expect(await draw(1)).toBe(before);
    expect(await draw(2)).not.toBe(before);
    vi.advanceTimersByTime(1);
    expect(await draw(1)).not.toBe(before);
  });

  it('gives any length', async () => {
    const random = make(nodePrimitives);
    for (const length of [0, 1, 12, 32, 33, 64]) expect((await random(length, new Uint8Array())).length).toBe(length);
  });
});
