import type { Remote } from '@sealwire/client';
import { type Api, type Running, start } from '../src/app';

let running: Running;
let remote: Remote<Api>;

beforeAll(async () => {
  running = await start({ database: true });
  remote = await running.remote();
}, 30_000);

afterAll(async () => {
  remote.$close();
  await running.stop();
});

test('an exactly-once call', async () => {
  expect(await remote.pay({ who: 'a', amount: 1 })).toBe(1);
});

test('an exactly-once call that fails leaves nothing', async () => {
  await expect(remote.pay({ who: 'nobody', amount: 1 })).rejects.toMatchObject({ code: 'nobody' });
  expect(await remote.pay({ who: 'nobody else', amount: 1 })).toBe(1);
});
