import { setTimeout as sleep } from 'node:timers/promises';
import { LIMITS, toHex } from '@sealwire/core';
import { expect, it, onTestFinished } from 'vitest';
import { PeerClient, type SealedCall } from '../support/peer/client.js';
import type { ServerProcess } from '../support/server-process.js';
import { MASK } from './memory-probe.js';
import { World } from './world.js';

const GRACE = process.env.SEALWIRE_FIRE === 'long' ? LIMITS.epochGraceSeconds : 1;

it('opens no recorded call of an earlier epoch with anything that memory and database still hold', {
  timeout: 120_000 + GRACE * 1_000,
}, async () => {
  const world = await World.create();
  onTestFinished(() => world.end());
  const server = await world.server({ epochGrace: GRACE, nodeFlags: ['--expose-gc'] }).start();
  const session = await PeerClient.open({ url: `${server.url}`, ...world.client('trace') });
  const early = session.seal({ name: 'record', args: ['early'] });
  const earlySecrets = session.secrets;
  expect(await session.settle(early)).toEqual(ran(server));
  // the probe finds what is there
  expect((await opening(server, early)).opened).toBeGreaterThan(0);

  session.ratchet();
  const late = session.seal({ name: 'record', args: ['late'] });
  expect(await session.settle(late)).toEqual(ran(server));
  expect(await session.settle(early)).toEqual(ran(server));
  await sleep(GRACE * 1_000 + 500);

  const inMemory = await opening(server, early);
  expect(inMemory.tried).toBeGreaterThan(100);
  expect(inMemory.opened).toBe(0);
  expect((await opening(server, late)).opened).toBeGreaterThan(0);
  expect(await server.ask('textOccurrences', texts(session.session.sessionId))).toBeGreaterThan(0);
  expect(await server.ask('textOccurrences', texts(earlySecrets.clientToServer))).toBe(0);
  expect(await session.settle(early)).toMatchObject({ kind: 'outer' });

  // whoever has the database and its key-encryption key is no better off: here it is another server
  await server.end();
  const another = await world.server({ nodeFlags: ['--expose-gc'] }).start();
  const answer = await session.settle(late, another.url);
  expect(answer).toMatchObject({ kind: 'sealed', reply: { status: 'lane_moved' } });
  expect((await opening(another, late)).opened).toBeGreaterThan(0);
  expect((await opening(another, early)).opened).toBe(0);
  expect(await session.settle(early, another.url)).toMatchObject({ kind: 'outer' });
  expect([...world.runs().values()].map((pids) => pids.length)).toEqual([1, 1]);
});

function opening(server: ServerProcess, sealed: SealedCall): Promise<{ tried: number; opened: number }> {
  return server.ask('openingArrays', toHex(sealed.frame));
}

function ran(server: ServerProcess): unknown {
  return { kind: 'sealed', reply: { outcomes: [{ ok: true, value: server.pid }] } };
}

/** How bytes would read in a string. */
function texts(bytes: Uint8Array): number[][] {
  const forms = (['hex', 'base64', 'base64url'] as const).map((form) => Buffer.from(bytes).toString(form).slice(0, 40));
  return forms.map((text) => [...Buffer.from(text)].map((byte) => byte ^ MASK));
}
