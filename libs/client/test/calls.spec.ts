import { OutcomeUnknownError, RemoteError } from '@sealwire/client';
import { encodeCalls, LIMITS, toHex } from '@sealwire/core';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import { connect, gate } from './support/remote.js';

describe('calls', () => {
  it('rides the first call inside step 3', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    const opened = vi.fn();
    remote.$events.on('opened', opened);
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.seen.map(({ kind }) => kind)).toEqual(['start', 'finish']);
    expect(opened).toHaveBeenCalledExactlyOnceWith({
      sessionId: [...server.sessions.keys()][0],
      lane: expect.any(Number),
      roundTripMs: expect.any(Number),
      frameBytes: [1360, expect.any(Number), expect.any(Number), expect.any(Number)],
    });
    expect(await remote.echo({ at: new Date(0), sum: 12n })).toEqual({ at: new Date(0), sum: 12n });
    expect(server.count('call')).toBe(1);
  });

  it('sends a first call that is too large for step 3 after the handshake', async () => {
    const server = new PeerServer();
    const bytes = new Uint8Array(LIMITS.firstCalls);
    expect((await connect(server).echo(bytes)).length).toBe(bytes.length);
    expect(server.seen.map(({ kind }) => kind)).toEqual(['start', 'finish', 'call']);
  });

  it('keeps step 3 small enough for every server, whatever waits', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    const sizes = [200_000, ...Array.from({ length: 10 }, () => 20_000)];
    const results = await Promise.all(sizes.map((size) => remote.echo(new Uint8Array(size))));
    expect(results.map(({ length }) => length)).toEqual(sizes);
    const [step3] = server.seen.filter(({ kind }) => kind === 'finish');
    // two of 20,000 ride, the large one before them does not stand in their way
    expect(step3?.frame.length).toBeGreaterThan(40_000);
    expect(step3?.frame.length).toBeLessThan(LIMITS.firstCallsSent + LIMITS.handshakeFrame);
    expect(server.count('call')).toBe(9);
  });

  it('shakes hands once for 50 concurrent first calls, each with its own result', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    const values = await Promise.all(Array.from({ length: 50 }, (_, i) => remote.add(i, 1)));
    expect(values).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    expect(server.count('start')).toBe(1);
    expect(server.count('finish')).toBe(1);
    expect(server.runs).toHaveLength(50);
  });

  it('sends what the arguments were at the time of the call', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    const order = { amount: 1 };
    const first = remote.echo(order);
    order.amount = 2;
    const second = remote.echo(order);
    order.amount = 3;
    expect(await Promise.all([first, second])).toEqual([{ amount: 1 }, { amount: 2 }]);
  });

  it('runs calls in parallel under numbers that only grow', async () => {
    const server = new PeerServer();
    const hold = gate();
    server.functions.slow = () => hold.passed.then(() => 'slow');
    const remote = connect(server);
    await remote.add(0, 0);
    const slow = remote.slow();
    expect(await remote.add(1, 1)).toBe(2);
    hold.open();
    expect(await slow).toBe('slow');
    const numbers = server.seen.filter(({ kind }) => kind === 'call').map(({ frame }) => toHex(frame.slice(24, 28)));
    expect(numbers).toEqual(['00000001', '00000002']);
  });

  it('keeps at most 256 messages in flight', async () => {
    const server = new PeerServer();
    const hold = gate();
    const remote = connect(server);
    await remote.add(0, 0);
    server.functions.slow = () => hold.passed;
    const all = Array.from({ length: 300 }, () => remote.slow());
    await vi.waitFor(() => expect(server.runs).toHaveLength(257));
    await new Promise(setImmediate);
    expect(server.count('call')).toBe(256);
    hold.open();
    await Promise.all(all);
    expect(server.runs).toHaveLength(301);
  });

  it('reports the error of a function with code, message and details', async () => {
    const server = new PeerServer();
    server.functions.fail = () => {
      throw Object.assign(new Error('funds are short'), { code: 'funds_short', details: { missing: 5n } });
    };
    const error = await connect(server)
      .fail()
      .catch((e: unknown) => e);
    expect(error).toBeInstanceOf(RemoteError);
    expect(error).toMatchObject({
      code: 'funds_short',
      message: 'funds are short',
      details: { missing: 5n },
      retryable: false,
    });
  });

  it('refuses an argument that cannot be sent', async () => {
    await expect(connect(new PeerServer()).echo(() => 1)).rejects.toMatchObject({ code: 'unsupported_value' });
  });

  it('is no promise and leaves the probes of containers alone', () => {
    const remote = connect(new PeerServer()) as unknown as Record<string | symbol, unknown>;
    for (const name of ['then', 'toJSON', 'onModuleInit', 'ngOnDestroy', '$anything', Symbol.iterator]) {
      expect(remote[name]).toBeUndefined();
    }
    expect(String(remote)).toBe('[object Object]');
  });
});

describe('$batch', () => {
  it('gives each call its own outcome in one message', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    await remote.add(0, 0);
    const [sum, failed, text] = await remote.$batch((r) => [r.add(1, 2), r.fail(), r.echo('x')]);
    expect(sum).toEqual({ status: 'fulfilled', value: 3 });
    expect(failed).toMatchObject({ status: 'rejected', reason: { code: 'policy', message: 'funds are short' } });
    expect(text).toEqual({ status: 'fulfilled', value: 'x' });
    expect(server.count('call')).toBe(1);
  });

  it('splits more than 256 calls', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    await remote.add(0, 0);
    const settled = await remote.$batch((r) => Array.from({ length: 600 }, (_, i) => r.add(i, i)));
    expect(settled.map((s) => s.status === 'fulfilled' && s.value)).toEqual(
      Array.from({ length: 600 }, (_, i) => 2 * i),
    );
    expect(server.count('call')).toBe(3);
  });

  it('refuses an array with holes', async () => {
    const holes = connect(new PeerServer()).$batch(() => new Array(2) as never);
    await expect(holes).rejects.toMatchObject({ code: 'bad_configuration' });
  });

  describe('of which nobody waits but for entries', () => {
    /** Reasons of rejections that had nobody, of what is done meanwhile. */
    async function unhandled(work: () => Promise<unknown>): Promise<unknown[]> {
      const reasons: unknown[] = [];
      const others = process.listeners('unhandledRejection');
      process.removeAllListeners('unhandledRejection').on('unhandledRejection', (reason) => reasons.push(reason));
      onTestFinished(() => {
        process.removeAllListeners('unhandledRejection');
        for (const other of others) process.on('unhandledRejection', other);
      });
      await work();
      await new Promise(setImmediate);
      return reasons;
    }

    it('tells them alone why it was given up', async () => {
      const remote = connect(new PeerServer());
      const giving = new AbortController();
      const reasons = await unhandled(async () => {
        const { entries } = remote.$batch((r) => [r.add(1, 2), r.echo('x')], { signal: giving.signal });
        giving.abort(new Error('enough'));
        for (const entry of entries) await expect(entry).rejects.toThrow('enough');
      });
      expect(reasons).toEqual([]);
    });

    it('tells of a mistake, which leaves no entries', async () => {
      const remote = connect(new PeerServer());
      const reasons = await unhandled(async () => {
        const { entries } = remote.$batch(() => 'none' as never);
        expect(entries).toEqual([]);
      });
      expect(reasons).toMatchObject([{ code: 'bad_configuration' }]);
    });
  });

  it('takes an empty batch', async () => {
    const server = new PeerServer();
    expect(await connect(server).$batch(() => [])).toEqual([]);
    expect(server.seen).toEqual([]);
  });
});

describe('the end of a call', () => {
  it('rejects an aborted call with the reason of its signal', async () => {
    const server = new PeerServer();
    server.functions.slow = () => new Promise(() => {});
    const remote = connect(server);
    await remote.add(0, 0);
    const controller = new AbortController();
    const call = remote.$call({ signal: controller.signal }).slow();
    await vi.waitFor(() => expect(server.count('call')).toBe(1));
    const reason = new Error('left the page');
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    await expect(remote.$call({ signal: controller.signal }).slow()).rejects.toBe(reason);
    expect(server.count('call')).toBe(1);
    expect(await remote.add(1, 1)).toBe(2);
  });

  it('says that the outcome is unknown when time ends after sending', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    await remote.add(0, 0);
    server.functions.slow = () => new Promise(() => {});
    const error = await remote
      .$call({ timeout: 60 })
      .slow()
      .catch((e: unknown) => e);
    expect(error).toBeInstanceOf(OutcomeUnknownError);
    expect(error).toMatchObject({
      functionName: 'slow',
      sessionId: [...server.sessions.keys()][0],
      number: { lane: expect.any(Number), counter: 1 },
      cause: { code: 'timeout' },
    });
    // unanswered after a third of its time, it is sent again, with the same bytes
    const frames = server.seen.filter(({ kind }) => kind === 'call').map(({ frame }) => toHex(frame));
    expect(new Set(frames).size).toBe(1);
  });

  it('says that nothing ran when time ends before anything could', async () => {
    const remote = connect(new PeerServer(), {
      network: () => Promise.reject(new Error('connection refused')),
      timeout: 40,
    });
    await expect(remote.add(1, 2)).rejects.toMatchObject({
      name: 'RemoteError',
      code: 'unreachable',
      retryable: true,
      cause: { message: 'connection refused' },
    });
  });

  it('does not hang on a transport that ignores its signal', async () => {
    const remote = connect(new PeerServer(), { network: () => new Promise(() => {}), timeout: 40 });
    await expect(remote.add(1, 2)).rejects.toMatchObject({ code: 'timeout' });
  });

  it('rejects what is pending on $close, and everything after', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    const closed = vi.fn();
    remote.$events.on('closed', closed);
    await remote.add(0, 0);
    server.functions.slow = () => new Promise(() => {});
    const call = remote.slow();
    await vi.waitFor(() => expect(server.count('call')).toBe(1));
    remote.$close();
    await expect(call).rejects.toMatchObject({ code: 'closed' });
    await expect(remote.add(1, 1)).rejects.toMatchObject({ code: 'closed' });
    expect(closed).toHaveBeenCalledExactlyOnceWith({ sessionId: [...server.sessions.keys()][0] });
  });
});

it('tells which bytes carry a call, each time that they leave', async () => {
  const server = new PeerServer();
  const bodies: Uint8Array[] = [];
  let answers = 0;
  const remote = connect(server, {
    network: async (request, next, kind) => {
      bodies.push(request.body);
      const response = await next();
      // the first answer to a call is lost
      if (kind === 'call' && answers++ === 0) throw new Error('lost');
      return response;
    },
  });
  const sent: { frame: Uint8Array; payload: number; calls: readonly number[] }[] = [];
  const onSent = (one: (typeof sent)[number]) => void sent.push(one);
  expect(await remote.$call({ onSent }).add(1, 2)).toBe(3);
  expect(sent).toEqual([
    { frame: bodies[1], payload: encodeCalls([{ name: 'add', args: [1, 2] }]).length, calls: [0] },
  ]);
  await remote.$batch((r) => [r.add(1, 2), r.echo('x')], { onSent });
  const [, call] = sent;
  expect(call).toMatchObject({ frame: bodies[2], calls: [0, 1] });
  expect(sent.slice(2)).toEqual([call]);
  expect(bodies[3]).toEqual(bodies[2]);
  expect(() => remote.$call({ onSent: 1 as never })).toThrow('onSent must be a function');
});
