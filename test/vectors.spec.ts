import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  answerFinish,
  answerStart,
  type CallNumber,
  decodeCalls,
  decodeReply,
  deriveCookieKey,
  fromHex,
  type KeySize,
  makeSessionId,
  openCall,
  openCookie,
  openFinish,
  openResult,
  parseCall,
  parseFinish,
  parseKeyText,
  parseStart,
  runSync,
  SealwireError,
  sealCookie,
  toHex,
} from '@sealwire/core';
import { noblePrimitives } from '@sealwire/core/noble';
import { nodePrimitives } from '@sealwire/core/node';
import { describe, expect, it } from 'vitest';
import { unpad } from '../libs/core/src/bytes.js';
import { decodeServerOptions } from '../libs/core/src/handshake/frames.js';
import {
  decodeAnswers,
  decodeFirstCalls,
  decodeRenewalAnswers,
  decodeRenewals,
} from '../libs/core/src/handshake/renewal.js';
import { fileText, fileUrl, vectors } from './vectors/generate.js';
import { record, scriptedSuite } from './vectors/recorder.js';

const folder = fileURLToPath(new URL('./vectors', import.meta.url));
const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
const read = (name: string) => JSON.parse(readFileSync(fileUrl(name), 'utf8'));
const handshakes = files.map((file) => file.slice(0, -5)).filter((name) => name.startsWith('handshake-'));

interface Exchange {
  keySize: KeySize;
  epoch: number;
  number: CallNumber;
  clientToServer: string;
  serverToClient: string;
  call: { header: string; payload: string; frame: string };
  result: { payload: string; frame: string };
}

describe('the committed vectors', () => {
  const generated = vectors();

  it('are all of them and no others', () => {
    expect(files.sort()).toEqual([...generated.keys()].map((name) => `${name}.json`).sort());
  });

  it.each([...generated])('%s is what the code makes, byte for byte', (name, json) => {
    expect(readFileSync(fileUrl(name), 'utf8') === fileText(json)).toBe(true);
  });
});

describe.each([
  ['node', nodePrimitives],
  ['portable', noblePrimitives],
])('a server on %s primitives', (_, primitives) => {
  it.each(handshakes)('does in %s what the client did, operation by operation', (name) => {
    const vector = read(name);
    const drawn = ['e_s', 'kemCoins', 'S1', 'sessionRandom', 'cookieSalt', 'e_f', 'S2'];
    const script = scriptedSuite(drawn.map((what) => [what, fromHex(vector.random[what])] as const));
    const suite = { primitives, random: script.random };
    const serverKey = primitives.x25519KeyPair(fromHex(vector.serverPrivateKey));
    const options = decodeServerOptions(fromHex(vector.step2.operations[3].input).slice(64));
    const key = deriveCookieKey(primitives, fromHex(vector.cookie.tk), serverKey.privateKey, options.incarnation);
    expect(toHex(key)).toBe(vector.cookie.key);
    const cookieKey = { id: fromHex(vector.cookie.id), key };
    const sessionId = (random10: Uint8Array) =>
      makeSessionId(primitives, fromHex(vector.sessionIdKey), vector.modulePath, random10);
    const { operations } = record(() => {
      const config = {
        modulePath: vector.modulePath,
        options,
        serverKey,
        secureKey: fromHex(vector.secureKey),
        sessionId,
      };
      const frame2 = answerStart(suite, config, parseStart(fromHex(vector.step1.frame)), (state) =>
        sealCookie(suite, cookieKey, vector.modulePath, { ...state, issued: vector.cookie.issued }),
      );
      expect(toHex(frame2)).toBe(vector.step2.frame);
      const finish = parseFinish(fromHex(vector.step3.frame));
      const opened = openFinish(suite, openCookie(primitives, cookieKey, vector.modulePath, finish.cookie), finish);
      const lists = decodeRenewalAnswers(fromHex(vector.step4.renewalAnswers));
      const answers = lists.map((list, i) => ({ key: fromHex(vector.step3.asked[i].key), answers: list.answers }));
      const terms = { ...vector.step4.terms, incarnation: fromHex(vector.step4.terms.incarnation) };
      const step4 = answerFinish(opened, terms, answers, decodeAnswers(fromHex(vector.step4.firstAnswers)));
      expect(toHex(step4.frame)).toBe(vector.step4.frame);
      expect(Object.entries(step4.secrets).map(([what, secret]) => [what, toHex(secret)])).toEqual(
        Object.entries(vector.secrets),
      );
    });
    const expected = ['prologue', 'step1', 'step2', 'step3', 'step4'].flatMap((step) =>
      vector[step].operations.map(({ what, ...operation }: Record<string, string>) => operation),
    );
    expect(operations).toEqual(expected);
  });

  it.each(Object.entries<Exchange>(read('messages')))('opens the messages: %s', (_name, exchange) => {
    const { keySize, clientToServer, serverToClient, call, result } = exchange;
    const up = { primitives, keySize, secret: fromHex(clientToServer) };
    const down = { primitives, keySize, secret: fromHex(serverToClient) };
    const parsed = parseCall(fromHex(call.frame));
    expect(parsed).toMatchObject({ number: exchange.number, epoch: exchange.epoch & 255 });
    const payload = openCall(up, parsed);
    expect(toHex(payload)).toBe(call.payload);
    expect(payload.length === 0 || decodeCalls(payload).length === 2).toBe(true);
    const reply = runSync(openResult(down, fromHex(call.header), fromHex(result.frame)));
    expect(toHex(reply)).toBe(result.payload);
    expect(() => decodeReply(reply)).not.toThrow();
  });

  it('opens a call of three chunks and its result of two', () => {
    const { keySize, clientToServer, serverToClient, call, result } = read('message-chunked');
    const body = (length: number) => Uint8Array.from({ length }, (_, i) => i % 251);
    const up = { primitives, keySize, secret: fromHex(clientToServer) };
    const opened = openCall(up, parseCall(fromHex(call.frame)));
    expect(Buffer.compare(opened, body(call.bodyLength))).toBe(0);
    const down = { primitives, keySize, secret: fromHex(serverToClient) };
    const answer = runSync(openResult(down, fromHex(call.header), fromHex(result.frame)));
    expect(Buffer.compare(answer, body(result.bodyLength))).toBe(0);
  });

  it.each(handshakes)('opens the result of the first call in %s, and kept ones of the old session', (name) => {
    const { keySize, step3, firstResult, oldResult } = read(name);
    const open = (secret: string, header: string, frame: string) =>
      toHex(runSync(openResult({ primitives, keySize, secret: fromHex(secret) }, fromHex(header), fromHex(frame))));
    if (firstResult) {
      expect(open(step3.firstResults, firstResult.callHeader, firstResult.frame)).toBe(firstResult.payload);
    }
    if (oldResult) expect(open(oldResult.serverToClient, oldResult.callHeader, oldResult.frame)).toBe(oldResult.reply);
  });
});

it('has in the answer to a renewal by K_first what opens as the result of the first call', () => {
  const { firstResult, answers } = read('renewal');
  const key = { primitives: nodePrimitives, keySize: 32 as const, secret: fromHex(firstResult.secret) };
  const [{ result }] = answers[1];
  expect(toHex(runSync(openResult(key, fromHex(firstResult.callHeader), fromHex(result))))).toBe(firstResult.payload);
});

const refusals = read('refused');
const readers: Record<string, (value: string) => unknown> = {
  keyTexts: (text) => parseKeyText(refusals.keyTexts.kind, text),
  padding: (hex) => unpad(fromHex(hex)),
  serverOptions: (hex) => decodeServerOptions(fromHex(hex)),
  renewals: (hex) => decodeRenewals(fromHex(hex)),
  renewalAnswers: (hex) => decodeRenewalAnswers(fromHex(hex)),
  firstCalls: (hex) => decodeFirstCalls(fromHex(hex)),
  firstAnswers: (hex) => decodeAnswers(fromHex(hex)),
  messages: (hex) => {
    const { keySize, clientToServer } = refusals.messages;
    return openCall({ primitives: nodePrimitives, keySize, secret: fromHex(clientToServer) }, parseCall(fromHex(hex)));
  },
};

describe.each(Object.entries(readers))('a reader of %s', (kind, reader) => {
  it.each(Object.entries<string>(refusals[kind].taken))('takes: %s', (_name, value) => {
    expect(() => reader(value)).not.toThrow();
  });

  it.each(Object.entries<string>(refusals[kind].refused))('refuses: %s', (_name, value) => {
    expect(() => reader(value)).toThrow(SealwireError);
  });
});

it('has a reader for every kind of refusal', () => {
  expect(Object.keys(readers).sort()).toEqual(Object.keys(refusals).sort());
});

// A machine without Python is covered by the comparisons above; where it is there, a second language must agree.
if (spawnSync('python3', ['--version']).status === 0) describe('the check in Python', checkInPython);

function checkInPython(): void {
  it('agrees with every value', () => {
    expect(execFileSync('python3', [join(folder, 'verify.py')], { encoding: 'utf8' })).toMatch(
      /^\d{3} values agree\n$/,
    );
  });

  it.each([
    ['handshake-pinned-32', 'secrets', 'renewal'],
    ['handshake-securekey-16', 'step3', 'frame'],
    ['renewal', 'renewals', '1', 'answerProof'],
    ['message-chunked', 'result', 'frame'],
    ['refused', 'messages', 'taken', 'three pieces'],
    ['refused', 'serverOptions', 'taken', 'as it is'],
  ])('finds one digit changed in %s %s', (name, ...path) => {
    const copy = mkdtempSync(join(tmpdir(), 'vectors-'));
    try {
      cpSync(folder, copy, { recursive: true });
      const json = read(name);
      const last = path.at(-1) ?? '';
      const holder = path.slice(0, -1).reduce((value, part) => value[part], json);
      holder[last] = holder[last].replace(/.$/, (digit: string) => (digit === '0' ? '1' : '0'));
      writeFileSync(join(copy, `${name}.json`), fileText(json));
      const { status, stderr } = spawnSync('python3', [join(copy, 'verify.py')], { encoding: 'utf8' });
      expect(status).toBe(1);
      expect(stderr).toContain('the vector says');
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
}
