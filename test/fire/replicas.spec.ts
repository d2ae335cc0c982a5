import { toHex } from '@sealwire/core';
import { expect, it, onTestFinished } from 'vitest';
import { PeerClient } from '../support/peer/client.js';
import { World } from './world.js';

const SESSIONS = 6;
const ROUNDS = process.env.SEALWIRE_FIRE === 'long' ? 400 : 40;
const PARALLEL = 8;

it('runs every frame once, though each arrives at three replicas at the same moment', {
  timeout: 120_000,
}, async () => {
  const world = await World.create();
  onTestFinished(() => world.end());
  const servers = await Promise.all([1, 2, 3].map(() => world.server({ ledger: 'postgres' }).start()));
  const { url } = await world.proxy({ upstreams: servers, route: 'all' });
  const sessions = await Promise.all(
    Array.from({ length: SESSIONS }, () => PeerClient.open({ url, ...world.client('trace') })),
  );

  const sent: string[] = [];
  const answers = await Promise.all(
    sessions.map(async (session) => {
      const pids: unknown[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const frames = Array.from({ length: PARALLEL }, (_, index) => {
          const reference = `${session.id}/${round}/${index}`;
          sent.push(reference);
          return session.seal({ name: 'record', args: [reference] });
        });
        pids.push(...(await Promise.all(frames.map((frame) => session.settle(frame)))).map(value));
      }
      return pids;
    }),
  );

  const runs = world.runs();
  expect([...runs].filter(([, pids]) => pids.length !== 1)).toEqual([]);
  expect([...runs.keys()].sort()).toEqual(sent.sort());
  // the one that ran it is the one whose result every replica gave
  expect(new Set(answers.flat())).toEqual(new Set([...runs.values()].flat()));
  expect(new Set([...runs.values()].flat())).toEqual(new Set(servers.map(({ pid }) => pid)));
});

it('answers a frame that comes again to any replica with the result it had', { timeout: 60_000 }, async () => {
  const world = await World.create();
  onTestFinished(() => world.end());
  const servers = await Promise.all([1, 2, 3].map(() => world.server({ ledger: 'postgres' }).start()));
  const urls = servers.map(({ url }) => url ?? '');
  const session = await PeerClient.open({ url: `${urls[0]}`, ...world.client('trace') });
  const frames = Array.from({ length: 30 }, (_, index) => session.seal({ name: 'record', args: [`again/${index}`] }));

  const first = await Promise.all(frames.map((frame, index) => session.settle(frame, urls[index % 3])));
  const second = await Promise.all(frames.flatMap((frame) => urls.map((url) => session.settle(frame, url))));

  const pids = first.map(value);
  expect(second.map(value)).toEqual(pids.flatMap((pid) => [pid, pid, pid]));
  expect([...world.runs().values()].map((runners) => runners.length)).toEqual(frames.map(() => 1));
});

function value(answer: Awaited<ReturnType<PeerClient['deliver']>>): unknown {
  if (answer.kind === 'sealed' && 'outcomes' in answer.reply && answer.reply.outcomes[0]?.ok) {
    return answer.reply.outcomes[0].value;
  }
  throw new Error(JSON.stringify(answer, (_, part) => (part instanceof Uint8Array ? toHex(part) : part)));
}
