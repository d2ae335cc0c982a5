import type { ConnectionState } from '@sealwire/client';
import { describe, expect, it } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import { connect, gate } from './support/remote.js';

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
