import { FIRST_CALLS, ReplayWindow } from '@sealwire/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newSession, primitives, proves, renewal, secrets } from '../../typeorm/test/support.js';
import type { AttachedSession, SessionStore } from '../src/ports/ports.js';

export interface ContractSubject {
  readonly store: SessionStore;
  close(): Promise<void>;
}

/** What every session store must do. `exclusive` is how its sessions are attached. */
export function storeContract(name: string, exclusive: boolean, open: () => Promise<ContractSubject>): void {
  describe(`${name} as a session store`, () => {
    let subject: ContractSubject;
    let store: SessionStore;
    beforeAll(async () => {
      subject = await open();
      store = subject.store;
    });
    afterAll(() => subject?.close());

    async function attach(id: Uint8Array): Promise<AttachedSession> {
      const attached = await store.attach(id, exclusive);
      if (attached === undefined || attached === 'busy') throw new Error(`not attached: ${attached}`);
      return attached;
    }

    async function opened(overrides: Parameters<typeof newSession>[0] = {}) {
      const session = newSession(overrides);
      const created = await store.create(session);
      if (!created) throw new Error('not created');
      const keys = secrets();
      expect(await store.activate(session.id, keys)).toBe(true);
      return { ...session, keys, lane: created.lane };
    }

    it('creates a session once', async () => {
      const session = newSession();
      const created = await store.create(session);
      expect(created?.lane).toBeGreaterThan(1_700_000_000);
      expect(created?.incarnation).toEqual(store.incarnation());
      expect(await store.create(session)).toBeUndefined();
    });

    it('attaches a session only once it is active', async () => {
      const session = newSession({ keyId: undefined, peer: '10.0.0.1', keySize: 16 });
      await store.create(session);
      expect(await store.attach(session.id, exclusive)).toBeUndefined();
      const keys = secrets();
      await store.activate(session.id, keys);
      expect(await attach(session.id)).toMatchObject({
        module: 'payments',
        keyId: undefined,
        keySize: 16,
        peer: '10.0.0.1',
        epoch: 0,
        secrets: keys,
        firstKey: session.firstKey,
        idleSeconds: 1_800,
        closed: undefined,
      });
    });

    it('knows no session that was never created', async () => {
      expect(await store.attach(primitives.random(16), exclusive)).toBeUndefined();
      expect(await store.activate(primitives.random(16), secrets())).toBe(false);
      expect(await store.readData(primitives.random(16))).toBeUndefined();
    });

    it.each([{ idleSeconds: 0 }, { lifetimeSeconds: 0 }])('attaches no session past %o', async (time) => {
      const session = newSession(time);
      await store.create(session);
      await store.activate(session.id, secrets());
      expect(await store.attach(session.id, exclusive)).toBeUndefined();
    });

    it(exclusive ? 'opens another lane at each attaching' : 'joins the lane that is open', async () => {
      const { id, lane } = await opened();
      const first = await attach(id);
      const second = await attach(id);
      if (exclusive) {
        expect(first.lane).toBeGreaterThan(lane);
        expect(second.lane).toBeGreaterThan(first.lane);
      } else {
        expect([first.lane, second.lane]).toEqual([lane, lane]);
      }
    });

    it.runIf(exclusive)('remembers the window of a lane that was closed', async () => {
      const { id } = await opened();
      const { lane } = await attach(id);
      const window = new ReplayWindow();
      window.accept(3);
      await store.closeLane(id, lane, window.toBytes(), true);
      const next = await attach(id);
      expect(next.closed).toEqual({ lane, window: window.toBytes() });
      expect(next.lane).toBeGreaterThan(lane);
    });

    it('moves to an epoch from the one before it, once', async () => {
      const { id, keys } = await opened();
      const { clientToServer, serverToClient } = secrets();
      const next = { clientToServer, serverToClient };
      expect(await store.advanceEpoch(id, 2, next)).toBe(false);
      expect(await store.advanceEpoch(id, 1, next)).toBe(true);
      expect(await store.advanceEpoch(id, 1, secrets())).toBe(false);
      const attached = await attach(id);
      expect(attached.epoch).toBe(1);
      expect(attached.secrets).toEqual({ ...keys, ...next });
    });

    it('ends sessions for good', async () => {
      const session = await opened();
      expect(await store.end({ id: session.id }, 'revoked')).toBe(1);
      expect(await store.end({ id: session.id }, 'revoked')).toBe(0);
      expect(await store.attach(session.id, exclusive)).toBeUndefined();
      expect(await store.activate(session.id, secrets())).toBe(false);
      expect(await store.advanceEpoch(session.id, 1, secrets())).toBe(false);
      expect(await store.create(session)).toBeUndefined();
    });

    it('counts, lists and ends by key and module', async () => {
      const keyId = primitives.random(8);
      const module = `m${primitives.random(4).join('')}`;
      const one = await opened({ keyId, module });
      await opened({ keyId, module });
      await opened({ keyId });
      await opened({ module });
      expect(await store.count({ keyId })).toBe(3);
      expect(await store.count({ module })).toBe(3);
      const all = await store.list({ module }, { limit: 10 });
      expect(all).toHaveLength(3);
      expect(all.map(({ id }) => id)).toEqual(all.map(({ id }) => id).sort());
      expect(await store.list({ module }, { limit: 2, after: all[0]?.id as string })).toEqual(all.slice(1));
      expect(await store.list({ module }, { limit: 2 })).toEqual(all.slice(0, 2));
      const listed = all.find(({ id }) => id === Buffer.from(one.id).toString('hex'));
      expect(listed).toMatchObject({ module, keyId: Buffer.from(keyId).toString('hex'), epoch: 0, peer: undefined });
      expect(listed?.expires.getTime()).toBeGreaterThan(Date.now());
      expect(await store.end({ keyId }, 'secure_key_revoked')).toBe(3);
      expect(await store.count({ keyId })).toBe(0);
      expect(await store.count({ module })).toBe(1);
      expect(await store.list({ id: one.id }, { limit: 10 })).toEqual([]);
    });

    it('writes data from the version that was read', async () => {
      const { id } = await opened();
      expect(await store.readData(id)).toEqual({ data: {}, version: 0 });
      expect(await store.writeData(id, { basket: [1] }, 0)).toBe(true);
      expect(await store.writeData(id, { basket: [2] }, 0)).toBe(false);
      expect(await store.readData(id)).toEqual({ data: { basket: [1] }, version: 1 });
      await store.end({ id }, 'revoked');
      expect(await store.readData(id)).toBeUndefined();
      expect(await store.writeData(id, {}, 1)).toBe(false);
    });

    it('tells nothing of a session to who cannot prove it', async () => {
      const { id, lane } = await opened();
      const asked = renewal(id, [lane, 0], [0, 0]);
      const nothing = [{ known: 'unknown' }, { known: 'unknown' }];
      expect(await store.reconcile(asked, () => false)).toEqual(nothing);
      expect(await store.reconcile({ ...asked, sessionId: primitives.random(16) }, () => true)).toEqual(nothing);
      expect(await store.attach(id, exclusive)).not.toBeUndefined();
    });

    it('ends the session that a client renews, and again answers of its tombstone', async () => {
      const { id, keys } = await opened();
      const { lane } = await attach(id);
      const asked = renewal(id, [lane - 1, 5]);
      expect(await store.reconcile(asked, proves(keys.renewal))).toEqual([{ known: 'unknown' }]);
      expect(await store.attach(id, exclusive)).toBeUndefined();
      expect(await store.reconcile(asked, proves(keys.renewal))).toEqual([{ known: 'unknown' }]);
    });

    it.runIf(exclusive)('answers for a closed lane and for no open one', async () => {
      const { id, keys } = await opened();
      const first = await attach(id);
      const window = new ReplayWindow();
      window.accept(7);
      await store.closeLane(id, first.lane, window.toBytes(), true);
      const { lane } = await attach(id);
      expect(
        await store.reconcile(renewal(id, [first.lane, 7], [first.lane, 8], [lane, 0]), proves(keys.renewal)),
      ).toEqual([{ known: 'ran' }, { known: 'never_ran' }, { known: 'unknown' }]);
    });

    it('lets the first key ask for the first calls only', async () => {
      const { id, firstKey, lane } = await opened();
      const asked = renewal(id, [FIRST_CALLS.lane, FIRST_CALLS.counter], [lane, 1]);
      expect(await store.reconcile(asked, proves(firstKey))).toEqual([{ known: 'ran' }, { known: 'unknown' }]);
      const begun = newSession();
      await store.create(begun);
      expect(await store.reconcile(renewal(begun.id, [0, 0]), proves(begun.firstKey))).toEqual([{ known: 'ran' }]);
      expect(await store.activate(begun.id, secrets())).toBe(false);
    });

    it('purges without touching what lives', async () => {
      const { id } = await opened();
      await store.purge();
      expect(await store.attach(id, exclusive)).not.toBeUndefined();
    });
  });
}
