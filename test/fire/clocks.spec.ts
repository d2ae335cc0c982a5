import { expect, it, onTestFinished } from 'vitest';
import { PeerClient } from '../support/peer/client.js';
import { World } from './world.js';

const MINUTES = 60_000;

it('serves sessions and cookies of instances whose clocks are minutes apart', { timeout: 90_000 }, async () => {
  const world = await World.create();
  onTestFinished(() => world.end());
  const servers = await Promise.all(
    [0, 5 * MINUTES, -5 * MINUTES].map((clockShift) => world.server({ ledger: 'postgres', clockShift }).start()),
  );
  const urls = servers.map(({ url }) => url ?? '');

  // step 1 at each, step 3 at each: the cookie is neither old nor from the future
  for (const url of urls) {
    for (const finishUrl of urls) {
      const session = await PeerClient.open({ url, finishUrl, ...world.client('trace') });
      for (const [index, server] of servers.entries()) {
        const frame = session.seal({ name: 'where', args: [] });
        const answer = await session.settle(frame, urls[index]);
        expect(answer).toEqual({ kind: 'sealed', reply: { outcomes: [{ ok: true, value: server.pid }] } });
      }
    }
  }
});

it('moves a session from one instance to another whatever their clocks say', { timeout: 90_000 }, async () => {
  const world = await World.create();
  onTestFinished(() => world.end());
  const [ahead, behind] = [world.server({ clockShift: 5 * MINUTES }), world.server({ clockShift: -5 * MINUTES })];
  let lane = 0;
  for (const [from, to] of [
    [ahead, behind],
    [behind, ahead],
  ] as const) {
    await from.start();
    const session = await PeerClient.open({ url: `${from.url}`, ...world.client('trace') });
    expect(await session.value('where')).toBe(from.pid);
    await from.end('SIGTERM');
    await to.start();
    const answer = await session.settle(session.seal({ name: 'record', args: ['moved'] }), to.url);
    // its window was written out by the owner, so the new one knows that the frame never ran
    expect(answer).toMatchObject({ kind: 'sealed', reply: { status: 'lane_moved', known: 'never_ran' } });
    if (answer.kind === 'sealed' && 'lane' in answer.reply) lane = answer.reply.lane;
    session.moveTo(lane);
    const moved = await session.settle(session.seal({ name: 'where', args: [] }), to.url);
    expect(moved).toEqual({ kind: 'sealed', reply: { outcomes: [{ ok: true, value: to.pid }] } });
    await to.end();
  }
});
