import { ReplayWindow } from '@sealwire/core';
import type { SessionData, SessionDirectory, SessionStore, StoredSession } from '@sealwire/nest/ports';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits, newSession, primitives, proves, secrets } from '../../typeorm/test/support.js';

export interface ContractSubject {
  readonly store: SessionStore;
  readonly directory: SessionDirectory;
  readonly data: SessionData;
  close(): Promise<void>;
}

/** What every session store must do. `exclusive` is how the lanes of its sessions are taken. */
export function storeContract(name: string, exclusive: boolean, open: () => Promise<ContractSubject>): void {
  describe(`${name} as a session store`, () => {
    let subject: ContractSubject;
    let store: SessionStore;
    beforeAll(async () => {
      subject = await open();
      store = subject.store;
    });
    afterAll(() => subject?.close());

    async function take(id: Uint8Array): Promise<StoredSession> {
      const taken = await store.takeLane(id, exclusive);
      if (taken === undefined || taken === 'busy') throw new Error(`not taken: ${taken}`);
      return taken;
    }

    async function opened(overrides: Parameters<typeof newSession>[0] = {}, most = limits) {
      const session = newSession(overrides);
      const created = await store.create(session, most);
      if (!created) throw new Error('not created');
      const keys = secrets();
      expect(await store.activate(session.id, keys)).toBe(true);
      return { ...session, keys, lane: created.lane };
    }

    const scope = ({ module, keyId }: { module: string; keyId: Uint8Array | undefined }) => ({ module, keyId });

    it('creates a session once', async () => {
      const session = newSession();
      const created = await store.create(session, limits);
      expect(created?.lane).toBeGreaterThan(1_700_000_000);
      expect(created?.incarnation).toEqual(store.incarnation());
      expect(await store.create(session, limits)).toBeUndefined();
    });

    it('has one key for session ids', () => {
      expect(store.sessionIdKey()).toHaveLength(32);
      expect(store.sessionIdKey()).toEqual(store.sessionIdKey());
    });

    it('finds a session, and takes its lane, only once it is active', async () => {
      const firstCalls = { digest: primitives.random(16), count: 2 };
      const session = newSession({ keyId: undefined, peer: '10.0.0.1', keySize: 16, firstCalls });
      await store.create(session, limits);
      expect(await store.find(session.id)).toBeUndefined();
      expect(await store.takeLane(session.id, exclusive)).toBeUndefined();
      const keys = secrets();
      await store.activate(session.id, keys);
      const what = {
        key: Buffer.from(session.id).toString('hex'),
        module: 'payments',
        keyId: undefined,
        keySize: 16,
        peer: '10.0.0.1',
        epoch: 0,
        secrets: keys,
        idleSeconds: 1_800,
        closed: [],
        ended: undefined,
        firstCalls,
      };
      expect(await store.find(session.id)).toMatchObject(what);
      expect(await take(session.id)).toMatchObject(what);
    });

    it('knows no session that was never created', async () => {
      expect(await store.find(primitives.random(16))).toBeUndefined();
      expect(await store.takeLane(primitives.random(16), exclusive)).toBeUndefined();
      expect(await store.activate(primitives.random(16), secrets())).toBe(false);
      expect(await subject.data.read(primitives.random(16))).toBeUndefined();
    });

    it.each([
      [{ idleSeconds: 0 }, 'idle'],
      [{ lifetimeSeconds: 0 }, 'expired'],
    ] as const)('finds a session past %o as one that ended, and takes it up no more', async (time, ended) => {
      const session = newSession(time);
      await store.create(session, limits);
      const { id } = await opened();
      await store.activate(session.id, secrets());
      expect(await store.takeLane(session.id, exclusive)).toBeUndefined();
      expect(await store.find(id)).toMatchObject({ ended: undefined });
      const found = await store.find(session.id);
      // one that was over before step 4 may never have become active
      if (found) expect(found.ended).toBe(ended);
    });

    it('takes no lane to find a session', async () => {
      const { id } = await opened();
      const { lane } = await take(id);
      expect(await Promise.all([store.find(id), store.find(id)])).toMatchObject([{ lane }, { lane }]);
    });

    it(exclusive ? 'opens another lane each time' : 'joins the lane that is open', async () => {
      const { id, lane } = await opened();
      const first = await take(id);
      const second = await take(id);
      if (exclusive) {
        expect(first.lane).toBeGreaterThan(lane);
        expect(second.lane).toBeGreaterThan(first.lane);
      } else {
        expect([first.lane, second.lane]).toEqual([lane, lane]);
      }
    });

    it.runIf(exclusive)('remembers the windows of the last four lanes that were closed', async () => {
      const { id } = await opened();
      const closed: { lane: number; window: Uint8Array; answered: boolean }[] = [];
      for (let counter = 0; counter < 5; counter++) {
        const { lane } = await take(id);
        const window = new ReplayWindow();
        window.accept(counter);
        await store.closeLane(id, lane, window.toBytes(), true);
        closed.unshift({ lane, window: window.toBytes(), answered: true });
      }
      const next = await take(id);
      expect(next.closed).toEqual(closed.slice(0, 4));
      expect(next.lane).toBeGreaterThan(closed[0]!.lane);
    });

    it.runIf(exclusive)('says of a lane whether all of it is answered', async () => {
      const { id } = await opened();
      const { lane } = await take(id);
      const [early, late] = [new ReplayWindow(), new ReplayWindow()].map((window) => {
        window.accept(3);
        return window.toBytes();
      });
      await store.closeLane(id, lane, early!, false);
      expect((await store.find(id))?.closed).toEqual([{ lane, window: early, answered: false }]);
      await store.closeLane(id, lane, late!, true);
      expect((await store.find(id))?.closed).toEqual([{ lane, window: late, answered: true }]);
    });

    it('moves to an epoch from the one before it, once', async () => {
      const { id, keys } = await opened();
      const { clientToServer, serverToClient } = secrets();
      const next = { clientToServer, serverToClient };
      expect(await store.advanceEpoch(id, 2, next)).toBe(false);
      expect(await store.advanceEpoch(id, 1, next)).toBe(true);
      expect(await store.advanceEpoch(id, 1, secrets())).toBe(false);
      expect(await store.find(id)).toMatchObject({ epoch: 1, secrets: { ...keys, ...next } });
    });

    it('ends sessions for good, and finds them for a while', async () => {
      const session = await opened();
      const { directory } = subject;
      expect(await directory.end({ id: session.id }, 'revoked')).toBe(1);
      expect(await directory.end({ id: session.id }, 'revoked')).toBe(0);
      expect(await store.find(session.id)).toMatchObject({ ended: 'revoked', secrets: session.keys });
      expect(await store.takeLane(session.id, exclusive)).toBeUndefined();
      expect(await store.activate(session.id, secrets())).toBe(false);
      expect(await store.advanceEpoch(session.id, 1, secrets())).toBe(false);
      expect(await store.create(session, limits)).toBeUndefined();
    });

    it('counts, lists and ends by key and module', async () => {
      const { directory } = subject;
      const keyId = primitives.random(8);
      const module = `m${primitives.random(4).join('')}`;
      const one = await opened({ keyId, module });
      await opened({ keyId, module });
      await opened({ keyId });
      await opened({ module });
      expect(await directory.count({ keyId })).toBe(3);
      expect(await directory.count({ module })).toBe(3);
      const all = await directory.list({ module }, { limit: 10 });
      expect(all).toHaveLength(3);
      expect(all.map(({ id }) => id)).toEqual(all.map(({ id }) => id).sort());
      expect(await directory.list({ module }, { limit: 2, after: all[0]?.id as string })).toEqual(all.slice(1));
      expect(await directory.list({ module }, { limit: 2 })).toEqual(all.slice(0, 2));
      const listed = all.find(({ id }) => id === Buffer.from(one.id).toString('hex'));
      expect(listed).toMatchObject({ module, keyId: Buffer.from(keyId).toString('hex'), epoch: 0, peer: undefined });
      expect(listed?.expires.getTime()).toBeGreaterThan(Date.now());
      expect(await directory.end({ keyId }, 'secure_key_revoked')).toBe(3);
      expect(await directory.count({ keyId })).toBe(0);
      expect(await directory.count({ module })).toBe(1);
      expect(await directory.list({ id: one.id }, { limit: 10 })).toEqual([]);
    });

    it.each([
      ['nothing', {}],
      ['what it does not know', { modul: 'payments' }],
      ['several', { id: primitives.random(16), module: 'payments' }],
    ])('ends nothing for a selector that names %s', async (_, selector) => {
      const { id } = await opened();
      const refused = 'A selector of sessions has one of `all`, `id`, `keyId` and `module`.';
      await expect(subject.directory.end(selector as never, 'revoked')).rejects.toThrow(refused);
      await expect(subject.directory.count(selector as never)).rejects.toThrow(refused);
      await expect(subject.directory.list(selector as never, { limit: 1 })).rejects.toThrow(refused);
      expect(await store.find(id)).toMatchObject({ ended: undefined });
    });

    it('answers a ping', async () => {
      await subject.directory.ping();
    });

    it('ends the longest unused sessions of a module and of a SecureKey that have too many', async () => {
      const module = `m${primitives.random(4).join('')}`;
      const most = { module: 3, secureKey: 2 };
      const [keyId, another] = [primitives.random(8), primitives.random(8)];
      const ofKey = [];
      for (let i = 0; i < 3; i++) ofKey.push(await opened({ module, keyId }, most));
      expect(await store.find(ofKey[0]!.id)).toMatchObject({ ended: 'evicted' });
      expect(await store.find(ofKey[1]!.id)).toMatchObject({ ended: undefined });
      const others = [await opened({ module, keyId: another }, most), await opened({ module, keyId: another }, most)];
      expect(await subject.directory.count({ module })).toBe(3);
      expect(await store.find(ofKey[1]!.id)).toMatchObject({ ended: 'evicted' });
      for (const { id } of [ofKey[2]!, ...others]) expect(await store.find(id)).toMatchObject({ ended: undefined });
    });

    it('writes data from the version that was read', async () => {
      const { id } = await opened();
      const { data, directory } = subject;
      expect(await data.read(id)).toEqual({ data: {}, version: 0 });
      expect(await data.write(id, { basket: [1] }, 0)).toBe(true);
      expect(await data.write(id, { basket: [2] }, 0)).toBe(false);
      expect(await data.read(id)).toEqual({ data: { basket: [1] }, version: 1 });
      await directory.end({ id }, 'revoked');
      expect(await data.read(id)).toBeUndefined();
      expect(await data.write(id, {}, 1)).toBe(false);
    });

    it('moves data to the session that renews others', async () => {
      const { data, directory } = subject;
      const [older, newer, revoked] = [await opened(), await opened(), await opened()];
      await data.write(older.id, { who: 'alice', basket: [1] }, 0);
      await data.write(newer.id, { who: 'bob' }, 0);
      await data.write(revoked.id, { who: 'carol' }, 0);
      await directory.end({ id: revoked.id }, 'revoked');
      for (const { id, module, keyId, keys } of [older, newer, revoked]) {
        expect(await store.renew(id, { module, keyId }, proves(keys.renewal))).toBeDefined();
      }
      const next = await opened({ previous: [older.id, newer.id, revoked.id] });
      const moved = await data.read(next.id);
      expect(moved?.data).toEqual({ who: 'bob', basket: [1] });
      expect(await data.write(next.id, { who: 'dave' }, moved!.version)).toBe(true);
      expect((await data.read((await opened({ previous: [older.id, newer.id] })).id))?.data).toEqual({});
    });

    it('tells nothing of a session to who cannot prove it, nor in another scope', async () => {
      const session = await opened();
      const { id, keys } = session;
      expect(await store.renew(id, scope(session), () => false)).toBeUndefined();
      expect(await store.renew(primitives.random(16), scope(session), () => true)).toBeUndefined();
      expect(await store.renew(id, { ...scope(session), module: 'other' }, proves(keys.renewal))).toBeUndefined();
      expect(await store.renew(id, { ...scope(session), keyId: undefined }, proves(keys.renewal))).toBeUndefined();
      const another = { ...scope(session), keyId: primitives.random(8) };
      expect(await store.renew(id, another, proves(keys.renewal))).toBeUndefined();
      expect(await store.find(id)).toMatchObject({ ended: undefined });
    });

    it('ends the session that a client renews, and again answers of its tombstone', async () => {
      const session = await opened();
      const { id, keys } = session;
      const { lane } = await take(id);
      const answer = { key: keys.renewal, first: false, session: { id, lane } };
      expect(await store.renew(id, scope(session), proves(keys.renewal))).toMatchObject(answer);
      expect(await store.takeLane(id, exclusive)).toBeUndefined();
      expect(await store.find(id)).toMatchObject({ ended: 'renewed' });
      expect(await store.renew(id, scope(session), proves(keys.renewal))).toMatchObject(answer);
    });

    it('lets the first key prove a session until a frame of it opened', async () => {
      const session = await opened();
      const first = { key: session.firstKey, first: true };
      expect(await store.renew(session.id, scope(session), proves(session.firstKey))).toMatchObject(first);
      const begun = newSession();
      await store.create(begun, limits);
      expect(await store.renew(begun.id, scope(begun), proves(begun.firstKey))).toMatchObject({ first: true });
      expect(await store.activate(begun.id, secrets())).toBe(false);
      const used = await opened();
      store.touch(used.id, true);
      store.touch(used.id, false);
      await expect
        .poll(() => keysOf(used), {
          timeout: 5_000,
        })
        .not.toContain(Buffer.from(used.firstKey).toString('hex'));
      expect(await store.renew(used.id, scope(used), proves(used.firstKey))).toBeUndefined();
      expect(await store.renew(used.id, scope(used), proves(used.keys.renewal))).toMatchObject({ first: false });
    });

    /** The keys that a proof of the session is tried with. */
    async function keysOf(session: { id: Uint8Array; module: string; keyId: Uint8Array | undefined }) {
      const keys: string[] = [];
      await store.renew(session.id, scope(session), (key) => {
        keys.push(Buffer.from(key).toString('hex'));
        return false;
      });
      return keys;
    }

    it('purges without touching what lives', async () => {
      const { id } = await opened();
      await subject.directory.purge();
      expect(await store.find(id)).toMatchObject({ ended: undefined });
    });
  });
}
