import type { INestApplication } from '@nestjs/common';
import { encodeCalls, type Reply, toHex } from '@sealwire/core';
import { NumberLedger, type SealwireOptions, SealwireSessions, SessionStore } from '@sealwire/nest';
import { afterEach, expect, it, vi } from 'vitest';
import { Ledger, paymentsClient, startApplication } from './application.js';
import { only, type PeerClient, post } from './support.js';

let app: INestApplication;
let client: PeerClient;
let ledger: Ledger;

async function start(options: SealwireOptions = {}): Promise<void> {
  app = await startApplication({ options });
  ledger = app.get(Ledger);
  client = paymentsClient(app);
  await client.steps1and2();
}

const message = (name: string, ...args: unknown[]) => encodeCalls([{ name, args }]);
const firstOf = (reply: Reply) => ('first' in reply ? reply.first : undefined);

afterEach(() => app.close());

it('no quick first call waits for a slow one, whose result is asked for under the session', async () => {
  await start();
  const latch = ledger.hold();
  const answer = await post(client.url, client.step3Of([message('slow'), message('add', 1, 2)]));
  expect(only(client.step4(answer.body))).toBeUndefined();
  expect(client.session.firstAnswers).toEqual([
    { known: 'running' },
    { known: 'result', frame: expect.any(Uint8Array) },
  ]);
  const asked = client.askFirst(0);
  const waiting = client.send(asked);
  await client.call('renamed');
  latch.release();
  expect(only(client.openFirst(firstOf(await waiting)!, 0))).toBe(2);
  expect(only(client.openFirst(firstOf(await client.send(asked))!, 0))).toBe(2);
  expect(only(client.openFirst(firstOf(await client.send(client.askFirst(1)))!, 1))).toBe(3);
  expect(await client.send(client.askFirst(2))).toEqual({ status: 'outcome_unknown' });
  expect(ledger.runs).toBe(2);
});

it('a server that stops waits for a first call, as for every other', async () => {
  await start();
  const latch = ledger.hold();
  const order: string[] = [];
  const finish = () => {
    order.push('finished');
    latch.release();
  };
  const answered = post(client.url, client.step3Of([message('slow')])).then(() => setTimeout(finish, 100));
  await latch.entered;
  vi.spyOn(app.get(SessionStore), 'stop').mockImplementationOnce(async () => {
    order.push('stopped');
  });
  await app.close();
  await answered;
  expect(order).toEqual(['finished', 'stopped']);
});

it.each([
  ['has ended meanwhile', async () => false],
  ['cannot be stored', () => Promise.reject(new Error('no database'))],
])('the record of first calls ends with a session that %s', async (_, activate) => {
  await start();
  vi.spyOn(app.get(SessionStore), 'activate').mockImplementationOnce(activate);
  const close = vi.spyOn(app.get(NumberLedger), 'close');
  await post(client.url, client.step3Of([message('add', 1, 2)]));
  expect(close.mock.calls).toMatchObject([[{ key: expect.any(String), firstCalls: { count: 1 } }]]);
});

it('a first call whose result is kept no more is told to have run', async () => {
  await start({ resultCache: { entries: 1 } });
  const answer = await post(client.url, client.step3Of([message('add', 1)]));
  expect(only(client.step4(answer.body))).toBe(1);
  await client.call('add', 2);
  expect(await client.send(client.askFirst())).toEqual({ status: 'result_gone' });
  expect(ledger.runs).toBe(1 + 1);
});

it('all first calls together are as many as a message may have', async () => {
  await start();
  const half = encodeCalls(Array.from({ length: 129 }, () => ({ name: 'add', args: [1] })));
  expect((await post(client.url, client.step3Of([half, half]))).code).toBe('handshake_failed');
  expect(ledger.runs).toBe(0);
  expect(await app.get(SealwireSessions).count()).toBe(0);
});

it('a malformed first call fails the handshake, and nothing ran', async () => {
  await start();
  const frame = client.step3Of([message('add', 1), Uint8Array.of(0x80)]);
  expect((await post(client.url, frame)).code).toBe('handshake_failed');
  expect(ledger.runs).toBe(0);
});

it('K_first proves the session until its first frame opened, and nothing after', async () => {
  await start();
  client.step4((await post(client.url, client.step3Of([message('add', 1)]))).body);
  const { sessionId, digest } = client.finishSent;
  const asked = { sessionId, key: client.firstKey, numbers: [{ number: { lane: 0, counter: 0 }, digest }] };
  await client.call('add', 2);
  const thief = paymentsClient(app);
  await thief.connect([], [asked]);
  expect(thief.session.renewalAnswers).toEqual([[{ known: 'unknown' }]]);
  expect(only(await client.call('add', 3))).toBe(3);
});

it('a copy of a step 3 costs no statement', async () => {
  await start();
  const frame = client.step3();
  client.step4((await post(client.url, frame)).body);
  const store = app.get(SessionStore, { strict: false });
  const [create, renew] = [vi.spyOn(store, 'create'), vi.spyOn(store, 'renew')];
  for (let i = 0; i < 20; i++) expect((await post(client.url, frame)).code).toBe('handshake_used');
  expect(create).not.toHaveBeenCalled();
  expect(renew).not.toHaveBeenCalled();
  const listed = await app.get(SealwireSessions).list();
  expect(listed.map(({ id }) => id)).toEqual([toHex(client.session.sessionId)]);
});

it('seals the result of a first call under its own key where the handshake fails while it runs', async () => {
  await start();
  const store = app.get(SessionStore, { strict: false });
  vi.spyOn(store, 'activate').mockRejectedValueOnce(new Error('connection lost'));
  const latch = ledger.hold();
  expect((await post(client.url, client.step3Of([message('slow')]))).code).toBe('busy');
  latch.release();
  const { sessionId, digest } = client.finishSent;
  const asked = { sessionId, key: client.firstKey, numbers: [{ number: { lane: 0, counter: 0 }, digest }] };
  const told = async () => {
    const fresh = paymentsClient(app);
    await fresh.connect([], [asked]);
    return fresh.session.renewalAnswers[0]?.[0];
  };
  await expect.poll(async () => (await told())?.known).toBe('result');
  const answer = await told();
  expect(answer?.known === 'result' && only(client.openFirst(answer.frame))).toBe(1);
  expect(ledger.runs).toBe(1);
});
