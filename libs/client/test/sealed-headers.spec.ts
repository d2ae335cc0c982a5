import type { Call } from '@sealwire/core';
import { expect, it, onTestFinished, vi } from 'vitest';
import { LivePeerServer } from '../../../test/support/peer/live-server.js';
import { PeerServer } from '../../../test/support/peer/server.js';
import { type Any, openedLive } from './support/live.js';
import { connect, gate, useFakeTimers } from './support/remote.js';

/** The options of every call that the peer takes. */
function seen(server: PeerServer): Call[] {
  const calls: Call[] = [];
  server.onCall = (_session, _number, all) => {
    calls.push(...all);
    return undefined;
  };
  return calls;
}

const refusal = { status: 401, ran: false };
/** A guard lets these tokens through. */
function guarded(server: PeerServer, tokens: Set<string | undefined>, details: object = refusal): void {
  const calls = seen(server);
  server.functions.whoami = () => {
    const token = calls.at(-1)?.metadata?.authorization;
    if (!tokens.has(token)) throw Object.assign(new Error('Unauthorized'), { code: 'unauthorized', details });
    return token;
  };
}

it.each([
  ['an object', { Authorization: 'a', 'x-empty': undefined }],
  ['a function', () => ({ Authorization: 'a' })],
  ['an asynchronous function', async () => ({ authorization: 'a' })],
])('sends metadata of %s with each call, lower-cased', async (_name, metadata) => {
  const server = new PeerServer();
  const remote = connect(server, { metadata });
  await remote.add(0, 0);
  const calls = seen(server);
  await remote.add(1, 2);
  await remote.$call({ metadata: { authorization: 'b', traceparent: 't' } }).add(1, 2);
  await remote.$call({ metadata: async () => ({ traceparent: 't' }) }).add(1, 2);
  await remote.$batch((r) => [r.add(1, 2), r.add(3, 4)], { metadata: { traceparent: 'b' } });
  expect(calls.map((call) => call.metadata)).toEqual([
    { authorization: 'a' },
    { authorization: 'b', traceparent: 't' },
    { authorization: 'a', traceparent: 't' },
    { authorization: 'a', traceparent: 'b' },
    { authorization: 'a', traceparent: 'b' },
  ]);
});

it('sends none if there is none', async () => {
  const server = new PeerServer();
  const remote = connect(server, { metadata: { gone: undefined } });
  await remote.add(0, 0);
  const calls = seen(server);
  await remote.add(1, 2);
  expect(calls[0]).toEqual({ name: 'add', args: [1, 2] });
});

it('encodes the arguments at the time of the call, though the metadata comes later', async () => {
  const server = new PeerServer();
  const token = gate<string>();
  const remote = connect(server, { metadata: async () => ({ authorization: await token.passed }) });
  const calls = seen(server);
  const argument = { cents: 1 };
  const call = remote.echo(argument);
  argument.cents = 2;
  token.open('late');
  expect(await call).toEqual({ cents: 1 });
  await remote.add(1, 1);
  expect(calls.at(-1)?.metadata).toEqual({ authorization: 'late' });
});

it('fails the call whose metadata cannot be made, and sends nothing', async () => {
  const server = new PeerServer();
  const remote = connect(server, {
    metadata: async () => {
      throw new Error('no token');
    },
  });
  await expect(remote.add(1, 2)).rejects.toMatchObject({ code: 'metadata_failed', retryable: true });
  expect(server.seen).toEqual([]);
  expect(() => connect(server, { metadata: { 'a b': 'x' } })).toThrow(/metadata/);
  await expect(remote.$call({ metadata: { authorization: 'line\nbreak' } }).add(1, 2)).rejects.toBeInstanceOf(Error);
});

it('gives a call up that waits for its metadata', async () => {
  useFakeTimers();
  const server = new PeerServer();
  const remote = connect(server, { metadata: () => new Promise(() => {}) });
  const controller = new AbortController();
  const aborted = remote.$call({ signal: controller.signal }).add(1, 2);
  controller.abort(new Error('enough'));
  await expect(aborted).rejects.toThrow('enough');
  const late = remote.$call({ timeout: 100 }).add(1, 2);
  late.catch(() => {});
  await vi.advanceTimersByTimeAsync(200);
  await expect(late).rejects.toMatchObject({ code: 'timeout' });
});

it('tells the server the time that was set for a call', async () => {
  const server = new PeerServer();
  const remote = connect(server);
  await remote.add(0, 0);
  const calls = seen(server);
  await remote.$call({ timeout: 1234.5 }).add(1, 2);
  await remote.add(1, 2);
  const limited = connect(server, { timeout: 5000 });
  await limited.add(0, 0);
  await limited.add(1, 2);
  expect(calls.map(({ deadline }) => deadline)).toEqual([1235, undefined, 5000]);
});

it('asks for new metadata once, for all calls that a guard refused', async () => {
  const server = new PeerServer();
  guarded(server, new Set(['new']));
  const refresh = vi.fn(async () => ({ authorization: 'new' }));
  const remote = connect(server, { metadata: { authorization: 'old' }, refresh }) as Any;
  await remote.add(0, 0);
  expect(await Promise.all([remote.whoami(), remote.whoami(), remote.whoami()])).toEqual(['new', 'new', 'new']);
  expect(refresh).toHaveBeenCalledOnce();
  expect(await remote.whoami()).toBe('new');
  expect(refresh).toHaveBeenCalledOnce();
});

it('takes the refusal of the new metadata for an answer', async () => {
  const server = new PeerServer();
  guarded(server, new Set(['never']));
  const refresh = vi.fn();
  const remote = connect(server, { metadata: () => ({ authorization: 'old' }), refresh }) as Any;
  await expect(remote.whoami()).rejects.toMatchObject({ code: 'unauthorized' });
  expect(refresh).toHaveBeenCalledOnce();
  expect(server.runs.filter(({ name }) => name === 'whoami')).toHaveLength(2);
});

it('never sends a call again that ran, whatever it threw', async () => {
  const server = new PeerServer();
  guarded(server, new Set(), { status: 401 });
  const refresh = vi.fn();
  const remote = connect(server, { refresh }) as Any;
  await expect(remote.whoami()).rejects.toMatchObject({ code: 'unauthorized' });
  expect(refresh).not.toHaveBeenCalled();
  expect(server.runs).toHaveLength(1);
});

it('repeats of a batch only what was refused', async () => {
  const server = new PeerServer();
  guarded(server, new Set(['new']));
  const remote = connect(server, { refresh: () => ({ authorization: 'new' }) }) as Any;
  await remote.add(0, 0);
  server.runs.length = 0;
  const settled = await remote.$batch((r: Any) => [r.add(1, 2), r.whoami()]);
  expect(settled.map(({ value }: Any) => value)).toEqual([3, 'new']);
  expect(server.runs.map(({ name }) => name)).toEqual(['add', 'whoami', 'whoami']);
});

it('rejects with the refusal if refresh fails', async () => {
  const server = new PeerServer();
  guarded(server, new Set());
  const remote = connect(server, { refresh: () => Promise.reject(new Error('login is down')) }) as Any;
  await expect(remote.whoami()).rejects.toMatchObject({
    code: 'unauthorized',
    message: expect.stringMatching(/login is down/),
  });
});

it.each([
  ['refresh', 'unauthorized'],
  ['metadata', 'metadata_failed'],
  ['onSession', 'on_session_failed'],
])('says so also if %s throws what is no text', async (name, code) => {
  const server = new PeerServer();
  guarded(server, new Set());
  const throws = () => {
    throw Object.create(null);
  };
  const remote = connect(server, { [name]: throws }) as Any;
  await expect(remote.whoami()).rejects.toMatchObject({ code, message: expect.stringMatching(/no text/) });
});

it('waits for a slow refresh, and does not send the old metadata again meanwhile', async () => {
  useFakeTimers();
  const server = new PeerServer();
  guarded(server, new Set(['new']));
  const login = gate();
  const refresh = vi.fn(() => login.passed.then(() => ({ authorization: 'new' })));
  const remote = connect(server, { metadata: { authorization: 'old' }, refresh }) as Any;
  await remote.add(0, 0);
  const call = remote.whoami();
  await vi.waitFor(() => expect(refresh).toHaveBeenCalled());
  await vi.advanceTimersByTimeAsync(25_000);
  expect(server.runs).toHaveLength(2);
  login.open();
  expect(await call).toBe('new');
  expect(server.runs).toHaveLength(3);
});

it.each([
  ['cannot travel', { authorization: 5 }],
  ['no header can hold', { authorization: 'a\r\nb' }],
  ['is no object of names and texts', new Headers({ authorization: 'new' })],
])('rejects with the refusal if what refresh gives %s, and asks again for the next call', async (_name, wrong) => {
  const server = new PeerServer();
  guarded(server, new Set(['new']));
  const given: unknown[] = [wrong, { authorization: 'new' }];
  const remote = connect(server, { refresh: () => given.shift() }) as Any;
  await expect(remote.whoami()).rejects.toMatchObject({
    code: 'unauthorized',
    message: expect.stringMatching(/refresh\(\) failed/),
  });
  expect(await remote.whoami()).toBe('new');
});

it('rejects with the refusal if the new metadata is too much beside that of the call', async () => {
  const server = new PeerServer();
  guarded(server, new Set(['new']));
  const many = (prefix: string) => Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`${prefix}${i}`, 'x']));
  const remote = connect(server, { refresh: () => many('a') }) as Any;
  const call = remote.$call({ metadata: many('b') }).whoami();
  await expect(call).rejects.toMatchObject({
    code: 'unauthorized',
    message: expect.stringMatching(/more than 64 names/),
  });
});

it.each([
  ['Headers', new Headers({ authorization: 'a' })],
  ['a Map', new Map([['authorization', 'a']])],
  ['an array', [['authorization', 'a']]],
  ['a property that no object has by itself', JSON.parse('{"__proto__":"a"}')],
])('refuses metadata of %s, which would be sent as nothing', async (_name, metadata) => {
  const server = new PeerServer();
  expect(() => connect(server, { metadata })).toThrow(/names and texts/);
  const call = connect(server, { metadata: () => metadata }).add(1, 2);
  await expect(call).rejects.toMatchObject({ code: 'metadata_failed' });
});

it('takes metadata of a promise that is not one of its own kind', async () => {
  const server = new PeerServer();
  // biome-ignore lint/suspicious/noThenProperty: a promise of another library or realm
  const promise = { then: (resolve: (value: object) => void) => resolve({ authorization: 'a' }) };
  const remote = connect(server, { metadata: () => promise as never });
  await remote.add(0, 0);
  const calls = seen(server);
  await remote.add(1, 2);
  expect(calls.map(({ metadata }) => metadata)).toEqual([{ authorization: 'a' }]);
});

it('runs onSession after each handshake, before the calls that wait', async () => {
  const server = new PeerServer();
  const order: string[] = [];
  server.functions.login = (user: string) => order.push(`login ${user}`);
  server.functions.work = (n: number) => order.push(`work ${n}`);
  const remote = connect(server, { onSession: (early: Any) => early.login('ada') }) as Any;
  await Promise.all([remote.work(1), remote.work(2)]);
  expect(order).toEqual(['login ada', 'work 1', 'work 2']);
  await remote.work(3);
  for (const session of server.sessions.values()) session.ended = true;
  await remote.work(4);
  expect(order.slice(3)).toEqual(['work 3', 'login ada', 'work 4']);
});

it('fails the calls that wait for an onSession that fails, and runs it again for the next', async () => {
  const server = new PeerServer();
  let ok = false;
  const remote = connect(server, {
    onSession: () => {
      if (!ok) throw new Error('wrong password');
    },
  });
  const calls = await Promise.allSettled([remote.add(1, 2), remote.add(3, 4)]);
  for (const call of calls) {
    expect(call).toMatchObject({
      reason: { code: 'on_session_failed', message: expect.stringMatching(/wrong password/), retryable: true },
    });
  }
  expect(server.runs).toEqual([]);
  ok = true;
  expect(await remote.add(1, 2)).toBe(3);
  expect(server.sessions.size).toBe(1);
});

it('lets calls wait no longer for onSession than their time', async () => {
  useFakeTimers();
  const server = new PeerServer();
  const remote = connect(server, { timeout: 500, onSession: () => new Promise(() => {}) });
  const call = remote.add(1, 2);
  call.catch(() => {});
  await vi.advanceTimersByTimeAsync(600);
  await expect(call).rejects.toMatchObject({ code: 'timeout' });
});

it('goes on in the next session if one ends while onSession runs', async () => {
  const server = new PeerServer();
  let logins = 0;
  server.functions.login = () => ++logins;
  server.onCall = (session, _number, [call]) => {
    if (call?.name !== 'login' || logins > 0) return undefined;
    logins++;
    session.ended = true;
    return { status: 'session_ended' };
  };
  const remote = connect(server, { onSession: (early: Any) => early.login() });
  expect(await remote.add(1, 2)).toBe(3);
  expect(server.sessions.size).toBe(2);
});

it('refuses onSession without sessions, and hooks that are none', () => {
  const plain = { keySize: 0, serverKey: undefined, secureKey: undefined } as object;
  expect(() => connect(new PeerServer(), { ...plain, onSession: () => {} })).toThrow(/keySize 0/);
  expect(() => connect(new PeerServer(), { refresh: 5 as never })).toThrow(/refresh/);
  expect(() => connect(new PeerServer(), { onSession: 'x' as never })).toThrow(/onSession/);
});

it('hands out each outcome of a batch as it comes', async () => {
  const { server, remote } = await openedLive({ server: new LivePeerServer() });
  const hold = gate();
  server.live.quick = () => 'quick';
  server.live.slow = () => hold.passed.then(() => 'slow');
  server.live.bad = () => {
    throw Object.assign(new Error('no'), { code: 'nope' });
  };
  const batch = remote.$batch((r: Any) => [r.slow(), r.quick(), r.bad()]);
  const settled = vi.fn();
  batch.then(settled);
  expect(await batch.entries[1]).toBe('quick');
  await expect(batch.entries[2]).rejects.toMatchObject({ code: 'nope' });
  expect(settled).not.toHaveBeenCalled();
  hold.open();
  expect(await batch.entries[0]).toBe('slow');
  expect(await batch).toEqual([
    { status: 'fulfilled', value: 'slow' },
    { status: 'fulfilled', value: 'quick' },
    { status: 'rejected', reason: expect.objectContaining({ code: 'nope' }) },
  ]);
});

it('keeps the outcomes that came before a cut, and asks for the rest', async () => {
  let cut = false;
  const { server, remote } = await openedLive({
    network: async (_request, next) => {
      const response = await next();
      if (response.body instanceof Uint8Array || cut) return response;
      cut = true;
      const reader = response.body;
      let reads = 0;
      return {
        ...response,
        body: {
          async read() {
            if (reads++ === 0) return reader.read();
            hold.open();
            while (!(await reader.read()).done);
            throw new Error('connection reset');
          },
          cancel: (reason) => reader.cancel(reason),
        },
      };
    },
  });
  const hold = gate();
  server.live.quick = () => 'quick';
  server.live.slow = () => hold.passed.then(() => 'slow');
  const settled = await remote.$batch((r: Any) => [r.quick(), r.slow()]);
  expect(settled.map(({ value }: Any) => value)).toEqual(['quick', 'slow']);
  expect(server.runs.map(({ name }) => name)).toEqual(['quick', 'slow']);
});

it('tells bytes up and down, and what the function reports', async () => {
  const { server, remote } = await openedLive();
  server.live.job = async ({ progress }) => {
    progress({ percent: 10 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    progress({ percent: 90 });
    return 'done';
  };
  const seenProgress: Any[] = [];
  expect(await remote.$call({ onProgress: (one: Any) => seenProgress.push(one) }).job()).toBe('done');
  expect(seenProgress.flatMap(({ value }) => value ?? [])).toEqual([{ percent: 10 }, { percent: 90 }]);
  expect(seenProgress.at(-1)).toMatchObject({ up: expect.any(Number), down: expect.any(Number) });
  expect(seenProgress.at(-1).up).toBeGreaterThan(0);
  expect(seenProgress.at(-1).down).toBeGreaterThan(100);

  const plain: Any[] = [];
  await remote.$call({ onProgress: (one: Any) => plain.push(one) }).echo('x'.repeat(1000));
  expect(plain.at(-1).up).toBeGreaterThan(1000);
  expect(plain.at(-1).down).toBeGreaterThan(1000);
});

it('is harmed by no hook and no listener that throws, which is reported as uncaught', async () => {
  const before = process.listeners('uncaughtException');
  const uncaught: unknown[] = [];
  process.removeAllListeners('uncaughtException').on('uncaughtException', (error) => uncaught.push(error));
  onTestFinished(() => {
    process.removeAllListeners('uncaughtException');
    for (const listener of before) process.on('uncaughtException', listener);
  });
  const { remote } = await openedLive();
  const hook = (name: string) => () => {
    throw name;
  };
  remote.$events.on('connection', hook('listener'));
  const names = ['onProgress', 'onSent', 'onSealed', 'onOpened'];
  const options = Object.fromEntries(names.map((name) => [name, hook(name)]));
  expect(await remote.$call(options).add(1, 2)).toBe(3);
  remote.$close();
  await vi.waitFor(() => expect(uncaught).toEqual(expect.arrayContaining(['onProgress', 'onSent', 'listener'])));
});

it('ends a stream at once when its signal fires', async () => {
  const { server, remote } = await openedLive();
  const closed = gate();
  server.live.endless = async function* ({ signal }: Any) {
    signal.addEventListener('abort', () => closed.open());
    yield 1;
    await new Promise(() => {});
  } as Any;
  const controller = new AbortController();
  const items = (await remote.$call({ signal: controller.signal }).endless())[Symbol.asyncIterator]();
  await items.next();
  const next = items.next();
  controller.abort(new Error('enough'));
  await expect(next).rejects.toThrow('enough');
  await closed.passed;
});
