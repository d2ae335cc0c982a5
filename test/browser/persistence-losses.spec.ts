import { TypeOrmModule } from '@nestjs/typeorm';
import type { RemoteApi } from '@sealwire/client';
import { generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { SealwireSessions } from '@sealwire/nest';
import { sealwireEntities, sealwireMigrations, typeOrmStore } from '@sealwire/typeorm';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { Site } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { freshDatabase } from '../support/postgres.js';
import { alter, CALL, HANDSHAKE, keptIn, ofAda, startThings, tabOf, types } from './kept-tabs.js';
import type { ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

const kek = generateKeyText('swe1', nodePrimitives);
let site: Site;
beforeAll(async () => {
  site = await startThings();
});
afterAll(() => site.close());

const common = () => ({ serverKey: site.pin, secureKey: ofAda });

inEveryBrowser((suite) => {
  const { user } = suite;

  it('renews a session that the server does not know any more', async () => {
    const tab = await tabOf(await user(), site);
    await tab.call();
    const [old] = await keptIn(tab.page, 1);
    await site.close();
    site = await startThings({ port: site.port, serverKey: site.serverKey });
    await tab.reload();
    expect(await tab.call()).toBe(3);
    expect(tab.sent[0]?.type).toBe(CALL);
    expect(types(tab.sent).filter((type) => type !== CALL)).toEqual(HANDSHAKE);
    await expect.poll(async () => (await keptIn(tab.page, 1))[0]?.sessionId).not.toBe(old?.sessionId);
  });

  it('takes no number any more when the page may rest in memory, or another one took its slot', async () => {
    const context = await user();
    for (const lose of [
      () => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })),
      async () => {
        const { held = [] } = await navigator.locks.query();
        for (const { name } of held) await navigator.locks.request(name!, { steal: true }, () => {});
      },
    ]) {
      const tab = await tabOf(context, site);
      await tab.call();
      await keptIn(tab.page, 1);
      const before = tab.sent.at(-1)?.number;
      await tab.page.evaluate(lose as () => unknown);
      tab.sent.length = 0;
      const other = await tabOf(context, site);
      expect(await other.call()).toBe(3);
      expect(types(other.sent)).toEqual([CALL]);
      expect(await tab.call()).toBe(3);
      expect(types(tab.sent)).toEqual(HANDSHAKE);
      expect(await tab.call()).toBe(3);
      expect(tab.sent.at(-1)?.number).not.toBe(before);
      await keptIn(tab.page, 2);
      await tab.page.close();
      await other.run(({ kept }) => (kept.remote as { $close(): void }).$close(), undefined);
      await keptIn(other.page, 0);
      await other.page.close();
    }
  });

  it('renews a session that was revoked on the server', async () => {
    const tab = await tabOf(await user(), site);
    await tab.call();
    const [old] = await keptIn(tab.page, 1);
    await tab.reload();
    await site.app.get(SealwireSessions).revokeModule('things');
    expect(await tab.call()).toBe(3);
    expect(types(tab.sent).filter((type) => type !== CALL)).toEqual(HANDSHAKE);
    await expect.poll(async () => (await keptIn(tab.page, 1))[0]?.sessionId).not.toBe(old?.sessionId);
  });

  it('calls on when the quota is full, and keeps nothing', async () => {
    const context = await user();
    await context.addInitScript(() => {
      const put = IDBObjectStore.prototype.put;
      IDBObjectStore.prototype.put = function (value, key) {
        if (value.state) throw new DOMException('full', 'QuotaExceededError');
        return put.call(this, value, key);
      };
    });
    const tab = await tabOf(context, site);
    await tab.call();
    await tab.call();
    expect(types(tab.sent)).toEqual([...HANDSHAKE, CALL]);
    expect(await keptIn(tab.page, 0)).toEqual([]);
    expect(tab.problems).toEqual([]);
    await tab.reload();
    await tab.call();
    expect(types(tab.sent)).toEqual(HANDSHAKE);
  });

  it('goes on in the lane that the server moved the session to, under numbers of its own', async () => {
    const database = await freshDatabase();
    const moving = () => ({
      imports: [
        TypeOrmModule.forRoot({
          ...{ type: 'postgres', url: database.url, migrationsRun: true },
          ...{ entities: [...sealwireEntities], migrations: [...sealwireMigrations] },
        }),
      ],
      root: { store: typeOrmStore({ kek, allowFsyncOff: true }) },
    });
    let server = await startThings(moving());
    onTestFinished(async () => {
      await server.close();
      await database.drop();
    });
    const restart = async () => {
      const { port, serverKey } = server;
      await server.close();
      server = await startThings({ ...moving(), port, serverKey });
    };
    const tab = await tabOf(await user(), server);
    await tab.call();
    await tab.call();
    const numbers = [tab.sent.at(-1)?.number];
    for (let reload = 0; reload < 3; reload++) {
      await restart();
      // the page that knew of the new lane may be gone before it said so: the next one knows the old one alone
      if (reload === 1) expect(await tab.call()).toBe(3);
      await tab.reload();
      expect(await tab.call()).toBe(3);
      expect(new Set(types(tab.sent))).toEqual(new Set([CALL]));
      const [lane, counter] = [tab.sent.at(-1)!.number.slice(32, 40), tab.sent.at(-1)!.counter];
      expect([Number.parseInt(lane, 16) > 1, counter > 4_096]).toEqual([true, true]);
      numbers.push(...tab.sent.map(({ number }) => number));
    }
    expect(new Set(numbers).size).toBe(numbers.length);
  });

  it.each([
    ['as far as a server takes it', 2 ** 20 - 1, [CALL]],
    ['further than that', 2 ** 20, HANDSHAKE],
  ])('has a gap of pages without a call %s', async (_, gap, expected) => {
    const tab = await tabOf(await user(), site);
    await tab.call();
    await tab.call();
    await keptIn(tab.page, 1);
    await tab.reload();
    await alter(
      tab.page,
      ({ state, ...record }, gap) => {
        return { ...record, state: { ...state, counter: (state?.accepted as number) + (gap as number) } };
      },
      gap,
    );
    expect(await tab.call()).toBe(3);
    expect(types(tab.sent)).toEqual(expected);
  });

  it('never takes another result for its own when a profile was restored with numbers that were used', async () => {
    const tab = await tabOf(await user(), site);
    for (let i = 0; i < 3; i++) await tab.call();
    await keptIn(tab.page, 1);
    await tab.reload();
    await alter(tab.page, ({ state, ...record }) => ({ ...record, state: { ...state, counter: 0, accepted: -1 } }));
    const echoed = () =>
      tab.run(async ({ createRemote, sessionPersistence, outcome }, options) => {
        const remote = createRemote<Api>({ url: '/remote/things', persistence: sessionPersistence(), ...options });
        return outcome(remote.echo('mine'));
      }, common());
    expect(await echoed()).toMatchObject({ value: 'mine' });
  });
});
