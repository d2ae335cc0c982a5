import type { INestApplication } from '@nestjs/common';
import { type Asked, frameDigest, LIMITS, type NumberAnswer, type Reply, toHex } from '@sealwire/core';
import {
  SealwireHealthIndicator,
  type SealwireOptions,
  SealwireSessions,
  SessionDirectory,
  SessionStore,
} from '@sealwire/nest';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { limits, newSession } from '../../typeorm/test/support.js';
import { MemoryStore } from '../src/sessions/index.js';
import { Ledger, paymentsClient, publicClient, startApplication } from './application.js';
import { only, type PeerClient, post, primitives } from './support.js';

let app: INestApplication;
let client: PeerClient;

async function start(options: SealwireOptions = {}): Promise<void> {
  app = await startApplication({ options, payments: { requireSecureKey: false } });
  client = paymentsClient(app);
  await client.connect();
}

const add = (...args: number[]) => [{ name: 'add', args }];
const remember = (value: number) => [{ name: 'remember', args: ['name', value] }];
const status = (reply: Reply) => ('status' in reply ? reply.status : 'outcomes');
const askedOf = ({ session }: PeerClient, numbers: Asked['numbers'] = []): Asked => ({
  sessionId: session.sessionId,
  key: session.secrets.renewal,
  numbers,
});
const sendingOf = (frame: Uint8Array): Asked['numbers'][number] => ({
  number: { lane: new DataView(frame.buffer).getUint32(20), counter: new DataView(frame.buffer).getUint32(24) },
  digest: frameDigest(primitives, frame),
});

afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  await app?.close();
});

describe("a session's data", () => {
  beforeEach(() => start());

  it('goes on in the session that takes its place, and can be read and written there', async () => {
    await client.send(client.frame(remember(1)));
    const second = paymentsClient(app);
    await second.connect([], [askedOf(client)]);
    expect(only(await second.send(second.frame(remember(2))))).toBe(1);
    const third = paymentsClient(app);
    await third.connect([], [askedOf(second)]);
    expect(only(await third.send(third.frame(remember(3))))).toBe(2);
  });

  it('is there for calls inside the step 3 that renews', async () => {
    await client.send(client.frame(remember(1)));
    const second = paymentsClient(app);
    expect(only(await second.connect(remember(2), [askedOf(client)]))).toBe(1);
  });

  it('goes to one session only, and not to one that names a session which was revoked', async () => {
    await client.send(client.frame(remember(1)));
    const [second, copy] = [paymentsClient(app), paymentsClient(app)];
    await second.connect([], [askedOf(client)]);
    await copy.connect([], [askedOf(client)]);
    expect(only(await copy.send(copy.frame(remember(9))))).toBeUndefined();
    await app.get(SealwireSessions).revoke(toHex(second.session.sessionId));
    const third = paymentsClient(app);
    await third.connect([], [askedOf(second), askedOf(client)]);
    expect(only(await third.send(third.frame(remember(3))))).toBeUndefined();
  });

  it('stays where a copy of that step 3 comes too', async () => {
    await client.send(client.frame(remember(1)));
    const second = paymentsClient(app);
    await second.steps1and2();
    const frame = second.step3([], [askedOf(client)]);
    const answers = await Promise.all([post(client.url, frame), post(client.url, frame)]);
    second.step4(answers.find(({ status: code }) => code === 200)!.body);
    expect(only(await second.send(second.frame(remember(2))))).toBe(1);
  });
});

describe('a renewal', () => {
  beforeEach(() => start());

  it('concerns sessions of the same SecureKey and module only', async () => {
    const ran = client.frame(add(1));
    await client.send(ran);
    const { config } = client;
    const keyless = paymentsClient(app);
    Object.assign(keyless, { config: { ...config, secureKey: undefined } });
    await keyless.connect([], [askedOf(client, [sendingOf(ran)])]);
    const elsewhere = publicClient(app);
    await elsewhere.connect([], [askedOf(client, [sendingOf(ran)])]);
    for (const other of [keyless, elsewhere]) {
      expect(other.session.renewalAnswers).toEqual([[{ known: 'unknown' }]]);
    }
    expect(only(await client.call('add', 2))).toBe(2);
  });

  it('names ids that the server did not make without a statement', async () => {
    const renew = vi.spyOn(app.get(SessionStore, { strict: false }), 'renew');
    const fresh = paymentsClient(app);
    const made = { ...askedOf(client), sessionId: primitives.random(16) };
    await fresh.connect([], [made, made, made, made]);
    expect(renew).not.toHaveBeenCalled();
  });

  it('is told what a frame is told, of a running, a done, and a number that was not taken', async () => {
    const latch = app.get(Ledger).hold();
    const [running, done, never] = [
      client.frame([{ name: 'slow', args: [] }]),
      client.frame(add(1)),
      client.frame(add(2)),
    ];
    const reply = client.send(running);
    await latch.entered;
    await client.send(done);
    await app.get(SealwireSessions).revoke(toHex(client.session.sessionId));
    const told: Reply[] = [];
    for (const frame of [running, done, never]) told.push(await client.send(frame));
    expect([status(told[0]!), only(told[1]!), status(told[2]!)]).toEqual(['running', 1, 'session_ended']);
    const fresh = paymentsClient(app);
    await fresh.connect([], [askedOf(client, [running, done, never].map(sendingOf))]);
    const [answers] = fresh.session.renewalAnswers as [NumberAnswer[]];
    expect(answers).toEqual([
      { known: 'running' },
      { known: 'result', frame: expect.any(Uint8Array) },
      { known: 'never_ran' },
    ]);
    latch.release();
    await reply;
  });

  it('tells of a call that outlived the keys of its epoch that it ran', async () => {
    const latch = app.get(Ledger).hold();
    const slow = client.frame([{ name: 'slow', args: [] }]);
    const answered = post(client.url, slow);
    await latch.entered;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    client.ratchet();
    expect(only(await client.call('add', 1))).toBe(1);
    vi.advanceTimersByTime(LIMITS.epochGraceSeconds * 1000);
    vi.useRealTimers();
    latch.release();
    expect((await answered).code).toBe('session_unknown');
    const fresh = paymentsClient(app);
    await fresh.connect([], [askedOf(client, [sendingOf(slow)])]);
    expect(fresh.session.renewalAnswers).toEqual([[{ known: 'ran' }]]);
  });
});

describe('the memory store', () => {
  it('ends a session by its id, and counts a module, whatever others there are', async () => {
    const store = new MemoryStore(primitives);
    const keyId = primitives.random(8);
    for (let i = 0; i < 20_000; i++) await store.create(newSession({ keyId }), { ...limits, secureKey: 100_000 });
    const session = newSession();
    await store.create(session, limits);
    const before = performance.now();
    for (let i = 0; i < 100; i++) {
      expect(await store.end({ id: i === 0 ? session.id : primitives.random(16) }, 'revoked')).toBe(i === 0 ? 1 : 0);
      expect(await store.count({ module: 'payments' })).toBe(20_000);
    }
    // 30 ms each while all sessions were looked at
    expect((performance.now() - before) / 100).toBeLessThan(10);
  });

  it('is asked for its health without a look at its sessions', async () => {
    await start();
    const directory = app.get(SessionDirectory, { strict: false });
    const [ping, count, list] = [
      vi.spyOn(directory, 'ping'),
      vi.spyOn(directory, 'count'),
      vi.spyOn(directory, 'list'),
    ];
    expect(await app.get(SealwireHealthIndicator).check('sealwire')).toMatchObject({ sealwire: { status: 'up' } });
    expect(ping).toHaveBeenCalledTimes(1);
    expect(count).not.toHaveBeenCalled();
    expect(list).not.toHaveBeenCalled();
    ping.mockRejectedValueOnce(new Error('away'));
    expect(await app.get(SealwireHealthIndicator).check('sealwire')).toMatchObject({ sealwire: { status: 'down' } });
  });

  it('tells under seal how long it has remembered sessions', async () => {
    await start();
    const { serverOptions: options } = await paymentsClient(app).steps1and2();
    expect(options.age).toBeGreaterThan(0);
    expect(options.age).toBeLessThan(60_000);
    expect(options.maxBody).toBe(1_048_576);
  });
});
