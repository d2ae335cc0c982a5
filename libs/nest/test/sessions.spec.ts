import { type INestApplication, Logger } from '@nestjs/common';
import {
  type Asked,
  type Call,
  callIdentity,
  frameDigest,
  LIMITS,
  type NumberAnswer,
  type Reply,
  toHex,
} from '@sealwire/core';
import {
  KeyRing,
  SealwireEvents,
  SealwireHealthIndicator,
  type SealwireOptions,
  SealwireSessions,
  SessionStore,
} from '@sealwire/nest';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { Sessions } from '../src/sessions/index.js';
import { Ledger, paymentsClient, startApplication } from './application.js';
import { only, PeerClient, post, primitives } from './support.js';

const add = (...args: number[]): Call[] => [{ name: 'add', args }];

let app: INestApplication;
let client: PeerClient;
let ledger: Ledger;
let events: [string, Record<string, unknown>][];

async function start(options: SealwireOptions = {}): Promise<void> {
  app = await startApplication({ options });
  ledger = app.get(Ledger);
  events = [];
  for (const name of ['opened', 'resumed', 'renewed', 'closed'] as const) {
    app.get(SealwireEvents).on(name, (event) => events.push([name, { ...event }]));
  }
  client = paymentsClient(app);
  await client.connect();
}

/** Later by the store's clock. */
function later(seconds: number): void {
  const store = app.get(SessionStore, { strict: false });
  const now = store.now();
  vi.spyOn(store, 'now').mockReturnValue(now + seconds * 1000);
}

/** Pushes the client's session out of memory: its lane is closed and the next one opened by its next call. */
async function evict(): Promise<void> {
  const other = paymentsClient(app);
  await other.connect();
}

const status = (reply: Reply) => ('status' in reply ? reply.status : 'outcomes');
const code = async (frame: Uint8Array) => (await post(client.url, frame)).code;

afterEach(() => app.close());

describe('numbers', () => {
  beforeEach(() => start());

  it('run once: a duplicate gets the bytes of the result again, which was sealed once', async () => {
    const frame = client.frame(add(1, 2));
    const [first, second] = [await post(client.url, frame), await post(client.url, frame)];
    expect(Buffer.from(second.body)).toEqual(Buffer.from(first.body));
    expect(only(client.open(frame, first.body))).toBe(3);
    expect(ledger.runs).toBe(1);
  });

  it('run once: a duplicate of a running call waits for it', async () => {
    const latch = ledger.hold();
    const frame = client.frame([{ name: 'slow', args: [] }]);
    const first = client.send(frame);
    await latch.entered;
    const second = client.send(frame);
    const third = client.send(frame);
    // the duplicates are known to have arrived once a later call of the same connection pool was answered
    await client.call('renamed');
    latch.release();
    expect([only(await first), only(await second), only(await third)]).toEqual([1, 1, 1]);
    expect(ledger.runs).toBe(1);
  });

  it('run once when the same frame arrives many times at once', async () => {
    const frame = client.frame(add(2, 2));
    const replies = await Promise.all(Array.from({ length: 8 }, () => client.send(frame)));
    expect(replies.map(only)).toEqual(Array(8).fill(4));
    expect(ledger.runs).toBe(1);
  });

  it('belong to one frame', async () => {
    const number = client.next();
    expect(only(await client.send(client.frame(add(1), number)))).toBe(1);
    expect(status(await client.send(client.frame(add(1), number)))).toBe('number_conflict');
    expect(ledger.runs).toBe(1);
  });

  it('are refused below the window and far above it', async () => {
    const old = client.frame(add(1));
    client.counter += LIMITS.replayWindow;
    expect(only(await client.call('add', 1))).toBe(1);
    expect(status(await client.send(old))).toBe('number_too_old');
    const { lane } = client.session.terms;
    const far = { lane, counter: client.counter + LIMITS.forwardJump + 1 };
    expect(status(await client.send(client.frame(add(1), far)))).toBe('number_too_old');
    expect(ledger.runs).toBe(1);
  });

  it('of a lane that never was do not run', async () => {
    const { lane } = client.session.terms;
    expect(await code(client.frame(add(1), { lane: lane + 1_000, counter: 0 }))).toBe('busy');
    expect(ledger.runs).toBe(0);
  });
});

it('forgets results beyond the bounds of the cache, and says so', async () => {
  await start({ resultCache: { entries: 2 } });
  const frames = [client.frame(add(1)), client.frame(add(2)), client.frame(add(3))];
  for (const frame of frames) await client.send(frame);
  expect(status(await client.send(frames[0]!))).toBe('result_gone');
  expect(only(await client.send(frames[2]!))).toBe(3);
  expect(ledger.runs).toBe(3);
});

describe('lanes', () => {
  beforeEach(() => start({ hotSessions: 1 }));

  it('move on when a session was put away, and say what is known of older numbers', async () => {
    const ran = client.frame(add(1));
    const unsent = client.frame(add(2));
    expect(only(await client.send(ran))).toBe(1);
    await evict();
    const moved = await client.send(unsent);
    expect(moved).toMatchObject({
      status: 'lane_moved',
      known: 'never_ran',
      incarnation: client.session.terms.incarnation,
    });
    expect(only(await client.send(ran))).toBe(1);
    const lane = (moved as { lane: number }).lane;
    expect(lane).toBeGreaterThan(client.session.terms.lane);
    expect(only(await client.send(client.frame(add(2), { lane, counter: 0 })))).toBe(2);
    expect(ledger.runs).toBe(2);
    expect(events).toContainEqual(['resumed', { sessionId: toHex(client.session.sessionId), module: 'payments' }]);
  });

  it('know the last four lanes before theirs, and nothing of those before', async () => {
    const unsent = client.frame(add(2));
    for (const known of ['never_ran', 'never_ran', 'never_ran', 'never_ran', 'unknown']) {
      await evict();
      expect(await client.send(unsent)).toMatchObject({ status: 'lane_moved', known });
    }
    expect(ledger.runs).toBe(0);
  });

  it('remember no result of a database that was put back', async () => {
    const ran = client.frame(add(1));
    expect(only(await client.send(ran))).toBe(1);
    await evict();
    app.get(Sessions, { strict: false }).incarnationChanged();
    expect(await client.send(ran)).toMatchObject({ status: 'lane_moved', known: 'ran' });
    expect(ledger.runs).toBe(1);
  });

  it('are opened once for many calls at the same time', async () => {
    await evict();
    const frames = Array.from({ length: 5 }, () => client.frame(add(1)));
    const lanes = (await Promise.all(frames.map((f) => client.send(f)))).map(
      (reply) => (reply as { lane: number }).lane,
    );
    expect(new Set(lanes).size).toBe(1);
  });
});

describe('epochs', () => {
  beforeEach(() => start());

  it('move on with the first frame of the next one; the one before stays for a while', async () => {
    const early = client.frame(add(1));
    const older = client.open.bind(client);
    const opened = await post(client.url, early);
    expect(only(older(early, opened.body))).toBe(1);
    const late = client.frame(add(2));
    const lateOpen = new PeerClient(client.url, client.config);
    Object.assign(lateOpen, client);
    client.ratchet();
    expect(only(await client.call('add', 3))).toBe(3);
    expect(only(lateOpen.open(late, (await post(client.url, late)).body))).toBe(2);
    const summary = await app.get(SealwireSessions).list();
    expect(summary[0]?.epoch).toBe(1);
  });

  it('move on once for many frames at the same time, and over the low byte', async () => {
    for (let epoch = 1; epoch <= 257; epoch++) {
      client.ratchet();
      const calls = epoch % 64 === 0 ? 4 : 1;
      const replies = await Promise.all(Array.from({ length: calls }, () => client.call('add', epoch)));
      expect(replies.map(only)).toEqual(Array(calls).fill(epoch));
    }
    expect((await app.get(SealwireSessions).list())[0]?.epoch).toBe(257);
  });

  it('are erased when their grace is over', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const late = client.frame(add(2));
      client.ratchet();
      expect(only(await client.call('add', 3))).toBe(3);
      vi.advanceTimersByTime(LIMITS.epochGraceSeconds * 1000);
      expect(await code(late)).toBe('session_unknown');
    } finally {
      vi.useRealTimers();
    }
  });

  it('do not skip one', async () => {
    client.ratchet();
    client.ratchet();
    expect(await code(client.frame(add(1)))).toBe('session_unknown');
  });
});

describe('the end of a session', () => {
  beforeEach(() => start({ autoSessionsLive: 100, sessionLifetime: 1000 }));

  it('comes when it was idle, counted from the last call', async () => {
    later(90);
    expect(only(await client.call('add', 1))).toBe(1);
    later(90);
    expect(only(await client.call('add', 1))).toBe(1);
    later(101);
    expect(status(await client.call('add', 1))).toBe('session_ended');
    expect(events.at(-1)).toEqual(['closed', expect.objectContaining({ reason: 'idle' })]);
  });

  it('comes with its lifetime, however busy it is', async () => {
    for (let i = 0; i < 11; i++) {
      expect(only(await client.call('add', 1))).toBe(1);
      later(90);
    }
    later(90);
    expect(status(await client.call('add', 1))).toBe('session_ended');
    expect(ledger.runs).toBe(11);
  });

  it('comes by an administrator, under seal', async () => {
    const admin = app.get(SealwireSessions);
    const other = paymentsClient(app);
    await other.connect();
    const [summary] = await admin.list({ id: toHex(client.session.sessionId) });
    expect(summary).toMatchObject({ module: 'payments', keyId: toHex(client.config.secureKey!.keyId), epoch: 0 });
    expect(await admin.revoke(toHex(client.session.sessionId))).toBe(true);
    expect(await admin.revoke(toHex(client.session.sessionId))).toBe(false);
    for (const wrong of ['abc', '', undefined, client.session.sessionId, 'z'.repeat(32)]) {
      await expect(admin.revoke(wrong as string)).rejects.toThrow(
        'The id of a session is text of 32 hexadecimal digits',
      );
    }
    await expect(admin.revokeSecureKey('swk1secret')).rejects.toThrow(/^The id of a SecureKey is text of 16 [^:']*$/);
    await expect(admin.list({ id: '12' })).rejects.toThrow('The id of a session');
    await expect(admin.list({}, { after: 'last' })).rejects.toThrow('The id of a session');
    for (const [limit, got] of [
      [0, '0'],
      [-1, '-1'],
      [1.5, '1.5'],
      ['5' as never, "'5'"],
    ] as const) {
      await expect(admin.list({}, { limit })).rejects.toThrow(`limit is a whole number above 0, got ${got}.`);
    }
    const last = 'f'.repeat(32);
    expect(await admin.list({}, { after: '0'.repeat(32) })).toHaveLength(1);
    expect(await admin.list({}, { after: last.toUpperCase() })).toEqual([]);
    await expect(admin.revokeModule(undefined as never)).rejects.toThrow('A module is named by its path');
    expect(status(await client.call('add', 1))).toBe('session_ended');
    expect(only(await other.call('add', 1))).toBe(1);
    expect(await admin.revokeSecureKey(toHex(client.config.secureKey!.keyId))).toBe(1);
    expect(status(await other.call('add', 1))).toBe('session_ended');
    expect(await admin.count()).toBe(0);
    expect(events.filter(([name]) => name === 'closed').map(([, event]) => event.reason)).toEqual([
      'revoked',
      'secure_key_revoked',
    ]);
    expect(ledger.runs).toBe(1);
  });

  it('leaves no cookie that could bring it back', async () => {
    const fresh = paymentsClient(app);
    await fresh.steps1and2();
    const frame = fresh.step3();
    fresh.step4((await post(client.url, frame)).body);
    await app.get(SealwireSessions).revokeAll();
    expect(await code(frame)).toBe('handshake_used');
    later(65);
    expect(await code(frame)).toBe('handshake_failed');
  });
});

describe('renewal', () => {
  beforeEach(() => start());

  const askedOf = (old: PeerClient, frames: Uint8Array[], key = old.session.secrets.renewal): Asked => ({
    sessionId: old.session.sessionId,
    key,
    numbers: frames.map((frame) => ({
      number: {
        lane: new DataView(frame.buffer).getUint32(20),
        counter: new DataView(frame.buffer).getUint32(24),
      },
      digest: frameDigest(primitives, frame),
    })),
  });

  async function renew(old: PeerClient, frames: Uint8Array[], key?: Uint8Array): Promise<PeerClient> {
    const fresh = paymentsClient(app);
    await fresh.connect([], [askedOf(old, frames, key)]);
    return fresh;
  }

  const resultOf = (answer: NumberAnswer | undefined) => (answer?.known === 'result' ? answer.frame : undefined);

  it('tells what became of each number, and ends the old session', async () => {
    const ran = client.frame(add(1));
    const unsent = client.frame(add(2));
    const altered = client.frame(add(3), { lane: client.session.terms.lane, counter: 0 });
    await client.send(ran);
    const fresh = await renew(client, [ran, unsent, altered]);
    expect(fresh.session.renewalAnswers[0]).toEqual([
      { known: 'result', frame: expect.any(Uint8Array) },
      { known: 'never_ran' },
      { known: 'never_ran' },
    ]);
    expect(only(client.open(ran, resultOf(fresh.session.renewalAnswers[0]?.[0])!))).toBe(1);
    expect(status(await client.send(unsent))).toBe('session_ended');
    expect(ledger.runs).toBe(1);
    const previous = [toHex(client.session.sessionId)];
    expect(events.find(([name]) => name === 'renewed')?.[1]).toMatchObject({ previous });
    expect(events.find(([name]) => name === 'closed')?.[1]).toMatchObject({ reason: 'renewed' });
  });

  it('does not cut off what runs, and still tells its result', async () => {
    const latch = ledger.hold();
    const running = client.frame([{ name: 'slow', args: [] }]);
    const unsent = client.frame(add(2));
    const reply = client.send(running);
    await latch.entered;
    const renewed = await renew(client, [running, unsent]);
    expect(renewed.session.renewalAnswers[0]).toEqual([{ known: 'running' }, { known: 'never_ran' }]);
    expect(status(await client.call('renamed'))).toBe('session_ended');
    expect(status(await client.send(running))).toBe('running');
    latch.release();
    expect(only(await reply)).toBe(1);
    expect(only(await client.send(running))).toBe(1);
    expect(ledger.runs).toBe(1);
  });

  it('says of a session that an administrator ended what never ran', async () => {
    const unsent = client.frame(add(2));
    await client.call('add', 1);
    await app.get(SealwireSessions).revoke(toHex(client.session.sessionId));
    expect((await renew(client, [unsent])).session.renewalAnswers[0]).toEqual([{ known: 'never_ran' }]);
  });

  it('tells nothing and ends nothing without the proof', async () => {
    const ran = client.frame(add(1));
    await client.send(ran);
    const fresh = await renew(client, [ran], primitives.random(32));
    expect(fresh.session.renewalAnswers[0]).toEqual([{ known: 'unknown' }]);
    expect(only(await client.call('add', 1))).toBe(1);
  });

  it('tells what the first calls did where step 4 was lost', async () => {
    const lost = paymentsClient(app);
    await lost.steps1and2();
    const step3 = lost.step3(add(7));
    await post(lost.url, step3);
    const fresh = paymentsClient(app);
    const { sessionId, digest } = lost.finishSent;
    const numbers = [
      { number: { lane: 0, counter: 0 }, digest },
      { number: { lane: 0, counter: 0 }, digest: primitives.random(16) },
      { number: { lane: 0, counter: 1 }, digest },
      { number: { lane: client.session.terms.lane, counter: 5 }, digest },
    ];
    await fresh.connect([], [{ sessionId, key: lost.firstKey, numbers }]);
    const [answers] = fresh.session.renewalAnswers;
    expect(answers).toEqual([
      { known: 'result', frame: expect.any(Uint8Array) },
      { known: 'never_ran' },
      { known: 'unknown' },
      { known: 'unknown' },
    ]);
    expect(only(lost.openFirst(resultOf(answers?.[0])!))).toBe(7);
    expect(ledger.runs).toBe(1);
  });

  it('is told at once that first calls still run, and of their result later', async () => {
    const lost = paymentsClient(app);
    await lost.steps1and2();
    const latch = ledger.hold();
    const first = post(lost.url, lost.step3([{ name: 'slow', args: [] }]));
    await latch.entered;
    const { sessionId, digest } = lost.finishSent;
    const asked: Asked = { sessionId, key: lost.firstKey, numbers: [{ number: { lane: 0, counter: 0 }, digest }] };
    const fresh = paymentsClient(app);
    await fresh.connect([], [asked]);
    expect(fresh.session.renewalAnswers[0]).toEqual([{ known: 'running' }]);
    latch.release();
    await first;
    const later = paymentsClient(app);
    await later.connect([], [asked]);
    expect(only(lost.openFirst(resultOf(later.session.renewalAnswers[0]?.[0])!))).toBe(1);
    expect(ledger.runs).toBe(1);
  });

  it('lets only an idempotent function run again for a resend', async () => {
    const first = { number: client.next(), digest: primitives.random(16) };
    const callId = callIdentity(primitives, client.session.secrets.renewal, first, 0);
    const resend = { callId, incarnation: client.session.terms.incarnation };
    const calls: Call[] = [
      { name: 'add', args: [1], resend },
      { name: 'slow', args: [], resend },
    ];
    const reply = await client.send(client.frame(calls));
    expect('outcomes' in reply && reply.outcomes.map((o) => (o.ok ? o.value : o.code))).toEqual(['outcome_unknown', 1]);
  });
});

describe('the peer lock', () => {
  it('serves the address that opened the session only', async () => {
    app = await startApplication({
      options: { peerLock: 'forwarded' },
      prepare: (it) => it.getHttpAdapter().getInstance().set('trust proxy', true),
    });
    client = paymentsClient(app);
    const from = (address: string) => ({ 'x-forwarded-for': address });
    await client.steps1and2();
    client.step4((await post(client.url, client.step3(), from('10.0.0.1'))).body);
    const frame = client.frame(add(1));
    expect((await post(client.url, frame, from('10.0.0.2'))).code).toBe('session_unknown');
    expect((await post(client.url, frame, from('10.0.0.1'))).status).toBe(200);
    expect(app.get(Ledger).runs).toBe(1);
  });
});

describe('a server in trouble', () => {
  beforeEach(() => start({ storeTimeout: 50, hotSessions: 1 }));

  it('is busy while its store does not answer, and nothing ran', async () => {
    const store = app.get(SessionStore, { strict: false });
    await evict();
    vi.spyOn(store, 'find').mockReturnValueOnce(new Promise(() => undefined));
    const answer = await post(client.url, client.frame(add(1)));
    expect([answer.status, answer.code, answer.headers['retry-after']]).toEqual([503, 'busy', '1']);
    vi.spyOn(store, 'takeLane').mockReturnValueOnce(new Promise(() => undefined));
    expect(await code(client.frame(add(1)))).toBe('busy');
    vi.spyOn(store, 'takeLane').mockRejectedValueOnce(new Error('connection lost'));
    expect(await code(client.frame(add(1)))).toBe('busy');
    vi.spyOn(store, 'create').mockRejectedValueOnce(new Error('connection lost'));
    await expect(paymentsClient(app).connect(add(1))).rejects.toThrow('busy');
    expect(ledger.runs).toBe(0);
    expect(status(await client.call('add', 1))).toBe('lane_moved');
  });

  it('takes no numbers without its lease, and its health says so', async () => {
    const health = app.get(SealwireHealthIndicator);
    expect(await health.check('sealwire')).toEqual({ sealwire: { status: 'up', hotSessions: 1 } });
    vi.spyOn(app.get(SessionStore, { strict: false }), 'leaseHolds').mockReturnValue(false);
    expect(await code(client.frame(add(1)))).toBe('busy');
    await expect(paymentsClient(app).connect(add(1))).rejects.toThrow('busy');
    expect(await health.check('sealwire')).toMatchObject({ sealwire: { status: 'down' } });
    expect(ledger.runs).toBe(0);
  });

  it('slows failed opens of a session down and recovers', async () => {
    const frame = client.frame(add(1));
    const altered = frame.slice();
    altered[40]! ^= 1;
    const codes = await Promise.all(Array.from({ length: 40 }, () => code(altered)));
    expect(codes).toContain('bad_frame');
    expect(codes).toContain('busy');
    await expect.poll(() => code(frame)).toBeUndefined();
  });

  it('finishes running calls before it stops', async () => {
    const store = app.get(SessionStore, { strict: false });
    const closed = vi.spyOn(store, 'closeLane');
    const stopped = vi.spyOn(store, 'stop');
    const latch = ledger.hold();
    const reply = client.call('slow');
    await latch.entered;
    const closing = app.close();
    await expect.poll(() => code(client.frame(add(1)))).toBe('busy');
    expect(stopped).not.toHaveBeenCalled();
    latch.release();
    expect(only(await reply)).toBe(1);
    await closing;
    expect(closed).toHaveBeenCalledTimes(1);
    expect(closed.mock.invocationCallOrder[0]!).toBeLessThan(stopped.mock.invocationCallOrder[0]!);
  });

  it('says that the store did not take sessions back, and not that calls were running', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    onTestFinished(() => warn.mockRestore());
    await client.call('add', 1);
    vi.spyOn(app.get(SessionStore, { strict: false }), 'closeLane').mockRejectedValue(new Error('no database'));
    await app.close();
    expect(warn.mock.calls).toEqual([['The store did not take sessions back: Error: no database']]);
  });
});

it('tells its public key', async () => {
  await start();
  expect(await app.get(KeyRing).describe()).toEqual({
    publicKey: expect.stringMatching(/^swp1\./),
    fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/),
  });
});
