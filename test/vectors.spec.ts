import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  answerFinish,
  answerStart,
  decodeCalls,
  decodeReply,
  deriveCookieKey,
  fromHex,
  type KeySize,
  openCall,
  openCookie,
  openFinish,
  openResult,
  parseCall,
  parseFinish,
  parseStart,
  sealCookie,
  toHex,
} from '@sealwire/core';
import { noblePrimitives } from '@sealwire/core/noble';
import { nodePrimitives } from '@sealwire/core/node';
import { describe, expect, it } from 'vitest';
import { decodeServerOptions } from '../libs/core/src/handshake/frames.js';
import { decodeRenewalAnswers } from '../libs/core/src/handshake/renewal.js';
import { fileText, fileUrl, vectors } from './vectors/generate.js';
import { record, scriptedSuite } from './vectors/recorder.js';

const folder = fileURLToPath(new URL('./vectors', import.meta.url));
const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
const read = (name: string) => JSON.parse(readFileSync(fileUrl(name), 'utf8'));
const handshakes = files.map((file) => file.slice(0, -5)).filter((name) => name.startsWith('handshake-'));

interface Exchange {
  keySize: KeySize;
  clientToServer: string;
  serverToClient: string;
  call: { header: string; frame: string };
  result: { frame: string };
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
    const drawn = ['e_s', 'kemCoins', 'S1', 'sessionId', 'cookieNonce', 'e_f', 'S2'];
    const script = scriptedSuite(drawn.map((what) => [what, fromHex(vector.random[what])] as const));
    const suite = { primitives, random: script.random };
    const serverKey = primitives.x25519KeyPair(fromHex(vector.serverPrivateKey));
    const key = deriveCookieKey(primitives, fromHex(vector.cookie.tk), serverKey.privateKey);
    const cookieKey = { id: fromHex(vector.cookie.id), key };
    const options = decodeServerOptions(fromHex(vector.step2.operations[3].input).slice(64));
    const { operations } = record(() => {
      const config = { modulePath: vector.modulePath, options, serverKey, secureKey: fromHex(vector.secureKey) };
      const frame2 = answerStart(suite, config, parseStart(fromHex(vector.step1.frame)), (state) =>
        sealCookie(suite, cookieKey, vector.modulePath, { ...state, issued: vector.cookie.issued }),
      );
      expect(toHex(frame2)).toBe(vector.step2.frame);
      const finish = parseFinish(fromHex(vector.step3.frame));
      const opened = openFinish(suite, openCookie(primitives, cookieKey, vector.modulePath, finish.cookie), finish);
      const { answers } = decodeRenewalAnswers(fromHex(vector.step4.renewalAnswers));
      const terms = { ...vector.step4.terms, incarnation: fromHex(vector.step4.terms.incarnation) };
      const step4 = answerFinish(opened, terms, answers, fromHex(vector.step4.firstReply));
      expect(toHex(step4.frame)).toBe(vector.step4.frame);
      expect(Object.entries(step4.secrets).map(([what, secret]) => [what, toHex(secret)])).toEqual(
        Object.entries(vector.secrets),
      );
    });
    const expected = ['prologue', 'step1', 'step2', 'step3', 'step4'].flatMap((step) =>
      vector[step].operations.map(({ what, nonce, ...operation }: Record<string, string>) => operation),
    );
    expect(operations).toEqual(expected);
  });

  it('opens the messages', () => {
    for (const { keySize, clientToServer, serverToClient, call, result } of Object.values<Exchange>(read('messages'))) {
      const up = { primitives, keySize, secret: fromHex(clientToServer) };
      const down = { primitives, keySize, secret: fromHex(serverToClient) };
      expect(decodeCalls(openCall(up, parseCall(fromHex(call.frame)))).length).toBe(2);
      const reply = decodeReply(openResult(down, fromHex(call.header), fromHex(result.frame)));
      expect(reply).toMatchObject({ outcomes: [{ ok: false }, { ok: true }] });
    }
    const { keySize, clientToServer, frame, bodyLength } = read('message-three-chunks');
    const body = openCall({ primitives, keySize, secret: fromHex(clientToServer) }, parseCall(fromHex(frame)));
    expect(
      Buffer.compare(
        body,
        Uint8Array.from({ length: bodyLength }, (_, i) => i % 251),
      ),
    ).toBe(0);
  });
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
    ['renewal', 'proof'],
  ])('finds one digit changed in %s', (name, ...path) => {
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
