import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { generateKeyText, parseSecureKey, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { root } from '../scripts/build.mjs';

/** The keys of a server and its clients: as texts for its environment, and parsed. */
export function makeKeys() {
  const make = (kind) => generateKeyText(kind, nodePrimitives);
  const env = { BENCH_SERVER_KEY: make('sws1'), BENCH_SECURE_KEY: make('swk1'), BENCH_KEK: make('swe1') };
  return {
    env,
    client: {
      serverKey: parseServerPrivateKey(env.BENCH_SERVER_KEY, nodePrimitives).publicKey,
      secureKey: parseSecureKey(env.BENCH_SECURE_KEY),
    },
  };
}

/** Starts the process with the servers; answers its ports and ways to measure and to end it. */
export async function startServers(script, env) {
  const child = fork(join(root, 'bench', script), {
    cwd: root,
    execArgv: [...(process.env.PROF ? ['--cpu-prof','--cpu-prof-dir=/tmp/prof'] : []), '--expose-gc', '--import', '@oxc-node/core/register'],
    // without the source paths of the repository's own tsconfig: what is measured is what is built
    env: { ...process.env, TS_NODE_PROJECT: join(root, 'tsconfig.app.json'), ...env },
  });
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`the servers ended with exit code ${code}`);
  });
  failed.catch(() => undefined);
  const reply = async () => (await Promise.race([once(child, 'message'), failed]))[0];
  const { ports } = await reply();
  return {
    ports,
    /** `cpu`: microseconds spent so far; `memory`: bytes in use after a collection */
    usage() {
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
