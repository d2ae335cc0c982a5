import { OutcomeUnknownError } from '@sealwire/client';
import { type CallNumber, type Reply, toHex } from '@sealwire/core';
import { describe, expect, it, vi } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import { connect, gate, opened, useFakeTimers } from './support/remote.js';

const once = <T>(value: T) => {
  let left = 1;
  return () => (left-- > 0 ? value : undefined);
};

describe('lane_moved', () => {
  const moved = (server: PeerServer, known: 'never_ran' | 'ran' | 'unknown') => {
    let lane = 0;
    server.onCall = (session, number): Reply | undefined => {
      lane ||= number.lane + 5;
      session.lane = lane;
      return number.lane < lane ? { status: 'lane_moved', lane, known, incarnation: server.incarnation } : undefined;
    };
  };

  it('sends what never ran again, in the new lane from counter 1', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    const resumed = vi.fn();
    remote.$events.on('resumed', resumed);
    moved(server, 'never_ran');
    expect(await remote.add(1, 2)).toBe(3);
    expect(await remote.add(3, 4)).toBe(7);
    const numbers = server.seen.map(({ frame }) => toHex(frame.slice(20, 28)));
    const lane = Number.parseInt(numbers[0]!.slice(0, 8), 16) + 5;
    const inLane = (counter: number) => lane.toString(16).padStart(8, '0') + counter.toString(16).padStart(8, '0');
    expect(numbers.slice(1)).toEqual([inLane(1), inLane(2)]);
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ sessionId: [...server.sessions.keys()][0], lane });
    expect(server.count('start')).toBe(0);
  });

  it('reports a result that is gone for what ran', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    moved(server, 'ran');
    await expect(remote.add(1, 2)).rejects.toMatchObject({ code: 'result_gone', retryable: false });
    expect(server.runs).toEqual([]);
  });

  it('asks again for what ran, where its result may still be had', async () => {
    const server = new PeerServer();
    server.idempotent.add('add');
    const remote = await opened(server);
    moved(server, 'ran');
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.runs).toHaveLength(1);
  });

  it('sends what is unknown again under the identity it had first', async () => {
    const server = new PeerServer();
    server.idempotent.add('add');
    const remote = await opened(server);
    const resends: (string | undefined)[] = [];
    server.onCall = (session, number, calls): Reply | undefined => {
      resends.push(calls[0]?.resend && toHex(calls[0].resend.callId));
      if (resends.length > 2) return undefined;
      server.incarnation = new Uint8Array(8).fill(100 + resends.length);
      session.lane = number.lane + 1;
      return { status: 'lane_moved', lane: session.lane, known: 'unknown', incarnation: server.incarnation };
    };
    expect(await remote.add(1, 2)).toBe(3);
    expect(resends).toEqual([undefined, server.runs[0]?.callId, server.runs[0]?.callId]);
    expect(server.runs).toHaveLength(1);
  });

  it('reports an unknown outcome where the function may not run twice', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    moved(server, 'unknown');
    const error = await remote.add(1, 2).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(OutcomeUnknownError);
    expect(error).toMatchObject({ functionName: 'add' });
    expect(server.runs).toEqual([]);
  });

  it('never goes back to an older lane', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    const lanes: number[] = [];
    server.onCall = (_session, number): Reply | undefined => {
      lanes.push(number.lane);
      if (lanes.length !== 1) return undefined;
      return { status: 'lane_moved', lane: number.lane - 1, known: 'never_ran', incarnation: server.incarnation };
    };
    expect(await remote.add(1, 2)).toBe(3);
    expect(lanes[1]).toBe(lanes[0]);
  });
});

describe('renewal', () => {
  /** The session is forgotten: every call frame of it is refused unsealed until a new handshake. */
  async function forgotten(server: PeerServer, answer?: (number: CallNumber) => ReturnType<PeerServer['onAsked']>) {
    const remote = await opened(server);
    const old = [...server.sessions.values()][0]!;
    server.onCall = (session) => (session === old ? 'session_unknown' : undefined);
    if (answer) server.onAsked = (_session, number) => answer(number);
    return { remote, old };
  }

  it.each([
    ['never_ran', 'runs it again as a fresh call'],
    ['result', 'takes the result from step 4'],
    ['ran', 'reports that its result is gone'],
    ['unknown', 'leaves the decision to the server'],
  ] as const)('on %s %s', async (known, _what) => {
    const server = new PeerServer();
    const { remote, old } = await forgotten(server, () =>
      known === 'result' ? { known, reply: { outcomes: [{ ok: true, value: 42 }] } } : { known },
    );
    const renewed = vi.fn();
    remote.$events.on('renewed', renewed);
    const call = remote.add(1, 2);
    if (known === 'never_ran') expect(await call).toBe(3);
    if (known === 'result') expect(await call).toBe(42);
    if (known === 'ran') await expect(call).rejects.toMatchObject({ code: 'result_gone' });
    if (known === 'unknown') await expect(call).rejects.toBeInstanceOf(OutcomeUnknownError);
    expect(server.runs).toHaveLength(known === 'never_ran' ? 1 : 0);
    expect(server.asked).toHaveLength(1);
    expect(server.asked[0]?.numbers.map(({ number }) => number)).toEqual([{ lane: expect.any(Number), counter: 1 }]);
    expect(old.ended).toBe(true);
    expect(renewed).toHaveBeenCalledExactlyOnceWith({
      oldSessionId: toHex(old.id),
      sessionId: [...server.sessions.keys()][1],
      reason: 'session_unknown',
    });
  });

  it('shakes hands once for all waiting calls, and asks for each', async () => {
    const server = new PeerServer();
    const { remote } = await forgotten(server);
    const all = await Promise.all(Array.from({ length: 50 }, (_, i) => remote.add(i, 1)));
    expect(all).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    expect(server.count('start')).toBe(1);
    expect(server.asked[0]?.numbers).toHaveLength(50);
    expect(server.runs).toHaveLength(50);
  });

  it('renews when the server says under seal that the session ended', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    const renewed = vi.fn();
    remote.$events.on('renewed', renewed);
    for (const session of server.sessions.values()) session.ended = true;
    expect(await remote.add(1, 2)).toBe(3);
    expect(renewed).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ reason: 'session_ended' }));
    expect(server.runs).toHaveLength(1);
  });

  it('leaves a number that another client object used for a session of its own', async () => {
    const server = new PeerServer();
    const remote = await opened(server);
    server.onCall = once<Reply>({ status: 'number_conflict' });
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.sessions.size).toBe(2);
    expect(server.runs).toHaveLength(1);
  });

  it('takes the stored result of the first calls when step 4 is lost', async () => {
    const server = new PeerServer();
    let finishes = 0;
    const remote = connect(server, {
      async network(_request, next, kind) {
        const response = await next();
        if (kind === 'finish' && ++finishes === 1) throw new Error('connection reset');
        return response;
      },
    });
    expect(await Promise.all([remote.add(1, 2), remote.add(3, 4)])).toEqual([3, 7]);
    expect(server.runs).toHaveLength(2);
    // lost, sent again and refused as used, then the new handshake's
    expect(server.count('finish')).toBe(3);
    expect(server.asked.map(({ numbers }) => numbers.map(({ number }) => number))).toEqual([
      [
        { lane: 0, counter: 0 },
        { lane: 0, counter: 1 },
      ],
    ]);
  });

  it('names a half-made session that no call waits for any more, for the data may have moved there', async () => {
    useFakeTimers();
    const server = new PeerServer();
    let lost = 0;
    let given = new AbortController();
    const remote = await opened(server, async (_request, next, kind) => {
      const response = await next();
      if (kind !== 'finish' || lost === 0) return response;
      lost--;
      given.abort(new Error('given up'));
      throw new Error('connection reset');
    });
    // handshakes in a row have pauses between them
    const soon = <T>(call: Promise<T>) => vi.advanceTimersByTimeAsync(10_000).then(() => call);
    const ids = () => server.asked.map(({ sessionId }) => toHex(sessionId));
    for (let renewal = 0; renewal < 3; renewal++) {
      [lost, given] = [1, new AbortController()];
      for (const session of server.sessions.values()) session.ended = true;
      await soon(expect(remote.$call({ signal: given.signal }).add(1, 1)).rejects.toThrow('given up'));
    }
    const [first, ...halfMade] = [...server.sessions.keys()];
    expect(halfMade).toHaveLength(3);
    server.asked.length = 0;
    expect(await soon(remote.add(1, 2))).toBe(3);
    // the newest first, and no more than fit beside the session and the calls
    expect(ids()).toEqual([first, halfMade[2], halfMade[1]]);
    expect(server.asked.every(({ numbers }) => numbers.length === 0)).toBe(true);

    for (const session of server.sessions.values()) session.ended = true;
    server.asked.length = 0;
    expect(await soon(remote.add(3, 4))).toBe(7);
    expect(ids()).toEqual([[...server.sessions.keys()].at(-2)]);
  });

  it('asks under the session for a first call that still runs', async () => {
    useFakeTimers();
    const server = new PeerServer();
    server.functions.slow = () => new Promise((resolve) => setTimeout(resolve, 18_000, 'slow'));
    const call = connect(server).slow();
    await vi.advanceTimersByTimeAsync(19_000);
    expect(await call).toBe('slow');
    // the question goes out again after a third of the call's time, with the same bytes
    expect(server.seen.map(({ kind }) => kind)).toEqual(['start', 'finish', 'call', 'call']);
    expect(server.seen[2]?.frame.slice(20, 28)).toEqual(new Uint8Array(8));
    expect(server.seen[3]?.frame).toEqual(server.seen[2]?.frame);
    expect(server.runs).toHaveLength(1);
  });

  it('takes step 4 from the first sending, though the second is refused as used', async () => {
    useFakeTimers();
    const server = new PeerServer();
    let finishes = 0;
    const remote = connect(server, {
      async network(_request, next, kind) {
        const response = await next();
        if (kind === 'finish' && ++finishes === 1) await new Promise((resolve) => setTimeout(resolve, 11_000));
        return response;
      },
    });
    const call = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(11_000);
    expect(await call).toBe(3);
    expect(server.seen.map(({ kind }) => kind)).toEqual(['start', 'finish', 'finish']);
  });

  it('gets the first result in time though step 4 never arrives', async () => {
    useFakeTimers();
    const server = new PeerServer();
    let finishes = 0;
    const remote = connect(server, {
      async network(_request, next, kind) {
        const response = await next();
        return kind === 'finish' && ++finishes === 1 ? new Promise(() => {}) : response;
      },
    });
    const call = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(29_000);
    expect(await call).toBe(3);
    expect(server.runs).toHaveLength(1);
  });

  it('keeps the identity of a first call over a lost step 4', async () => {
    const server = new PeerServer();
    server.idempotent.add('add');
    server.onAsked = () => ({ known: 'unknown' });
    let finishes = 0;
    const remote = connect(server, {
      async network(_request, next, kind) {
        const response = await next();
        if (kind === 'finish' && ++finishes === 1) throw new Error('connection reset');
        return response;
      },
    });
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.runs).toHaveLength(2);
    expect(server.runs[1]?.callId).toBe(server.runs[0]?.callId);
  });

  it.each([
    ['idle', 1_800, (server: PeerServer) => server.idle],
    ['lifetime', 43_200, (server: PeerServer) => server.lifetime],
  ] as const)(
    'takes no number near the end of the %s time: the call rides in a new handshake',
    async (reason, _s, of) => {
      useFakeTimers();
      const server = new PeerServer();
      const remote = await opened(server);
      const renewed = vi.fn();
      remote.$events.on('renewed', renewed);
      if (reason === 'lifetime') {
        server.idle = 100_000;
        for (const session of server.sessions.values()) session.ended = true;
        await remote.add(0, 0);
        server.seen.length = 0;
        server.asked.length = 0;
        renewed.mockClear();
      }
      await vi.advanceTimersByTimeAsync((of(server) - 11) * 1000);
      expect(await remote.add(0, 0)).toBe(0);
      expect(server.seen.map(({ kind }) => kind)).toEqual(['call']);
      if (reason === 'idle') await vi.advanceTimersByTimeAsync((of(server) - 10) * 1000);
      await vi.advanceTimersByTimeAsync(1_001);
      expect(await remote.add(1, 2)).toBe(3);
      expect(server.seen.map(({ kind }) => kind)).toEqual(['call', 'start', 'finish']);
      // the session is named, so that the server ends it
      expect(server.asked.map(({ numbers }) => numbers)).toEqual([[]]);
      expect([...server.sessions.values()].map(({ ended }) => ended).slice(-2)).toEqual([true, false]);
      expect(renewed).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ reason }));
    },
  );

  it('counts the time that the machine slept, by whichever clock saw it', async () => {
    useFakeTimers();
    const server = new PeerServer();
    const remote = await opened(server);
    vi.setSystemTime(Date.now() + server.idle * 1000);
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.seen.map(({ kind }) => kind)).toEqual(['start', 'finish']);
  });

  it('asks about a call that a forged answer came to, however long nothing was called before', async () => {
    useFakeTimers();
    const server = new PeerServer();
    server.onAsked = () => ({ known: 'unknown' });
    const { remote } = await forgotten(server);
    await vi.advanceTimersByTimeAsync((server.idle - 11) * 1000);
    await expect(remote.add(1, 2)).rejects.toBeInstanceOf(OutcomeUnknownError);
    expect(server.asked.flatMap(({ numbers }) => numbers)).toHaveLength(1);
    expect(server.runs).toEqual([]);
  });

  it('opens a new session when the numbers of the lane are used up', async () => {
    const server = new PeerServer();
    const remote = connect(server, { tuning: { counter: 2 } });
    for (let i = 0; i < 5; i++) expect(await remote.add(i, 1)).toBe(i + 1);
    // one call rides in each step 3 and two follow it
    expect(server.sessions.size).toBe(2);
  });
});

describe('single calls', () => {
  it('sends an unavailable call again under its identity, and only that one of its batch', async () => {
    const server = new PeerServer();
    server.idempotent.add('add');
    const remote = await opened(server);
    const sent: unknown[] = [];
    server.onCall = (_session, _number, calls): Reply | undefined => {
      sent.push(calls.map(({ name, resend }) => [name, resend !== undefined]));
      if (sent.length > 1) return undefined;
      return {
        outcomes: [
          { ok: true, value: 'x' },
          { ok: false, code: 'unavailable', message: '' },
        ],
      };
    };
    const settled = await remote.$batch((r) => [r.echo('x'), r.add(1, 2)]);
    expect(settled).toEqual([
      { status: 'fulfilled', value: 'x' },
      { status: 'fulfilled', value: 3 },
    ]);
    expect(sent).toEqual([
      [
        ['echo', false],
        ['add', false],
      ],
      [['add', true]],
    ]);
  });

  it.each(['running', 'busy'] as const)('sends the same bytes again on a sealed %s', async (status) => {
    const server = new PeerServer();
    const remote = await opened(server);
    server.onCall = once<Reply>({ status });
    expect(await remote.add(1, 2)).toBe(3);
    const frames = server.seen.map(({ frame }) => toHex(frame));
    expect(frames).toHaveLength(2);
    expect(frames[0]).toBe(frames[1]);
  });

  it.each(['number_too_old', 'outcome_unknown'] as const)('asks by identity on a sealed %s', async (status) => {
    const server = new PeerServer();
    server.idempotent.add('add');
    const remote = await opened(server);
    server.onCall = once<Reply>({ status });
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.runs).toHaveLength(1);
  });
});

describe('epochs', () => {
  it('moves on after its calls and opens late results of the epoch before', async () => {
    const server = new PeerServer();
    const hold = gate();
    server.functions.slow = () => hold.passed.then(() => 'slow');
    const remote = connect(server, { tuning: { callsPerEpoch: 2 } });
    await remote.add(0, 0);
    server.seen.length = 0;
    const slow = remote.slow();
    for (let i = 0; i < 4; i++) await remote.add(i, i);
    hold.open();
    expect(await slow).toBe('slow');
    expect(server.seen.map(({ frame }) => frame[3])).toEqual([0, 0, 1, 1, 2]);
  });

  it('stays until the server has answered in it: two epochs ahead would lock the client out', async () => {
    const server = new PeerServer();
    const hold = gate();
    server.functions.slow = () => hold.passed.then(() => 'slow');
    const remote = connect(server, { tuning: { callsPerEpoch: 1 } });
    await remote.add(0, 0);
    server.seen.length = 0;
    const all = [remote.slow(), remote.slow(), remote.slow(), remote.slow()];
    await vi.waitFor(() => expect(server.count('call')).toBe(4));
    hold.open();
    await Promise.all(all);
    await remote.add(1, 1);
    expect(server.seen.map(({ frame }) => frame[3])).toEqual([0, 1, 1, 1, 2]);
  });

  it('moves on with time', async () => {
    useFakeTimers();
    const server = new PeerServer();
    const remote = connect(server);
    await remote.add(0, 0);
    await remote.add(0, 0);
    await vi.advanceTimersByTimeAsync(900_000);
    await remote.add(0, 0);
    expect(server.seen.filter(({ kind }) => kind === 'call').map(({ frame }) => frame[3])).toEqual([0, 1]);
  });
});
