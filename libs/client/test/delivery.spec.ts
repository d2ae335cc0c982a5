import { OutcomeUnknownError, RemoteError } from '@sealwire/client';
import {
  CONTENT_TYPE,
  decodeCalls,
  encodeCalls,
  encodeReply,
  LIMITS,
  type Reply,
  SealwireError,
  toHex,
} from '@sealwire/core';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { PeerServer, type PeerSession, refused } from '../../../test/support/peer/server.js';
import { type Parcel, pack, withAdded } from '../src/delivery/index.js';
import { connect, gate, type Network, opened, useFakeTimers } from './support/remote.js';

/** As `fetchTransport` reports a connection that never came about. */
class RefusedConnection extends SealwireError {
  constructor() {
    super('unreachable', 'connect ECONNREFUSED 127.0.0.1:3000');
  }
}

/** In arrays, so many that the value itself is in the last level that a payload may have. */
function deep(levels: number, value: unknown): unknown {
  return levels === 0 ? value : [deep(levels - 1, value)];
}

function cycle(): unknown {
  const value: { self?: unknown } = {};
  value.self = value;
  return value;
}

const rewritten = { status: 503, contentType: 'text/html', body: new TextEncoder().encode('<h1>later</h1>') };

describe('requests under way', () => {
  it('may each bring the result, whatever happens to later copies', async () => {
    useFakeTimers();
    const server = new PeerServer();
    let calls = 0;
    const network: Network = async (_request, next, kind) => {
      if (kind !== 'call' || ++calls === 1) return next();
      throw new Error('connection reset');
    };
    const remote = await opened(server, network);
    server.functions.slow = () => new Promise((resolve) => setTimeout(resolve, 7_000, 'slow'));
    const call = remote.$call({ timeout: 10_000 }).slow();
    await vi.advanceTimersByTimeAsync(7_000);
    expect(await call).toBe('slow');
    expect(calls).toBeGreaterThan(2);
    expect(server.runs).toHaveLength(1);
  });

  it('may bring the result of a number that the server could not tell of, after the call went on under another', async () => {
    useFakeTimers();
    const server = new PeerServer();
    const hold = gate();
    let calls = 0;
    const network: Network = async (_request, next, kind) => {
      if (kind !== 'call') return next();
      const count = ++calls;
      const response = await next();
      if (count === 1) await hold.passed;
      // the resend of the first call gets lost
      if (count === 4) await new Promise(() => {});
      return response;
    };
    const remote = await opened(server, network);
    server.onAsked = () => ({ known: 'unknown' });
    const call = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(1);
    for (const session of server.sessions.values()) session.ended = true;
    const other = remote.echo('notices that the session is over').catch((e: unknown) => e);
    await vi.advanceTimersByTimeAsync(12_000);
    expect(await other).toBeInstanceOf(OutcomeUnknownError);
    expect(calls).toBe(4);
    hold.open();
    await vi.advanceTimersByTimeAsync(1);
    expect(await call).toBe(3);
  });
});

describe('a signal', () => {
  it('gives a call up at each moment between its metadata and its sending', async () => {
    const server = new PeerServer();
    let metadata = async () => ({});
    const network: Network = (_request, next, kind) => (kind === 'call' ? new Promise(() => {}) : next());
    const remote = connect(server, { network, metadata: () => metadata() });
    await remote.add(0, 0);
    for (let ticks = 0; ticks < 16; ticks++) {
      const made = gate<object>();
      metadata = () => made.passed as Promise<Record<string, string>>;
      const giving = new AbortController();
      const call = remote.$call({ signal: giving.signal, timeout: 500 }).add(1, 2);
      made.open({});
      let turn = Promise.resolve();
      for (let i = 0; i < ticks; i++) turn = turn.then(() => {});
      void turn.then(() => giving.abort());
      await expect(call, `after ${ticks} microtasks`).rejects.toMatchObject({ name: 'AbortError' });
    }
  });
});

describe('timers that are late', () => {
  it('give a call one more look, not one after the other, as in a hidden tab', async () => {
    useFakeTimers();
    const server = new PeerServer();
    let calls = 0;
    const remote = await opened(server, (_request, next, kind) => {
      if (kind !== 'call') return next();
      calls++;
      return new Promise(() => {});
    });
    const timer = setTimeout;
    vi.stubGlobal('setTimeout', (fire: () => void, ms = 0) => {
      const now = performance.now();
      return timer(fire, Math.ceil((now + ms) / 1_000) * 1_000 - now);
    });
    onTestFinished(() => void vi.unstubAllGlobals());
    const ended = vi.fn();
    remote.$call({ timeout: 2_000 }).add(1, 2).catch(ended);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(ended).toHaveBeenCalledExactlyOnceWith(expect.any(OutcomeUnknownError));
    expect(calls).toBeLessThanOrEqual(3);
  });
});

describe('a gateway that rewrites error answers', () => {
  it('does not hide that the session is gone', async () => {
    useFakeTimers();
    const server = new PeerServer();
    const remote = await opened(server, async (_request, next) => {
      const response = await next();
      return response.status === 200 ? response : rewritten;
    });
    server.sessions.clear();
    const call = remote.add(1, 2).catch((e: unknown) => e);
    await vi.advanceTimersByTimeAsync(16_000);
    // without a trace of the session nobody can tell that the first sending never ran
    expect(await call).toBeInstanceOf(OutcomeUnknownError);
    expect(await remote.add(3, 4)).toBe(7);
  });

  it('may change status and content type of a frame', async () => {
    const server = new PeerServer();
    const remote = connect(server, {
      network: async (_request, next) => ({ ...(await next()), status: 500, contentType: 'text/html' }),
    });
    expect(await remote.add(1, 2)).toBe(3);
    expect(await remote.add(3, 4)).toBe(7);
    expect(server.seen.map(({ kind }) => kind)).toEqual(['start', 'finish', 'call']);
  });

  it('does not end a channel that never was a Sealwire one as blocked', async () => {
    useFakeTimers();
    const server = new PeerServer();
    let down = false;
    const remote = await opened(server, (_request, next) => (down ? rewritten : next()));
    down = true;
    const call = remote.$call({ timeout: 600_000 }).add(1, 2);
    await vi.advanceTimersByTimeAsync(400_000);
    down = false;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await call).toBe(3);
    expect(server.runs).toHaveLength(1);
  });
});

describe('first calls', () => {
  it.each([undefined, 4_000])('wait for no other call of the same handshake (timeout %s)', async (timeout) => {
    const server = new PeerServer();
    const hold = gate();
    server.functions.slow = () => hold.passed.then(() => 'slow');
    const remote = connect(server);
    const began = performance.now();
    const slow = remote.slow();
    expect(await (timeout ? remote.$call({ timeout }) : remote).add(1, 2)).toBe(3);
    expect(performance.now() - began).toBeLessThan(2_000);
    hold.open();
    expect(await slow).toBe('slow');
    expect(server.runs).toHaveLength(2);
    expect(server.count('finish')).toBe(1);
  });

  it('keep their identity when the question finds nothing any more', async () => {
    const server = new PeerServer();
    server.idempotent.add('slow');
    const hold = gate();
    server.functions.slow = () => hold.passed.then(() => 'slow');
    server.onCall = (_session, { lane }) => (lane === 0 ? { status: 'outcome_unknown' } : undefined);
    const slow = connect(server).slow();
    await vi.waitFor(() => expect(server.runs).toHaveLength(2));
    hold.open();
    expect(await slow).toBe('slow');
    expect(server.runs[1]?.callId).toBe(server.runs[0]?.callId);
  });

  it('are asked about by renewals until they are done, if step 4 was lost', async () => {
    useFakeTimers();
    const server = new PeerServer();
    server.functions.slow = () => new Promise((resolve) => setTimeout(resolve, 15_000, 'slow'));
    let finishes = 0;
    const remote = connect(server, {
      async network(_request, next, kind) {
        const response = await next();
        if (kind === 'finish' && ++finishes === 1) throw new Error('connection reset');
        return response;
      },
    });
    // the pause before a renewal may be 16 seconds by then
    const slow = remote.$call({ timeout: 60_000 }).slow();
    await vi.advanceTimersByTimeAsync(40_000);
    expect(await slow).toBe('slow');
    expect(server.runs).toHaveLength(1);
  });

  it('end their key when step 4 opens, and that of their results when all have come', async () => {
    const server = new PeerServer();
    const erased: string[] = [];
    const fill = vi.spyOn(Uint8Array.prototype, 'fill').mockImplementation(function (this: Uint8Array, value) {
      if (value === 0 && this.length === 32) erased.push(toHex(this));
      this.set(Array.from(this, () => value));
      return this;
    });
    await connect(server).add(1, 2);
    fill.mockRestore();
    const [session] = [...server.sessions.values()] as [PeerSession];
    expect(erased).toContain(toHex(session.firstKey));
    expect(erased).toContain(toHex(session.firstResults));
  });
});

describe('renewals', () => {
  it('are not believed without the proof of the old session', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    for (const session of server.sessions.values()) session.ended = true;
    server.proves = false;
    await expect(remote.add(1, 2)).rejects.toBeInstanceOf(OutcomeUnknownError);
    expect(server.runs).toEqual([]);
  });

  /** The server starts anew with nothing in memory. */
  function restart(server: PeerServer, age: number): void {
    server.sessions.clear();
    server.incarnation = new Uint8Array(8).fill(9);
    server.age = age;
  }

  it('make a first sending of a call to a server that started before it and keeps sessions in memory', async () => {
    useFakeTimers();
    const server = new PeerServer();
    const remote = await opened(server);
    await vi.advanceTimersByTimeAsync(60_000);
    restart(server, 30_000);
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.seen.map(({ kind }) => kind)).toEqual(['call', 'start', 'finish', 'call']);
    expect(server.runs).toHaveLength(1);
  });

  it.each([
    ['was sent before the start', () => {}, 0],
    ['was sent before the start, as the wall clock says', () => vi.setSystemTime(Date.now() + 40_000), 30_000],
    ['was sent when the clocks agreed less', () => vi.setSystemTime(Date.now() + 1_500), 30_000],
  ])('leave the decision to the server if the call %s', async (_name, meanwhile, age) => {
    useFakeTimers();
    const server = new PeerServer();
    let calls = 0;
    const remote = await opened(server, async (_request, next, kind) => {
      if (kind !== 'call' || calls++ > 0) return next();
      meanwhile();
      restart(server, age);
      return next();
    });
    await expect(remote.add(1, 2)).rejects.toBeInstanceOf(OutcomeUnknownError);
    expect(server.runs).toEqual([]);
  });

  it('count a sending from when it may have left: a refused connection is none', async () => {
    useFakeTimers();
    const server = new PeerServer();
    let down = true;
    const remote = await opened(server, (_request, next, kind) => {
      if (kind === 'call' && down) throw new RefusedConnection();
      return next();
    });
    const call = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(5_000);
    down = false;
    restart(server, 4_000);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await call).toBe(3);
    expect(server.runs).toHaveLength(1);
  });
});

describe('what never left this machine', () => {
  it('left it if the server says that it ran, whatever its transport says', async () => {
    const server = new PeerServer();
    server.onAsked = () => ({ known: 'ran' });
    let calls = 0;
    const remote = await opened(server, async (_request, next, kind) => {
      if (kind !== 'call') return next();
      if (++calls > 2) return next();
      if (calls === 2) return refused('session_unknown');
      await next();
      throw new RefusedConnection();
    });
    const first = remote.add(1, 2).catch((error: unknown) => error);
    await vi.waitFor(() => expect(server.runs).toHaveLength(1));
    await remote.add(3, 4).catch(() => {});
    expect(await first).toMatchObject({ code: 'result_gone' });
    expect(server.runs.filter(({ args }) => args[0] === 1)).toHaveLength(1);
  });

  it('is unreachable, not unknown', async () => {
    const server = new PeerServer();
    const remote = await opened(server, (_request, next, kind) => {
      if (kind === 'call') throw new RefusedConnection();
      return next();
    });
    const error = await remote
      .$call({ timeout: 300 })
      .add(1, 2)
      .catch((e: unknown) => e);
    expect(error).not.toBeInstanceOf(OutcomeUnknownError);
    expect(error).toMatchObject({ code: 'unreachable', retryable: true });
    expect((error as Error).message).toContain('ECONNREFUSED 127.0.0.1:3000');
  });
});

describe('too large', () => {
  it('is refused before anything is sent, with the place of the argument', async () => {
    const server = new PeerServer();
    server.maxBody = 200_000;
    const remote = await opened(server);
    const error = await remote.echo(new Uint8Array(250_000)).catch((e: unknown) => e);
    expect(error).toMatchObject({ name: 'RemoteError', code: 'too_large', retryable: false });
    expect((error as Error).message).toMatch(/200000 bytes.*Argument 1 of `echo` has 250005/);
    expect(server.seen).toEqual([]);
    expect(await remote.add(1, 2)).toBe(3);
  });

  it('counts the seal and the padding', async () => {
    const server = new PeerServer();
    server.maxBody = 200_000;
    const remote = await opened(server);
    await expect(remote.echo(new Uint8Array(199_900))).rejects.toMatchObject({ code: 'too_large' });
    expect(server.seen).toEqual([]);
  });

  it('is refused by a cold client once the server has said what it takes', async () => {
    const server = new PeerServer();
    server.maxBody = 200_000;
    await expect(connect(server).echo(new Uint8Array(250_000))).rejects.toMatchObject({ code: 'too_large' });
    expect(server.seen.map(({ kind }) => kind)).toEqual(['start', 'finish']);
  });

  it('is known under seal after a server that takes less now answered 413', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    server.maxBody = 200_000;
    const error = await remote.echo(new Uint8Array(250_000)).catch((e: unknown) => e);
    expect(error).not.toBeInstanceOf(OutcomeUnknownError);
    expect(error).toMatchObject({ code: 'too_large' });
    expect(server.runs).toEqual([]);
  });

  it('ends one call of a batch; calls that fit no message together go in several', async () => {
    const server = new PeerServer();
    server.maxBody = 200_000;
    const remote = await opened(server);
    const settled = await remote.$batch((r) => [250_000, 90_000, 90_000, 90_000].map((n) => r.echo(new Uint8Array(n))));
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled']);
    expect(settled[0]).toMatchObject({ reason: { code: 'too_large' } });
    expect(server.count('call')).toBe(3);
  });

  it('is no batch whose items are more than one message holds: it goes in several', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    const many = new Array(100_000).fill(1);
    const settled = await remote.$batch((r) => [r.add(1, 2), r.echo(many), r.echo(many), r.add(3, 4)]);
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'fulfilled']);
    expect(server.count('call')).toBe(2);
  });

  it.each<[string, unknown, number]>([
    ['numbers', 1.5, 1],
    ['long integers', 2 ** 40, 1],
    ['texts', 'x'.repeat(300), 1],
    ['bytes', new Uint8Array(70_000), 1],
    ['nothing', null, 1],
    ['bigints', -(2n ** 70n), 2],
    ['dates', new Date(0), 2],
    ['objects', { a: 1 }, 3],
    ['sets', new Set([1]), 3],
    ['maps', new Map([['a', [1]]]), 5],
  ])('counts items as servers do, and leaves room for what is laid over its calls later: %s', (_name, value, items) => {
    const metadata = Object.fromEntries(Array.from({ length: LIMITS.metadata }, (_, i) => [`x-${i}`, 'y']));
    // the array of calls, name and arguments of each, and what a call may say beside them
    const room = LIMITS.payloadItems - 1 - 2 * (3 + 12 + 2 * LIMITS.metadata);
    const filler = (more: number) => new Array(room - 2 - 10 * items + more).fill(0);
    const packed = (more: number) =>
      pack(
        [
          { name: 'a', args: [new Array(10).fill(value)] },
          { name: 'b', args: [filler(more)] },
        ],
        Number.POSITIVE_INFINITY,
        [],
      );
    expect(packed(1)).toHaveLength(2);
    const [all] = packed(0);
    expect(all?.places).toEqual([0, 1]);
    const calls = decodeCalls(withAdded([all as Parcel], { deadline: 1, metadata })[0]?.payload as Uint8Array);
    const resend = { callId: new Uint8Array(16), incarnation: new Uint8Array(8) };
    expect(() => encodeCalls(calls.map((call) => ({ ...call, resend })))).not.toThrow();
  });

  it('is a result that is longer than this client reads, at once', async () => {
    const server = new PeerServer();
    const remote = await opened(server, async (_request, next, kind) => {
      if (kind === 'call') throw new SealwireError('too_large');
      return next();
    });
    const error = await remote.add(1, 2).catch((e: unknown) => e);
    expect(error).not.toBeInstanceOf(OutcomeUnknownError);
    expect(error).toMatchObject({ code: 'too_large' });
    expect(server.seen).toEqual([]);
  });
});

describe('pauses', () => {
  it.each<Reply>([
    { status: 'number_too_old' },
    { status: 'result_gone' },
    { status: 'outcome_unknown' },
    { status: 'lane_moved', lane: 1, known: 'unknown', incarnation: new Uint8Array(8) },
    { status: 'lane_moved', lane: 1, known: 'never_ran', incarnation: new Uint8Array(8) },
    { outcomes: [{ ok: false, code: 'unavailable', message: '' }] },
  ])('come from the second resend on, whatever the server keeps answering: %j', async (reply) => {
    useFakeTimers();
    const server = new PeerServer();
    server.idempotent.add('add');
    const remote = await opened(server);
    server.onCall = () => reply;
    const call = remote.add(1, 2).catch((e: unknown) => e);
    await vi.advanceTimersByTimeAsync(10);
    const soon = server.count('call') + server.count('finish');
    expect(soon).toBeLessThanOrEqual(3);
    await vi.advanceTimersByTimeAsync(29_990);
    expect(server.count('call')).toBeLessThan(25);
    expect(await call).toBeInstanceOf(RemoteError);
  });
});

describe('an authentic answer that cannot be read', () => {
  it.each<[string, Reply]>([
    [
      'too many outcomes',
      {
        outcomes: [
          { ok: true, value: 1 },
          { ok: true, value: 2 },
        ],
      },
    ],
    ['the answer to a question that was not asked', { first: new Uint8Array(40) }],
  ])('ends the call: %s', async (_name, reply) => {
    const server = new PeerServer();
    const remote = await opened(server);
    server.onCall = () => reply;
    const error = await remote.add(1, 2).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(OutcomeUnknownError);
    expect(error).toMatchObject({ cause: { code: 'bad_payload' } });
    expect(server.count('call')).toBe(1);
  });
});

describe('a value that cannot be sent', () => {
  it('ends its own call at once, and takes no other of its batch with it', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    const [good, bad, other] = await remote.$batch((r) => [r.add(1, 2), r.echo({ lines: [1, () => 1] }), r.echo('x')]);
    expect([good, other]).toEqual([
      { status: 'fulfilled', value: 3 },
      { status: 'fulfilled', value: 'x' },
    ]);
    expect(bad).toMatchObject({ status: 'rejected', reason: { name: 'RemoteError', code: 'unsupported_value' } });
    expect(bad).toMatchObject({
      reason: { message: expect.stringMatching(/^Argument 1 of `echo`, at `\.lines\[1\]`/) },
    });
    expect(server.runs).toHaveLength(2);
  });

  it.each([
    ['half a surrogate pair', '\ud800'],
    ['a bigint in the deepest level', deep(32, 1n)],
    ['a date in the deepest level', deep(32, new Date(0))],
    ['a cycle', cycle()],
  ])('is named at once, and no other waiting call notices: %s', async (_name, value) => {
    const server = new PeerServer();
    const remote = connect(server);
    const settled = await Promise.allSettled([remote.add(1, 2), remote.echo({ value })]);
    expect(settled).toMatchObject([
      { status: 'fulfilled', value: 3 },
      {
        reason: { name: 'RemoteError', code: 'unsupported_value', message: expect.stringMatching(/`echo`.*`\.value/) },
      },
    ]);
    expect(server.runs).toHaveLength(1);
  });

  it('joins what it encoded one by one to the payload of all', async () => {
    for (const count of [2, 23, 24, 255, 256]) {
      const calls = Array.from({ length: count }, (_, i) => ({ name: 'add', args: [i, { at: new Date(i) }] }));
      expect(pack(calls, Number.POSITIVE_INFINITY, [])).toEqual([
        { payload: encodeCalls(calls), places: [...calls.keys()] },
      ]);
    }
  });

  it('sends nothing if there is nothing else', async () => {
    const server = new PeerServer();
    await expect(connect(server).echo(Symbol('x'))).rejects.toMatchObject({ code: 'unsupported_value' });
    const name = 'x'.repeat(129);
    const remote = connect(server) as unknown as Record<string, () => Promise<unknown>>;
    await expect(remote[name]?.()).rejects.toMatchObject({ code: 'function_unknown' });
    expect(server.seen).toEqual([]);
  });
});

describe('many calls', () => {
  it('wait in linear time: 10,000 in parallel', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    const values = await Promise.all(Array.from({ length: 10_000 }, (_, i) => remote.add(i, 1)));
    expect(values.every((value, i) => value === i + 1)).toBe(true);
  }, 20_000);

  it('put one listener on their signal', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    const { signal } = new AbortController();
    const add = vi.spyOn(signal, 'addEventListener');
    const remove = vi.spyOn(signal, 'removeEventListener');
    const warned = vi.fn();
    process.on('warning', warned);
    await Promise.all(Array.from({ length: 50 }, (_, i) => remote.$call({ signal }).add(i, 1)));
    await Promise.all(Array.from({ length: 20 }, (_, i) => connect(server).$call({ signal }).add(i, 1)));
    await new Promise(setImmediate);
    process.off('warning', warned);
    expect(warned).not.toHaveBeenCalled();
    expect(add).toHaveBeenCalledTimes(2);
    expect(remove).toHaveBeenCalledTimes(2);
  });

  it('put one listener on their signal while their metadata is being made', async () => {
    const made = gate<object>();
    let metadata = async (): Promise<object> => ({});
    const remote = connect(new PeerServer(), { metadata: () => metadata() as Promise<Record<string, string>> });
    await remote.add(0, 0);
    metadata = () => made.passed;
    const { signal } = new AbortController();
    const add = vi.spyOn(signal, 'addEventListener');
    const calls = Array.from({ length: 50 }, (_, i) => remote.$call({ signal }).add(i, 1));
    expect(add).toHaveBeenCalledOnce();
    made.open({});
    expect(await Promise.all(calls)).toHaveLength(50);
  });

  it('share one timer', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    const timers = vi.spyOn(globalThis, 'setTimeout');
    for (let i = 0; i < 20; i++) await remote.add(i, 1);
    const own = timers.mock.calls.length;
    timers.mockRestore();
    expect(own).toBeLessThanOrEqual(1);
  });
});

it('tells of what it sends again', async () => {
  const server = new PeerServer();
  let calls = 0;
  const remote = await opened(server, (_request, next, kind) =>
    kind === 'call' && ++calls < 3 ? refused('busy') : next(),
  );
  const retrying = vi.fn();
  remote.$events.on('retrying', retrying);
  expect(await remote.add(1, 2)).toBe(3);
  expect(retrying.mock.calls.map(([event]) => event)).toEqual(
    [1, 2].map((attempt) => ({ what: 'call', attempt, status: 503, cause: expect.objectContaining({ code: 'busy' }) })),
  );
});

it('takes nothing for a result that is not sealed, frame or not', async () => {
  const server = new PeerServer();
  const forged = new Uint8Array([
    0x12,
    1,
    0,
    0,
    ...encodeReply({ outcomes: [{ ok: true, value: 666 }] }),
    ...new Uint8Array(40),
  ]);
  let calls = 0;
  const remote = await opened(server, (_request, next, kind) =>
    kind === 'call' && ++calls < 3 ? { status: 200, contentType: CONTENT_TYPE, body: forged } : next(),
  );
  expect(await remote.add(1, 2)).toBe(3);
  expect(server.runs).toHaveLength(1);
});
