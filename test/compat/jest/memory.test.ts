import { type Remote, RemoteError } from '@sealwire/client';
import { type Api, type Running, start } from '../src/app';

let running: Running;
let remote: Remote<Api>;

beforeAll(async () => {
  running = await start({ database: false });
  remote = await running.remote();
});

afterAll(async () => {
  remote.$close();
  await running.stop();
});

test('a sealed call', async () => {
  expect(await remote.add(1, 2)).toBe(3);
});

test('values keep their types, arguments go through the pipe', async () => {
  const { typed, when, bytes } = await remote.typed({ who: 'a', amount: 1 });
  expect(typed).toBe(true);
  expect(when.getTime()).toBe(0);
  expect([...bytes]).toEqual([1, 2]);
});

test('a guard refuses, also under a filter that observes', async () => {
  await expect(remote.gold('tin')).rejects.toBeInstanceOf(RemoteError);
  await expect(remote.observed('tin')).rejects.toMatchObject({ code: 'forbidden' });
});
