import { fileURLToPath } from 'node:url';
import { ServerProcess } from '../test/support/server-process.js';
import type { Usage } from './questions.js';

const AS_BUILT = fileURLToPath(new URL('./as-built.mjs', import.meta.url));

export type Script = 'server' | 'client' | 'stream-client' | 'store-server';

/** A process of the benchmark, which answers what it cost. */
export class BenchProcess extends ServerProcess {
  static async start(
    script: Script,
    env: Record<string, string>,
    flags: readonly string[] = [],
  ): Promise<BenchProcess> {
    const options = { env, nodeFlags: ['--expose-gc', '--import', AS_BUILT, ...flags] };
    return new BenchProcess(new URL(`./${script}.ts`, import.meta.url), options).start();
  }

  get port(): number {
    return Number(new URL(this.url ?? '').port);
  }

  /** microseconds of CPU that the process spent so far */
  async cpu(): Promise<number> {
    return (await this.ask<Usage>('usage')).cpu;
  }
}
