import type { ConnectionState } from '@sealwire/client';
import { describe, expect, it, vi } from 'vitest';
import { PeerServer, refused } from '../../../test/support/peer/server.js';
import { connect, gate, type Kind } from './support/remote.js';

/** The states a remote goes through, from the one it begins with. */
function states(remote: ReturnType<typeof connect>): ConnectionState['state'][] {
  const seen: ConnectionState['state'][] = [remote.$connection().state];
  remote.$events.on('connection', ({ state }) => {
    seen.push(state);
    expect(remote.$connection().state).toBe(state);
  });
  return seen;
}

describe('$connection', () => {
  it('is idle before the first call, then connecting, then open for good', async () => {
    const remote = connect(new PeerServer());
    const seen = states(remote);
    await remote.add(1, 2);
    await remote.add(1, 2);
    expect(seen).toEqual(['idle', 'connecting', 'open']);
    expect(remote.$connection()).toMatchObject({ sessionId: expect.stringMatching(/^[0-9a-f]+$/) });
    remote.$close();
    expect(seen.at(-1)).toBe('idle');
  });

  it('waits while nothing comes through, since the first failure, and is open again at the first answer', async () => {
    let isOffline = false;
    const remote = connect(new PeerServer(), {
      network: (_request, next) => {
        if (isOffline) throw new Error('no network');
        return next();
      },
    });
    await remote.add(1, 2);
    const seen = states(remote);
    isOffline = true;
    const attempts: number[] = [];
    const sinces = new Set<number>();
    remote.$events.on('connection', (connection) => {
      if (connection.state !== 'waiting') return;
      attempts.push(connection.attempt);
      sinces.add(connection.since);
      expect(connection.cause).toMatchObject({ message: 'no network' });
      isOffline = attempts.length < 2;
    });
    expect(await remote.add(3, 4)).toBe(7);
    expect(attempts).toEqual([1, 2]);
    expect(sinces.size).toBe(1);
    expect(seen).toEqual(['open', 'waiting', 'waiting', 'open']);
  });

  it('is idle once nobody waits any more', async () => {
    const answer = gate();
    const remote = connect(new PeerServer(), { network: (_request, next) => answer.passed.then(next) });
    const seen = states(remote);
    const stop = new AbortController();
    const call = remote.$call({ signal: stop.signal }).add(1, 2);
    await Promise.resolve();
    stop.abort();
    await expect(call).rejects.toMatchObject({ name: 'AbortError' });
    answer.open();
    expect(seen).toEqual(['idle', 'connecting', 'idle']);
  });

  it('is open again at the first answer after it was idle', async () => {
    let isDown = false;
    const remote = connect(new PeerServer(), {
      network: (_request, next) => (isDown ? Promise.reject(new Error('no network')) : next()),
    });
    await remote.add(1, 2);
    const seen = states(remote);
    isDown = true;
    const giving = new AbortController();
    const call = remote.$call({ signal: giving.signal }).add(1, 2);
    remote.$events.on('connection', () => giving.abort());
    await expect(call).rejects.toMatchObject({ name: 'AbortError' });
    isDown = false;
    expect(await remote.add(3, 4)).toBe(7);
    expect(seen).toEqual(['open', 'waiting', 'idle', 'open']);
  });

  it('is open again at the first answer in a session whose renewal was refused', async () => {
    const forged = new Set<Kind>();
    const remote = connect(new PeerServer(), {
      network(_request, next, kind) {
        if (!forged.has(kind)) return next();
        return refused(kind === 'call' ? 'session_unknown' : 'handshake_failed');
      },
    });
    await remote.add(1, 2);
    const seen = states(remote);
    forged.add('call').add('start');
    remote.$events.on('refused', () => void forged.delete('call'));
    expect(await remote.add(3, 4)).toBe(7);
    remote.$close();
    expect(seen.slice(-3)).toEqual(['refused', 'open', 'idle']);
  });

  it('is refused with the error that says why, until another call tries', async () => {
    const remote = connect(new PeerServer('billing'));
    const seen = states(remote);
    await remote.add(1, 2).catch(() => {});
    expect(seen).toEqual(['idle', 'connecting', 'refused']);
    expect(remote.$connection()).toMatchObject({ error: { name: 'RemoteError', code: 'handshake_failed' } });
    await remote.add(1, 2).catch(() => {});
    expect(seen.slice(3)).toEqual(['connecting', 'refused']);
  });

  it('says why a session replaced another one', async () => {
    const server = new PeerServer();
    const remote = connect(server);
    await remote.add(1, 2);
    for (const session of server.sessions.values()) session.ended = true;
    await remote.add(1, 2);
    expect(remote.$connection()).toMatchObject({ state: 'open', renewed: 'session_ended' });
  });
});

describe('$events', () => {
  it('tells a listener once that removes and adds itself while it is told', () => {
    const remote = connect(new PeerServer());
    let told = 0;
    const listen = (): void => {
      const stop = remote.$events.on('closed', () => {
        stop();
        if (++told < 10) listen();
      });
    };
    listen();
    remote.$close();
    expect(told).toBe(1);
  });

  it('tells a function as often as it was added and not removed', () => {
    const remote = connect(new PeerServer());
    const listener = vi.fn();
    const stops = [1, 2, 3].map(() => remote.$events.on('closed', listener));
    stops[0]?.();
    remote.$close();
    expect(listener).toHaveBeenCalledTimes(2);
  });

  it('tells nobody who was removed by a listener before it', () => {
    const remote = connect(new PeerServer());
    const listener = vi.fn();
    remote.$events.on('closed', () => stop());
    const stop = remote.$events.on('closed', listener);
    remote.$close();
    expect(listener).not.toHaveBeenCalled();
  });
});
