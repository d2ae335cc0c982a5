import { connect, type Socket } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { Logger } from '@nestjs/common';
import { CONTENT_TYPE, LIMITS, makeSessionId, type Reply, toHex } from '@sealwire/core';
import {
  KeyStore,
  NumberLedger,
  SealwireEvents,
  type SealwireModuleOptions,
  type SealwireOptions,
  SealwireSessions,
  SessionStore,
} from '@sealwire/nest';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { AddressBuckets, LookUps, networkOf } from '../src/sessions/index.js';
import { Ledger, paymentsClient, publicClient, startApplication } from './application.js';
import { only, type PeerClient, post, primitives } from './support.js';

let app: INestApplication;
let client: PeerClient;

async function start(options: SealwireOptions = {}, payments: Partial<SealwireModuleOptions> = {}): Promise<void> {
  app = await startApplication({ options, payments });
  client = paymentsClient(app);
}

const status = (reply: Reply) => ('status' in reply ? reply.status : 'outcomes');
const code = async (frame: Uint8Array, headers = {}) => (await post(client.url, frame, headers)).code;

afterEach(async () => {
  vi.restoreAllMocks();
  await app?.close();
});

describe('handshakes', () => {
  it('an address does not pay for what is malformed or does not open', async () => {
    await start({
      handshakeRate: { perSecond: 0.01, burst: 3 },
      handshakeRateTotal: { perSecond: 1_000, burst: 1_000 },
    });
    for (let i = 0; i < 100; i++) expect(await code(Uint8Array.of(1, 1))).toBe('handshake_failed');
    for (let i = 0; i < 10; i++) {
      const { frame } = client.start();
      frame[frame.length - 1]! ^= 1;
      expect(await code(frame)).toBe('handshake_failed');
    }
    expect(await code(publicClient(app).start().frame)).toBe('handshake_failed');
    for (let i = 0; i < 3; i++) await client.steps1and2();
    expect(await code(client.start().frame)).toBe('rate_limited');
  });

  it('300 honest clients of one address all get in by default', async () => {
    await start({ handshakeRate: undefined, handshakeRateTotal: undefined } as SealwireOptions);
    const clients = Array.from({ length: 300 }, () => paymentsClient(app));
    await Promise.all(clients.map((one) => one.connect()));
    expect(await app.get(SealwireSessions).count()).toBe(300);
  }, 60_000);

  it('all addresses together are limited for the processor, by busy', async () => {
    await start({ handshakeRateTotal: { perSecond: 0.01, burst: 3 } });
    const { frame } = client.start();
    frame[frame.length - 1]! ^= 1;
    // each that does not open costs a twentieth
    for (let i = 0; i < 20; i++) expect(await code(frame)).toBe('handshake_failed');
    await client.steps1and2();
    for (let i = 0; i < 20; i++) await code(frame);
    expect(await code(client.start().frame)).toBe('busy');
    expect(await code(frame)).toBe('busy');
  });

  it('what is no address in X-Forwarded-For counts as the connection, and is no key', async () => {
    app = await startApplication({
      options: { handshakeRate: { perSecond: 0.01, burst: 2 } },
      prepare: (it) => it.getHttpAdapter().getInstance().set('trust proxy', true),
    });
    client = paymentsClient(app);
    const from = (address: string) => code(client.start().frame, { 'x-forwarded-for': address });
    expect([await from('x'.repeat(12_000)), await from('y'.repeat(10)), await from('z')]).toEqual([
      undefined,
      undefined,
      'rate_limited',
    ]);
    expect(await from('2001:db8::1')).toBeUndefined();
    expect(await from('2001:db8::ffff')).toBeUndefined();
    expect(await from('2001:db8:0:0:1::1')).toBe('rate_limited');
    expect(await from('2001:db8:0:1::1')).toBeUndefined();
  });

  it('logs once a minute who was limited, and tells each as an event', async () => {
    await start({ handshakeRate: { perSecond: 0.01, burst: 1 } });
    const warned = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    const refused = vi.fn();
    app.get(SealwireEvents).on('handshakeRefused', refused);
    await client.steps1and2();
    for (let i = 0; i < 5; i++) expect(await code(client.start().frame)).toBe('rate_limited');
    const lines = warned.mock.calls.map(([line]) => String(line));
    expect(lines).toEqual(['Handshakes of one address are limited (handshakeRate), now 127.0.0.1.']);
    expect(refused).toHaveBeenCalledTimes(5);
    const later = performance.now() + 61_000;
    vi.spyOn(performance, 'now').mockReturnValue(later);
    await client.steps1and2().catch(() => undefined);
    await code(client.start().frame);
    expect(String(warned.mock.calls.at(-1)?.[0])).toContain('(4 more since the last such line)');
  });

  it('logs why one was refused at most once a second', async () => {
    await start();
    const warned = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    for (let i = 0; i < 5; i++) await code(publicClient(app).start().frame);
    expect(warned.mock.calls.map(([line]) => String(line))).toEqual([
      "A handshake of 127.0.0.1 with the module 'payments' was refused: the client has no SecureKey",
    ]);
  });

  it('names whoever sent one, although that has left meanwhile', async () => {
    await start({ handshakeRate: false });
    const refused = vi.fn();
    app.get(SealwireEvents).on('handshakeRefused', refused);
    const gone = new Promise((resolve) => {
      app.getHttpServer().once('connection', (socket: Socket) => socket.once('close', resolve));
    });
    const { port, pathname } = new URL(client.url);
    const { frame } = publicClient(app).start();
    const head = `POST ${pathname} HTTP/1.1\r\nHost: x\r\nContent-Type: ${CONTENT_TYPE}\r\nContent-Length: ${frame.length}\r\n\r\n`;
    const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined);
    const store = app.get(KeyStore);
    const ask = store.currentCookieKey.bind(store);
    vi.spyOn(store, 'currentCookieKey').mockImplementation(async () => {
      socket.destroy();
      await gone;
      return ask();
    });
    socket.write(head);
    socket.write(frame);
    await vi.waitFor(() => expect(refused).toHaveBeenCalledWith(expect.objectContaining({ peer: '127.0.0.1' })));
  });

  it('says once that a proxy tells of addresses and is not trusted', async () => {
    await start();
    const warned = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    for (let i = 0; i < 3; i++) await code(client.start().frame, { 'x-forwarded-for': '10.0.0.1' });
    expect(warned.mock.calls.filter(([line]) => String(line).includes('trust proxy'))).toHaveLength(1);
  });

  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:DB8:0:1:2:3:4:5', '2001:db8:0:1::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['1:2::ffff:1.2.3.4', '1:2:0:0::/64'],
  ])('counts %s as %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  it('remembers a bounded number of addresses, those seen last', () => {
    const buckets = new AddressBuckets({ perSecond: 0.01, burst: 1 }, 100);
    for (let i = 0; i < 1_000; i++) buckets.take(`10.0.0.${i}`);
    expect(buckets.size).toBeLessThanOrEqual(100);
    expect(buckets.has('10.0.0.999')).toBe(false);
    expect(buckets.has('10.0.0.0')).toBe(true);
  });
});

describe('calls', () => {
  const add = (count: number) => Array.from({ length: count }, () => ({ name: 'add', args: [1] }));

  it('of one session at work are limited, by busy under seal; a batch counts its calls', async () => {
    await start({ sessionCalls: 4 });
    await client.connect();
    const ledger = app.get(Ledger);
    const latch = ledger.hold();
    const slow = client.frame([{ name: 'slow', args: [] }, ...add(3)]);
    const running = client.send(slow);
    await latch.entered;
    const four = client.frame(add(4));
    expect(status(await client.send(four))).toBe('busy');
    expect(status(await client.send(client.frame(add(1))))).toBe('busy');
    const other = paymentsClient(app);
    await other.connect();
    expect(status(await other.send(other.frame(add(4))))).toBe('outcomes');
    latch.release();
    expect(status(await running)).toBe('outcomes');
    // the number was not taken
    expect(status(await client.send(four))).toBe('outcomes');
  });

  it('of a message as large as the limit run beside others, or they never would beside a stream', async () => {
    await start({ sessionCalls: 4 });
    await client.connect();
    const latch = app.get(Ledger).hold();
    const running = client.send(client.frame([{ name: 'slow', args: [] }]));
    await latch.entered;
    expect(status(await client.send(client.frame(add(4))))).toBe('outcomes');
    latch.release();
    expect(status(await running)).toBe('outcomes');
  });

  it('above the limit a duplicate is answered as ever', async () => {
    await start({ sessionCalls: 1 });
    await client.connect();
    const done = client.frame(add(1));
    await client.send(done);
    const latch = app.get(Ledger).hold();
    const slow = client.frame([{ name: 'slow', args: [] }]);
    const first = client.send(slow);
    await latch.entered;
    expect(only(await client.send(done))).toBe(1);
    const second = client.send(slow);
    await client.send(done);
    latch.release();
    expect([only(await first), only(await second)]).toEqual([2, 2]);
  });

  it('above the limit a number below the window is too old, which no later try would change', async () => {
    await start({ sessionCalls: 1 });
    await client.connect();
    const old = client.frame(add(1));
    client.counter += LIMITS.replayWindow;
    await client.send(client.frame(add(1)));
    const latch = app.get(Ledger).hold();
    const first = client.send(client.frame([{ name: 'slow', args: [] }]));
    await latch.entered;
    expect(status(await client.send(old))).toBe('number_too_old');
    expect(status(await client.send(client.frame(add(1))))).toBe('busy');
    latch.release();
    expect(only(await first)).toBe(2);
  });

  it('256 numbers are asked about in one statement', async () => {
    await start();
    await client.connect();
    const frames = Array.from({ length: 256 }, () => client.frame(add(1)));
    const store = app.get(SessionStore, { strict: false });
    const spies = [vi.spyOn(store, 'renew'), vi.spyOn(app.get(NumberLedger, { strict: false }), 'recall')];
    const { lane } = client.session.terms;
    const numbers = frames.map((_, counter) => ({ number: { lane, counter }, digest: primitives.random(16) }));
    const { sessionId, secrets } = client.session;
    const fresh = paymentsClient(app);
    await fresh.connect([], [{ sessionId, key: secrets.renewal, numbers }]);
    expect(fresh.session.renewalAnswers[0]).toEqual(numbers.map(() => ({ known: 'never_ran' })));
    for (const spy of spies) expect(spy).toHaveBeenCalledTimes(1);
  });
});

describe('session ids', () => {
  const withId = (frame: Uint8Array, id: Uint8Array) => {
    const other = frame.slice();
    other.set(id, 4);
    return other;
  };
  const ours = () =>
    makeSessionId(
      primitives,
      app.get(SessionStore, { strict: false }).sessionIdKey(),
      'payments',
      primitives.random(10),
    );

  it('that the server did not make cost no statement', async () => {
    await start();
    await client.connect();
    const find = vi.spyOn(app.get(SessionStore, { strict: false }), 'find');
    const frame = client.frame([{ name: 'add', args: [1] }]);
    for (let i = 0; i < 50; i++) expect(await code(withId(frame, primitives.random(16)))).toBe('session_unknown');
    expect(find).not.toHaveBeenCalled();
  });

  it('are looked up eight at a time, a bounded number waits, and the rest is busy', async () => {
    const pending: ((found: undefined) => void)[] = [];
    const lookUps = new LookUps(() => new Promise((resolve) => pending.push(resolve)));
    const answers = Array.from({ length: 300 }, (_, i) =>
      lookUps.get(`${i}`, new Uint8Array(16)).then(
        () => 'answered',
        (error) => error.code,
      ),
    );
    expect(pending).toHaveLength(8);
    for (let i = 0; i < 264; i++) {
      await vi.waitUntil(() => pending.length > i);
      expect(pending.length).toBeLessThanOrEqual(i + 8);
      pending[i]?.(undefined);
    }
    const told = await Promise.all(answers);
    expect([told.filter((one) => one === 'answered').length, told.filter((one) => one === 'busy').length]).toEqual([
      264, 36,
    ]);
  });

  it('that are not there cost one statement each, and repeats none', async () => {
    await start();
    await client.connect();
    const store = app.get(SessionStore, { strict: false });
    const find = vi.spyOn(store, 'find');
    const frame = client.frame([{ name: 'add', args: [1] }]);
    const once = ours();
    for (let i = 0; i < 20; i++) expect(await code(withId(frame, once))).toBe('session_unknown');
    expect(find).toHaveBeenCalledTimes(1);
    const codes = await Promise.all(Array.from({ length: 60 }, () => code(withId(frame, ours()))));
    expect(new Set(codes)).toEqual(new Set(['session_unknown']));
    expect(find).toHaveBeenCalledTimes(61);
    expect(only(await client.call('add', 1))).toBe(1);
  });

  it('that others saw lock nobody out: a frame is opened first, and its sender pays for what does not open', async () => {
    await start();
    await client.connect();
    const forged = client.frame([{ name: 'add', args: [1] }]);
    forged[forged.length - 1]! ^= 1;
    const flood = Array.from({ length: 200 }, () => code(forged));
    const honest = Array.from({ length: 50 }, () => client.call('add', 1));
    expect((await Promise.all(honest)).map(only)).toEqual(Array(50).fill(1));
    const codes = await Promise.all(flood);
    expect(new Set(codes)).toEqual(new Set(['bad_frame', 'busy']));
  });
});

describe('sessions', () => {
  it('of a module are limited: the longest unused one ends, and its client is told under seal', async () => {
    await start({}, { maxSessions: 2 });
    const closed = vi.fn();
    app.get(SealwireEvents).on('closed', closed);
    const [one, two, three] = [client, paymentsClient(app), paymentsClient(app)];
    await one.connect();
    await two.connect();
    // by the store's clock, which tells calls of one second not apart
    vi.spyOn(app.get(SessionStore, { strict: false }), 'now').mockReturnValue(Date.now() + 5_000);
    expect(only(await one.call('add', 1))).toBe(1);
    await three.connect();
    expect(closed).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ sessionId: toHex(two.session.sessionId), reason: 'evicted' }),
    );
    expect(status(await two.call('add', 1))).toBe('session_ended');
    expect([only(await one.call('add', 1)), only(await three.call('add', 1))]).toEqual([1, 1]);
    expect(await app.get(SealwireSessions).count()).toBe(2);
  });

  it('of a SecureKey are limited', async () => {
    await start({}, { maxSessionsPerKey: 1, maxSessions: 10, requireSecureKey: false });
    await client.connect();
    const open = publicClient(app);
    await open.connect();
    const second = paymentsClient(app);
    await second.connect();
    expect(status(await client.call('add', 1))).toBe('session_ended');
    expect(only(await second.call('add', 1))).toBe(1);
    expect(only(await open.call('secret'))).toBe('sealed');
  });

  it.each([
    [{ handshakeRate: { points: 60, duration: 10 } }, /handshakeRate/],
    [{ handshakeRateTotal: { perSecond: 0, burst: 1 } }, /handshakeRateTotal/],
    [{ sessionCalls: 0 }, /sessionCalls/],
  ])('options %o are refused', async (options, sentence) => {
    await expect(start(options as never)).rejects.toThrow(sentence);
  });
});
