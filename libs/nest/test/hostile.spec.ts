import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  CONTENT_TYPE,
  encodeCalls,
  generateKeyText,
  LIMITS,
  outerMessage,
  parseSecureKey,
  receiveStartAnswer,
  runSync,
} from '@sealwire/core';
import { type SealwireEventMap, SealwireEvents, SealwireSessions } from '@sealwire/nest';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Ledger, paymentsClient, startApplication } from './application.js';
import { type Answer, only, PeerClient, post, primitives, secureKeyText, serverKey, suite, urlOf } from './support.js';

describe.each([
  ['Express', undefined],
  [
    'Fastify',
    (module: { createNestApplication: (adapter: FastifyAdapter) => INestApplication }) =>
      module.createNestApplication(new FastifyAdapter()),
  ],
] as const)('bad input on %s', (_platform, create) => {
  let app: INestApplication;
  let client: PeerClient;
  let refusals: SealwireEventMap['handshakeRefused'][];

  beforeAll(async () => {
    app = await startApplication({ payments: { maxBody: LIMITS.body }, ...(create && { create: create as never }) });
    app.get(SealwireEvents).on('handshakeRefused', (event) => refusals.push(event));
    client = paymentsClient(app);
    await client.connect();
  });
  beforeEach(() => {
    refusals = [];
  });
  afterAll(() => app.close());

  const expectProblem = (answer: Answer, status: number, code: string) => {
    expect({ status: answer.status, code: answer.code }).toEqual({ status, code });
    expect(answer.headers['content-type']).toBe('application/problem+json');
    expect(answer.headers['cache-control']).toBe('no-store, no-transform');
    const body = JSON.parse(new TextDecoder().decode(answer.body));
    expect(body).toMatchObject({ type: 'about:blank', status, code, detail: outerMessage(code as never) });
  };
  const sessions = () => app.get(SealwireSessions).count();

  it('names an unknown module', async () => {
    expectProblem(await post(urlOf(app, '/remote/nothing'), client.start().frame), 404, 'module_unknown');
    expectProblem(await post(urlOf(app, '/remote/__proto__'), client.start().frame), 404, 'module_unknown');
  });

  it('refuses plaintext of a forced module before anything runs', async () => {
    const runs = app.get(Ledger).runs;
    const json = JSON.stringify({ calls: [{ name: 'add', args: [1, 1] }] });
    expectProblem(await post(client.url, json, { 'content-type': 'application/json' }), 426, 'encryption_required');
    const cbor = encodeCalls([{ name: 'add', args: [1, 1] }]);
    expectProblem(await post(client.url, cbor, { 'content-type': 'application/cbor' }), 426, 'encryption_required');
    expect(app.get(Ledger).runs).toBe(runs);
  });

  it('refuses a content encoding, a version and what is no frame', async () => {
    const frame = client.start().frame;
    expectProblem(await post(client.url, frame, { 'content-encoding': 'gzip' }), 415, 'unsupported_media_type');
    for (const type of [0x01, 0x03, 0x11]) {
      expectProblem(await post(client.url, Uint8Array.of(type, 9, 0, 0)), 400, 'version');
    }
    expectProblem(await post(client.url, new Uint8Array(0)), 400, 'bad_frame');
    expectProblem(await post(client.url, Uint8Array.of(0x77, 1, 0, 0)), 400, 'bad_frame');
    expectProblem(await post(client.url, Uint8Array.of(0x12, 1, 0, 0)), 400, 'bad_frame');
  });

  it('refuses what is too large, by its declared length and by its bytes', async () => {
    expectProblem(await post(client.url, new Uint8Array(LIMITS.body + 1)), 413, 'too_large');
    const { port } = app.getHttpServer().address() as AddressInfo;
    const head = `POST /remote/payments HTTP/1.1\r\nHost: x\r\nContent-Type: ${CONTENT_TYPE}\r\n`;
    const declared = await raw(port, `${head}Content-Length: 999999999\r\n\r\n`);
    expect(declared).toContain('413');
    const chunk = `10000\r\n${'x'.repeat(LIMITS.body / 2)}\r\n`;
    const chunked = await raw(port, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(3)}`);
    expect(chunked).toContain('413');
  });

  it('survives a body that breaks off', async () => {
    const { port } = app.getHttpServer().address() as AddressInfo;
    const head = `POST /remote/payments HTTP/1.1\r\nHost: x\r\nContent-Type: ${CONTENT_TYPE}\r\nContent-Length: 1000\r\n\r\n`;
    await new Promise<void>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(`${head}abc`, () => socket.destroy()));
      socket.on('close', () => resolve());
    });
    expect(only(await client.call('renamed'))).toBe('renamed');
  });

  it('answers every failed handshake alike and tells the operator why', async () => {
    const other = parseSecureKey(generateKeyText('swk1', primitives));
    const known = parseSecureKey(secureKeyText);
    const config = { modulePath: 'payments', keySize: 32, serverKey: serverKey.publicKey, secureKey: known } as const;
    const attempts = {
      'SecureKey is not known': { ...config, secureKey: other },
      'another key': { ...config, secureKey: { ...other, keyId: known.keyId } },
      'pinned server key is not known': {
        ...config,
        serverKey: primitives.x25519KeyPair(primitives.random(32)).publicKey,
      },
      'another module path': { ...config, modulePath: 'public' },
      'EncryptionKey is shorter': { ...config, keySize: 16 },
      'no SecureKey': { modulePath: 'payments', keySize: 32, serverKey: serverKey.publicKey },
    } as const;
    const bodies = new Set<string>();
    for (const [reason, attempt] of Object.entries(attempts)) {
      const answer = await post(client.url, new PeerClient(client.url, attempt).start().frame);
      expectProblem(answer, 400, 'handshake_failed');
      bodies.add(Buffer.from(answer.body).toString());
      expect(refusals.at(-1)?.reason).toContain(reason);
    }
    expect(bodies.size).toBe(1);
    expect(refusals.length).toBe(Object.keys(attempts).length);
  });

  it('takes a cookie once, and none that was altered', async () => {
    const fresh = paymentsClient(app);
    await fresh.steps1and2();
    const frame = fresh.step3([{ name: 'add', args: [1, 1] }]);
    const before = { sessions: await sessions(), runs: app.get(Ledger).runs };
    const altered = frame.slice();
    altered[20]! ^= 1;
    expectProblem(await post(client.url, altered), 400, 'handshake_failed');
    expect(await sessions()).toBe(before.sessions);
    const [first, second] = await Promise.all([post(client.url, frame), post(client.url, frame)]);
    const used = first.status === 200 ? second : first;
    expectProblem(used, 409, 'handshake_used');
    expect(app.get(Ledger).runs).toBe(before.runs + 1);
    expect(only(fresh.step4((first.status === 200 ? first : second).body))).toBe(2);
  });

  it('takes no frame on a module without encryption', async () => {
    expectProblem(await post(urlOf(app, '/remote/plain'), client.start().frame), 400, 'handshake_failed');
    const call = client.frame([{ name: 'add', args: [] }]);
    expectProblem(await post(urlOf(app, '/remote/plain'), call), 409, 'session_unknown');
  });

  it('knows no session by a wrong id or on another module', async () => {
    const frame = client.frame([{ name: 'renamed', args: [] }]);
    const wrong = frame.slice();
    wrong[4]! ^= 1;
    expectProblem(await post(client.url, wrong), 409, 'session_unknown');
    expectProblem(await post(urlOf(app, '/remote/public'), frame), 409, 'session_unknown');
    expect(only(await client.send(frame))).toBe('renamed');
  });

  it('runs nothing in the lane of first calls', async () => {
    const runs = app.get(Ledger).runs;
    const frame = client.frame([{ name: 'add', args: [1] }], { lane: 0, counter: 0 });
    expectProblem(await post(client.url, frame), 400, 'bad_frame');
    expect(await client.send(client.askFirst())).toEqual({ status: 'outcome_unknown' });
    expect(app.get(Ledger).runs).toBe(runs);
  });

  it('refuses a payload that opens and is none, without taking its number', async () => {
    const number = client.next();
    for (const body of [new Uint8Array(0), Uint8Array.of(0x80), new Uint8Array(200).fill(0x81)]) {
      expectProblem(await post(client.url, client.sealAs(body, number).frame), 400, 'bad_frame');
    }
    expect(only(await client.send(client.frame([{ name: 'renamed', args: [] }], number)))).toBe('renamed');
  });

  it('refuses every flipped byte of a call, and takes the true frame after it', async () => {
    const runs = app.get(Ledger).runs;
    const frame = client.frame([{ name: 'add', args: [20, 22] }]);
    const flip = fc.tuple(fc.nat(frame.length - 1), fc.integer({ min: 1, max: 255 }));
    await fc.assert(
      fc.asyncProperty(flip, async ([at, mask]) => {
        const altered = frame.slice();
        altered[at]! ^= mask;
        const { code } = await post(client.url, altered);
        // more than 20 failures a second are slowed down
        expect(['bad_frame', 'version', 'session_unknown', 'handshake_failed', 'busy']).toContain(code);
      }),
      { numRuns: 60, examples: [...Array(36).keys()].map((at) => [[at, 1]] as [[number, number]]) },
    );
    expect(app.get(Ledger).runs).toBe(runs);
    await expect.poll(async () => (await post(client.url, frame)).status).toBe(200);
    expect(app.get(Ledger).runs).toBe(runs + 1);
  });

  it('refuses every flipped byte of steps 1 and 3, and stores nothing', async () => {
    const before = { sessions: await sessions(), runs: app.get(Ledger).runs };
    const started = client.start();
    const fresh = paymentsClient(app);
    await fresh.steps1and2();
    const finish = fresh.step3([{ name: 'add', args: [1, 1] }]);
    const anyFlip = fc.tuple(fc.constantFrom(started.frame, finish), fc.nat(), fc.integer({ min: 1, max: 255 }));
    await fc.assert(
      fc.asyncProperty(anyFlip, async ([frame, position, mask]) => {
        const altered = frame.slice();
        altered[position % frame.length]! ^= mask;
        const { code } = await post(client.url, altered);
        expect(['handshake_failed', 'bad_frame', 'version', 'session_unknown']).toContain(code);
      }),
      { numRuns: 100 },
    );
    expect({ sessions: await sessions(), runs: app.get(Ledger).runs }).toEqual(before);
    expect(runSync(receiveStartAnswer(started, (await post(client.url, started.frame)).body)).sessionId).toHaveLength(
      16,
    );
    expect(only(fresh.step4((await post(client.url, finish)).body))).toBe(2);
  });

  it('refuses every truncation of the frames', async () => {
    const frames = [client.start().frame, client.frame([{ name: 'add', args: [1] }])];
    for (const frame of frames) {
      for (let length = 1; length < frame.length; length += Math.ceil(frame.length / 40)) {
        const { code } = await post(client.url, frame.subarray(0, length));
        expect(['handshake_failed', 'bad_frame', 'busy']).toContain(code);
      }
    }
  });
});

describe('limits', () => {
  it('slows handshakes of one address down', async () => {
    const app = await startApplication({ options: { handshakeRate: { perSecond: 0.01, burst: 3 } } });
    const client = paymentsClient(app);
    for (let i = 0; i < 3; i++) await client.steps1and2();
    const answer = await post(client.url, client.start().frame);
    expect({ status: answer.status, code: answer.code, retry: answer.headers['retry-after'] }).toEqual({
      status: 429,
      code: 'rate_limited',
      retry: '1',
    });
    await app.close();
  });

  it('refuses a wrong content type on Express', async () => {
    const app = await startApplication();
    expect((await post(urlOf(app), 'x', { 'content-type': 'text/plain' })).code).toBe('unsupported_media_type');
    await app.close();
  });

  it('keeps nothing of a half-open handshake', async () => {
    const app = await startApplication();
    const client = paymentsClient(app);
    for (let i = 0; i < 20; i++) await post(client.url, client.start().frame);
    expect(await app.get(SealwireSessions).count()).toBe(0);
    expect(suite.primitives).toBe(primitives);
    await app.close();
  });
});

function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.on('data', (data) => {
      answer += data;
    });
    socket.on('error', (error) => (answer ? resolve(answer) : reject(error)));
    socket.on('close', () => resolve(answer));
  });
}
