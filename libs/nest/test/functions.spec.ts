import { type INestApplication, Logger } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { decodeReply, encodeCalls } from '@sealwire/core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { Ledger, paymentsClient, publicClient, startApplication } from './application.js';
import { only, PeerClient, post, serverKey, urlOf } from './support.js';

describe.each([
  ['Express', undefined],
  [
    'Fastify',
    (module: { createNestApplication: (adapter: FastifyAdapter) => INestApplication }) =>
      module.createNestApplication(new FastifyAdapter()),
  ],
] as const)('remote functions on %s', (_platform, create) => {
  let app: INestApplication;
  let client: PeerClient;

  beforeAll(async () => {
    app = await startApplication({ ...(create && { create: create as never }) });
    client = paymentsClient(app);
    await client.connect();
  });
  afterAll(() => app.close());

  it('run in the handshake and in the session', async () => {
    const fresh = paymentsClient(app);
    expect(only(await fresh.connect([{ name: 'add', args: [1, 2] }]))).toBe(3);
    expect(only(await fresh.call('add', 3, 4))).toBe(7);
    expect(only(await fresh.call('renamed'))).toBe('renamed');
    expect(only(await fresh.call('nothing'))).toBeUndefined();
    expect(only(await fresh.call('original'))).toMatchObject({ code: 'function_unknown' });
    expect(only(await fresh.call('toString'))).toMatchObject({ code: 'function_unknown' });
  });

  it('stand beside ordinary routes', async () => {
    expect(await (await fetch(urlOf(app, '/payments'))).text()).toBe('an ordinary route');
    const body = JSON.stringify({ to: 'ann', amount: 3 });
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(urlOf(app, '/payments/both'), { method: 'POST', body, headers });
    expect(await answer.text()).toBe('ann gets 3');
    expect(only(await client.call('both', { to: 'ann', amount: 3 }))).toBe('ann gets 3');
    expect(only(await client.call('both', { to: 'ann' }))).toMatchObject({ code: 'bad_request' });
  });

  it('carry every type of a payload', async () => {
    const value = {
      big: 2n ** 70n,
      date: new Date(5),
      bytes: Uint8Array.of(1, 2),
      map: new Map([[1, 'a']]),
      none: undefined,
    };
    expect(only(await client.call('types', value))).toEqual(value);
    const large = new Uint8Array(200_000).fill(7);
    expect(only(await client.call('types', large))).toEqual(large);
  });

  it('validate and transform DTOs by the global pipe, under seal', async () => {
    expect(only(await client.call('transfer', { to: 'ann', amount: 5, admin: true }, 'hi'))).toEqual({
      typed: true,
      note: 'hi',
      to: 'ann',
      amount: 5,
    });
    const refused = only(await client.call('transfer', { to: 'ann', amount: 0 }));
    expect(refused).toMatchObject({ ok: false, code: 'bad_request', details: { status: 400 } });
    expect((refused as { details: { message: string[] } }).details.message).toContain('amount must not be less than 1');
    expect(only(await client.call('transfer'))).toMatchObject({ code: 'bad_request' });
  });

  it('refuse more arguments than there are parameters, and default missing ones', async () => {
    expect(only(await client.call('add', 1))).toBe(1);
    expect(only(await client.call('add', 1, 2, 3))).toMatchObject({ code: 'bad_request' });
  });

  it('run guards, pipes, interceptors, filters and parameter decorators on plaintext', async () => {
    expect(only(await client.call('gold', 'gold'))).toBe('gold');
    expect(only(await client.call('gold', 'tin'))).toMatchObject({ code: 'forbidden' });
    expect(only(await client.call('parsed', '12'))).toEqual({ value: 12, type: 'number' });
    expect(only(await client.call('parsed', 'x'))).toMatchObject({ code: 'bad_request' });
    expect(only(await client.call('twice', 'a'))).toEqual(['a', 'a']);
    expect(only(await client.call('teapot'))).toEqual({
      ok: false,
      code: 'i_m_a_teapot',
      message: 'short and stout',
      details: { status: 418, handle: 'here' },
    });
    const frame = client.frame([{ name: 'injected', args: ['one', 'two'] }]);
    const answer = await post(client.url, frame, { 'x-agent': 'tests' });
    expect(only(client.open(frame, answer.body))).toEqual({
      agent: 'tests',
      first: 'one',
      method: 'POST',
      second: 'two',
      header: 'tests',
    });
  });

  it('say their own errors and nothing of the unexpected ones', async () => {
    expect(only(await client.call('typedError'))).toEqual({
      ok: false,
      code: 'funds_short',
      message: 'Not enough money.',
      details: { missing: 5n },
    });
    expect(only(await client.call('httpError'))).toMatchObject({ code: 'conflict', message: 'taken' });
    expect(only(await client.call('codedError'))).toEqual({
      ok: false,
      code: 'iban_wrong',
      message: 'No such IBAN.',
      details: { status: 400, field: 'iban' },
    });
    const internal = { ok: false, code: 'internal', message: 'Internal server error' };
    expect(only(await client.call('crash'))).toEqual(internal);
    expect(only(await client.call('throwString'))).toEqual(internal);
    expect(only(await client.call('unencodable'))).toEqual(internal);
  });

  it('log what nobody handled, once, and nothing else', async () => {
    const log = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
    onTestFinished(() => log.mockRestore());
    for (const name of ['teapot', 'httpError', 'typedError', 'missing']) await client.call(name);
    expect(log).not.toHaveBeenCalled();
    await client.call('crash');
    await client.call('throwString');
    expect(log.mock.calls.map(([message]) => String(message))).toEqual([
      'Error: secret /etc/passwd',
      "PaymentsController.throwString threw 'secret'",
    ]);
  });

  it('answer a batch in its order, each call for itself', async () => {
    const names = ['add', 'crash', 'unencodable', 'renamed', 'missing'];
    const reply = await client.send(client.frame(names.map((name) => ({ name, args: name === 'add' ? [1] : [] }))));
    expect('outcomes' in reply && reply.outcomes.map((o) => (o.ok ? o.value : o.code))).toEqual([
      1,
      'internal',
      'internal',
      'renamed',
      'function_unknown',
    ]);
  });

  it('run in parallel and answer in any order', async () => {
    const latch = app.get(Ledger).hold();
    const slow = client.call('slow');
    await latch.entered;
    expect(await Promise.all([1, 2, 3].map((n) => client.call('add', n).then(only)))).toEqual([1, 2, 3]);
    latch.release();
    expect(typeof only(await slow)).toBe('number');
  });

  it('make a request-scoped class anew for each request', async () => {
    const url = urlOf(app, '/remote/scoped');
    const scoped = new PeerClient(url, { modulePath: 'scoped', keySize: 16, serverKey: serverKey.publicKey });
    await scoped.connect();
    expect(only(await scoped.call('next'))).toBe(1);
    expect(only(await scoped.call('next'))).toBe(1);
  });

  it('keep data in the session and refuse to lose a write', async () => {
    expect(only(await client.call('remember', 'a', { n: 1 }))).toBeUndefined();
    expect(only(await client.call('remember', 'a', 2))).toEqual({ n: 1 });
    const latch = app.get(Ledger).hold();
    const loser = client.call('remember', 'a', 'lost');
    await latch.entered;
    const winner = client.call('remember', 'a', 'won');
    latch.release();
    const outcomes = [only(await loser), only(await winner)];
    expect(outcomes.filter((o) => (o as { code?: string }).code === 'session_conflict').length).toBeLessThanOrEqual(1);
    expect(outcomes).toContain(2);
  });

  it('take plaintext where a module allows it', async () => {
    const url = urlOf(app, '/remote/public');
    const json = JSON.stringify({
      calls: [{ name: 'rate', args: ['EUR'] }, { name: 'secret' }, { name: 'nothing' }, { name: 'crash' }],
    });
    const answer = await post(url, json, { 'content-type': 'application/json' });
    expect(answer.status).toBe(200);
    const { outcomes } = JSON.parse(new TextDecoder().decode(answer.body));
    expect(outcomes).toEqual([
      { ok: true, value: { currency: 'EUR', rate: '2', bytes: 'AQI=', when: '1970-01-01T00:00:00.000Z' } },
      { ok: false, code: 'encryption_required', message: expect.any(String) },
      { ok: true, value: null },
      { ok: false, code: 'internal', message: 'Internal server error' },
    ]);
    const cbor = await post(url, encodeCalls([{ name: 'rate', args: ['EUR'] }]), {
      'content-type': 'application/cbor',
    });
    expect(only(decodeReply(cbor.body))).toMatchObject({ rate: 2n });
    const both = encodeCalls(['rate', 'unfit'].map((name) => ({ name, args: name === 'rate' ? ['EUR'] : [] })));
    const { body } = await post(url, both, { 'content-type': 'application/cbor' });
    expect(decodeReply(body)).toMatchObject({ outcomes: [{ ok: true, value: { rate: 2n } }, { code: 'internal' }] });
    const sealed = publicClient(app);
    expect(only(await sealed.connect([{ name: 'secret', args: [] }]))).toBe('sealed');
  });

  it('answer without leave to store or to recode', async () => {
    const answer = await post(client.url, client.frame([{ name: 'renamed', args: [] }]));
    expect(answer.headers).toMatchObject({
      'content-type': 'application/vnd.sealwire',
      'cache-control': 'no-store, no-transform',
      'content-length': String(answer.body.length),
    });
  });
});

describe('the route', () => {
  it('follows the global prefix and the CORS rules of the application', async () => {
    const app = await startApplication({
      prepare: (it) => {
        it.setGlobalPrefix('api/v1');
        it.enableCors({ origin: 'https://shop.example' });
      },
    });
    const client = paymentsClient(app, urlOf(app, '/api/v1/remote/payments'));
    expect(only(await client.connect([{ name: 'add', args: [2, 2] }]))).toBe(4);
    const answer = await post(client.url, client.frame([{ name: 'renamed', args: [] }]), {
      origin: 'https://shop.example',
    });
    expect(answer.headers['access-control-allow-origin']).toBe('https://shop.example');
    await app.close();
  });

  it('works where a raw parser read the body before', async () => {
    const app = await startApplication({
      prepare: (it) => {
        (it as NestExpressApplication).useBodyParser('raw', { type: '*/*' });
      },
    });
    const client = paymentsClient(app);
    expect(only(await client.connect([{ name: 'add', args: [2, 2] }]))).toBe(4);
    await app.close();
  });
});
