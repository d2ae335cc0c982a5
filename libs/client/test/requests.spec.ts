import { createRemote, type RemoteOptions } from '@sealwire/client';
import { toHex } from '@sealwire/core';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import { counted, type Got } from './support/http.js';
import { type Api, gate, opened, useFakeTimers } from './support/remote.js';

/** A remote with an open session, over `fetch`. */
async function open(http: Awaited<ReturnType<typeof counted>>, options: Partial<RemoteOptions> = {}) {
  const remote = createRemote<Api>({ url: http.url, ...http.keys, ...options });
  onTestFinished(() => remote.$close());
  await remote.add(0, 0);
  http.got.length = 0;
  http.counts.most = 0;
  return remote;
}

/** A function that goes on until the test says so; copies of its call are answered `running`, as a server does. */
function slowly(peer: PeerServer): () => void {
  const result = gate();
  let isDone = false;
  const numbers = new Set<string>();
  peer.functions.slow = () => result.passed.then(() => 'slow');
  peer.onCall = (_session, number, calls) => {
    const text = JSON.stringify(number);
    const isKnown = numbers.has(text);
    numbers.add(text);
    return isKnown && !isDone && calls[0]?.name === 'slow' ? { status: 'running' } : undefined;
  };
  return () => {
    isDone = true;
    result.open();
  };
}

const frames = (got: readonly Got[]): number => new Set(got.map(({ frame }) => toHex(frame))).size;

describe('requests of one message', () => {
  it('are two at most, and the first lives as long as none is answered', async () => {
    let isHolding = false;
    const http = await counted(new PeerServer(), () => isHolding);
    const remote = await open(http);
    isHolding = true;
    const call = remote.$call({ timeout: 3_000 }).add(1, 2);
    call.catch(() => {});
    await vi.waitFor(() => expect(http.got).toHaveLength(3), { timeout: 5_000 });
    const [first, second, third] = http.got as [Got, Got, Got];
    expect([first.closed, second.closed, third.closed]).toEqual([false, true, false]);
    expect(frames(http.got)).toBe(1);
    await expect(call).rejects.toMatchObject({ code: 'outcome_unknown' });
    expect(http.counts.most).toBe(2);
    await vi.waitFor(() => expect(http.open()).toEqual([]));
  });

  it('are one again when the second is answered, so that the result comes on that', async () => {
    const peer = new PeerServer();
    const finish = slowly(peer);
    const http = await counted(peer);
    const remote = await open(http);
    peer.runs.length = 0;
    const call = remote.$call({ timeout: 6_000 }).slow();
    await vi.waitFor(() => expect(http.got.length).toBeGreaterThan(3), { timeout: 5_000 });
    expect(http.got[0]?.closed).toBe(true);
    expect(http.open().length).toBeLessThanOrEqual(1);
    expect(http.counts.most).toBeLessThanOrEqual(2);
    finish();
    expect(await call).toBe('slow');
    expect(frames(http.got)).toBe(1);
    expect(peer.runs).toHaveLength(1);
  });

  it('end together when the first is answered', async () => {
    const held: Got[] = [];
    let isHolding = false;
    const release = gate();
    const http = await counted(new PeerServer(), async (one) => {
      if (!isHolding) return false;
      held.push(one);
      if (held.length > 1) return true;
      await release.passed;
      return false;
    });
    const remote = await open(http);
    isHolding = true;
    const call = remote.$call({ timeout: 6_000 }).add(1, 2);
    await vi.waitFor(() => expect(held).toHaveLength(2), { timeout: 5_000 });
    release.open();
    expect(await call).toBe(3);
    await vi.waitFor(() => expect(http.open()).toEqual([]));
  });
});

it('a call that another instance runs is asked about within a second, on which the server counts', async () => {
  useFakeTimers();
  const peer = new PeerServer();
  const remote = await opened(peer);
  const asked: number[] = [];
  peer.onCall = () => {
    asked.push(performance.now());
    return { status: 'running' };
  };
  const call = remote.$call({ timeout: 60_000 }).slow();
  call.catch(() => {});
  await vi.advanceTimersByTimeAsync(20_000);
  const pauses = asked.slice(1).map((at, i) => at - asked[i]!);
  expect(pauses.length).toBeGreaterThan(20);
  expect(Math.max(...pauses)).toBeLessThan(1_000);
  remote.$close();
});

describe('retransmissions of many messages', () => {
  it('take two connections together, so that a new call finds one, and each has its turn', async () => {
    const peer = new PeerServer();
    const finish = slowly(peer);
    const count = 6;
    const sightings = new Map<string, number>();
    /** copies of frames, which come while the first sending is under way: each waits to be let through */
    const copies: (() => void)[] = [];
    const http = await counted(peer, async ({ kind, frame }) => {
      if (kind !== 'call') return false;
      const seen = (sightings.get(toHex(frame)) ?? 0) + 1;
      sightings.set(toHex(frame), seen);
      if (seen === 2) await new Promise<void>((resolve) => copies.push(resolve));
      return false;
    });
    const other = await open(http);
    const remotes = [await open(http), await open(http)];
    const calls = Array.from({ length: count }, (_, i) => remotes[i % 2]!.$call({ timeout: 12_000 }).slow());
    for (let turn = 0; turn < count / 2; turn++) {
      await vi.waitFor(() => expect(copies).toHaveLength(2), { timeout: 10_000 });
      expect(http.counts.most).toBe(count + 2);
      if (turn === 0) expect(await other.add(1, 2)).toBe(3);
      http.counts.most = count + 2;
      for (const letThrough of copies.splice(0)) letThrough();
    }
    await vi.waitFor(() => expect([...sightings.values()].filter((seen) => seen > 1)).toHaveLength(count));
    finish();
    expect(await Promise.all(calls)).toEqual(calls.map(() => 'slow'));
    expect(peer.runs.filter(({ name }) => name === 'slow')).toHaveLength(count);
  }, 30_000);
});

it('a handshake has two requests at most under way', async () => {
  const http = await counted(new PeerServer(), () => true);
  const remote = createRemote<Api>({ url: http.url, ...http.keys, connectTimeout: 60, waitForServer: true });
  onTestFinished(() => remote.$close());
  const call = remote.add(1, 2).catch((error: unknown) => error);
  await vi.waitFor(() => expect(http.got.length).toBeGreaterThan(4), { timeout: 10_000 });
  remote.$close();
  expect(await call).toMatchObject({ code: 'closed' });
  expect(http.counts.most).toBe(2);
  expect(http.got[0]?.kind).toBe('start');
  await vi.waitFor(() => expect(http.open()).toEqual([]));
});
