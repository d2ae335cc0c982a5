import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { INestApplication } from '@nestjs/common';
import { createRemote, OutcomeUnknownError, type Remote, type RemoteApi, RemoteError } from '@sealwire/client';
import { formatKeyText, generateKeyText, RemoteFile } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { KeyStore } from '@sealwire/nest';
import { DataSource, EntityManager } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createApp } from '../src/app.js';
import { readConfig } from '../src/config.js';
import { DocumentPart } from '../src/payments/document.entity.js';
import type { PaymentsController } from '../src/payments/payments.controller.js';
import type { StatementLine } from '../src/payments/payments.service.js';
import { Transfer } from '../src/payments/transfer.entity.js';
import type { PublicController } from '../src/public/public.controller.js';
import { type FreshDatabase, freshDatabase } from './support/postgres.js';

const secrets = {
  keyEncryptionKey: generateKeyText('swe1', nodePrimitives),
  secureKey: generateKeyText('swk1', nodePrimitives),
};
describe.each(['PGlite', 'PostgreSQL'])('the application on %s', (kind) => {
  let database: FreshDatabase | undefined;
  let data: string;
  let app: INestApplication;
  let port = 0;
  let payments: Remote<RemoteApi<PaymentsController>>;

  beforeAll(async () => {
    database = kind === 'PostgreSQL' ? await freshDatabase() : undefined;
    data = mkdtempSync(join(tmpdir(), 'sealwire-app-'));
    await start();
  });

  afterAll(async () => {
    await app.close();
    await database?.drop();
    rmSync(data, { recursive: true, force: true });
  });

  beforeEach(async () => {
    payments = createRemote<RemoteApi<PaymentsController>>({
      url: `http://127.0.0.1:${port}/remote/payments`,
      serverKey: await serverKey(),
      secureKey: secrets.secureKey,
    });
  });

  afterEach(() => payments.$close());

  /** The first start takes a free port, every later one the same. */
  async function start(): Promise<void> {
    app = await createApp(
      readConfig({ DATABASE_URL: database?.url, SEALWIRE_DATA: data, SEALWIRE_ALLOW_FSYNC_OFF: 'yes' }),
      secrets,
      false,
    );
    await app.listen(port, '127.0.0.1');
    port = (app.getHttpServer().address() as AddressInfo).port;
  }

  async function serverKey(): Promise<string> {
    const [pair] = await app.get(KeyStore, { strict: false }).serverKeys();
    return formatKeyText('swp1', pair!.publicKey);
  }

  function transferTo(to: string, from: string, amount: bigint) {
    return payments.transfer({ from, to, amount, note: 'test' });
  }

  it('opens accounts, moves money and states what moved', async () => {
    const { account: ada } = await payments.open({ owner: 'Ada', deposit: 1_000n });
    const { account: ben } = await payments.open({ owner: 'Ben', deposit: 1n });
    const { booked } = await transferTo(ben, ada, 400n);
    expect(booked).toBeInstanceOf(Date);
    expect(await payments.balance({ account: ada })).toBe(600n);
    expect(await payments.balance({ account: ben })).toBe(401n);
    expect(await payments.statement({ account: ada })).toMatchObject([
      { amount: -400n, counterparty: ben, note: 'test', booked },
      { amount: 1_000n, counterparty: undefined, note: 'first deposit' },
    ]);
  });

  it('refuses what is not valid, not funded or not there, and moves nothing', async () => {
    const { account: ada } = await payments.open({ owner: 'Ada', deposit: 10n });
    const { account: ben } = await payments.open({ owner: 'Ben', deposit: 1n });
    const nobody = '00000000-0000-4000-8000-000000000000';
    const refusals = await payments.$batch((remote) => [
      remote.transfer({ from: ada, to: ben, amount: 11n, note: 'too much' }),
      remote.transfer({ from: ada, to: ben, amount: 0n, note: 'nothing' }),
      remote.transfer({ from: ada, to: ben, amount: 5 as unknown as bigint, note: 'no bigint' }),
      remote.transfer({ from: ada, to: ada, amount: 1n, note: 'to itself' }),
      remote.transfer({ from: ada, to: nobody, amount: 1n, note: 'to nobody' }),
      remote.transfer({ from: ada, to: ben, amount: 1n, note: 'more', fee: 1n } as never),
    ]);
    expect(refusals.map((result) => result.status === 'rejected' && result.reason.code)).toEqual([
      'insufficient_funds',
      'bad_request',
      'bad_request',
      'same_account',
      'account_unknown',
      'bad_request',
    ]);
    expect(refusals[0]).toMatchObject({ reason: { details: { balance: 10n, requested: 11n } } });
    expect(await payments.balance({ account: ada })).toBe(10n);
    expect(await payments.balance({ account: ben })).toBe(1n);
  });

  it('keeps the sum of many transfers at once, both ways', async () => {
    const { account: ada } = await payments.open({ owner: 'Ada', deposit: 1_000n });
    const { account: ben } = await payments.open({ owner: 'Ben', deposit: 1_000n });
    const there = Array.from({ length: 20 }, (_, i) => transferTo(ben, ada, BigInt(i + 1)));
    const back = Array.from({ length: 20 }, () => transferTo(ada, ben, 3n));
    await Promise.all([...there, ...back]);
    expect(await payments.balance({ account: ada })).toBe(1_000n - 210n + 60n);
    expect(await payments.balance({ account: ben })).toBe(1_000n + 210n - 60n);
  });

  it('serves the same session after a restart', async () => {
    const { account } = await payments.open({ owner: 'Ada', deposit: 7n });
    const events: string[] = [];
    for (const name of ['opened', 'renewed', 'resumed'] as const) payments.$events.on(name, () => events.push(name));
    await app.close();
    await start();
    expect(await payments.balance({ account })).toBe(7n);
    expect(events).toEqual(['resumed']);
  });

  it('exports a statement of several pages as a stream, oldest line first', async () => {
    const { account: ada } = await payments.open({ owner: 'Ada', deposit: 1_000n });
    const { account: ben } = await payments.open({ owner: 'Ben', deposit: 1_000n });
    for (let i = 0; i < 15; i++) {
      await payments.$batch((remote) =>
        Array.from({ length: 16 }, (_, k) =>
          remote.transfer({ from: k % 2 ? ada : ben, to: k % 2 ? ben : ada, amount: 1n, note: '' }),
        ),
      );
    }
    const lines: StatementLine[] = [];
    for await (const line of await payments.export({ account: ada })) lines.push(line);
    expect(lines.map(({ number }) => number)).toEqual(Array.from({ length: 241 }, (_, i) => i + 1));
    expect(lines.reduce((sum, { amount }) => sum + amount, 0n)).toBe(await payments.balance({ account: ada }));
    await expect(payments.export({ account: randomUUID() })).rejects.toMatchObject({ code: 'account_unknown' });
  });

  it('leaves no gap in a statement for lines that are booked while it is read', async () => {
    const { account: ada } = await payments.open({ owner: 'Ada', deposit: 10n });
    const { account: ben } = await payments.open({ owner: 'Ben', deposit: 10n });
    const booked = async () => {
      await transferTo(ben, ada, 1n);
      await transferTo(ada, ben, 2n);
    };
    const find = EntityManager.prototype.find;
    let booking: Promise<void> | undefined;
    // behind the first query of the page
    const spy = vi.spyOn(EntityManager.prototype, 'find').mockImplementation(async function (
      this: EntityManager,
      ...args
    ) {
      const found = await find.apply(this, args);
      if (args[0] === Transfer && !booking) {
        booking = booked();
        // the only connection of PGlite is the page's until that is read
        if (kind === 'PostgreSQL') await booking;
      }
      return found;
    });
    const numbers = async () => {
      const lines: number[] = [];
      for await (const { number } of await payments.export({ account: ada })) lines.push(number);
      return lines;
    };
    try {
      expect(await numbers()).toEqual([1]);
    } finally {
      spy.mockRestore();
    }
    await booking;
    expect(await numbers()).toEqual([1, 2, 3]);
  });

  it('tells of each line as it is booked, also after a restart', async () => {
    const { account: ada } = await payments.open({ owner: 'Ada', deposit: 100n });
    const { account: ben } = await payments.open({ owner: 'Ben', deposit: 1n });
    const lines = (await payments.watch({ account: ben }))[Symbol.asyncIterator]();
    expect((await lines.next()).value).toMatchObject({ number: 1, amount: 1n });
    await transferTo(ben, ada, 2n);
    expect((await lines.next()).value).toMatchObject({ number: 2, amount: 2n });
    const third = lines.next();
    await app.close();
    await start();
    await transferTo(ben, ada, 3n);
    expect((await third).value).toMatchObject({ number: 3, amount: 3n });
    await lines.return?.();
  });

  it('takes a document and gives it back, and keeps nothing of one that broke off', async () => {
    const { account } = await payments.open({ owner: 'Ada', deposit: 1n });
    const bytes = randomBytes(3_000_000);
    const { document, size } = await payments.attach({ account }, new File([bytes], 'a.bin', { type: 'x/y' }));
    expect(size).toBe(bytes.length);
    const back = await payments.document({ document });
    expect(back).toMatchObject({ name: 'a.bin', type: 'x/y', size: bytes.length });
    expect(Buffer.compare(await back.bytes(), bytes)).toBe(0);

    const parts = () => app.get(DataSource).manager.count(DocumentPart);
    const before = await parts();
    const abort = new AbortController();
    const broken = async function* () {
      yield new Uint8Array(600_000);
      while ((await parts()) === before) await new Promise(setImmediate);
      abort.abort();
      yield new Uint8Array(1);
    };
    const stream = ReadableStream.from(broken());
    await expect(
      payments
        .$call({ signal: abort.signal })
        .attach({ account }, new RemoteFile({ name: 'b', type: '' }, () => stream)),
    ).rejects.toThrow();
    await vi.waitFor(async () => expect(await parts()).toBe(before), 10_000);
  });

  it('answers its own health beside the remote functions', async () => {
    const response = await fetch(`http://127.0.0.1:${port}/health`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ sealwire: { status: 'up' } });
  });

  it('serves the public module in plain and refuses plaintext for payments', async () => {
    const open = createRemote<RemoteApi<PublicController>>({
      url: `http://127.0.0.1:${port}/remote/public`,
      keySize: 0,
    });
    expect(await open.rate('CHF')).toBe(0.94);
    await expect(open.rate('XXX')).rejects.toMatchObject({ code: 'currency_unknown' });
    expect((await open.status()).time).toBeInstanceOf(Date);
    const response = await fetch(`http://127.0.0.1:${port}/remote/payments`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ calls: [{ name: 'open', args: [{ owner: 'Eve', deposit: '1' }] }] }),
    });
    expect(response.status).toBe(426);
    expect(await response.json()).toMatchObject({ code: 'encryption_required' });
  });

  it('lets nobody in without its SecureKey', async () => {
    const stranger = createRemote<RemoteApi<PaymentsController>>({
      url: `http://127.0.0.1:${port}/remote/payments`,
      serverKey: await serverKey(),
      secureKey: generateKeyText('swk1', nodePrimitives),
      timeout: 500,
    });
    const refusal = stranger.open({ owner: 'Eve', deposit: 1n });
    await expect(refusal).rejects.toBeInstanceOf(RemoteError);
    await expect(refusal).rejects.not.toBeInstanceOf(OutcomeUnknownError);
  });
});
