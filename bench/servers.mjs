import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { generateKeyText, parseSecureKey, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { root } from '../scripts/build.mjs';

/** Starts the process with the servers and answers its ports, the keys of its clients, and a way to measure it. */
export async function startServers(script, env = {}) {
  const serverKey = generateKeyText('sws1', nodePrimitives);
  const secureKey = generateKeyText('swk1', nodePrimitives);
  const child = fork(join(root, 'bench', script), {
    cwd: root,
    execArgv: ['--expose-gc', '--import', '@oxc-node/core/register'],
    env: { ...process.env, BENCH_SERVER_KEY: serverKey, BENCH_SECURE_KEY: secureKey, ...env },
  });
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`the servers ended with exit code ${code}`);
  });
  failed.catch(() => undefined);
  const reply = async () => (await Promise.race([once(child, 'message'), failed]))[0];
  const { ports } = await reply();
  return {
    ports,
    keys: {
      serverKey: parseServerPrivateKey(serverKey, nodePrimitives).publicKey,
      secureKey: parseSecureKey(secureKey),
    },
    /** CPU microseconds spent so far, and bytes of heap in use after a collection */
    async usage() {
      const answer = reply();
      child.send('usage');
      return answer;
    },
    async stop() {
      const exited = once(child, 'exit');
      child.disconnect();
      await exited;
    },
  };
}
