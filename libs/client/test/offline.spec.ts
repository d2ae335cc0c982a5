import { createRemote, OutcomeUnknownError, type RemoteEvents } from '@sealwire/client';
import { at, parseCall, SealwireError } from '@sealwire/core';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import { counted } from './support/http.js';
import { collect, cutAfter, openedLive } from './support/live.js';
import { stubPage } from './support/page.js';
import { type Api, connect, opened, useFakeTimers } from './support/remote.js';

/** A remote with an open session, whose answers may be lost from some moment on. */
async function openedOnNetwork() {
  const server = new PeerServer();
  const network = { isDown: false };
  const remote = await opened(server, async (_request, next) => {
    const answer = await next();
    if (network.isDown) throw new TypeError('Failed to fetch');
    return answer;
  });
  return { server, remote, network };
}

const WAKING = ['online', 'pageshow', 'visibilitychange'];

describe('while the device is offline', () => {
  it.each([
    ['a page', false],
    ['a worker', true],
  ])('the first call waits in %s and begins when it is online', async (_name, isWorker) => {
    const page = stubPage({ isOnline: false, isWorker });
    const server = new PeerServer();
    const remote = connect(server);
    const offline = vi.fn();
    remote.$events.on('offline', offline);
    const calls = [remote.add(1, 2), remote.add(3, 4)];
    await Promise.resolve();
    expect(server.seen).toEqual([]);
    expect(remote.$connection()).toMatchObject({
      state: 'waiting',
      attempt: 0,
      since: expect.any(Number),
      cause: { code: 'unreachable', message: expect.stringContaining('this device is offline') },
    });
    expect(offline).toHaveBeenCalledTimes(1);
    expect(page.heard).toEqual(isWorker ? WAKING.slice(0, 2) : WAKING);
    page.setOnline(true);
    expect(await Promise.all(calls)).toEqual([3, 7]);
    expect(remote.$connection().state).toBe('open');
    expect(page.heard).toEqual([]);
  });

  it('a call in an open session takes no number', async () => {
    const page = stubPage();
    const server = new PeerServer();
    const remote = await opened(server);
    page.setOnline(false);
    const call = remote.add(1, 2);
    await Promise.resolve();
    expect(remote.$connection().state).toBe('waiting');
    expect(server.seen).toEqual([]);
    page.setOnline(true);
    expect(await call).toBe(3);
    // the first of its lane, for the call before it was inside the handshake
    expect(server.seen.map(({ frame }) => parseCall(frame).number.counter)).toEqual([1]);
    expect(page.heard).toEqual([]);
  });

  it.each(['cold', 'warm'])('a %s call that runs out of time says so, and certainly did not run', async (kind) => {
    useFakeTimers();
    const page = stubPage({ isOnline: kind === 'warm' });
    const server = new PeerServer();
    const remote = kind === 'warm' ? await opened(server) : connect(server);
    page.setOnline(false);
    const call = remote.add(1, 2).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(30_500);
    expect(await call).toMatchObject({
      code: 'unreachable',
      retryable: true,
      message: expect.stringMatching(/^Nothing was sent within the time of the call: this device is offline/),
    });
    expect(server.seen).toEqual([]);
    expect(remote.$connection().state).toBe('idle');
    expect(page.heard).toEqual([]);
    page.setOnline(true);
    await vi.advanceTimersByTimeAsync(1);
    expect(server.seen).toEqual([]);
    expect(await remote.add(1, 2)).toBe(3);
    // the call that ran out of time took no number
    const counters = server.seen
      .filter((one) => one.kind === 'call')
      .map(({ frame }) => parseCall(frame).number.counter);
    expect(counters).toEqual(kind === 'warm' ? [1] : []);
  });

  it('a call that left before is not called one that did not run', async () => {
    useFakeTimers();
    const page = stubPage();
    const { server, remote, network } = await openedOnNetwork();
    network.isDown = true;
    const call = remote.add(1, 2).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(10);
    page.setOnline(false);
    const tries = server.seen.length;
    await vi.advanceTimersByTimeAsync(31_000);
    expect(server.seen).toHaveLength(tries);
    const error = await call;
    expect(error).toBeInstanceOf(OutcomeUnknownError);
    expect((error as Error).message).toContain('this device is offline');
    expect(server.runs).toHaveLength(1);
  });

  it('a call that left before goes out again when it is online', async () => {
    useFakeTimers();
    const page = stubPage();
    const { server, remote, network } = await openedOnNetwork();
    network.isDown = true;
    const call = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(10);
    page.setOnline(false);
    await vi.advanceTimersByTimeAsync(15_000);
    network.isDown = false;
    page.setOnline(true);
    await vi.advanceTimersByTimeAsync(0);
    expect(await call).toBe(3);
    expect(server.runs).toHaveLength(1);
    expect(page.heard).toEqual([]);
  });

  it('a signal and $close end the wait', async () => {
    const page = stubPage({ isOnline: false });
    const remote = connect(new PeerServer());
    const stop = new AbortController();
    const given = remote.$call({ signal: stop.signal }).add(1, 2);
    stop.abort();
    await expect(given).rejects.toMatchObject({ name: 'AbortError' });
    expect(page.heard).toEqual([]);
    const closed = remote.add(1, 2);
    await Promise.resolve();
    remote.$close();
    await expect(closed).rejects.toMatchObject({ code: 'closed' });
    expect(page.heard).toEqual([]);
  });

  it('a call without encryption is not sent either', async () => {
    const page = stubPage({ isOnline: false });
    const http = await counted(new PeerServer());
    const remote = createRemote<Api>({ url: http.url, keySize: 0 });
    onTestFinished(() => remote.$close());
    await expect(remote.$call({ timeout: 30 }).add(1, 2)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('this device is offline'),
    });
    expect(http.got).toEqual([]);
    const call = remote.add(1, 2);
    page.setOnline(true);
    expect(await call).toBe(3);
    expect(page.heard).toEqual([]);
  });

  it('a call of a hidden page begins when it is online', async () => {
    const page = stubPage({ isOnline: false });
    page.document.visibilityState = 'hidden';
    const call = connect(new PeerServer()).add(1, 2);
    page.setOnline(true);
    expect(await call).toBe(3);
  });

  it('a worker looks again by itself, for Chromium tells it by no event, and rouses no pause', async () => {
    useFakeTimers();
    const page = stubPage({ isWorker: true });
    const { server, remote, network } = await openedOnNetwork();
    page.setOnline(false);
    const call = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(server.seen).toEqual([]);
    page.navigator.onLine = true;
    network.isDown = true;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(server.seen).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(9_000);
    const tries = server.seen.length;
    await vi.advanceTimersByTimeAsync(2_000);
    expect(server.seen.length).toBeLessThanOrEqual(tries + 1);
    network.isDown = false;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await call).toBe(3);
    expect(page.heard).toEqual([]);
    expect(vi.getTimerCount()).toBeLessThanOrEqual(1);
  });

  it('Node, which has a navigator that says nothing, is taken to be online', async () => {
    vi.stubGlobal('navigator', { userAgent: 'Node.js/24' });
    onTestFinished(() => void vi.unstubAllGlobals());
    expect(await connect(new PeerServer()).add(1, 2)).toBe(3);
  });
});

describe('a pause ends at once', () => {
  const wake = {
    online: (page: ReturnType<typeof stubPage>) => page.setOnline(true),
    pageshow: (page: ReturnType<typeof stubPage>) => page.dispatch('pageshow'),
    visibilitychange: (page: ReturnType<typeof stubPage>) => page.dispatch('visibilitychange'),
  };

  /** Calls while nothing comes through, until pauses are long. */
  async function paused(isWarm: boolean) {
    useFakeTimers();
    const page = stubPage();
    const server = new PeerServer();
    let isDown = !isWarm;
    let tries = 0;
    const remote = connect(server, {
      waitForServer: true,
      network: (_request, next) => {
        tries++;
        if (isDown) throw new SealwireError('unreachable', 'no network');
        return next();
      },
    });
    if (isWarm) await remote.add(0, 0);
    isDown = true;
    tries = 0;
    const call = remote.add(1, 2);
    call.catch(() => {});
    await vi.advanceTimersByTimeAsync(10_000);
    expect(page.heard).toEqual(WAKING);
    const before = tries;
    return {
      page,
      call,
      repair: () => {
        isDown = false;
      },
      more: () => tries - before,
    };
  }

  it.each(Object.keys(wake) as (keyof typeof wake)[])('of a call, at %s', async (name) => {
    const { page, call, repair, more } = await paused(true);
    repair();
    wake[name](page);
    await vi.advanceTimersByTimeAsync(0);
    expect(more()).toBe(1);
    expect(await call).toBe(3);
    expect(page.heard).toEqual([]);
  });

  it.each(Object.keys(wake) as (keyof typeof wake)[])('of a handshake, at %s', async (name) => {
    const { page, call, repair } = await paused(false);
    repair();
    wake[name](page);
    await vi.advanceTimersByTimeAsync(0);
    expect(await call).toBe(3);
    expect(page.heard).toEqual([]);
  });

  it('but not when the page is hidden, and not for an event that leaves it offline', async () => {
    const { page, more } = await paused(true);
    page.document.visibilityState = 'hidden';
    page.dispatch('visibilitychange');
    page.document.visibilityState = 'visible';
    page.setOnline(false);
    page.dispatch('pageshow');
    await vi.advanceTimersByTimeAsync(0);
    expect(more()).toBe(0);
  });

  it('of a stream that waits to go on', async () => {
    useFakeTimers();
    const page = stubPage();
    let isDown = false;
    let tries = 0;
    const { server, remote } = await openedLive({
      network: async (_request, next) => {
        tries++;
        if (isDown) throw new SealwireError('unreachable', 'no network');
        const response = await next();
        if (response.body instanceof Uint8Array || tries > 1) return response;
        isDown = true;
        return cutAfter(response, 1_000);
      },
    });
    server.live.watch = async ({ call, resumable }) => {
      resumable.on = true;
      const from = call.resume ? (call.resume.position as number) + 1 : 0;
      return (async function* () {
        for (let i = from; i < 20; i++) yield at(i, 'x'.repeat(500));
      })();
    };
    tries = 0;
    const items = remote.watch().then(collect);
    // what reads streams is loaded with the first one, in real time
    await vi.advanceTimersByTimeAsync(0);
    await vi.dynamicImportSettled();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(page.heard).toEqual(WAKING);
    isDown = false;
    const before = tries;
    page.dispatch('pageshow');
    await vi.advanceTimersByTimeAsync(0);
    expect(tries).toBeGreaterThan(before);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await items).toHaveLength(20);
    expect(page.heard).toEqual([]);
  });
});

it('tells its state through an outage', async () => {
  const page = stubPage();
  const remote = await opened(new PeerServer());
  const seen: RemoteEvents['connection']['state'][] = [];
  remote.$events.on('connection', ({ state }) => seen.push(state));
  page.setOnline(false);
  const calls = [remote.add(1, 2), remote.add(1, 2)];
  page.setOnline(true);
  await Promise.all(calls);
  expect(seen).toEqual(['waiting', 'open']);
});
