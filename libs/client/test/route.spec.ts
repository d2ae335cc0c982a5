import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = new URL('../../../', import.meta.url);

/** Makes 20 warm calls in a process of its own and prints the files of the client of which a function ran. */
const SCRIPT = `
  import { Session } from 'node:inspector/promises';
  import { createTestRemote, loopbackTransport } from './libs/client/src/testing/index.ts';
  import { PeerServer } from './test/support/peer/server.ts';
  import { fetchTransport } from './libs/client/src/node.ts';
  import { nodePrimitives } from '@sealwire/core/node';
  const server = new PeerServer();
  const answer = async (url, { body, headers, signal }) => {
    const { status, contentType, body: bytes } = await server.handle({ url, body, contentType: headers['content-type'], signal });
    return new Response(bytes, { status, headers: { 'content-type': contentType } });
  };
  const remote = createTestRemote({
    url: 'http://localhost/remote/payments', primitives: nodePrimitives,
    serverKey: server.serverKeyText, transport: fetchTransport({ fetch: answer }),
  }, {});
  for (let i = 0; i < 3; i++) await remote.add(i, 1);
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
  await session.post('Profiler.takePreciseCoverage');
  const timers = setTimeout;
  let armed = 0;
  globalThis.setTimeout = (...all) => { armed++; return timers(...all); };
  for (let i = 0; i < 20; i++) await remote.add(i, 1);
  globalThis.setTimeout = timers;
  const { result } = await session.post('Profiler.takePreciseCoverage');
  const ran = result.filter(({ url, functions }) => url.includes('/libs/client/src/') && functions.some(({ functionName, ranges }) => functionName !== '' && ranges[0].count >= 20));
  console.log(JSON.stringify({ armed, files: ran.map(({ url }) => url.split('/libs/client/src/')[1]).sort() }));
`;

it('passes at most 5 files of the client on a warm call, and arms no timer', async () => {
  const args = ['--import', '@oxc-node/core/register', '--input-type=module', '-e', SCRIPT];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
  const { files, armed } = JSON.parse(stdout);
  console.log(`route of a warm call: ${files.join(', ')}`);
  expect(files).toContain('delivery/message.ts');
  expect(files.length, files.join()).toBeLessThanOrEqual(5);
  expect(armed).toBeLessThanOrEqual(1);
}, 60_000);
