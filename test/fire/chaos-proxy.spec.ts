import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { type ChaosOptions, ChaosProxy } from '../support/chaos-proxy.js';

interface Echo {
  readonly received: string[];
  url: string | undefined;
}

it.each([
  ['hands through', {}, { answer: 'echo a', received: 1 }],
  ['dropRequest', { dropRequest: 1 }, { answer: 'broken', received: 0 }],
  ['dropResponse', { dropResponse: 1 }, { answer: 'broken', received: 1 }],
  ['duplicate', { duplicate: 1 }, { answer: 'echo a', received: 2 }],
  ['replayRequest', { replayRequest: 1, maximumDelay: 1 }, { answer: 'echo a', received: 2 }],
  ['delay', { delay: 1, maximumDelay: 5 }, { answer: 'echo a', received: 1 }],
])('%s', async (_, faults, expected) => {
  const server = await echo();
  const proxy = await start({ upstreams: [server], faults });
  expect(await ask(proxy, 'a')).toBe(expected.answer);
  await proxy.close();
  expect(server.received).toEqual(Array.from({ length: expected.received }, () => 'a'));
});

it('gives an answer that was meant for an earlier request', async () => {
  const proxy = await start({ upstreams: [await echo()] });
  expect(await ask(proxy, 'a')).toBe('echo a');
  proxy.faults = { replayResponse: 1 };
  expect(await ask(proxy, 'b')).toBe('echo a');
});

it('takes servers in turn, or the first that is up, or all', async () => {
  const servers = [await echo(), await echo(), await echo()];
  const sizes = () => servers.map(({ received }) => received.length);
  const inTurn = await start({ upstreams: servers });
  for (const body of ['a', 'b', 'c', 'd']) await ask(inTurn, body);
  expect(sizes()).toEqual([2, 1, 1]);
  const first = await start({ upstreams: servers, route: 'first' });
  await ask(first, 'e');
  servers[0]!.url = undefined;
  await ask(first, 'f');
  expect(sizes()).toEqual([3, 2, 1]);
  await ask(await start({ upstreams: servers, route: 'all' }), 'g');
  expect(sizes()).toEqual([3, 3, 2]);
});

it('strikes alike with the same seed', async () => {
  const run = async (seed: number) => {
    const proxy = await start({ upstreams: [await echo()], faults: { dropRequest: 0.5 }, seed });
    const answers: string[] = [];
    for (let index = 0; index < 24; index++) answers.push(await ask(proxy, `${index}`));
    return answers;
  };
  const [once, again, other] = await Promise.all([run(7), run(7), run(8)]);
  expect(again).toEqual(once);
  expect(other).not.toEqual(once);
});

async function start(options: ChaosOptions): Promise<ChaosProxy> {
  const proxy = await ChaosProxy.start(options);
  onTestFinished(() => proxy.close());
  return proxy;
}

async function echo(): Promise<Echo> {
  const received: string[] = [];
  const server = createServer(async (incoming, response) => {
    let body = '';
    for await (const part of incoming) body += part;
    received.push(body);
    response.end(`echo ${body}`);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { received, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function ask(proxy: ChaosProxy, body: string): Promise<string> {
  try {
    return await (await fetch(proxy.url, { method: 'POST', body })).text();
  } catch {
    return 'broken';
  }
}
