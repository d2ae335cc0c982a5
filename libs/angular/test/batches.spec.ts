// @vitest-environment jsdom
import './support.js';
import { ApplicationRef, Injector, signal } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { provideSealwire, RemoteFile, remoteResource, withModule, ɵBACKEND, type ɵBackend } from '@sealwire/angular';
import { provideSealwireTesting, SealwireTestingController } from '@sealwire/angular/testing';
import type { CallOptions } from '@sealwire/client';
import { describe, expect, it } from 'vitest';
import { Payments } from './server.js';

const key = signal<string | undefined>(undefined);

describe('the entries of a batch', () => {
  function connect() {
    TestBed.configureTestingModule({
      providers: [provideSealwireTesting(), provideSealwire({}, withModule(Payments, { secureKey: () => key() }))],
    });
    const remote = TestBed.inject(Payments);
    const batch = () =>
      remote.$batch((payments) => [payments.balance({ account: 'a' }), payments.transfer('a', 'b', 1n)]);
    return { remote, batch, sealwire: TestBed.inject(SealwireTestingController) };
  }

  it('are rejected, one for each call, where nothing can be called', async () => {
    key.set(undefined);
    const { remote, batch } = connect();
    // whoever reads the array needs no entry
    await expect(batch()).rejects.toMatchObject({ code: 'policy' });
    const refused = batch();
    await expect(refused).rejects.toMatchObject({ code: 'policy' });
    expect(refused.entries).toHaveLength(2);
    for (const entry of refused.entries) await expect(entry).rejects.toMatchObject({ code: 'policy' });
    remote.$close();
    key.set('swk1 of the first');
    const closed = batch();
    await expect(closed.entries[1]).rejects.toMatchObject({ code: 'closed' });
    await expect(closed).rejects.toMatchObject({ code: 'closed' });
    await TestBed.inject(ApplicationRef).whenStable();
  });

  it('say as the batch does that the SecureKey changed', async () => {
    key.set('swk1 of the first');
    const { batch } = connect();
    const sent = batch();
    // whoever takes entries needs no array
    const [entry] = batch().entries;
    key.set('swk1 of the second');
    TestBed.tick();
    const former = { code: 'closed', message: expect.stringContaining('the SecureKey changed') };
    await expect(entry).rejects.toMatchObject(former);
    await expect(sent.entries[0]).rejects.toMatchObject(former);
    await expect(sent).rejects.toMatchObject(former);
  });

  it('bring what the calls bring', async () => {
    key.set('swk1 of the first');
    const { batch, sealwire } = connect();
    const sent = batch();
    sealwire.expectOne(Payments, 'balance').flush(5n);
    expect(await sent.entries[0]).toBe(5n);
    sealwire.expectOne(Payments, 'transfer').error('refused');
    await expect(sent.entries[1]).rejects.toMatchObject({ code: 'refused' });
    expect((await sent).map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  });

  it('are none of a function that throws or gives no calls', async () => {
    key.set(undefined);
    const { remote } = connect();
    for (const build of [() => undefined, () => Promise.reject(new Error()).catch(() => {})]) {
      const batch = remote.$batch(build as never);
      await expect(batch).rejects.toMatchObject({ code: 'policy' });
      expect(batch.entries).toEqual([]);
    }
  });
});

describe('reads that travel together', () => {
  /** Three reads of one turn, whose outcomes the test gives. */
  async function read() {
    const outcomes = [0, 1, 2].map(() => {
      let settle!: { resolve(value: unknown): void; reject(error: unknown): void };
      const promise = new Promise<unknown>((resolve, reject) => {
        settle = { resolve, reject };
      });
      return { promise, ...settle };
    });
    let how: CallOptions | undefined;
    const entries = outcomes.map(({ promise }) => promise);
    const $batch = (_: unknown, given: CallOptions) => {
      how = given;
      return Object.assign(Promise.allSettled(entries), { entries });
    };
    const backend: ɵBackend = {
      open: () => ({ $batch, $events: { on: () => () => {} }, $close: () => {} }) as never,
      endOfTurn: queueMicrotask,
    };
    TestBed.configureTestingModule({
      providers: [{ provide: ɵBACKEND, useValue: backend }, provideSealwire({})],
    });
    const injector = TestBed.inject(Injector);
    const reads = outcomes.map(() => {
      const isWanted = signal(true);
      const own = { injector };
      const read = remoteResource(Payments, ({ balance }) => (isWanted() ? balance({ account: 'a' }) : undefined), own);
      const giveUp = (): void => {
        isWanted.set(false);
        TestBed.tick();
      };
      return { read, giveUp };
    });
    TestBed.tick();
    await settled();
    return { reads, outcomes, isGivenUp: () => how?.signal?.aborted };
  }
  const settled = () => new Promise((resolve) => setTimeout(resolve));

  it.each([
    ['a value', 5n],
    ['an error', undefined],
  ])('are given up when nobody waits for what has not come, behind %s', async (_, value) => {
    const { reads, outcomes, isGivenUp } = await read();
    if (value === undefined) outcomes[0]?.reject(new Error('refused'));
    else outcomes[0]?.resolve(value);
    await settled();
    reads[1]?.giveUp();
    expect(isGivenUp()).toBe(false);
    reads[2]?.giveUp();
    expect(isGivenUp()).toBe(true);
    const status = value === undefined ? 'error' : 'resolved';
    expect(reads.map(({ read }) => read.status())).toEqual([status, 'idle', 'idle']);
  });

  it('are given up also when the last that is waited for comes', async () => {
    const { reads, outcomes, isGivenUp } = await read();
    reads[1]?.giveUp();
    reads[2]?.giveUp();
    expect(isGivenUp()).toBe(false);
    outcomes[0]?.resolve(5n);
    await settled();
    expect(isGivenUp()).toBe(true);
  });

  it.each([
    ['items', (async function* () {})()],
    ['bytes', { deep: [new Map([['bytes', new ReadableStream()]])] }],
    ['a file', new Set([new RemoteFile()])],
  ])('go on while %s of one are read, until that is given up', async (_, value) => {
    const { reads, outcomes, isGivenUp } = await read();
    outcomes[0]?.resolve(value);
    await settled();
    reads[1]?.giveUp();
    reads[2]?.giveUp();
    expect(isGivenUp()).toBe(false);
    reads[0]?.giveUp();
    expect(isGivenUp()).toBe(true);
  });

  it('are not given up once all are there', async () => {
    const { outcomes, isGivenUp } = await read();
    for (const [i, { resolve }] of outcomes.entries()) resolve(i);
    await settled();
    expect(isGivenUp()).toBe(false);
  });
});
