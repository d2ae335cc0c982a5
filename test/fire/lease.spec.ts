import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { type Delivered, PeerClient } from '../support/peer/client.js';
import type { ServerProcess } from '../support/server-process.js';
import { World } from './world.js';

const CONTESTED = 20;

it('lets a paused owner go on with its lanes, or another instance take them, never both', {
  timeout: 120_000,
}, async () => {
  const world = await World.create();
  onTestFinished(() => world.end());
  const [owner, other] = await Promise.all([world.server().start(), world.server().start()]);
  const session = await PeerClient.open({ url: `${owner.url}`, ...world.client('trace') });
  expect(await session.value('record', 'before')).toBe(owner.pid);

  // a pause that its lease outlives: nobody else may have its lanes
  const early = session.seal({ name: 'record', args: ['early'] });
  await pause(owner);
  const held = session.deliver(early);
  await eachUntil(3_000, async () => expect(status(await session.deliver(early, other.url))).toBe('busy'));
  owner.resume();
  expect(status(await held)).toBe('ok');

  // asked meanwhile, it gave the session up; it takes it back
  await sleep(3_000);
  await takeBack(session, owner);

  // a pause that outlives its lease: its frames wait at its door while another instance takes the session over
  const contested = Array.from({ length: CONTESTED }, (_, index) =>
    session.seal({ name: 'record', args: [`contested/${index}`] }),
  );
  await pause(owner);
  const waiting = contested.map((frame) => session.deliver(frame));
  const taken = await Promise.all(contested.map((frame) => session.settle(frame, other.url, 40_000)));
  const [moved] = taken;
  if (moved?.kind !== 'sealed' || !('status' in moved.reply) || moved.reply.status !== 'lane_moved') {
    throw new Error(JSON.stringify(moved));
  }
  // the owner may have run them an instant before it stopped: only a durable record could say that it did not
  expect(taken.map(known)).toEqual(contested.map(() => 'unknown'));
  session.moveTo(moved.reply.lane);
  const next = Array.from({ length: CONTESTED }, (_, index) =>
    session.seal({ name: 'record', args: [`next/${index}`] }),
  );
  const served = await Promise.all(next.map((frame) => session.settle(frame, other.url)));
  expect(served.map(status)).toEqual(next.map(() => 'ok'));

  owner.resume();
  const replayed = await Promise.all([...contested, ...next].map((frame) => session.deliver(frame)));
  await Promise.all(waiting);
  await eachUntil(3_000, async () => {
    await Promise.all(contested.map((frame) => session.deliver(frame)));
    await Promise.all(contested.map((frame) => session.deliver(frame, other.url)));
  });

  expect(replayed.map(status)).not.toContain('none');
  const runs = world.runs();
  expect([...runs].filter(([, pids]) => pids.length !== 1)).toEqual([]);
  expect([...runs.keys()].filter((reference) => reference.startsWith('contested'))).toEqual([]);
  expect(next.map((_, index) => runs.get(`next/${index}`))).toEqual(next.map(() => [other.pid]));
});

async function takeBack(session: PeerClient, server: ServerProcess): Promise<void> {
  const answer = await session.settle(session.seal({ name: 'where', args: [] }), server.url);
  if (answer.kind === 'sealed' && 'lane' in answer.reply) {
    session.moveTo(answer.reply.lane);
    return takeBack(session, server);
  }
  expect(answer).toEqual({ kind: 'sealed', reply: { outcomes: [{ ok: true, value: server.pid }] } });
}

/** Resolves when the process really stands still. */
async function pause(server: ServerProcess): Promise<void> {
  server.pause();
  if (process.platform !== 'linux') return;
  while (!/\) T /.test(readFileSync(`/proc/${server.pid}/stat`, 'utf8'))) await sleep(1);
}

async function eachUntil(milliseconds: number, attempt: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    await attempt();
    await sleep(250);
  }
}

function known(answer: Delivered): unknown {
  return answer.kind === 'sealed' && 'known' in answer.reply ? answer.reply.known : answer;
}

function status(answer: Delivered): string {
  if (answer.kind === 'none') return 'none';
  if (answer.kind === 'outer') return answer.code;
  if ('status' in answer.reply) return answer.reply.status;
  return 'outcomes' in answer.reply && answer.reply.outcomes[0]?.ok ? 'ok' : 'error';
}
