import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CONTENT_TYPE,
  hedgedRandom,
  parseSecureKey,
  parseServerPublicKey,
  runSync,
  startHandshake,
  toHex,
} from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { expect, it, onTestFinished } from 'vitest';
import { World } from './world.js';

const HALF_OPEN = 100_000;
/** of them over HTTP; ML-KEM makes each cost a millisecond and more */
const OVER_HTTP = process.env.SEALWIRE_FIRE === 'long' ? HALF_OPEN : 1_000;
const WARM_UP = 500;
const PARALLEL = 32;
/** bytes; session ids in a Map would cost some 10 MB already, the state of the handshakes 30 MB */
const BOUND = 3_000_000;

it('keeps nothing of 100,000 handshakes that nobody finishes', { timeout: 300_000 }, async () => {
  const world = await World.create();
  onTestFinished(() => world.end());
  const server = await world.server({ nodeFlags: ['--expose-gc'] }).start();
  // one valid step 1 serves: what the server would keep is its own half of each, which is always another
  const { frame } = runSync(
    startHandshake(
      { primitives: nodePrimitives, random: hedgedRandom(nodePrimitives) },
      {
        modulePath: 'trace',
        keySize: 32,
        serverKey: parseServerPublicKey(world.serverKey),
        secureKey: parseSecureKey(world.secureKeys.trace),
      },
    ),
  );
  const body = Buffer.from(frame);
  const halfOpen = async (count: number) => {
    // connections that rested meanwhile may just be closed by the server
    const agent = new Agent({ keepAlive: true, maxSockets: PARALLEL });
    onTestFinished(() => agent.destroy());
    let left = count;
    const worker = async () => {
      while (left-- > 0) expect(await answerType(agent, `${server.url}/remote/trace`, body)).toBe(2);
    };
    await Promise.all(Array.from({ length: PARALLEL }, worker));
  };

  await halfOpen(WARM_UP);
  expect(await server.ask('halfOpen', toHex(frame), WARM_UP)).toBe(WARM_UP);
  // the rate limit counts addresses for a second
  await sleep(2_000);
  const before = await server.ask<number>('heapUsed');
  await halfOpen(OVER_HTTP);
  expect(await server.ask('halfOpen', toHex(frame), HALF_OPEN - OVER_HTTP)).toBe(HALF_OPEN - OVER_HTTP);
  await sleep(2_000);
  const after = await server.ask<number>('heapUsed');

  expect(after - before, `${before} bytes before, ${after} after`).toBeLessThan(BOUND);
  const { rows } = await world.pool.query<{ count: string }>('SELECT count(*) FROM sealwire_session');
  expect(rows).toEqual([{ count: '0' }]);
});

/** First byte of the answer's body: the type of the frame. */
function answerType(agent: Agent, url: string, body: Buffer): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': CONTENT_TYPE, 'content-length': body.length };
    const outgoing = request(url, { method: 'POST', agent, headers });
    outgoing.once('error', reject);
    outgoing.once('response', (response) => {
      let type: number | undefined;
      response.on('data', (part: Buffer) => {
        type ??= part[0];
      });
      response.once('end', () => resolve(type)).once('error', reject);
    });
    outgoing.end(body);
  });
}
