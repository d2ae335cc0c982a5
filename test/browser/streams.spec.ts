import type { RemoteApi } from '@sealwire/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Site, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { fileHash, state, ThingsController } from './things.js';

type Api = RemoteApi<ThingsController>;

let site: Site;
beforeAll(async () => {
  site = await startSite({ controllers: [ThingsController], root: { abandonAfter: 300 } });
});
afterAll(() => site.close());

inEveryBrowser((suite) => {
  it('hands out the items of a stream, and the error that ends it', async () => {
    const { run, problems } = await suite.open(site.origin);
    const got = await run(async ({ createRemote, outcome }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      // as a first call, and as a later one
      let sum = 0;
      for await (const item of await remote.count(1_000)) sum += item;
      const seen: number[] = [];
      const read = async () => {
        for await (const item of await remote.breaks(3)) seen.push(item);
      };
      return { sum, seen, ended: await outcome(read()) };
    }, site.pin);
    expect(got).toMatchObject({ sum: 499_500, seen: [0, 1, 2], ended: { code: 'no_more', details: { after: 3 } } });
    expect(problems).toEqual([]);
  });

  it('hands out each outcome of a batch when it is there, with progress', async () => {
    const { run } = await suite.open(site.origin);
    const got = await run(async ({ createRemote }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      await remote.add(0, 0);
      const progress: unknown[] = [];
      const onProgress = ({ value }: { value?: unknown }) => value !== undefined && progress.push(value);
      const batch = remote.$batch((calls) => [calls.after(400), calls.add(1, 2), calls.job(), calls.fail('own')], {
        onProgress,
      });
      const order: unknown[] = [];
      const take = (value: unknown) => order.push(value);
      await Promise.all(batch.entries.map((entry) => entry.then(take, (error) => take(error.code))));
      return { order: [order.slice(0, -1).map(String).sort(), order.at(-1)], progress, all: (await batch).length };
    }, site.pin);
    expect(got).toEqual({ order: [['3', 'done', 'no_money'], 400], progress: [{ percent: 50 }], all: 4 });
  });

  it('sends files, and receives them with name, type and size', async () => {
    const { run } = await suite.open(site.origin);
    const got = await run(async ({ createRemote }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      const file = new File(['a'.repeat(300_000), 'b'], 'notes.txt', { type: 'text/plain' });
      const stored = await remote.store(file);
      const again = await remote.store(new Blob([new Uint8Array(5)]) as never);
      const down = await remote.fetchFile(200_000);
      const blob = await down.blob();
      return { stored, again, down: [down.name, down.type, down.size], blob: [blob.type, blob.size] };
    }, site.pin);
    expect(got.stored).toMatchObject({ name: 'notes.txt', type: 'text/plain', size: 300_001 });
    expect(got.again).toMatchObject({ size: 5 });
    expect(got.down).toEqual(['report.bin', 'application/x-report', 200_000]);
    expect(got.blob).toEqual(['application/x-report', 200_000]);
  });

  it('receives what was sent, byte for byte', async () => {
    const { run } = await suite.open(site.origin);
    const size = 1_500_001;
    const stored = await run(
      async ({ createRemote }, { serverKey, size }) => {
        const remote = createRemote<Api>({ url: '/remote/things', serverKey });
        const bytes = await (await remote.fetchFile(size)).bytes();
        return remote.store(new File([bytes], 'back'));
      },
      { serverKey: site.pin, size },
    );
    expect(stored).toMatchObject({ size, sha256: fileHash(size) });
  });

  it('tells the server that nobody waits any more', async () => {
    const { run } = await suite.open(site.origin);
    const before = state.aborted;
    const stop = await run(async ({ createRemote, outcome, kept }, serverKey) => {
      const remote = createRemote<Api>({ url: '/remote/things', serverKey });
      await remote.add(0, 0);
      const controller = new AbortController();
      kept.stop = () => controller.abort();
      kept.ended = outcome(remote.$call({ signal: controller.signal }).waits());
      return true;
    }, site.pin);
    expect(stop).toBe(true);
    await expect.poll(() => state.waiting).toBeGreaterThan(before);
    const ended = await run(({ kept }) => {
      (kept.stop as () => void)();
      return kept.ended as Promise<{ name: string; code: string }>;
    }, undefined);
    expect(ended).toMatchObject({ name: 'AbortError' });
    await expect.poll(() => state.aborted).toBe(before + 1);
  });
});
