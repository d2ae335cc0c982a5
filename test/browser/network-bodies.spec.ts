import type { RemoteApi } from '@sealwire/client';
import { RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Site, startSite } from '../support/browser-site.js';
import { inEveryBrowser } from '../support/browser-suite.js';
import { costOf } from '../support/browser-trace.js';

@RemoteFunctions('bodies')
class BodiesController {
  @RemoteFunction()
  length(bytes: Uint8Array): number {
    return bytes.length;
  }
}

type Api = RemoteApi<BodiesController>;
const MEGABYTE = 1024 * 1024;

let site: Site;
beforeAll(async () => {
  const modules = { bodies: { maxBody: 16 * MEGABYTE } };
  site = await startSite({ controllers: [BodiesController], modules });
});
afterAll(() => site.close());

inEveryBrowser((suite) => {
  it('a sealed call of 8 MB does not block the page as a body of bytes does', async () => {
    if (suite.installed.engine !== 'chromium') return;
    const { page, run } = await suite.open(site.origin);
    await run(
      async ({ createRemote, fetchTransport, kept }, { serverKey, size }) => {
        const url = '/remote/bodies';
        // the same call with the body that the client would have sent
        const asBytes = fetchTransport({
          fetch: async (input, init) =>
            fetch(input, { ...init, body: await new Response(init?.body ?? '').arrayBuffer() }),
        });
        const remotes = {
          blob: createRemote<Api>({ url, serverKey }),
          bytes: createRemote<Api>({ url, serverKey, transport: asBytes }),
        };
        const argument = new Uint8Array(size);
        for (const remote of Object.values(remotes)) await remote.length(argument);
        kept.call = async (name: 'blob' | 'bytes') => {
          const began = performance.now();
          if ((await remotes[name].length(argument)) !== size) throw new Error('Something was lost.');
          return performance.now() - began;
        };
      },
      { serverKey: site.pin, size: 8 * MEGABYTE },
    );
    const cost = (name: string) =>
      costOf(suite.browser, page, () =>
        run(({ kept }, name) => (kept.call as (name: string) => Promise<number>)(name), name),
      );
    const [bytes, blob] = [await cost('bytes'), await cost('blob')];
    // CPU time of the page's own thread: whatever else the machine does is not in it
    expect(blob.main).toBeLessThan(bytes.main / 2);
    expect(blob.longest).toBeLessThan(bytes.longest / 2);
  });
});
